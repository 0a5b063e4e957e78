"""Webhook: a message that goes to another system of yours, such as a call centre, a printer of letters or a till."""

from collections.abc import Collection
from typing import Any, Literal

import msgspec
from django import forms
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

from crm.rules.sql import Sql
from delivery import webhook_hosts
from delivery.channels import register
from delivery.channels.base import Address, ContentForm
from delivery.channels.provided import ProvidedChannel
from delivery.channels.whatsapp import LinesField
from delivery.content import ContentError, Link
from delivery.models import Delivery

MAX_BODY = 256 * 1024  # bytes
_TOKEN = frozenset("!#$%&'*+-.^_`|~0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ")
_OURS = frozenset(
    {"host", "content-length", "content-type", "transfer-encoding", "connection", "expect", "upgrade", "te"}
)


class WebhookContent(msgspec.Struct, kw_only=True, omit_defaults=True, forbid_unknown_fields=True):
    """A call with JSON. `url` is the account's where it is empty; `values` are its `data`."""

    url: Link = ""
    method: Literal["POST", "PUT", "PATCH"] = "POST"
    headers: dict[str, str] = {}
    values: dict[str, str] = {}


class WebhookPayload(msgspec.Struct, frozen=True, omit_defaults=True):
    """A call; where `url` is empty it goes to the account's address. `body` is JSON."""

    url: str
    method: str
    headers: dict[str, str]
    body: str


class WebhookForm(ContentForm):
    main = ("values", "url")
    more = ("method", "headers")
    values = LinesField(
        label=gettext_lazy("Fields"),
        required=False,
        help_text=gettext_lazy("One a line: first_name = {{ profile.first_name }}"),
    )
    url = forms.CharField(
        label=gettext_lazy("Address"),
        required=False,
        widget=forms.TextInput(attrs={"dir": "ltr"}),
        help_text=gettext_lazy(
            "Empty: the one of the sending account. Calls are signed (Standard Webhooks)."
        ),
    )
    method = forms.ChoiceField(
        label=gettext_lazy("Method"),
        required=False,
        initial="POST",
        choices=[(name, name) for name in ("POST", "PUT", "PATCH")],
    )
    headers = LinesField(
        label=gettext_lazy("Headers"),
        required=False,
        help_text=gettext_lazy("One a line. Whoever sees the message sees them: not for passwords."),
    )


@register
class Webhook(ProvidedChannel):
    """Tells another system about a person; nobody has to subscribe to that, a no to the channel is respected.

    The receiver tells repetitions by the call's webhook-id, so a call without an answer is made again.
    """

    kind = "webhook"
    label = gettext_lazy("Webhook")
    position = 80
    Config = WebhookContent
    Form = WebhookForm
    Payload = WebhookPayload
    preview = "admin/delivery/webhook.html"
    mock = "admin/delivery/mock/webhook.html"
    repeatable = True
    reaches_people = False
    opt_in = False
    address_fields = ()

    def addresses(self, profile_ids: Collection[int]) -> dict[int, list[Address]]:
        """Everybody can be told of: a person's address is their number here."""
        return {profile_id: [Address(str(profile_id))] for profile_id in profile_ids}

    def address_rows(self) -> Sql:
        """Return the same as a set."""
        return Sql("SELECT id AS profile_id, id::text AS value FROM crm_profile")

    def compose(self, delivery: Delivery, content: WebhookContent) -> WebhookPayload:
        """Return the call.

        Raises:
            ContentError: it is too large, or may not be made.
        """
        told = {
            "type": "message",
            "timestamp": delivery.queued_at,
            "delivery": delivery.pk,
            "message": delivery.message.slug,
            "variant": delivery.variant,
            "profile": {"id": delivery.profile_id},
            "data": content.values,
        }
        body = msgspec.json.encode(told).decode()
        if len(body.encode()) > MAX_BODY:
            raise ContentError("values", _("larger than %d bytes") % MAX_BODY)
        for name, value in content.headers.items():
            if problem := _header_problem(name, value):
                raise ContentError("headers", problem)
        return WebhookPayload(content.url, content.method, content.headers, body)

    def problems(self, content: dict[str, Any]) -> list[ContentError]:
        """Return what is wrong with authored content: also an address that may not be called."""
        found = super().problems(content)
        url = str(content.get("url", ""))
        if not found and url and "{" not in url.partition("?")[0]:
            try:
                webhook_hosts.look_at(url)
            except webhook_hosts.BadAddress as error:
                found.append(ContentError("url", str(error)))
        headers = content.get("headers") or {}
        if not found and "{" in "".join(headers):
            found.append(ContentError("headers", _("The name of a header stays the same for everybody.")))
        for name in headers:
            if not found and (problem := _header_problem(name, "")):
                found.append(ContentError("headers", problem))
        return found


WebhookForm.channel = Webhook


def _header_problem(name: str, value: str) -> str:
    """Why this can't be sent as a header; "" when it can."""
    ours = name.lower() in _OURS or name.lower().startswith("webhook-")
    if (
        not name
        or not set(name) <= _TOKEN
        or ours
        or not value.isascii()
        or (value and not value.isprintable())
    ):
        return _("“%s” can't be sent as a header.") % name[:50]
    return ""
