"""An event that would start a flow, made up so that a draft can be tried without waiting for a real one."""

from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Any

from campaigns.flows import triggers
from campaigns.flows.definition import Definition

WORD = "example"
SOON = timedelta(days=2)  # from now to a date that the flow waits for


def properties(definition: Definition, now: datetime) -> dict[str, Any]:
    """Properties that meet the trigger's conditions, with a value for the run key and for a date that is waited for.

    What can't be met by making something up, such as conditions that contradict each other, is left to the reader.
    """
    found: dict[str, Any] = {}
    trigger = triggers.of(definition)
    if trigger is not None:
        kind, config = trigger.kind, trigger.config
        if kind.where_field:
            for condition in getattr(config, kind.where_field):
                value = fitting(str(condition.get("op")), condition.get("value"), now)
                if value is not None:
                    _put(found, str(condition.get("property") or ""), value)
        if name := getattr(config, "property", ""):
            _put(found, name, (now + SOON).isoformat(timespec="minutes"))
    if definition.key:
        _put(found, definition.key.removeprefix("properties."), f"{WORD}-1")
    return found


def fitting(op: str, value: Any, now: datetime) -> Any:
    """A value that meets one comparison; None where nothing does, or where nothing has to stand there."""
    match op:
        case "eq" | "gte" | "lte" | "contains" | "starts_with":
            return value
        case "in" | "between":
            return value[0] if isinstance(value, list) and value else None
        case "gt":
            return f"{value}z" if isinstance(value, str) else value + 1
        case "lt":
            return "" if isinstance(value, str) else value - 1
        case "ne" | "not_in":
            return f"{WORD}-2" if value == WORD or (isinstance(value, list) and WORD in value) else WORD
        case "is_set":
            return WORD
        case "before" | "after":
            return _beside(value, timedelta(days=-2 if op == "before" else 2))
        case "within_last":
            return (now - timedelta(minutes=1)).isoformat()
        case "within_next":
            return (now + timedelta(minutes=1)).isoformat()
        case "anniversary_within":
            return now.date().isoformat()
    return None


def _beside(value: Any, distance: timedelta) -> str | None:
    try:
        return (datetime.fromisoformat(value) + distance).isoformat()
    except (TypeError, ValueError, OverflowError):
        return None


def _put(found: dict[str, Any], dotted: str, value: Any) -> None:
    """Set a value at a path such as `cart.total`, unless something stands there."""
    place: Any = found
    *outer, last = dotted.split(".")
    for key in outer:
        place = place.setdefault(key, {})
        if not isinstance(place, Mapping):
            return
    if last:
        place.setdefault(last, value)
