"""Rules in plain words, in the active language."""

from typing import Any

from django.utils.functional import Promise
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy, ngettext, pgettext_lazy

from crm.rules import moments
from crm.rules.words import OPERATORS, UNITS, capital, comparison, during, last, value

__all__ = [
    "ANSWERS",
    "DID",
    "FIGURES",
    "FIGURE_OPERATORS",
    "FREQUENCIES",
    "OPERATORS",
    "RUNS",
    "UNITS",
    "because",
    "capital",
    "comparison",
    "during",
    "figure",
    "frequency",
    "happened",
    "number",
    "reached",
    "value",
    "within",
]

FREQUENCIES: dict[str, Promise] = {
    "gte": gettext_lazy("at least"),
    "lte": gettext_lazy("at most"),
    "eq": gettext_lazy("exactly"),
    "gt": gettext_lazy("more than"),
    "lt": gettext_lazy("fewer than"),
    "ne": gettext_lazy("any number but"),
}
FIGURES: dict[str, Promise] = {
    "sum": gettext_lazy("sum"),
    "avg": gettext_lazy("average"),
    "min": gettext_lazy("smallest"),
    "max": gettext_lazy("largest"),
    "distinct": gettext_lazy("number of different"),
}
FIGURE_OPERATORS: dict[str, Promise] = {op: OPERATORS[op] for op in ("gt", "gte", "lt", "lte", "eq", "ne")}
DID: dict[str, Promise] = {
    "received": pgettext_lazy("a person and a message", "received"),
    "opened": pgettext_lazy("a person and a message", "opened"),
    "clicked": pgettext_lazy("a person and a message", "clicked"),
    "converted": pgettext_lazy("a person and a message", "converted after"),
    "dismissed": pgettext_lazy("a person and a message", "dismissed"),
    "bounced": pgettext_lazy("a person and a message", "could not be reached with"),
}
ANSWERS: dict[str, Promise] = {
    "subscribed": gettext_lazy("yes"),
    "unsubscribed": gettext_lazy("no"),
    "pending": gettext_lazy("not confirmed yet"),
    "none": gettext_lazy("never asked"),
}
RUNS: dict[str, Promise] = {
    "in": gettext_lazy("is in the flow “%s”"),
    "completed": gettext_lazy("completed the flow “%s”"),
    "exited": gettext_lazy("left the flow “%s” early"),
    "never": gettext_lazy("was never in the flow “%s”"),
}


def within(window: Any) -> str:
    """“in the last 30 days”"""
    if window.last is not None:
        return last(window.last)
    start, end = (value(moments.parse(text, "")) if text else None for text in (window.start, window.end))
    if start and end:
        return _("from %(start)s to %(end)s") % {"start": start, "end": end}
    return _("since %s") % start if start else _("until %s") % end


def frequency(op: str, number: int) -> str:
    """“at least 3 times”"""
    times = ngettext("%(how)s %(number)d time", "%(how)s %(number)d times", number)
    return times % {"how": FREQUENCIES[op], "number": number}


def figure(aggregate: Any) -> str:
    """“sum of amount is more than 100”"""
    return _("%(figure)s of %(property)s %(operator)s %(value)s") % {
        "figure": FIGURES[aggregate.fn],
        "property": aggregate.property,
        "operator": OPERATORS[aggregate.op],
        "value": aggregate.value,
    }


def number(value: float) -> str:
    """A number without needless digits."""
    return f"{value:.10g}"


def reached(fact: Any) -> str:
    """Why somebody can or can't be reached: from a JSON list of agreed, addresses, addresses not suppressed."""
    agreed, addresses, usable = fact
    if not agreed:
        return _("No consent")
    if not addresses:
        return _("No address")
    if not usable:
        return _("The address is suppressed")
    return ngettext("%d address", "%d addresses", usable) % usable


def happened(fact: Any) -> str:
    """How often and when last: from a JSON pair of a number and a moment."""
    number, last = fact or (0, None)
    if not number:
        return _("no such event")
    times = ngettext("%d such event", "%d such events", number) % number
    return _("%(times)s, the last on %(day)s") % {"times": times, "day": str(last)[:16].replace("T", " ")}


def because(cause: str, event: str = "") -> str:
    """Why somebody came in or dropped out."""
    if cause == "event" and event:
        return _("because of “%s”") % event
    found = {
        "event": _("because of something they did"),
        "change": _("because their profile changed"),
        "time": _("because time went by"),
        "rule": _("because the rule was changed"),
        "list": _("by hand, from a file or by the API"),
        "merge": _("because two profiles became one"),
        "check": _("found by the regular full count"),
    }
    return found.get(cause, _("for a reason that was not kept"))
