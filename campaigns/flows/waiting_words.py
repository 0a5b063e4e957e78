"""Waits and what became of them, in words."""

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from django.utils import formats, timezone
from django.utils.dates import WEEKDAYS
from django.utils.translation import gettext as _
from django.utils.translation import ngettext

from campaigns.flows import dates
from campaigns.segments import fields
from crm.models import ComputedAttribute
from crm.rules.errors import RuleError


def length(amount: Any, unit: Any) -> str:
    """“2 hours”."""
    number = amount if isinstance(amount, int) else 0
    if unit == "minutes":
        return ngettext("%d minute", "%d minutes", number) % number
    if unit == "days":
        return ngettext("%d day", "%d days", number) % number
    return ngettext("%d hour", "%d hours", number) % number


def span(given: Any) -> str:
    """“4 hours” of {"hours": 4}; empty for nothing."""
    if not isinstance(given, Mapping):
        return ""
    return next((length(given[unit], unit) for unit in dates.LONGEST if given.get(unit)), "")


def wait(config: Mapping[str, Any]) -> str:
    """A wait's settings, finished or not, in a few words."""
    at, until = config.get("at"), config.get("until")
    if until == "time":
        when = [*_days(config.get("days")), *([str(at)] if at else [])]
        return _("Until %s") % ", ".join(when) if when else _("No time chosen")
    if until == "best_hour":
        return _("Until the person's best hour")
    if until == "date":
        day = _date(config)
        words = [day] if day else []
        return _("Until %s") % ", ".join([*words, *([str(at)] if at else [])]) if day else _("No date chosen")
    return length(config.get("amount", 0), config.get("unit", "hours"))


def _days(days: Any) -> list[str]:
    known = [day for day in days if isinstance(day, int) and 1 <= day <= 7] if isinstance(days, list) else []
    if sorted(known) == [1, 2, 3, 4, 5]:
        return [_("a working day")]
    return [str(WEEKDAYS[day - 1]) for day in sorted(known)]


def _date(config: Mapping[str, Any]) -> str:
    if name := config.get("field"):
        day = field_label(str(name))
    elif name := config.get("property"):
        day = _("“%s” of the event") % name
    else:
        return ""
    if config.get("yearly"):
        day = _("the next anniversary of %s") % day
    offset = config.get("offset")
    if not isinstance(offset, Mapping):
        return day
    unit, number = next(
        ((unit, offset[unit]) for unit in dates.LONGEST if isinstance(offset.get(unit), int)), ("", 0)
    )
    if not number:
        return day
    words = _("%(length)s before %(date)s") if number < 0 else _("%(length)s after %(date)s")
    return words % {"length": length(abs(number), unit), "date": day}


def field_label(name: str) -> str:
    """What a field of the profile is called, whether it is there or not."""
    if name.startswith(dates.COMPUTED):
        slug = name.removeprefix(dates.COMPUTED)
        return ComputedAttribute.objects.filter(slug=slug).values_list("name", flat=True).first() or slug
    try:
        return fields.field(name).label
    except RuleError:
        return name


def waited(outcome: str, facts: Mapping[str, Any]) -> str:
    """A wait's decision about one person in a sentence."""
    zone = facts.get("zone", "")
    if facts.get("reason") == "no date":
        return _("They have no such date.")
    if facts.get("reason") == "date past":
        return _("The date was past when they arrived.")
    if outcome == "go_on":
        return _("They waited until %s.") % moment(facts.get("waited_until"))
    when = moment(facts.get("until"))
    if (hour := facts.get("best_hour")) is not None:
        why = (
            ngettext("by %d thing that they did", "by %d things that they did", facts.get("events", 0))
            % facts.get("events", 0)
            if facts.get("source") == "person"
            else _("as for most people")
        )
        return _("They wait until %(when)s: their best hour is %(hour)02d:00 (%(why)s; %(zone)s).") % {
            "when": when,
            "hour": hour,
            "why": why,
            "zone": zone,
        }
    if zone:
        return _("They wait until %(when)s (their zone is %(zone)s).") % {"when": when, "zone": zone}
    return _("They wait until %s.") % when


def moment(at: Any) -> str:
    """A day and a time in the present time zone, also from ISO text; "?" for what is none."""
    if isinstance(at, str):
        try:
            at = datetime.fromisoformat(at)
        except ValueError:
            return "?"
    if not isinstance(at, datetime):
        return "?"
    return formats.date_format(timezone.localtime(at), "j E Y, H:i")
