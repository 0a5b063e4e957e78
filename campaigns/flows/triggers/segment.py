"""Segment: somebody comes into a segment or list, or drops out of it."""

from typing import Any

import msgspec
from django import forms
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy
from unfold.widgets import UnfoldAdminSelectWidget

from campaigns.flows.triggers.happening import Happening
from campaigns.models import Segment as Stored
from campaigns.segments.memberships import ENTERED, LEFT
from crm.rules.errors import Problem
from crm.rules.sql import sql

EVENTS = {"entered": ENTERED, "left": LEFT}


class SegmentConfig(msgspec.Struct, forbid_unknown_fields=True, omit_defaults=True):
    """`{"kind": "segment", "segment": "vips", "on": "entered"}`"""

    segment: str = ""
    on: str = "entered"
    kind: str = "segment"


class SegmentForm(forms.Form):
    segment = forms.ChoiceField(label=gettext_lazy("Segment or list"), widget=UnfoldAdminSelectWidget)
    on = forms.ChoiceField(
        label=gettext_lazy("Start who"),
        choices=[("entered", gettext_lazy("comes in")), ("left", gettext_lazy("drops out"))],
        widget=UnfoldAdminSelectWidget,
    )

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        fields: dict[str, Any] = self.fields
        fields["segment"].choices = segment_choices()


def segment_choices() -> list[tuple[str, str]]:
    """Segments and lists by name, for a form."""
    return [("", _("Choose a segment")), *Stored.objects.order_by("name").values_list("slug", "name")]


def segment_problems(slug: str) -> list[Problem]:
    """What is wrong with the choice of a segment."""
    if not slug:
        return [Problem("segment", _("Choose a segment."))]
    if not Stored.objects.filter(slug=slug).exists():
        return [Problem("segment", _("There is no such segment any more; choose another."))]
    return []


def segment_name(slug: str) -> str:
    """What a segment is called; its short name if it is gone."""
    return Stored.objects.filter(slug=slug).values_list("name", flat=True).first() or slug


class Segment(Happening):
    """Starts whoever a segment takes in or lets go, but for those moved by a change of its rule."""

    kind, label, icon, position = "segment", gettext_lazy("Comes into a segment"), "groups", 20
    help = gettext_lazy(
        "Start when somebody comes into a segment or drops out of it. A change of the segment's rule starts nobody."
    )
    Config, Form = SegmentConfig, SegmentForm

    def event(self, config):
        return EVENTS.get(config.on, ENTERED)

    def where(self, config):
        return [{"property": "segment", "op": "eq", "value": config.segment}]

    def qualifying(self, config, days, now):
        """For `entered`: who is in it, whenever they came."""
        if config.on != "entered":
            return super().qualifying(config, days, now)
        return sql(
            "SELECT m.profile_id, NULL::uuid AS event_id, m.entered_at AS at FROM campaigns_segmentmembership m"
            " JOIN campaigns_segment s ON s.id = m.segment_id WHERE s.slug = {}",
            config.segment,
        )

    def already(self, config, now):
        facts = {"segment": config.segment}
        return {"name": self.event(config), "occurred_at": now.isoformat(), "properties": facts}

    def config_problems(self, config):
        if config.on not in EVENTS:
            return [Problem("on", _("Choose whether who comes in or who drops out starts."))]
        return segment_problems(config.segment)

    def summary(self, config):
        if not config.segment:
            return ""
        name = segment_name(config.segment)
        if config.on == "left":
            return _("When somebody drops out of “%s”") % name
        return _("When somebody comes into “%s”") % name
