"""When a saved report is due: by the clock on the wall of the account's time zone, whatever summer time does."""

import calendar
from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta
from zoneinfo import ZoneInfo

from django.conf import settings

from analytics.models import SavedReport

Every = SavedReport.Every
MOVES = timedelta(hours=36)  # more than another time zone can move a time: zones are 26 hours apart at most


def following(saved: SavedReport, after: datetime) -> datetime | None:
    """The first time that it is due later than `after`, in UTC; None where it is not sent.

    A time that a clock skips in spring is taken by the clock before it was put forward, one that comes twice in
    autumn is the first of both: so each due day has exactly one.
    """
    zone = ZoneInfo(settings.TIME_ZONE)
    for day in _days(saved, after.astimezone(zone).date() - timedelta(days=1)):
        at = datetime.combine(day, saved.at, zone).astimezone(UTC)
        if at > after:
            return at
    return None


def planned(saved: SavedReport) -> datetime | None:
    """When it is due next by the time zone that the account has now, in UTC; None where it is not sent.

    `next_at` was worked out by the zone of then. Of another one it is the due time nearest to that.
    """
    at = saved.next_at
    if at is None:
        return None
    found = [at - MOVES]
    while (later := following(saved, found[-1])) and later <= at + MOVES:
        found.append(later)
    return min(found[1:], key=lambda each: abs(each - at), default=following(saved, at))


def _days(saved: SavedReport, since: date) -> Iterator[date]:
    """The days on which it is due, from `since` on."""
    match saved.every:
        case Every.DAY:
            while True:
                yield since
                since += timedelta(days=1)
        case Every.WEEK:
            since += timedelta(days=(saved.weekday - since.weekday()) % 7)
            while True:
                yield since
                since += timedelta(days=7)
        case Every.MONTH:
            year, month = since.year, since.month
            while True:
                day = date(year, month, min(saved.day, calendar.monthrange(year, month)[1]))
                if day >= since:
                    yield day
                year, month = (year, month + 1) if month < 12 else (year + 1, 1)
