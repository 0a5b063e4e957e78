"""Calls of another system by HTTP, signed as Standard Webhooks has it."""

import time
from datetime import datetime
from typing import Annotated, Any

import msgspec
from django import forms
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

from delivery import webhook_hosts, webhook_signing
from delivery.channels.base import Outcome, Parcel, Result
from delivery.channels.webhook import WebhookPayload
from delivery.providers import register
from delivery.providers.base import AccountForm, ProviderError, Sender
from delivery.providers.http import Answer, HttpProvider, Wanted, safe, usual


class EndpointConfig(msgspec.Struct, kw_only=True, omit_defaults=True, forbid_unknown_fields=True):
    """Where messages go that name no address of their own."""

    url: Annotated[str, msgspec.Meta(min_length=1)]


class EndpointCredentials(msgspec.Struct, kw_only=True, omit_defaults=True, forbid_unknown_fields=True):
    """`secret` signs calls (base64); `auth_header` with `auth_value` goes with those to the account's own host."""

    secret: str
    auth_header: str = ""
    auth_value: str = ""


class EndpointForm(AccountForm):
    url = forms.CharField(
        label=gettext_lazy("Address"), widget=forms.TextInput(attrs={"dir": "ltr", "placeholder": "https://"})
    )
    secret = forms.CharField(
        label=gettext_lazy("Signing key"),
        required=False,
        widget=forms.PasswordInput(render_value=False),
        help_text=gettext_lazy(
            "whsec_…, which the receiver checks signatures with. Empty: a new one is made."
        ),
    )
    auth_header = forms.CharField(label=gettext_lazy("Header that proves who we are"), required=False)
    auth_value = forms.CharField(
        label=gettext_lazy("Its value"), required=False, widget=forms.PasswordInput(render_value=False)
    )

    def clean_url(self) -> str:
        """Only what may be called."""
        url = self.cleaned_data["url"].strip()
        try:
            webhook_hosts.look_at(url)
        except webhook_hosts.BadAddress as error:
            raise forms.ValidationError(str(error)) from None
        return url

    def clean_secret(self) -> str:
        """As it is kept."""
        given = self.cleaned_data["secret"]
        try:
            return webhook_signing.read(given) if given else ""
        except ValueError:
            raise forms.ValidationError(_("A key is whsec_ and 24 to 64 bytes in base64.")) from None


@register
class Endpoint(HttpProvider):
    """Posts JSON; a call keeps its number (webhook-id) when it is repeated."""

    kind = "webhook_http"
    channels = ("webhook",)
    label = gettext_lazy("HTTP endpoint")
    position = 10
    help = gettext_lazy("Calls are signed as Standard Webhooks has it (https://www.standardwebhooks.com).")
    Config = EndpointConfig
    Credentials = EndpointCredentials
    Form = EndpointForm
    unsent = ("secret",)
    idempotent = True
    hosts = webhook_hosts.WEBHOOKS

    def complete(self, config: dict[str, Any], credentials: dict[str, Any]) -> None:
        """Make a key where none was entered."""
        if not credentials.get("secret"):
            credentials["secret"] = webhook_signing.make()

    def facts(self, sender: Sender) -> list[tuple[str, str]]:
        """What the receiver checks signatures with."""
        return [(_("Signing key for the receiver"), webhook_signing.PREFIX + sender.credentials.secret)]

    def prepare(self, sender: Sender, now: datetime) -> int:
        """The moment of signing: the receiver's clock is a real one."""
        return int(time.time())

    def request(self, shared: int, sender: Sender, parcel: Parcel) -> Wanted:
        """Sign one call."""
        payload: WebhookPayload = parcel.payload
        url = payload.url or sender.config.url
        body = payload.body.encode()
        signed = webhook_signing.sign([sender.credentials.secret], _number(parcel), shared, body)
        headers = [f"{safe(name)}: {safe(value)}" for name, value in payload.headers.items()]
        headers += ["Content-Type: application/json", *signed, *_proof(sender, url)]
        return Wanted(url, headers, body, payload.method)

    def understand(self, sender: Sender, parcel: Parcel, answer: Answer, now: datetime) -> Result:
        """2xx is taken; redirects are not followed."""
        outcome = usual(answer.status)
        detail = "" if outcome == Outcome.ACCEPTED else answer.body[:200].decode(errors="replace")
        if 300 <= answer.status < 400:
            detail = "redirects are not followed"
        wait = answer.wish(now) if outcome in (Outcome.RETRY, Outcome.STARTED) else None
        return Result(parcel.number, outcome, answer.status, detail, wait, sender.name, _number(parcel))

    def check(self, sender: Sender) -> str:
        """Only the address can be looked at: a call would be a message."""
        try:
            target = webhook_hosts.look_at(sender.config.url)
        except webhook_hosts.BadAddress as error:
            raise ProviderError(str(error)) from None
        return _("%s may be called. Send a test to see whether it takes messages.") % target.origin


def _number(parcel: Parcel) -> str:
    """What the receiver tells repetitions by."""
    return f"nudge_message_{parcel.delivery.pk}"


def _proof(sender: Sender, url: str) -> list[str]:
    """The header that proves who we are, for the account's own host alone: messages may name others."""
    secret: EndpointCredentials = sender.credentials
    same = _origin(url) == _origin(sender.config.url)
    if not same or not secret.auth_header or not secret.auth_value:
        return []
    return [f"{safe(secret.auth_header)}: {safe(secret.auth_value)}"]


def _origin(url: str) -> Any:
    try:
        return webhook_hosts.look_at(url).origin
    except webhook_hosts.BadAddress:
        return None
