"""The periods that a page lets its reader choose from."""

from datetime import datetime

import msgspec
from django.http import HttpRequest
from django.utils.translation import gettext as _
from django.utils.translation import ngettext

from analytics.reports.periods import last_days

ALL = "all"


class Choice(msgspec.Struct):
    """One period to choose, as `?period=<key>`."""

    key: str
    label: str
    chosen: bool


class Period(msgspec.Struct):
    """The chosen period. `since` and `until` are None for all time."""

    key: str
    label: str
    since: datetime | None
    until: datetime | None
    choices: list[Choice]


def chosen(request: HttpRequest, everything: bool = True, default: str = "30") -> Period:
    """Read `?period=`: 7, 30 or 90 days, or with `everything` all time; anything else is the default."""
    days = {str(number): number for number in (7, 30, 90)}
    short = {key: ngettext("%d day", "%d days", number) % number for key, number in days.items()}
    labels = {key: ngettext("Last %d day", "Last %d days", number) % number for key, number in days.items()}
    if everything:
        short[ALL] = labels[ALL] = _("All time")
    key = request.GET.get("period", default)
    key = key if key in labels else default
    since, until = last_days(int(key)) if key != ALL else (None, None)
    choices = [Choice(name, label, name == key) for name, label in short.items()]
    return Period(key, labels[key], since, until, choices)
