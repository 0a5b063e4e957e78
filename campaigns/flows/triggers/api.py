"""By hand: nobody starts by themselves; the API, people in the admin and other flows let them in."""

import msgspec
from django import forms
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

from campaigns.flows.triggers.base import TriggerKind


class ApiConfig(msgspec.Struct, forbid_unknown_fields=True, omit_defaults=True):
    """`{"kind": "api"}`"""

    kind: str = "api"


class ApiForm(forms.Form):
    """Nothing to set."""


class Api(TriggerKind):
    """Starts nobody by itself. People can be let into every live flow so; into this one, only so."""

    kind, label, icon, position = "api", gettext_lazy("By hand or the API"), "back_hand", 90
    help = gettext_lazy("Start nobody by itself: people are let in by hand, by the API or by another flow.")
    Config, Form = ApiConfig, ApiForm

    def looks_back(self, config):
        return False

    def moments(self, config, since, until, limit=None, after=None):
        return iter(())

    def summary(self, config):
        return _("When somebody is let in by hand, the API or another flow")
