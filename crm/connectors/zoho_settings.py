"""What an operator enters to connect a Zoho CRM organisation."""

from typing import Literal

import msgspec
from django import forms
from django.utils.translation import gettext_lazy

from crm.connectors.zoho_api import Grant


class ZohoConfig(msgspec.Struct, forbid_unknown_fields=True):
    """`server` is one of Zoho's data centres or the sandbox of this installation; nothing else can be reached."""

    server: Literal["com", "eu", "in", "com.au", "jp", "ca", "sa", "uk", "cn", "sandbox"] = "com"


class ZohoCredentials(Grant, forbid_unknown_fields=True):
    """A client of Zoho's API console, and the refresh token it was granted."""


class ZohoForm(forms.Form):
    """What the operator enters."""

    server = forms.ChoiceField(
        label=gettext_lazy("Data centre"),
        choices=[
            ("com", gettext_lazy("United States (zoho.com)")),
            ("eu", gettext_lazy("Europe (zoho.eu)")),
            ("in", gettext_lazy("India (zoho.in)")),
            ("com.au", gettext_lazy("Australia (zoho.com.au)")),
            ("jp", gettext_lazy("Japan (zoho.jp)")),
            ("ca", gettext_lazy("Canada (zohocloud.ca)")),
            ("sa", gettext_lazy("Saudi Arabia (zoho.sa)")),
            ("uk", gettext_lazy("United Kingdom (zoho.uk)")),
            ("cn", gettext_lazy("China (zoho.com.cn)")),
            ("sandbox", gettext_lazy("CRM sandbox of this installation")),
        ],
        help_text=gettext_lazy("The ending of the address at which you use Zoho CRM."),
    )
    client_id = forms.CharField(
        label=gettext_lazy("Client ID"),
        max_length=200,
        help_text=gettext_lazy("In Zoho's API console (api-console.zoho.com): add a self client."),
    )
    client_secret = forms.CharField(label=gettext_lazy("Client secret"), max_length=200)
    refresh_token = forms.CharField(
        label=gettext_lazy("Refresh token"),
        max_length=500,
        help_text=gettext_lazy(
            "Generate a code with the scopes ZohoCRM.modules.ALL, ZohoCRM.settings.fields.READ, "
            "ZohoCRM.coql.READ and ZohoCRM.notifications.ALL, and exchange it for a refresh token. "
            "The sandbox takes any."
        ),
    )
