"""What an operator enters to connect Salesforce, and which hosts count as Salesforce."""

import re
import secrets
from typing import Any, ClassVar, Literal

import msgspec
from django import forms
from django.core.exceptions import ValidationError
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

CLIENT, REFRESH, JWT = "client_credentials", "refresh_token", "jwt"
SHARED_HOSTS = ("login.salesforce.com", "test.salesforce.com")
# acme.my.salesforce.com, acme--dev.sandbox.my.salesforce.com, acme-dev-ed.develop.my.salesforce.com
MY_DOMAIN = re.compile(r"(?:[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?\.){1,3}my\.salesforce\.com")


class SalesforceConfig(msgspec.Struct, forbid_unknown_fields=True):
    """`server` is Salesforce itself or the sandbox of this installation; no other address can be reached.

    Args:
        domain: the host that gives tokens.
        username: the user that a JWT speaks for.
        hook_key: what outbound messages must carry in their address.
    """

    server: Literal["salesforce", "sandbox"] = "salesforce"
    domain: str = ""
    auth: Literal["client_credentials", "refresh_token", "jwt"] = "client_credentials"
    username: str = ""
    hook_key: str = ""
    deletions_every_minutes: int = 10


class SalesforceCredentials(msgspec.Struct, forbid_unknown_fields=True):
    """Of a connected app; which ones are needed depends on the way of logging in."""

    client_id: str
    client_secret: str = ""
    refresh_token: str = ""
    private_key: str = ""


def host(entered: str) -> str:
    """The host in what was entered as the domain: a bare name or an address; ValueError if it isn't Salesforce's."""
    name = re.sub(r"\s", "", entered).lower().removeprefix("https://").rstrip("/")
    if not is_salesforce(name):
        raise ValueError(entered)
    return name


def is_salesforce(name: str) -> bool:
    """Whether a host may be given our credentials and tokens."""
    return name in SHARED_HOSTS or MY_DOMAIN.fullmatch(name) is not None


def problem(config: SalesforceConfig, credentials: SalesforceCredentials) -> tuple[str, str] | None:
    """The first field that is missing or wrong, and a sentence about it."""
    if config.server == "salesforce":
        try:
            name = host(config.domain)
        except ValueError:
            return "domain", _(
                "Enter the My Domain of the organisation, such as acme.my.salesforce.com; in Salesforce: "
                "Setup → My Domain."
            )
        if config.auth == CLIENT and name in SHARED_HOSTS:
            return "domain", _(
                "Client credentials need the My Domain of the organisation, not login.salesforce.com."
            )
    needed = {
        CLIENT: ("client_id", "client_secret"),
        REFRESH: ("client_id", "refresh_token"),
        JWT: ("client_id", "username", "private_key"),
    }[config.auth]
    for name in needed:
        held = config if name in config.__struct_fields__ else credentials
        if not getattr(held, name).strip():
            return name, _("This is needed for the chosen way of logging in.")
    return None


def _new_key() -> str:
    return secrets.token_urlsafe(24)


class SalesforceForm(forms.Form):
    """What the operator enters."""

    only_for: ClassVar[dict[str, tuple[str, tuple[str, ...]]]] = {
        "domain": ("server", ("salesforce",)),
        "client_secret": ("auth", (CLIENT, REFRESH)),
        "refresh_token": ("auth", (REFRESH,)),
        "username": ("auth", (JWT,)),
        "private_key": ("auth", (JWT,)),
    }

    server = forms.ChoiceField(
        label=gettext_lazy("Account"),
        choices=[("salesforce", "Salesforce"), ("sandbox", gettext_lazy("CRM sandbox of this installation"))],
    )
    domain = forms.CharField(
        label=gettext_lazy("My Domain"),
        max_length=200,
        required=False,
        help_text=gettext_lazy(
            "Such as acme.my.salesforce.com, or acme--test.sandbox.my.salesforce.com for a Salesforce sandbox. "
            "In Salesforce: Setup → My Domain."
        ),
    )
    auth = forms.ChoiceField(
        label=gettext_lazy("Way of logging in"),
        choices=[
            (CLIENT, gettext_lazy("Client credentials")),
            (REFRESH, gettext_lazy("Refresh token")),
            (JWT, gettext_lazy("Signed assertion (JWT)")),
        ],
        help_text=gettext_lazy(
            "In Salesforce: Setup → App Manager → New Connected App, with OAuth scope “api”. For client "
            "credentials enable that flow there and choose the user it runs as. The CRM sandbox takes anything."
        ),
    )
    client_id = forms.CharField(label=gettext_lazy("Consumer key"), max_length=500)
    client_secret = forms.CharField(label=gettext_lazy("Consumer secret"), max_length=500, required=False)
    refresh_token = forms.CharField(
        label=gettext_lazy("Refresh token"),
        max_length=1000,
        required=False,
        help_text=gettext_lazy("From a login with the OAuth scopes “api” and “refresh_token”."),
    )
    username = forms.CharField(
        label=gettext_lazy("User name"),
        max_length=200,
        required=False,
        help_text=gettext_lazy("The user of Salesforce that the assertion speaks for."),
    )
    private_key = forms.CharField(
        label=gettext_lazy("Private key"),
        max_length=10_000,
        required=False,
        widget=forms.Textarea,
        help_text=gettext_lazy(
            "In PEM form, without a password: “-----BEGIN PRIVATE KEY-----” and what follows. Its certificate "
            "belongs to the connected app."
        ),
    )
    deletions_every_minutes = forms.IntegerField(
        label=gettext_lazy("Minutes between looks for records deleted for good"),
        min_value=1,
        max_value=1440,
        initial=10,
        help_text=gettext_lazy(
            "Records in the recycle bin are noticed at once; this costs a call each time."
        ),
    )
    hook_key = forms.CharField(
        label=gettext_lazy("Key for outbound messages"),
        max_length=200,
        required=False,
        initial=_new_key,
        help_text=gettext_lazy(
            "Salesforce's calls must carry it at the end of their address, as ?key=…; without one, none is taken."
        ),
    )

    def clean(self) -> dict[str, Any]:
        """What the chosen way of logging in needs."""
        entered = {name: value for name, value in (super().clean() or {}).items() if value is not None}
        if self.errors:
            return entered
        config, credentials = (
            {name: entered[name] for name in kind.__struct_fields__ if name in entered}
            for kind in (SalesforceConfig, SalesforceCredentials)
        )
        found = problem(SalesforceConfig(**config), SalesforceCredentials(**credentials))
        if found:
            self.add_error(found[0], ValidationError(found[1]))
        return entered
