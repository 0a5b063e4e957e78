"""What an operator enters to connect a HubSpot account."""

from typing import Any, ClassVar, Literal

import msgspec
from django import forms
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

from crm.connectors.base import ConnectorError

SECRET = 500  # characters at most
PRIVATE, OAUTH = "private", "oauth"
NEEDED = {PRIVATE: ("access_token",), OAUTH: ("client_id", "client_secret", "refresh_token")}


class HubSpotConfig(msgspec.Struct, forbid_unknown_fields=True):
    """`server` is HubSpot itself or the sandbox of this installation; no other address can be reached.

    Args:
        access: which of the credentials count: a private app's token, or OAuth's.
        portal_id: take only the webhooks of this account; empty: of every account that has the app.
    """

    server: Literal["hubspot", "sandbox"] = "hubspot"
    access: Literal["private", "oauth"] = "private"
    deletions_every_minutes: int = 60
    portal_id: str = ""


class HubSpotCredentials(msgspec.Struct, forbid_unknown_fields=True):
    """Of a private app the access token; of a public one the rest.

    Args:
        client_secret: signs webhooks too, of private apps as well.
    """

    access_token: str = ""
    client_id: str = ""
    client_secret: str = ""
    refresh_token: str = ""


class HubSpotForm(forms.Form):
    """What the operator enters."""

    only_for: ClassVar[dict[str, tuple[str, tuple[str, ...]]]] = {
        "access_token": ("access", ("private",)),
        "client_id": ("access", ("oauth",)),
        "refresh_token": ("access", ("oauth",)),
    }

    server = forms.ChoiceField(
        label=gettext_lazy("Account"),
        choices=[("hubspot", "HubSpot"), ("sandbox", gettext_lazy("CRM sandbox of this installation"))],
    )
    access = forms.TypedChoiceField(
        label=gettext_lazy("Access by"),
        choices=[
            (PRIVATE, gettext_lazy("access token of a private app")),
            (OAUTH, gettext_lazy("OAuth of a public app")),
        ],
        initial=PRIVATE,
        empty_value=PRIVATE,
        required=False,
        help_text=gettext_lazy("A private app is the simpler way: it belongs to one HubSpot account."),
    )
    access_token = forms.CharField(
        label=gettext_lazy("Access token"),
        max_length=SECRET,
        required=False,
        help_text=gettext_lazy(
            "In HubSpot: Settings → Integrations → Private apps → create one with the scope "
            "crm.objects.contacts.read, for purchases also crm.objects.deals.read, for products "
            "crm.objects.products.read, to write back crm.objects.contacts.write. The sandbox takes any token."
        ),
    )
    client_id = forms.CharField(
        label=gettext_lazy("Client ID"),
        max_length=SECRET,
        required=False,
        help_text=gettext_lazy("Only for OAuth: on the Auth page of the app."),
    )
    client_secret = forms.CharField(
        label=gettext_lazy("Client secret"),
        max_length=SECRET,
        required=False,
        help_text=gettext_lazy(
            "For OAuth, and for webhooks of either kind of app: HubSpot signs them with it. On the Auth page "
            "of the app."
        ),
    )
    refresh_token = forms.CharField(
        label=gettext_lazy("Refresh token"),
        max_length=SECRET,
        required=False,
        help_text=gettext_lazy("Only for OAuth: what HubSpot gave when the app was installed."),
    )
    portal_id = forms.RegexField(
        r"^\d*$",
        label=gettext_lazy("Account number"),
        max_length=20,
        required=False,
        help_text=gettext_lazy(
            "HubSpot calls it the Hub ID. Needed only if the app's webhooks come from several accounts."
        ),
    )
    deletions_every_minutes = forms.IntegerField(
        label=gettext_lazy("Minutes between looks for deleted records"),
        min_value=1,
        max_value=1440,
        initial=60,
        help_text=gettext_lazy("HubSpot lists all archived records each time, so do not look too often."),
    )

    def clean(self) -> dict[str, Any]:
        """What the chosen kind of access needs."""
        entered = super().clean() or {}
        if entered.get("access") in NEEDED:
            for name in missing(entered["access"], entered):
                self.add_error(name, _("This is needed for the chosen kind of access."))
        return entered


def missing(access: str, credentials: dict[str, Any]) -> list[str]:
    """The credentials that this kind of access needs and that are not there."""
    return [name for name in NEEDED[access] if not (credentials.get(name) or "").strip()]


def check(config: HubSpotConfig, credentials: HubSpotCredentials) -> None:
    """ConnectorError unless the credentials that the chosen kind of access needs are there."""
    absent = missing(config.access, msgspec.structs.asdict(credentials))
    if absent:
        labels = ", ".join(str(HubSpotForm.base_fields[name].label) for name in absent)
        raise ConnectorError(_("The connection's settings are incomplete: enter %s.") % labels)
