"""Between the admin's sentence and the JSON of a definition.

Reading is lenient, since the sentence may be unfinished: the kinds then say what is wrong.
"""

from collections.abc import Sequence
from typing import Any

from django.utils.translation import gettext as _
from django.utils.translation import pgettext

from crm.computed.kinds import kinds
from crm.computed.kinds.base import Kind
from crm.rules import seen, words
from crm.rules.errors import Problem
from crm.rules.inputs import (
    Posted,
    comparison,
    first,
    name_choice,
    named,
    read_comparison,
    scalar,
    whole,
)

MOST_WHERE = 20
NO_TIME = ("before", "after")  # of the operators about time, those that do not depend on now
CHOICES = ("as", "figure", "of", "unit", "which")


def choices() -> dict[str, list[tuple[str, str]]]:
    """What each drop-down of the sentence offers."""
    return {
        "as": [("text", _("text")), ("number", _("number")), ("moment", _("date or time"))],
        "figure": [("sum", _("the sum of")), ("last", _("the last"))],
        "of": [("hour", _("hour of the day")), ("weekday", _("day of the week"))],
        "unit": [("days", _("days in a row")), ("weeks", _("weeks in a row"))],
        "which": [("last", pgettext("event", "last")), ("first", pgettext("event", "first"))],
        "run": [("current", _("up to now")), ("longest", _("at its longest"))],
    }


def blank() -> dict[str, Any]:
    """The sentence that a new attribute begins with."""
    names = seen.event_names()
    event = "purchase" if "purchase" in names else names[0] if names else ""
    return {"kind": "count", "event": event, "last_days": 90}


def read(posted: Posted) -> dict[str, Any]:
    """The definition as posted; `type` of a condition only tells which input to show, see `config`."""
    kind = kinds().get(first(posted, "kind"), kinds()["count"])
    data: dict[str, Any] = {"kind": kind.kind, "event": named(posted, "event")}
    if "property" in kind.inputs:
        data["property"] = named(posted, "property")
    for name in CHOICES:
        if name in kind.inputs and (chosen := first(posted, name)):
            data[name] = chosen
    if "of" in kind.inputs:
        data.setdefault("of", "hour")
    if "threshold" in kind.inputs:
        data["threshold"] = scalar(first(posted, "threshold"), "number")
    if "last_days" in kind.inputs and first(posted, "window", "last") == "last":
        data["last_days"] = whole(first(posted, "days", "90"))
    where = []
    for index in range(MOST_WHERE):
        prefix = f"where{index}."
        inner = {
            name.removeprefix(prefix): texts for name, texts in posted.items() if name.startswith(prefix)
        }
        if inner:
            inner["field"] = inner.get("property", [""])
            where.append({"property": named(inner, "property"), **read_comparison(inner)})
    if where:
        data["where"] = where
    return data


def apply(data: dict[str, Any], operation: str) -> None:
    """Change the definition as a button asks: add-where or remove-where-<number>; anything else changes nothing."""
    where = data.setdefault("where", [])
    if operation == "add-where" and len(where) < MOST_WHERE:
        where.append({"property": "", "op": "", "value": None})
    number = operation.removeprefix("remove-where-")
    if number != operation and number.isdecimal():
        del where[int(number) : int(number) + 1]
    if not where:
        del data["where"]


def config(data: dict[str, Any]) -> dict[str, Any]:
    """The definition's JSON, without what only the form needs."""
    plain = {name: value for name, value in data.items() if name != "where"}
    if "last_days" in plain and plain["last_days"] is None:
        plain["last_days"] = 0  # a window without a length is a mistake, not the absence of a window
    if where := data.get("where"):
        plain["where"] = [{name: item[name] for name in item if name != "type"} for item in where]
    return plain


def shown(data: dict[str, Any], problems: Sequence[Problem] = ()) -> dict[str, Any]:
    """What the sentence's template shows."""
    kind: type[Kind] = kinds().get(str(data.get("kind")), kinds()["count"])
    event = str(data.get("event") or "")
    known = seen.properties(event)
    where = []
    for item in data.get("where") or []:
        path = str(item.get("property") or "")
        value_type, common = known.get(path, ("text", []))
        often = [(value, words.value(value)) for value in common]
        row = comparison(item, value_type, often, is_json=True)
        if value_type == "date" or row["type"] == "date":
            row["ops"] = [(op, label) for op, label in row["ops"] if op in (*NO_TIME, "is_set", "is_not_set")]
        where.append({**name_choice(path, sorted(known)), **row})
    options = choices()
    if kind.kind == "streak":
        options["which"] = options["run"]
    return {
        "kind": kind,
        "kinds": list(kinds().values()),
        "event": name_choice(event, seen.event_names()),
        "property": name_choice(str(data.get("property") or ""), sorted(known)),
        "optional_property": kind.kind in ("first", "last"),
        "where": where,
        "choices": {name: options[name] for name in CHOICES},
        "chosen": {name: data.get(name) for name in CHOICES},
        "threshold": "" if data.get("threshold") is None else data["threshold"],
        "window": "last" if "last_days" in data else "ever",
        "days": data.get("last_days") or "",
        "problems": list(problems),
    }
