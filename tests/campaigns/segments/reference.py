"""What rules mean, written slowly and plainly: one person, one condition, one event at a time.

It reads the same JSON as the compiler and shares no code with it.
"""

import re
from calendar import isleap
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from fractions import Fraction
from typing import Any

from tests.campaigns.segments import reference_kinds as kinds

MISSING = object()

# What else there is: rules of segments by slug, topics of messages by slug, numbers of flows by slug.
SEGMENTS: dict[str, dict] = {}
TOPICS: dict[str, str] = {}
FLOWS: dict[str, int] = {}


@dataclass
class Happening:
    name: str
    at: datetime
    properties: dict[str, Any] = field(default_factory=dict)


@dataclass
class Browser:
    endpoint: str
    active: bool = True
    our_key: bool = True


@dataclass
class Person:
    columns: dict[str, Any] = field(default_factory=dict)
    attributes: dict[str, Any] = field(default_factory=dict)
    events: list[Happening] = field(default_factory=list)
    computed: dict[str, Any] = field(default_factory=dict)
    consents: dict[tuple[str, str], str] = field(default_factory=dict)
    devices: list[Browser] = field(default_factory=list)
    suppressed: set[tuple[str, str]] = field(default_factory=set)
    visited: bool = False
    runs: dict[str, list[str]] = field(default_factory=dict)
    lists: set[str] = field(default_factory=set)
    pk: int = 0


def holds(rule: dict, person: Person, now: datetime) -> bool:
    if "all" in rule:
        return all(holds(item, person, now) for item in rule["all"])
    if "any" in rule:
        return any(holds(item, person, now) for item in rule["any"])
    if "not" in rule:
        return not holds(rule["not"], person, now)
    if rule["kind"] in ("attribute", "event", "message"):
        return {"attribute": attribute, "event": event, "message": message}[rule["kind"]](rule, person, now)
    if rule["kind"] == "segment" and rule["slug"] in SEGMENTS:
        return holds(SEGMENTS[rule["slug"]], person, now)
    return {
        "consent": kinds.consent,
        "reachable": kinds.reachable,
        "near": kinds.near,
        "flow": kinds.flow,
        "random": kinds.random,
        "list": kinds.listed,
        "segment": kinds.listed,
    }[rule["kind"]](rule, person)


def attribute(rule: dict, person: Person, now: datetime) -> bool:
    name = rule["field"]
    if name.startswith("attributes."):
        found = dig(person.attributes, name.removeprefix("attributes."))
    elif name.startswith("computed."):
        found = computed(person.computed.get(name.removeprefix("computed.")), name, now)
    else:
        found = person.columns.get(name)
        found = MISSING if found is None else found
    return compare(found, rule["op"], rule.get("value"), now)


