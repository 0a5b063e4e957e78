"""What triggers share that start by one event of our own, such as back_in_stock."""

from typing import Any

import msgspec
from django import forms

from campaigns.flows.triggers.happening import Happening


class ToldConfig(msgspec.Struct, forbid_unknown_fields=True, omit_defaults=True):
    """`{"kind": "price_drop", "where": […]}`"""

    kind: str = ""
    where: list[dict[str, Any]] = []


class ToldForm(forms.Form):
    """Nothing to set but conditions on the event's properties."""


class Told(Happening):
    """A trigger by the event `where_event`, narrowed by its properties."""

    where_field = "where"
    Config, Form = ToldConfig, ToldForm

    def event(self, config):
        return self.where_event

    def where(self, config):
        return config.where
