"""Place entered: somebody is near a shop or another place."""

from typing import Any

import msgspec
from django import forms
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy
from unfold.widgets import UnfoldAdminSelectWidget

from campaigns.flows.triggers.happening import Happening
from crm.models import Place as Stored
from crm.places import ENTERED as ENTERED_PLACE
from crm.rules.errors import Problem


class PlaceConfig(msgspec.Struct, forbid_unknown_fields=True, omit_defaults=True):
    """`{"kind": "place", "place": "harbour-shop"}`; without a place: any."""

    kind: str = "place"
    place: str = ""


class PlaceForm(forms.Form):
    place = forms.ChoiceField(label=gettext_lazy("Place"), required=False, widget=UnfoldAdminSelectWidget)

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        fields: dict[str, Any] = self.fields
        names = Stored.objects.order_by("name").values_list("slug", "name")
        fields["place"].choices = [("", _("Any place")), *names]


class Place(Happening):
    """Starts whoever enters a place; crm.places says when somebody does."""

    kind, label, icon, position = "place", gettext_lazy("Enters a place"), "location_on", 80
    help = gettext_lazy("Start when somebody comes near a shop or another place of yours.")
    Config, Form = PlaceConfig, PlaceForm

    def event(self, config):
        return ENTERED_PLACE

    def where(self, config):
        return [{"property": "place", "op": "eq", "value": config.place}] if config.place else []

    def config_problems(self, config):
        if config.place and not Stored.objects.filter(slug=config.place).exists():
            return [Problem("place", _("There is no such place any more; choose another."))]
        return []

    def summary(self, config):
        if not config.place:
            return _("When somebody enters a place")
        name = Stored.objects.filter(slug=config.place).values_list("name", flat=True).first()
        return _("When somebody enters “%s”") % (name or config.place)
