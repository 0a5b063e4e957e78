"""Between the builder's inputs and the JSON of a condition.

Reading is lenient, since a row may be unfinished: what is missing or unreadable becomes None, and the grammar
then says what is wrong.
"""

import json
import re
from collections.abc import Iterable, Mapping
from typing import Any

from django.utils.translation import gettext_lazy

from campaigns.segments import suggestions, words
from campaigns.segments.moments import DAY_PATTERN
from campaigns.segments.operators import EXISTENCE

Posted = Mapping[str, list[str]]

OTHER = "\x1f"  # the option “another one…” of a list; no name of a property may hold this character
OFFERED = {
    "text": ("eq", "ne", "in", "not_in", "contains", "not_contains", "starts_with", *EXISTENCE),
    "choice": ("eq", "ne", "in", "not_in", *EXISTENCE),
    "number": ("eq", "ne", "gt", "gte", "lt", "lte", "between", *EXISTENCE),
    "boolean": ("eq", "ne", *EXISTENCE),
    "date": ("before", "after", "between", "within_last", "within_next", "anniversary_within", *EXISTENCE),
    "datetime": ("within_last", "within_next", "before", "after", "anniversary_within", *EXISTENCE),
}
# In JSON a day is a text: `between` would compare it as text.
OFFERED_JSON_DATE = tuple(op for op in OFFERED["date"] if op != "between")
JSON_TYPES = {
    "text": gettext_lazy("text"),
    "number": gettext_lazy("number"),
    "boolean": gettext_lazy("yes or no"),
    "date": gettext_lazy("date"),
}
SPANS = ("within_last", "within_next", "anniversary_within")
EXTRA = ("aggregate", "not_followed_by")
DIRECT_COUNTS = ("gte", "lte", "eq")


def first(posted: Posted, name: str, default: str = "") -> str:
    return (posted.get(name) or [default])[0].replace("\x00", "")


def whole(text: str) -> int | None:
    return int(text) if re.fullmatch(r"\s*-?[0-9]{1,9}\s*", text) else None


def scalar(text: str, kind: str) -> Any:
    """One value as its JSON type; None when it is missing or no such value."""
    text = text.strip()
    if not text:
        return None
    if kind == "number":
        if not re.fullmatch(r"-?[0-9]{1,30}([.,][0-9]{1,20})?", text):
            return None
        number = float(text.replace(",", "."))
        return int(number) if number.is_integer() else number
    if kind == "boolean":
        return {"true": True, "false": False}.get(text)
    return text


def read_comparison(posted: Posted) -> dict[str, Any]:
    """`op` and `value` from the inputs op, type, value (any number), unit, and was-op, was-field…"""
    op, kind = first(posted, "op"), first(posted, "type")
    if first(posted, "field") != first(posted, "was_field", first(posted, "field")):
        return {"op": "", "value": None}  # another field: its first operator, and nothing entered yet
    if kind != first(posted, "was_type", kind):
        return {"op": "", "value": None, "type": kind}
    texts = posted.get("value", [])
    found: dict[str, Any] = {"op": op}
    if op in EXISTENCE:
        return found
    if "raw" in posted and op == first(posted, "was_op"):
        return found | {"value": _decoded(first(posted, "raw")), "type": kind}
    if op in SPANS:
        number, unit = whole(first(posted, "value")), first(posted, "unit", "days")
        found["value"] = {unit if unit in words.UNITS else "days": number} if number is not None else None
    elif op in ("in", "not_in"):
        if first(posted, "was_op", op) == op and "listed" not in posted:
            texts = ",".join(texts).split(",")
        found["value"] = [value for text in texts if (value := scalar(text, kind)) is not None]
    elif op == "between":
        found["value"] = [scalar(text, kind) for text in (*texts, "", "")[:2]]
        if None in found["value"]:
            found["value"] = None
    else:
        found["value"] = scalar(texts[0], kind) if texts else None
    if kind in JSON_TYPES:
        found["type"] = kind
    return found


