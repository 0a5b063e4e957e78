"""Between a form's inputs and the JSON of a comparison.

Reading is lenient, since a row may be unfinished: what is missing or unreadable becomes None, and the grammar
then says what is wrong.
"""

import json
import math
import re
from collections.abc import Iterable, Mapping
from decimal import Decimal
from typing import Any

from django.utils.translation import gettext_lazy

from crm.rules import seen, words
from crm.rules.moments import DAY_PATTERN
from crm.rules.operators import EXISTENCE, WORDS

Posted = Mapping[str, list[str]]

OTHER = "\x1f"  # the option “another one…” of a list; no name of a property may hold this character
OFFERED = {
    "text": ("eq", "ne", "in", "not_in", "contains", "not_contains", "starts_with", *EXISTENCE),
    "choice": ("eq", "ne", "in", "not_in", *EXISTENCE),
    "number": ("eq", "ne", "gt", "gte", "lt", "lte", "between", *EXISTENCE),
    "boolean": ("eq", "ne", *EXISTENCE),
    "date": (
        *("before", "after", "between", "eq", "ne", "within_last", "within_next", "anniversary_within"),
        *EXISTENCE,
    ),
    "datetime": (
        *("within_last", "within_next", "before", "after", "between", "anniversary_within"),
        *EXISTENCE,
    ),
}
# In JSON a day is a text: these would compare it as text.
OFFERED_JSON_DATE = tuple(op for op in OFFERED["date"] if op not in ("between", "eq", "ne"))
JSON_TYPES = {
    "text": gettext_lazy("text"),
    "number": gettext_lazy("number"),
    "boolean": gettext_lazy("yes or no"),
    "date": gettext_lazy("date"),
}
SPANS = ("within_last", "within_next", "anniversary_within")


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
        return found | {"value": decoded(first(posted, "raw")), "type": kind}
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
            kind = seen.value_type(sample)
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
    options = [(text, label) for item, label in options if scalar(text := _entered(item), kind) is not None]
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
        "widget": _widget(op, kind),
        "input": "number" if kind == "number" else "text",
    }
    if op in SPANS:
        span = value if isinstance(value, dict) else {"days": value} if isinstance(value, int) else {}
        shown["unit"] = next(iter(span), "days")
        shown["value"] = _entered(span.get(shown["unit"]))
        if kind == "date" or op == "anniversary_within":
            shown["units"] = [("days", words.UNITS["days"])]
    elif op == "between":
        low, high = value if isinstance(value, list) and len(value) == 2 else ("", "")
        shown |= {"low": _entered(low), "high": _entered(high)}
    elif op in ("in", "not_in"):
        listed = value if isinstance(value, list) else [] if value is None else [value]
        checked = [_entered(item) for item in listed]
        # Those chosen come first and in their order, so that a rule that nobody changed stays as it is.
        names = {**dict.fromkeys(checked, ""), **dict(options)}
        shown["choices"] = [(text, label or text, text in checked) for text, label in names.items()]
        shown["closed"] = kind in ("choice", "boolean")  # nothing but what is offered makes sense
    else:
        shown["value"] = _entered(value[0] if isinstance(value, list) and value else value)
    if kind in ("date", "datetime"):
        texts = [shown[name] for name in ("value", "low", "high") if shown.get(name)]
        days = all(re.fullmatch(DAY_PATTERN, text) for text in texts)
        shown["input"] = "date" if days else "text"  # a moment, or a mistake, needs an input that can hold it
    if op not in EXISTENCE and not _fits(shown, value):
        shown |= {"widget": "raw", "raw": json.dumps(value, ensure_ascii=False)}
    picked = shown.get("value")
    if shown["widget"] == "choice" and picked and picked not in dict(options):
        shown["options"] = [(picked, picked), *options]
    return shown


def _fits(shown: dict[str, Any], value: Any) -> bool:
    """Whether the inputs can hold the value, so that it comes back as it was."""

    def same(item: Any) -> bool:
        back = scalar(_entered(item), shown["type"])
        return back == item and isinstance(back, bool) == isinstance(item, bool)

    if value is None or shown["op"] in SPANS or (value == "" and shown["op"] in WORDS):
        return True
    if isinstance(value, list):
        return all(same(item) for item in value)
    return same(value)


def decoded(text: str) -> Any:
    """JSON text as a value; None when it is none, or one that cannot be shown again."""
    try:
        value = json.loads(text)
        json.dumps(value, ensure_ascii=False).encode()
        return value
    except (ValueError, RecursionError):
        return None


def _widget(op: str, kind: str) -> str:
    if op in EXISTENCE:
        return "none"
    if op in SPANS:
        return "span"
    if op == "between":
        return "pair"
    if op in ("in", "not_in"):
        return "many"
    return {"boolean": "boolean", "choice": "choice"}.get(kind, "input")


def _entered(value: Any) -> str:
    """A value as the inputs take it, in every language; empty when they can't."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, float) and math.isfinite(value):
        return format(Decimal(repr(value)), "f")  # never with an exponent
    return "" if value is None or isinstance(value, dict | list) else str(value)


def named(posted: Posted, name: str) -> str:
    """A name chosen from a list, or typed after “another one…”; OTHER when nothing was typed yet."""
    chosen = first(posted, name)
    return first(posted, f"{name}_other").strip() or OTHER if chosen == OTHER else chosen


def name_choice(name: str, known: Iterable[str]) -> dict[str, Any]:
    """What a list of names with “another one…” shows."""
    names = list(known)
    typed = name not in names and (name != "" or not names)
    return {"name": "" if name == OTHER else name, "names": names, "typed": typed, "OTHER": OTHER}
