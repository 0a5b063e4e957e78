"""Between the builder's inputs and the JSON of a condition; see crm/rules/inputs.py for one comparison."""

from decimal import Decimal
from typing import Any

from django.utils.translation import gettext as _

from campaigns.segments import suggestions, words
from crm.rules.inputs import (
    OTHER,
    Posted,
    comparison,
    first,
    name_choice,
    named,
    read_comparison,
    scalar,
    whole,
)
from crm.rules.seen import Seen
from crm.rules.where import MOST_PROPERTIES

DIRECT_COUNTS = ("gte", "lte", "eq")
ANY_NUMBER = "any"  # no `count`: at least once, or with a figure any number of times
NEVER = {"op": "eq", "value": 0}
BLANK_WHERE = {"property": "", "op": "", "value": None}

Options = list[tuple[str, str]]


def _mapping(data: Any) -> dict[str, Any]:
    return data if isinstance(data, dict) else {}


def _listed(data: Any) -> list[dict[str, Any]]:
    return [item for item in data if isinstance(item, dict)] if isinstance(data, list) else []


def offered(options: Options, value: Any) -> Options:
    """The options with the present value among them, so that a list never changes what it can't show."""
    known = {name for name, _label in options}
    return (
        options if value in known or not isinstance(value, str) or not value else [*options, (value, value)]
    )