def comparison(
    data: dict[str, Any], seen_type: str, options: list[tuple[Any, str]], is_json: bool
) -> dict[str, Any]:
    """What the inputs of one comparison show.

    Args:
        data: op, value and maybe type, finished or not.
        seen_type: how values of this field are entered, as Suggestions.type says.
        options: values to offer, with their names.
        is_json: the value lies in JSON, so that its type can be chosen.
    """
    value = data.get("value")
    sample = value[0] if isinstance(value, list) and value else value
    kind = seen_type
    if is_json:
        kind = data.get("type") or seen_type
        if "type" not in data and isinstance(sample, str | int | float):
            kind = suggestions.value_type(sample)
            kind = (
                "date"
                if data.get("op") in (*SPANS, "before", "after")
                else "text"
                if kind == "date"
                else kind
            )
    offered = OFFERED_JSON_DATE if is_json and kind == "date" else OFFERED[kind]
    op = data.get("op") or offered[0]
    ops = [(name, words.OPERATORS[name]) for name in offered]
    if op not in offered and op in words.OPERATORS:
        ops.append((op, words.OPERATORS[op]))
    shown: dict[str, Any] = {
        "op": op,
        "ops": ops,
        "type": kind,
        "types": list(JSON_TYPES.items()) if is_json else [],
        "options": options,
        "units": list(words.UNITS.items()),
        "unit": "days",
        "widget": _widget(op, kind, options),
        "input": {"number": "number", "date": "date"}.get(kind, "text"),
    }
    if op in SPANS:
        span = value if isinstance(value, dict) else {"days": value} if isinstance(value, int) else {}
        shown["unit"] = next(iter(span), "days")
        shown["value"] = span.get(shown["unit"], "")
        if kind == "date" or op == "anniversary_within":
            shown["units"] = [("days", words.UNITS["days"])]
    elif op == "between":
        low, high = value if isinstance(value, list) and len(value) == 2 else ("", "")
        shown |= {"low": low, "high": high}
    elif op in ("in", "not_in"):
        listed = value if isinstance(value, list) else [] if value is None else [value]
        shown |= {"values": listed, "value": ", ".join(str(_entered(item)) for item in listed)}
        shown["choices"] = [*options, *((item, str(item)) for item in listed if item not in dict(options))]
        shown["chosen"] = [name for item, name in shown["choices"] if item in listed]
    else:
        shown["value"] = _entered(value[0] if isinstance(value, list) and value else value)
    if shown["input"] == "date" and isinstance(shown.get("value"), str) and shown["value"]:
        shown["input"] = "date" if re.fullmatch(DAY_PATTERN, shown["value"]) else "text"
    if op not in EXISTENCE and not _fits(shown, value):
        shown |= {"widget": "raw", "raw": json.dumps(value, ensure_ascii=False)}
    if shown["widget"] == "choice" and shown.get("value") and shown["value"] not in dict(options):
        shown["options"] = [(shown["value"], shown["value"]), *options]
    return shown


def _fits(shown: dict[str, Any], value: Any) -> bool:
    """Whether the inputs can hold the value, so that it comes back as it was."""

    def same(item: Any) -> bool:
        back = scalar(str(_entered(item)), shown["type"])
        return back == item and isinstance(back, bool) == isinstance(item, bool)

    if value is None or shown["op"] in SPANS:
        return True
    if isinstance(value, list):
        apart = shown["widget"] == "many" or not any("," in str(item) for item in value)
        return apart and all(same(item) for item in value)
    return same(value)


def _mapping(data: Any) -> dict[str, Any]:
    return data if isinstance(data, dict) else {}


def _decoded(text: str) -> Any:
    try:
        return json.loads(text)
    except ValueError:
        return None


def _widget(op: str, kind: str, options: list) -> str:
    if op in EXISTENCE:
        return "none"
    if op in SPANS:
        return "span"
    if op == "between":
        return "pair"
    if op in ("in", "not_in"):
        return "many" if options and kind in ("choice", "text") else "text"
    return {"boolean": "boolean", "choice": "choice"}.get(kind, "input")


def _entered(value: Any) -> Any:
    if isinstance(value, bool):
        return "true" if value else "false"
    return "" if value is None or isinstance(value, dict) else value


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


def named(posted: Posted, name: str) -> str:
    """A name chosen from a list, or typed after “another one…”; OTHER when nothing was typed yet."""
    chosen = first(posted, name)
    return first(posted, f"{name}_other").strip() or OTHER if chosen == OTHER else chosen


def name_choice(name: str, known: Iterable[str]) -> dict[str, Any]:
    """What a list of names with “another one…” shows."""
    names = list(known)
    typed = name not in names and (name != "" or not names)
    return {"name": "" if name == OTHER else name, "names": names, "typed": typed, "OTHER": OTHER}


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
    extra = _decoded(first(posted, "extra", "{}"))
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
