"""Between the builder's inputs and the JSON of a condition; see crm/rules/inputs.py for one comparison."""

import json
from typing import Any

from campaigns.segments import suggestions, words
from crm.rules.inputs import Posted, comparison, decoded, first, name_choice, named, read_comparison, whole

EXTRA = ("aggregate", "not_followed_by")
DIRECT_COUNTS = ("gte", "lte", "eq")


def _mapping(data: Any) -> dict[str, Any]:
    return data if isinstance(data, dict) else {}


def within(data: dict[str, Any]) -> dict[str, Any]:
    """What the inputs of a time window show."""
    window = _mapping(data.get("within"))
    last = _mapping(window.get("last"))
    unit = next((name for name in last if name in words.UNITS), "days")
    kind = "last" if "last" in window else "dates" if window else "ever"
    return {
        "window": kind,
        "span": last.get(unit, "") if last else "",
        "unit": unit,
        "units": list(words.UNITS.items()),
        "start": window.get("from") or "",
        "end": window.get("to") or "",
    }


def read_within(posted: Posted) -> dict[str, Any]:
    """`{"within": …}`, or nothing for “ever”."""
    kind = first(posted, "window")
    if kind == "last":
        unit = first(posted, "unit", "days")
        number = whole(first(posted, "span")) if "span" in posted else 30
        return {"within": {"last": {unit if unit in words.UNITS else "days": number}}}
    if kind == "dates":
        ends = {name: first(posted, source) for name, source in (("from", "start"), ("to", "end"))}
        return {"within": {name: text for name, text in ends.items() if text}}
    return {}


def read_event(posted: Posted) -> dict[str, Any]:
    """An event condition from its row."""
    data: dict[str, Any] = {"kind": "event", "name": named(posted, "name")}
    where = []
    for index in range(20):
        prefix = f"where{index}."
        inner = {
            name.removeprefix(prefix): texts for name, texts in posted.items() if name.startswith(prefix)
        }
        if not inner:
            continue
        path = named(inner, "property")
        inner = {**inner, "field": inner.get("property", [""])}
        where.append({"property": path, **read_comparison(inner)})
    if where:
        data["where"] = where
    data |= read_within(posted)
    how = first(posted, "how", "gte")
    number = whole(first(posted, "times", "1"))
    data["count"] = {"op": "eq", "value": 0} if how == "never" else {"op": how, "value": number}
    if how != "never" and first(posted, "was_how") == "never" and number == 0:
        data["count"]["value"] = 1
    extra = decoded(first(posted, "extra", "{}"))
    if isinstance(extra, dict):
        data |= {name: extra[name] for name in EXTRA if name in extra}
        if extra.get("aggregate") and extra.get("uncounted") and data["count"] == {"op": "gte", "value": 1}:
            del data["count"]  # as it came: with a figure and without a count
    return data


def event(data: dict[str, Any], suggest: suggestions.Suggestions) -> dict[str, Any]:
    """What the row of an event condition shows."""
    name = str(data.get("name") or "")
    seen = suggest.properties(name)
    count = _mapping(data.get("count")) or {"op": "gte", "value": 1}
    never = (count.get("op"), count.get("value")) in (("eq", 0), ("lt", 1), ("lte", 0))
    offered = [*DIRECT_COUNTS, *([count["op"]] if count.get("op") not in DIRECT_COUNTS else [])]
    extra = {key: data[key] for key in EXTRA if data.get(key) is not None}
    if extra and "count" not in data:
        extra["uncounted"] = True
    where = []
    for item in data.get("where") or []:
        path = str(item.get("property") or "")
        kind, common = seen.get(path, ("text", []))
        options = [(value, words.value(value)) for value in common]
        where.append({**name_choice(path, sorted(seen)), **comparison(item, kind, options, is_json=True)})
    return {
        **name_choice(name, suggest.event_names()),
        **within(data),
        "how": "never" if never else count.get("op"),
        "hows": [(op, words.FREQUENCIES[op]) for op in offered if op in words.FREQUENCIES],
        "times": "" if count.get("value") is None else count.get("value"),
        "where": where,
        "extra": json.dumps(extra) if extra else "",
        "extra_keys": [key for key in EXTRA if key in extra],
    }


def read_message(posted: Posted) -> dict[str, Any]:
    """A message condition from its row."""
    filters = {name: first(posted, name) for name in ("message", "flow", "channel", "topic")}
    return {
        "kind": "message",
        "did": first(posted, "did"),
        **{name: text for name, text in filters.items() if text},
        **read_within(posted),
    }


def message(data: dict[str, Any], suggest: suggestions.Suggestions) -> dict[str, Any]:
    """What the row of a message condition shows."""
    return {
        "did": data.get("did"),
        "dids": list(words.DID.items()),
        "messages": suggest.messages(),
        "message": data.get("message", ""),
        "flows": suggest.flows(),
        "flow": data.get("flow", ""),
        "channel": data.get("channel", ""),
        "topic": data.get("topic", ""),
        **within(data),
    }