def number(value: Any) -> str:
    """A number as the inputs take it in every language, never with an exponent; empty for anything else."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return ""
    return format(Decimal(repr(value)), "f") if isinstance(value, float) else str(value)


def span(data: Any) -> dict[str, Any]:
    """What the inputs of a length of time show."""
    given = _mapping(data)
    unit = next((name for name in given if name in words.UNITS), "days")
    return {"span": number(given.get(unit)), "unit": unit, "units": list(words.UNITS.items())}


def read_span(posted: Posted) -> dict[str, int | None]:
    """`{"days": 30}`; a new one starts with 30 of its unit."""
    unit = first(posted, "unit", "days")
    length = whole(first(posted, "span")) if "span" in posted else 30
    return {unit if unit in words.UNITS else "days": length}


def within(data: dict[str, Any]) -> dict[str, Any]:
    """What the inputs of a time window show."""
    window = _mapping(data.get("within"))
    kind = "last" if "last" in window else "dates" if window else "ever"
    start, end = (str(window.get(name) or "") for name in ("from", "to"))
    return {"window": kind, **span(window.get("last")), "start": start, "end": end}


def read_within(posted: Posted) -> dict[str, Any]:
    """`{"within": …}`, or nothing for “ever”."""
    kind = first(posted, "window")
    if kind == "last":
        return {"within": {"last": read_span(posted)}}
    if kind == "dates":
        ends = {name: first(posted, source) for name, source in (("from", "start"), ("to", "end"))}
        return {"within": {name: text for name, text in ends.items() if text}}
    return {}


def inner(posted: Posted, prefix: str) -> dict[str, list[str]]:
    """The inputs whose names begin with `prefix`, without it."""
    return {name.removeprefix(prefix): texts for name, texts in posted.items() if name.startswith(prefix)}


def _where(items: Any, seen: Seen) -> list[dict[str, Any]]:
    rows = []
    for item in _listed(items):
        path = str(item.get("property") or "")
        kind, common = seen.get(path, ("text", []))
        options = [(value, words.value(value)) for value in common]
        rows.append({**name_choice(path, sorted(seen)), **comparison(item, kind, options, is_json=True)})
    return rows


def _read_where(posted: Posted) -> list[dict[str, Any]]:
    where = []
    for index in range(MOST_PROPERTIES + 1):
        if found := inner(posted, f"where{index}."):
            path = named(found, "property")
            where.append(
                {"property": path, **read_comparison({**found, "field": found.get("property", [""])})}
            )
    return where


def read_event(posted: Posted) -> dict[str, Any]:
    """An event condition from its row."""
    data: dict[str, Any] = {"kind": "event", "name": named(posted, "name")}
    if where := _read_where(posted):
        data["where"] = where
    data |= read_within(posted)
    how = first(posted, "how", "gte")
    if how == "never":
        data["count"] = dict(NEVER)
    elif how != ANY_NUMBER:
        was_counted = first(posted, "was_how", how) not in ("never", ANY_NUMBER)
        data["count"] = {"op": how, "value": whole(first(posted, "times", "1")) if was_counted else 1}
    if figure := inner(posted, "figure."):
        data["aggregate"] = _read_figure(figure)
    if follow := inner(posted, "follow."):
        data["not_followed_by"] = _read_follow(follow)
    return data


def event(data: dict[str, Any], suggest: suggestions.Suggestions) -> dict[str, Any]:
    """What the row of an event condition shows."""
    name = str(data.get("name") or "")
    seen = suggest.properties(name)
    count = _mapping(data.get("count"))
    how = "never" if count == NEVER else count.get("op") if count else ANY_NUMBER
    ops = [*DIRECT_COUNTS, *([how] if how in words.FREQUENCIES and how not in DIRECT_COUNTS else [])]
    uncounted = _("any number of times") if data.get("aggregate") is not None else _("at least once")
    return {
        **name_choice(name, suggest.event_names()),
        **within(data),
        "how": how,
        "hows": [
            (ANY_NUMBER, uncounted),
            ("never", _("never")),
            *((op, words.FREQUENCIES[op]) for op in ops),
        ],
        "times": "" if how in (ANY_NUMBER, "never") else number(count.get("value")),
        "where": _where(data.get("where"), seen),
        "figure": _figure(data["aggregate"], seen) if data.get("aggregate") is not None else None,
        "follow": _follow(data["not_followed_by"], suggest)
        if data.get("not_followed_by") is not None
        else None,
    }


def _figure(data: Any, seen: Seen) -> dict[str, Any]:
    data = _mapping(data)
    numeric = [path for path, (kind, _values) in seen.items() if kind == "number"]
    names = sorted(seen) if data.get("fn") == "distinct" else sorted(numeric)
    return {
        **name_choice(str(data.get("property") or ""), names),
        "fn": data.get("fn"),
        "fns": list(words.FIGURES.items()),
        "op": data.get("op"),
        "ops": list(words.FIGURE_OPERATORS.items()),
        "value": number(data.get("value")),
    }


def _read_figure(posted: Posted) -> dict[str, Any]:
    return {
        "fn": first(posted, "fn"),
        "property": named(posted, "property"),
        "op": first(posted, "op"),
        "value": scalar(first(posted, "value"), "number"),
    }


def _follow(data: Any, suggest: suggestions.Suggestions) -> dict[str, Any]:
    data = _mapping(data)
    name = str(data.get("name") or "")
    return {
        **name_choice(name, suggest.event_names()),
        **span(data.get("within")),
        "window": "last" if data.get("within") is not None else "ever",
        "where": _where(data.get("where"), suggest.properties(name)),
    }


def _read_follow(posted: Posted) -> dict[str, Any]:
    data: dict[str, Any] = {"name": named(posted, "name")}
    if where := _read_where(posted):
        data["where"] = where
    if first(posted, "window") == "last":
        data["within"] = read_span(posted)
    return data


def change_parts(data: dict[str, Any], operation: str, suggest: suggestions.Suggestions) -> str:
    """Add or remove a part of an event condition as a button asks; anything unknown changes nothing.

    Args:
        operation: add-where, add-figure, add-follow, add-followwhere, remove-where-<number>, remove-figure, …

    Returns:
        The name of the input that gets the focus, or nothing.
    """
    verb, _dash, what = operation.partition("-")
    follow = _mapping(data.get("not_followed_by"))
    for name, holder, prefix in (("where", data, ""), ("followwhere", follow, "follow.")):
        place = what.removeprefix(f"{name}-")
        if (verb, what) == ("add", name) and len(_listed(holder.get("where"))) < MOST_PROPERTIES:
            holder["where"] = [*_listed(holder.get("where")), dict(BLANK_WHERE)]
            return f"{prefix}where{len(holder['where']) - 1}.property"
        if verb == "remove" and what != place and place.isdecimal() and len(place) < 4:
            del holder.get("where", [])[int(place) : int(place) + 1]
            return ""
    if operation == "add-figure":
        numeric = sorted(
            path for path, seen in suggest.properties(str(data.get("name"))).items() if seen[0] == "number"
        )
        chosen = numeric[0] if numeric else OTHER
        data["aggregate"] = {"fn": "sum", "property": chosen, "op": "gte", "value": None}
        if data.get("count") == {"op": "gte", "value": 1}:
            del data["count"]  # a figure over no events is false anyway
        return "figure.value"
    if operation == "add-follow":
        names = [name for name in suggest.event_names() if name != data.get("name")]
        data["not_followed_by"] = {"name": names[0] if names else OTHER}
        return "follow.name"
    parts = {"remove-figure": "aggregate", "remove-follow": "not_followed_by"}
    if operation in parts:
        data.pop(parts[operation], None)
    return ""


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
    choices = {
        "messages": ("message", suggest.messages()),
        "flows": ("flow", suggest.flows()),
        "channels": ("channel", suggest.channels()),
        "topics": ("topic", suggest.topics()),
    }
    chosen = {name: data.get(name) or "" for name, _options in choices.values()}
    return {
        "did": data.get("did"),
        "dids": list(words.DID.items()),
        **chosen,
        **{plural: offered(options, chosen[name]) for plural, (name, options) in choices.items()},
        **within(data),
    }


def read_consent(posted: Posted) -> dict[str, Any]:
    """A consent condition from its row."""
    about = "topic" if first(posted, "about") == "topic" else "channel"
    return {"kind": "consent", about: first(posted, about), "state": first(posted, "state")}


def consent(data: dict[str, Any], suggest: suggestions.Suggestions) -> dict[str, Any]:
    """What the row of a consent condition shows."""
    about = "topic" if data.get("topic") is not None else "channel"
    return {
        "about": about,
        "channels": offered(suggest.channels(), data.get("channel")),
        "channel": data.get("channel") or "",
        "topics": offered(suggest.topics(), data.get("topic")),
        "topic": data.get("topic") or "",
        "states": list(words.ANSWERS.items()),
        "state": data.get("state"),
    }


def read_reachable(posted: Posted) -> dict[str, Any]:
    """A reachable condition from its row."""
    return {"kind": "reachable", "channel": first(posted, "channel")}


def reachable(data: dict[str, Any], suggest: suggestions.Suggestions) -> dict[str, Any]:
    """What the row of a reachable condition shows."""
    channel = data.get("channel")
    return {"channels": offered(suggest.channels(), channel), "channel": channel}


POINT = ("latitude", "longitude")


def read_near(posted: Posted) -> dict[str, Any]:
    """A near condition from its row. The list of places tells their coordinates as “latitude,longitude”."""
    place = first(posted, "place", OTHER)
    texts = [first(posted, name) for name in POINT]
    if place != OTHER and place != first(posted, "was_place"):
        texts = place.split(",")[:2]
    point = dict(zip(POINT, (scalar(text, "number") for text in (*texts, "")), strict=False))
    return {"kind": "near", **point, "radius_km": scalar(first(posted, "radius_km"), "number")}


def near(data: dict[str, Any], suggest: suggestions.Suggestions) -> dict[str, Any]:
    """What the row of a near condition shows."""
    shown = {name: number(data.get(name)) for name in (*POINT, "radius_km")}
    point = ",".join(shown[name] for name in POINT)
    places = {
        f"{number(latitude)},{number(longitude)}": name
        for _slug, name, latitude, longitude in suggest.places()
    }
    return {
        **shown,
        "places": list(places.items()),
        "place": point if point in places else OTHER,
        "OTHER": OTHER,
    }


def read_flow(posted: Posted) -> dict[str, Any]:
    """A flow condition from its row."""
    return {"kind": "flow", "flow": first(posted, "flow"), "state": first(posted, "state")}


def flow(data: dict[str, Any], suggest: suggestions.Suggestions) -> dict[str, Any]:
    """What the row of a flow condition shows."""
    return {
        "flows": offered(suggest.flows(), data.get("flow")),
        "flow": data.get("flow", ""),
        "states": [(state, str(text) % "…") for state, text in words.RUNS.items()],
        "state": data.get("state"),
    }


def read_random(posted: Posted) -> dict[str, Any]:
    """A random condition from its row: the first so many percent of a draw, the rest of it, or a slice."""
    share, was = (first(posted, name, "slice") for name in ("share", "was_share"))
    if was == "slice":
        low, high = (scalar(first(posted, name), "number") for name in ("low", "high"))
        size = high if share == "first" else low
    else:
        size = scalar(first(posted, "percent"), "number")
        low, high = (0, size) if was == "first" else (size, 100)
    percent = {"first": [0, size], "rest": [size, 100]}.get(share, [low, high])
    return {"kind": "random", "percent": percent, "salt": first(posted, "salt")}


def random(data: dict[str, Any]) -> dict[str, Any]:
    """What the row of a random condition shows."""
    percent = data.get("percent")
    low, high = percent if isinstance(percent, list) and len(percent) == 2 else (0, None)
    share = "first" if low == 0 else "rest" if high == 100 else "slice"
    return {
        "share": share,
        "shares": [
            ("first", _("a random")),
            ("rest", _("all but a random")),
            ("slice", _("a random part, from")),
        ],
        "percent": number(high if share == "first" else low),
        "low": number(low),
        "high": number(high),
        "salt": data.get("salt", ""),
    }


def read_list(posted: Posted) -> dict[str, Any]:
    """A list condition from its row."""
    return {"kind": "list", "slug": first(posted, "slug")}


def listed(data: dict[str, Any], suggest: suggestions.Suggestions) -> dict[str, Any]:
    """What the row of a list condition shows."""
    return {"lists": offered(suggest.lists(), data.get("slug")), "slug": data.get("slug", "")}
