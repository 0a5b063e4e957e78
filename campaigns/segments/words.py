"""Rules in plain words, in the active language."""

from typing import Any

from django.utils.functional import Promise
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy, ngettext, pgettext_lazy

from campaigns.segments import fields, moments
from campaigns.segments.operators import Comparison

# How an operator reads between a field and its value.
OPERATORS: dict[str, Promise] = {
    "eq": gettext_lazy("is"),
    "ne": gettext_lazy("is not"),
    "in": gettext_lazy("is one of"),
    "not_in": gettext_lazy("is none of"),
    "gt": gettext_lazy("is more than"),
    "gte": gettext_lazy("is at least"),
    "lt": gettext_lazy("is less than"),
    "lte": gettext_lazy("is at most"),
    "between": gettext_lazy("is between"),
    "contains": gettext_lazy("contains"),
    "not_contains": gettext_lazy("does not contain"),
    "starts_with": gettext_lazy("starts with"),
    "is_set": gettext_lazy("is known"),
    "is_not_set": gettext_lazy("is not known"),
    "before": gettext_lazy("is before"),
    "after": gettext_lazy("is after"),
    "within_last": gettext_lazy("was in the last"),
    "within_next": gettext_lazy("is in the next"),
    "anniversary_within": gettext_lazy("comes round in the next"),
}
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
UNITS: dict[str, Promise] = {
    "days": gettext_lazy("days"),
    "hours": gettext_lazy("hours"),
    "minutes": gettext_lazy("minutes"),
}
DID: dict[str, Promise] = {
    "received": pgettext_lazy("a person and a message", "received"),
    "opened": pgettext_lazy("a person and a message", "opened"),
    "clicked": pgettext_lazy("a person and a message", "clicked"),
    "converted": pgettext_lazy("a person and a message", "converted after"),
    "dismissed": pgettext_lazy("a person and a message", "dismissed"),
    "bounced": pgettext_lazy("a person and a message", "could not be reached with"),
}


def value(item: Any, field_name: str = "") -> str:
    """A value as a person would write it."""
    if isinstance(item, moments.Span):
        return span(item)
    if isinstance(item, moments.Moment):
        return (
            item.day.isoformat()
            if item.day
            else item.start.isoformat(" ", "minutes").replace("+00:00", " UTC")
        )
    return fields.value_name(field_name, item)


def comparison(label: str, check: Comparison, field_name: str = "") -> str:
    """“country is Poland”"""
    verb = OPERATORS[check.op]
    if check.value is None:
        return f"{label} {verb}"
    if check.op in ("in", "not_in"):
        shown = [value(item, field_name) for item in check.value[:5]]
        more = len(check.value) - len(shown)
        if more:
            shown.append(ngettext("%d more", "%d more", more) % more)
        return f"{label} {verb} {', '.join(shown)}"
    if check.op == "between":
        low, high = (value(item, field_name) for item in check.value)
        return _("%(field)s is between %(low)s and %(high)s") % {"field": label, "low": low, "high": high}
    return f"{label} {verb} {value(check.value, field_name)}"


def span(length: moments.Span) -> str:
    """“30 days”"""
    number = length.number
    return {
        "days": ngettext("%d day", "%d days", number),
        "hours": ngettext("%d hour", "%d hours", number),
        "minutes": ngettext("%d minute", "%d minutes", number),
    }[length.unit] % number


def within(window: Any) -> str:
    """“in the last 30 days”"""
    if window.last is not None:
        return _("in the last %s") % span(window.last)
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


def happened(fact: Any) -> str:
    """How often and when last: from a JSON pair of a number and a moment."""
    number, last = fact or (0, None)
    if not number:
        return _("no such event")
    times = ngettext("%d such event", "%d such events", number) % number
    return _("%(times)s, the last on %(day)s") % {"times": times, "day": str(last)[:16].replace("T", " ")}


def capital(text: str) -> str:
    """The text with its first letter in upper case."""
    return text[:1].upper() + text[1:]