def computed(stored: Any, name: str, now: datetime) -> Any:
    """Who never ordered has ordered 0 times; of `quiet`, the moment is stored and the days since it are asked for."""
    if stored is None:
        return 0.0 if name == "computed.orders" else MISSING
    return float(max((now - stored) // timedelta(days=1), 0)) if name == "computed.quiet" else stored


def dig(data: Any, dotted: str) -> Any:
    for key in dotted.split("."):
        if not isinstance(data, dict) or key not in data:
            return MISSING
        data = data[key]
    return MISSING if data is None else data


def compare(found: Any, op: str, value: Any, now: datetime) -> bool:
    if op == "is_set":
        return found is not MISSING
    if op in ("is_not_set", "ne", "not_in", "not_contains"):
        return not compare(
            found, {"is_not_set": "is_set"}.get(op, op.replace("not_", "").replace("ne", "eq")), value, now
        )
    if found is MISSING:
        return False
    if op == "eq":
        return equal(found, value)
    if op == "in":
        return any(equal(found, item) for item in value)
    if op in ("gt", "gte", "lt", "lte"):
        return ordered(found, op, value)
    if op == "between":
        return ordered(found, "gte", value[0]) and ordered(found, "lte", value[1])
    if op == "contains":
        return value in found if isinstance(found, str | list) else False
    if op == "starts_with":
        return isinstance(found, str) and found.startswith(value)
    return in_time(found, op, value, now)


def is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def equal(found: Any, value: Any) -> bool:
    if isinstance(found, datetime | date):
        return same_time(found, value)
    if isinstance(found, bool) or isinstance(value, bool):
        return found is value
    if is_number(found) and is_number(value):
        return exact(found) == exact(value)
    return isinstance(found, str) and isinstance(value, str) and found == value


def exact(number: float) -> Decimal:
    return Decimal(repr(number))


def ordered(found: Any, op: str, value: Any) -> bool:
    if isinstance(found, datetime | date):
        return time_ordered(found, op, value)
    if is_number(found) and is_number(value):
        left, right = exact(found), exact(value)
    elif isinstance(found, str) and isinstance(value, str):
        left, right = found, value
    else:
        return False
    return {"gt": left > right, "gte": left >= right, "lt": left < right, "lte": left <= right}[op]


def read_time(text: Any) -> date | datetime | None:
    if not isinstance(text, str):
        return None
    if re.fullmatch(r"[0-9]{4}-[0-9]{2}-[0-9]{2}", text):
        try:
            return date.fromisoformat(text)
        except ValueError:
            return None
    shape = r"[0-9]{4}-[0-9]{2}-[0-9]{2}[T ][0-9]{2}:[0-9]{2}(:[0-9]{2}([.][0-9]{1,6})?)?(Z|[+-][0-9]{2}:?[0-9]{2})?"
    if not re.fullmatch(shape, text):
        return None
    try:
        found = datetime.fromisoformat(text)
    except ValueError:
        return None
    return (found if found.tzinfo else found.replace(tzinfo=UTC)).astimezone(UTC)


def as_moment(found: date | datetime) -> datetime:
    if isinstance(found, datetime):
        return found.astimezone(UTC)
    return datetime(found.year, found.month, found.day, tzinfo=UTC)


def same_time(found: date | datetime, text: str) -> bool:
    value = read_time(text)
    if isinstance(value, datetime):
        return as_moment(found) == value
    return as_moment(found).date() == value


def time_ordered(found: date | datetime, op: str, text: str) -> bool:
    value = read_time(text)
    if isinstance(value, datetime):
        left, right = as_moment(found), value
    else:
        left, right = as_moment(found).date(), value
    return {"gt": left > right, "gte": left >= right, "lt": left < right, "lte": left <= right}[op]


def length(span: dict) -> timedelta:
    return timedelta(**span)


def in_time(found: Any, op: str, value: Any, now: datetime) -> bool:
    moment = found if isinstance(found, date) else read_time(found)
    if moment is None:
        return False
    if op == "before":
        return time_ordered(moment, "lt", value)
    if op == "after":
        return time_ordered(moment, "gt", value)
    if op == "anniversary_within":
        days = value if isinstance(value, int) else value["days"]
        return anniversary(as_moment(moment).date(), as_moment(now).date(), days)
    now = as_moment(now)
    low, high = (now - length(value), now) if op == "within_last" else (now, now + length(value))
    if isinstance(moment, datetime):
        return low <= moment <= high
    return low.date() <= moment <= high.date()


def anniversary(day: date, today: date, days: int) -> bool:
    for year in range(today.year, today.year + 3):
        month, number = day.month, day.day
        if (month, number) == (2, 29) and not isleap(year):
            number = 28
        if today <= date(year, month, number) <= today + timedelta(days=days):
            return True
    return False


def event(rule: dict, person: Person, now: datetime) -> bool:
    matching = [
        item
        for item in person.events
        if item.name == rule["name"]
        and properties(item, rule.get("where", []), now)
        and inside(item.at, rule.get("within"), now)
        and not followed(item, rule.get("not_followed_by"), person, now)
    ]
    answer = True
    if "aggregate" in rule:
        answer = aggregate(matching, rule["aggregate"])
    if "count" in rule:
        answer = answer and ordered_or_equal(len(matching), rule["count"]["op"], rule["count"]["value"])
    if "count" not in rule and "aggregate" not in rule:
        answer = len(matching) > 0
    return answer


def properties(item: Happening, where: list[dict], now: datetime) -> bool:
    return all(
        compare(dig(item.properties, one["property"]), one["op"], one.get("value"), now) for one in where
    )


def inside(at: datetime, within: dict | None, now: datetime) -> bool:
    if within is None:
        return True
    if "last" in within:
        return now - length(within["last"]) <= at <= now
    answer = True
    if "from" in within:
        answer = time_ordered(at, "gte", within["from"])
    if "to" in within:
        answer = answer and time_ordered(at, "lte", within["to"])
    return answer


def followed(item: Happening, following: dict | None, person: Person, now: datetime) -> bool:
    if following is None:
        return False
    for later in person.events:
        if later.name != following["name"] or later.at <= item.at:
            continue
        if "within" in following and later.at > item.at + length(following["within"]):
            continue
        if properties(later, following.get("where", []), now):
            return True
    return False


def ordered_or_equal(left: Any, op: str, right: Any) -> bool:
    if op == "eq":
        return left == right
    if op == "ne":
        return left != right
    return {"gt": left > right, "gte": left >= right, "lt": left < right, "lte": left <= right}[op]


def aggregate(events: list[Happening], wanted: dict) -> bool:
    found = [dig(item.properties, wanted["property"]) for item in events]
    if wanted["fn"] == "distinct":
        different: list[Any] = []
        for value in found:
            if value is not MISSING and not any(same_json(value, other) for other in different):
                different.append(value)
        if not different:
            return False
        return ordered_or_equal(len(different), wanted["op"], wanted["value"])
    numbers = [Fraction(exact(value)) for value in found if is_number(value)]
    if not numbers:
        return False
    figure = {
        "sum": sum(numbers),
        "avg": sum(numbers) / len(numbers),
        "min": min(numbers),
        "max": max(numbers),
    }[wanted["fn"]]
    return ordered_or_equal(figure, wanted["op"], Fraction(exact(wanted["value"])))


def same_json(left: Any, right: Any) -> bool:
    if isinstance(left, dict) and isinstance(right, dict):
        return left.keys() == right.keys() and all(same_json(left[key], right[key]) for key in left)
    if isinstance(left, list) and isinstance(right, list):
        return len(left) == len(right) and all(map(same_json, left, right))
    return left is None and right is None or equal(left, right)


DID = {
    "received": ("message_sent", "message_delivered"),
    "opened": ("message_opened",),
    "clicked": ("message_clicked",),
    "converted": ("message_converted",),
    "dismissed": ("message_dismissed",),
    "bounced": ("message_failed",),
}


def message(rule: dict, person: Person, now: datetime) -> bool:
    for item in person.events:
        if item.name not in DID[rule["did"]] or not inside(item.at, rule.get("within"), now):
            continue
        told = item.properties
        if any(told.get(name) != rule[name] for name in ("message", "channel") if name in rule):
            continue
        if "topic" in rule and TOPICS.get(told.get("message")) != rule["topic"]:
            continue
        if "flow" in rule and told.get("origin") != {"type": "flow", "id": FLOWS.get(rule["flow"])}:
            continue
        return True
    return False
