"""What computed attributes mean, written slowly and plainly: one person, one event at a time.

It reads the same JSON as the compiler and shares no code with it.
"""

from collections import Counter
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from decimal import ROUND_HALF_UP, Decimal
from typing import Any
from zoneinfo import ZoneInfo

from tests.campaigns.segments.reference import compare, dig, read_time

MISSING_DEFAULT = {"count": 0, "sum": 0, "distinct": 0, "streak": 0}


@dataclass
class Happening:
    name: str
    at: datetime
    properties: dict[str, Any] = field(default_factory=dict)
    seq: int = 0


def value(config: dict, events: list[Happening], zone: str, now: datetime) -> Any:
    """The value for somebody in `zone` who did `events`, as `crm.computed.values` gives it."""
    counted = [event for event in events if event.name == config["event"] and _fits(event, config, now)]
    if days := config.get("last_days"):
        counted = [event for event in counted if now - timedelta(days=days) <= event.at <= now]
    counted.sort(key=lambda event: (event.at, event.seq))
    return _whole(globals()["_" + config["kind"]](config, counted, ZoneInfo(zone), now))


def _fits(event: Happening, config: dict, now: datetime) -> bool:
    return all(
        compare(dig(event.properties, item["property"]), item["op"], item.get("value"), now)
        for item in config.get("where", [])
    )


def _numbers(config, events) -> list[Decimal]:
    found = [dig(event.properties, config["property"]) for event in events]
    return [Decimal(repr(v)) for v in found if isinstance(v, int | float) and not isinstance(v, bool)]


def _float(number: Decimal) -> float:
    return float(number.quantize(Decimal("1e-12"), ROUND_HALF_UP))


def _whole(number: Any) -> Any:
    return int(number) if isinstance(number, float) and number == int(number) else number


def _count(config, events, zone, now):
    return len(events)


def _sum(config, events, zone, now):
    return _float(sum(_numbers(config, events), Decimal(0)))


def _average(config, events, zone, now):
    numbers = _numbers(config, events)
    return _float(sum(numbers) / len(numbers)) if numbers else None


def _min(config, events, zone, now):
    return _float(min(numbers)) if (numbers := _numbers(config, events)) else None


def _max(config, events, zone, now):
    return _float(max(numbers)) if (numbers := _numbers(config, events)) else None


def _missing(config, events, zone, now):
    numbers = _numbers(config, events)
    if config.get("figure", "sum") == "sum":
        figure = sum(numbers, Decimal(0))
    else:  # the last event counts, whatever it holds
        numbers = _numbers(config, events[-1:])
        figure = numbers[0] if numbers else Decimal(0)
    return max(_float(Decimal(repr(float(config["threshold"]))) - figure), 0.0)


def _canonical(found: Any) -> Any:
    if isinstance(found, bool) or found is None:
        return (type(found).__name__, found)
    if isinstance(found, int | float):
        return ("number", Decimal(repr(found)).normalize())
    if isinstance(found, list):
        return ("list", *map(_canonical, found))
    if isinstance(found, dict):
        return ("dict", *sorted((key, _canonical(item)) for key, item in found.items()))
    return ("text", found)


def _present(config, events):
    for event in events:
        found = dig(event.properties, config["property"])
        if type(found) is not object:  # dig's mark for a value that is missing
            yield event, found


def _distinct(config, events, zone, now):
    return len({_canonical(found) for _event, found in _present(config, events)})


def _typed(found: Any, kind: str) -> Any:
    if kind == "text":
        if isinstance(found, bool):
            return str(found).lower()
        if isinstance(found, int | float):
            return format(Decimal(repr(found)), "f")
        return (found[:500] or None) if isinstance(found, str) else None
    if kind == "number":
        plain = isinstance(found, int | float) and not isinstance(found, bool)
        return _float(Decimal(repr(found))) if plain else None
    moment = read_time(found)
    if isinstance(moment, datetime) or moment is None:
        return moment
    return datetime(moment.year, moment.month, moment.day, tzinfo=UTC)


def _values(config, events):
    return [
        (event, found)
        for event, raw in _present(config, events)
        if (found := _typed(raw, config.get("as", "text"))) is not None
    ]


def _most_frequent(config, events, zone, now):
    return _commonest([(event.at, found) for event, found in _values(config, events)])


def _commonest(pairs: list[tuple[datetime, Any]]) -> Any:
    if not pairs:
        return None
    often = Counter(found for _at, found in pairs)
    last = {found: max(at for at, other in pairs if other == found) for found in often}
    best = max((n, last[found]) for found, n in often.items())
    return min(found for found, n in often.items() if (n, last[found]) == best)


def _usual(config, events, zone, now):
    local = [event.at.astimezone(zone) for event in events]
    parts = [float(at.hour if config["of"] == "hour" else at.isoweekday()) for at in local]
    return _commonest([(event.at, part) for event, part in zip(events, parts, strict=True)])


def _first(config, events, zone, now):
    found = _all(config, events)
    return found[0] if found else None


def _last(config, events, zone, now):
    found = _all(config, events)
    return found[-1] if found else None


def _all(config, events):
    if not config.get("property"):
        return [event.at for event in events]
    return [found for _event, found in _values(config, events)]


def _days_since(config, events, zone, now):
    if not events:
        return None
    at = events[0].at if config.get("which") == "first" else events[-1].at
    return max((now - at) // timedelta(days=1), 0)


def _streak(config, events, zone, now):
    weekly = config.get("unit") == "weeks"

    def step(at: datetime) -> int:
        """Number of the day or week in the calendar there."""
        day = at.astimezone(zone).date().toordinal()
        return (day - date(2024, 1, 1).toordinal()) // 7 if weekly else day

    active = {step(event.at) for event in events if event.at <= now}

    def run(last: int) -> int:
        length = 0
        while last - length in active:
            length += 1
        return length

    if config.get("which") == "longest":
        return max(map(run, active), default=0)
    today = step(now)
    return run(today) or run(today - 1)
