"""What the builder offers: fields, events, properties and values that occur in real data."""

import re
from collections import Counter
from collections.abc import Callable, Iterable
from functools import cached_property
from typing import Any

from django.core.cache import cache
from django.db import connection
from django.utils.translation import gettext as _

from campaigns.models import Flow, Segment
from campaigns.segments import fields
from campaigns.segments.moments import DAY_PATTERN
from campaigns.segments.operators import LONGEST_TEXT
from campaigns.segments.words import capital
from crm.models import Event, Profile
from delivery.models import Message

SECONDS = 60  # how long a look at the data is remembered
PROFILES = 2_000  # how many of the newest profiles are looked at
EVENTS = 500  # how many of the newest events of one name
MOST_VALUES = 50
LISTED = ("city", "lifecycle_stage", "timezone", "country", "language")

_NAMES = """
    WITH RECURSIVE names AS (
        (SELECT name FROM crm_event ORDER BY name LIMIT 1)
        UNION ALL
        SELECT (SELECT e.name FROM crm_event e WHERE e.name > n.name ORDER BY e.name LIMIT 1)
        FROM names n WHERE n.name IS NOT NULL
    ) SELECT name FROM names WHERE name IS NOT NULL LIMIT 500
"""

Seen = dict[str, tuple[str, list[Any]]]  # dotted path -> type of its values, its commonest values


class Suggestions:
    """One look at the data, for one page."""

    def fields(self) -> list[tuple[str, list[tuple[str, str]]]]:
        """Groups of (name, label) for the field drop-down."""
        attributes = [
            (fields.ATTRIBUTE_PREFIX + path, path.replace("_", " ")) for path in sorted(self._attributes)
        ]
        columns = [(name, capital(fields.Field(name, kind).label)) for name, kind in fields.COLUMNS.items()]
        return [(_("Profile"), columns), *([(_("Attributes"), attributes)] if attributes else [])]

    def field_names(self) -> set[str]:
        return {*fields.COLUMNS, *(fields.ATTRIBUTE_PREFIX + path for path in self._attributes)}

    def type(self, field_name: str) -> str:
        """How its values are entered: text, number, boolean, date, datetime or choice."""
        if field_name in ("country", "language"):
            return "choice"
        if field_name in fields.COLUMNS:
            return fields.COLUMNS[field_name]
        return self._attributes.get(field_name.removeprefix(fields.ATTRIBUTE_PREFIX), ("text", []))[0]

    def values(self, field_name: str) -> list[tuple[Any, str]]:
        """The commonest values with their names; for countries and languages all, the commonest first."""
        if field_name in LISTED:
            seen = self._columns.get(field_name, [])
        else:
            seen = self._attributes.get(field_name.removeprefix(fields.ATTRIBUTE_PREFIX), ("", []))[1]
        known = {"country": fields.country_names, "language": fields.language_names}.get(field_name)
        if known is None:
            return [(value, fields.value_name(field_name, value)) for value in seen]
        names = known()
        return [(code, names.get(code, code)) for code in dict.fromkeys([*seen, *names])]

    @cached_property
    def _event_names(self) -> list[str]:
        return _remembered("events", _event_names)

    def event_names(self) -> list[str]:
        """Every name in the event log."""
        return self._event_names

    def properties(self, event: str) -> Seen:
        """The properties of the newest events of this name."""
        return _remembered(f"properties:{event}", lambda: _event_properties(event)) if event else {}

    def segments(self) -> list[tuple[str, str]]:
        return list(Segment.objects.values_list("slug", "name"))

    def messages(self) -> list[tuple[str, str]]:
        return list(Message.objects.order_by("name").values_list("slug", "name"))

    def flows(self) -> list[tuple[str, str]]:
        return list(Flow.objects.values_list("slug", "name"))

    @cached_property
    def _attributes(self) -> Seen:
        return _remembered("attributes", _attributes)

    @cached_property
    def _columns(self) -> dict[str, list[str]]:
        return _remembered("columns", _columns)


def _remembered(key: str, look: Callable[[], Any]) -> Any:
    # The cache is shared by tests and databases of one process: the database's name is part of the key.
    whole = f"segments:{connection.settings_dict['NAME']}:{key.encode().hex()}"[:240]
    return cache.get_or_set(whole, look, SECONDS)


def _event_names() -> list[str]:
    with connection.cursor() as cursor:
        cursor.execute(_NAMES)
        return [row[0] for row in cursor.fetchall()]


def _event_properties(event: str) -> Seen:

    newest = (
        Event.objects.filter(name=event)
        .order_by("-occurred_at")
        .values_list("properties", flat=True)[:EVENTS]
    )
    return _seen(newest)


def _attributes() -> Seen:
    newest = Profile.objects.order_by("-pk").values_list("attributes", flat=True)[:PROFILES]
    return _seen(newest)


def _columns() -> dict[str, list[str]]:
    counters: dict[str, Counter] = {name: Counter() for name in LISTED}
    for row in Profile.objects.order_by("-pk").values(*LISTED)[:PROFILES]:
        for name, value in row.items():
            if value:
                counters[name][value] += 1
    return {
        name: [value for value, _n in counter.most_common(MOST_VALUES)] for name, counter in counters.items()
    }


def _seen(objects: Iterable[Any]) -> Seen:
    counters: dict[str, Counter] = {}
    for item in objects:
        if isinstance(item, dict):
            for path, value in _flat(item, ""):
                counters.setdefault(path, Counter())[(type(value).__name__, value)] += 1
    found = {}
    for path, counter in counters.items():
        common = [value for (_type, value), _n in counter.most_common(MOST_VALUES)]
        found[path] = (value_type(common[0]), common)
    return found


def _flat(data: dict, prefix: str) -> Iterable[tuple[str, Any]]:
    """Paths and values that a rule can ask for, two levels deep."""
    for key, value in data.items():
        if not key or "." in key:
            continue
        if isinstance(value, dict):
            if not prefix:
                yield from _flat(value, f"{key}.")
        elif isinstance(value, list):
            yield from ((prefix + key, item) for item in value if isinstance(item, str))
        elif isinstance(value, bool | int | float) or (isinstance(value, str) and len(value) <= LONGEST_TEXT):
            yield prefix + key, value


def value_type(value: Any) -> str:
    """How a JSON value is entered: text, number, boolean or date."""

    if isinstance(value, bool):
        return "boolean"
    if isinstance(value, int | float):
        return "number"
    return "date" if isinstance(value, str) and re.match(DAY_PATTERN, value[:10]) else "text"
