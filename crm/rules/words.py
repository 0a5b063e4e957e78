"""Comparisons in plain words, in the active language."""

from typing import Any

from babel import Locale, UnknownLocaleError
from django.utils.functional import Promise
from django.utils.translation import get_language, gettext_lazy, ngettext, pgettext, to_locale
from django.utils.translation import gettext as _

from crm.rules import moments
from crm.rules.operators import Comparison

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
UNITS: dict[str, Promise] = {
    "days": gettext_lazy("days"),
    "hours": gettext_lazy("hours"),
    "minutes": gettext_lazy("minutes"),
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
    return value_name(field_name, item)


def comparison(label: str, check: Comparison, field_name: str = "") -> str:
    """“country is Poland”"""
    words = {"field": label, "operator": OPERATORS[check.op]}
    if check.value is None:
        return _("%(field)s %(operator)s") % words
    if check.op == "eq":
        return _("%(field)s is %(value)s") % {"field": label, "value": value(check.value, field_name)}
    if check.op == "within_last":
        return _("%(field)s was %(when)s") % {"field": label, "when": last(check.value)}
    if check.op == "within_next":
        return _("%(field)s is %(when)s") % {"field": label, "when": coming(check.value)}
    if check.op == "anniversary_within":
        return _("%(field)s comes round %(when)s") % {"field": label, "when": coming(check.value)}
    if check.op == "between":
        low, high = (value(item, field_name) for item in check.value)
        return _("%(field)s is between %(low)s and %(high)s") % {"field": label, "low": low, "high": high}
    if check.op in ("in", "not_in"):
        shown = [value(item, field_name) for item in check.value[:5]]
        more = len(check.value) - len(shown)
        if more:
            shown.append(ngettext("%d more", "%d more", more) % more)
        return _("%(field)s %(operator)s %(value)s") % {
            **words,
            "value": pgettext("between the values of a list", ", ").join(shown),
        }
    return _("%(field)s %(operator)s %(value)s") % {**words, "value": value(check.value, field_name)}


def span(length: moments.Span) -> str:
    """“30 days”"""
    number = length.number
    return {
        "days": ngettext("%d day", "%d days", number),
        "hours": ngettext("%d hour", "%d hours", number),
        "minutes": ngettext("%d minute", "%d minutes", number),
    }[length.unit] % number


def last(length: moments.Span) -> str:
    """“in the last 30 days”, whole: languages bend the words around a number in their own ways."""
    number = length.number
    return {
        "days": ngettext("in the last %(number)d day", "in the last %(number)d days", number),
        "hours": ngettext("in the last %(number)d hour", "in the last %(number)d hours", number),
        "minutes": ngettext("in the last %(number)d minute", "in the last %(number)d minutes", number),
    }[length.unit] % {"number": number}


def coming(length: moments.Span) -> str:
    """“in the next 7 days”"""
    number = length.number
    return {
        "days": ngettext("in the next %(number)d day", "in the next %(number)d days", number),
        "hours": ngettext("in the next %(number)d hour", "in the next %(number)d hours", number),
        "minutes": ngettext("in the next %(number)d minute", "in the next %(number)d minutes", number),
    }[length.unit] % {"number": number}


def during(length: moments.Span) -> str:
    """“within 2 hours”"""
    number = length.number
    return {
        "days": ngettext("within %(number)d day", "within %(number)d days", number),
        "hours": ngettext("within %(number)d hour", "within %(number)d hours", number),
        "minutes": ngettext("within %(number)d minute", "within %(number)d minutes", number),
    }[length.unit] % {"number": number}


def capital(text: str) -> str:
    """The text with its first letter in upper case."""
    return text[:1].upper() + text[1:]


def country_names() -> dict[str, str]:
    """ISO 3166 code -> name in the active language, sorted by name."""
    territories = _locale().territories
    names = {code: name for code, name in territories.items() if len(code) == 2 and code.isalpha()}
    for code in ("EU", "EZ", "UN", "XA", "XB", "ZZ", "QO"):  # groups and placeholders, no countries
        names.pop(code, None)
    return dict(sorted(names.items(), key=lambda item: item[1]))


def language_names() -> dict[str, str]:
    """Language code -> name in the active language."""
    return {code: name for code, name in _locale().languages.items() if len(code) == 2}


def value_name(field_name: str, value: object) -> str:
    """How a value reads to people: countries and languages by name."""
    if field_name == "country":
        return country_names().get(str(value), str(value))
    if field_name == "language":
        return language_names().get(str(value), str(value))
    if isinstance(value, bool):
        return _("yes") if value else _("no")
    return str(value)


def _locale() -> Locale:
    try:
        return Locale.parse(to_locale(get_language() or "en"))
    except (UnknownLocaleError, ValueError):
        return Locale("en")
