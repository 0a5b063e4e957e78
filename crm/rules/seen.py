"""Events, properties and values that occur in real data, for forms to offer."""

import re
from collections import Counter
from collections.abc import Callable, Iterable
from typing import Any

from django.core.cache import cache
from django.db import connection

from crm import masking
from crm.models import Event
from crm.rules.moments import DAY_PATTERN
from crm.rules.operators import LONGEST_TEXT

SECONDS = 60  # how long a look at the data is remembered
EVENTS = 500  # how many of the newest events of one name
MOST_VALUES = 50

_NAMES = """
    WITH RECURSIVE names AS (
        (SELECT name FROM crm_event ORDER BY name LIMIT 1)
        UNION ALL
        SELECT (SELECT e.name FROM crm_event e WHERE e.name > n.name ORDER BY e.name LIMIT 1)
        FROM names n WHERE n.name IS NOT NULL
    ) SELECT name FROM names WHERE name IS NOT NULL LIMIT 500
"""

Seen = dict[str, tuple[str, list[Any]]]  # dotted path -> type of its values, its commonest values


def event_names() -> list[str]:
    """Every name in the event log."""
    return remembered("events", _event_names)


def properties(event: str) -> Seen:
    """The properties of the newest events of this name."""
    return shown(remembered(f"properties:{event}", lambda: _event_properties(event))) if event else {}


def shown(found: Seen) -> Seen:
    """Without values that the present reader may not see."""
    if not masking.hidden():
        return found
    return {
        path: (
            kind,
            [
                value
                for value in values
                if masking.data({path.rpartition(".")[2]: value}) == {path.rpartition(".")[2]: value}
            ],
        )
        for path, (kind, values) in found.items()
    }


def remembered(key: str, look: Callable[[], Any]) -> Any:
    """What `look` finds, looked at once in a while."""
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
    return summary(newest)


def summary(objects: Iterable[Any]) -> Seen:
    """What JSON objects hold: for each path the type and the commonest of its values."""
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
