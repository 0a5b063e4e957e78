"""What the builder offers: fields, events, properties and values that occur in real data."""

from collections import Counter
from functools import cached_property
from typing import Any

from django.utils.translation import gettext as _

from campaigns.models import Flow, Segment
from campaigns.segments import computed, fields
from crm import masking
from crm.models import Place, Profile, Topic
from crm.rules import seen, words
from delivery import channels
from delivery.models import Message

PLACES = 500  # offered
PROFILES = 2_000  # how many of the newest profiles are looked at
LISTED = ("city", "lifecycle_stage", "timezone", "country", "language")


class Suggestions:
    """One look at the data, for one page."""

    def fields(self) -> list[tuple[str, list[tuple[str, str]]]]:
        """Groups of (name, label) for the field drop-down."""
        attributes = [
            (fields.ATTRIBUTE_PREFIX + path, path.replace("_", " ")) for path in sorted(self._attributes)
        ]
        columns = [
            (name, words.capital(fields.Field(name, kind).label)) for name, kind in fields.COLUMNS.items()
        ]
        from_events = [(name, words.capital(found.label)) for name, found in self._computed.items()]
        groups = [
            (_("Profile"), columns),
            (_("Attributes"), attributes),
            (_("Computed from events"), from_events),
        ]
        return [(label, choices) for label, choices in groups if choices]

    def field_names(self) -> set[str]:
        attributes = (fields.ATTRIBUTE_PREFIX + path for path in self._attributes)
        return {*fields.COLUMNS, *attributes, *self._computed}

    def type(self, field_name: str) -> str:
        """How its values are entered: text, number, boolean, date, datetime or choice."""
        if field_name in ("country", "language"):
            return "choice"
        if field_name in fields.COLUMNS:
            return fields.COLUMNS[field_name]
        if field_name in self._computed:
            return self._computed[field_name].type
        return self._attributes.get(field_name.removeprefix(fields.ATTRIBUTE_PREFIX), ("text", []))[0]

    def values(self, field_name: str) -> list[tuple[Any, str]]:
        """The commonest values with their names; for countries and languages all, the commonest first."""
        if field_name in LISTED:
            common = self._columns.get(field_name, [])
        elif field_name.startswith(computed.PREFIX):
            common = self._computed_values(field_name)
        else:
            common = self._attributes.get(field_name.removeprefix(fields.ATTRIBUTE_PREFIX), ("", []))[1]
        known = {"country": words.country_names, "language": words.language_names}.get(field_name)
        if known is None:
            return [(value, words.value_name(field_name, value)) for value in common]
        names = known()
        return [(code, names.get(code, code)) for code in dict.fromkeys([*common, *names])]

    def event_names(self) -> list[str]:
        """Every name in the event log."""
        return seen.event_names()

    def properties(self, event: str) -> seen.Seen:
        """The properties of the newest events of this name."""
        return seen.properties(event)

    def segments(self) -> list[tuple[str, str]]:
        return list(Segment.objects.values_list("slug", "name"))

    def messages(self) -> list[tuple[str, str]]:
        return list(Message.objects.order_by("name").values_list("slug", "name"))

    def flows(self) -> list[tuple[str, str]]:
        return list(Flow.objects.values_list("slug", "name"))

    def lists(self) -> list[tuple[str, str]]:
        return list(Segment.objects.filter(kind=Segment.Kind.LIST).values_list("slug", "name"))

    def channels(self) -> list[tuple[str, str]]:
        return [
            (kind, str(channel.label)) for kind, channel in channels.everything().items() if channel.listed
        ]

    def topics(self) -> list[tuple[str, str]]:
        return list(Topic.objects.values_list("slug", "name"))

    def places(self) -> list[tuple[str, str, float, float]]:
        """(short name, name, latitude, longitude) of the places that are in use."""
        return list(
            Place.objects.filter(active=True).values_list("slug", "name", "latitude", "longitude")[:PLACES]
        )

    @cached_property
    def _computed(self) -> dict[str, computed.ComputedField]:
        return computed.everything()

    def _computed_values(self, field_name: str) -> list[str]:
        """The commonest texts of a computed attribute."""
        found = self._computed.get(field_name)
        if found is None or found.type != "text":
            return []
        texts = seen.remembered(field_name, lambda: computed.texts(found.pk, seen.MOST_VALUES))
        return [text for text in texts if not masking.hidden() or masking.data(text, field_name) == text]

    @cached_property
    def _attributes(self) -> seen.Seen:
        return seen.shown(seen.remembered("attributes", _attributes))

    @cached_property
    def _columns(self) -> dict[str, list[str]]:
        return seen.remembered("columns", _columns)


def _attributes() -> seen.Seen:
    newest = Profile.objects.order_by("-pk").values_list("attributes", flat=True)[:PROFILES]
    return seen.summary(newest)


def _columns() -> dict[str, list[str]]:
    counters: dict[str, Counter] = {name: Counter() for name in LISTED}
    for row in Profile.objects.order_by("-pk").values(*LISTED)[:PROFILES]:
        for name, value in row.items():
            if value:
                counters[name][value] += 1
    return {
        name: [value for value, _n in counter.most_common(seen.MOST_VALUES)]
        for name, counter in counters.items()
    }
