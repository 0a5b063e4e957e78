"""Periods that reports are about, in the account's time zone."""

from datetime import date, datetime, time, timedelta
from zoneinfo import ZoneInfo

import msgspec
from django.conf import settings
from django.utils import timezone

FIRST, LAST = date(2000, 1, 1), date(2999, 12, 31)


class Period(msgspec.Struct, frozen=True):
    """Whole days of the account's time zone, both ends included."""

    first: date
    last: date

    @property
    def days(self) -> int:
        return (self.last - self.first).days + 1

    @property
    def before(self) -> "Period":
        """As many days just before."""
        return Period(self.first - timedelta(days=self.days), self.first - timedelta(days=1))

    def dates(self) -> list[date]:
        """Every day, the first one first."""
        return [self.first + timedelta(days=offset) for offset in range(self.days)]

    def bounds(self) -> tuple[datetime, datetime]:
        """The first midnight, and the midnight after the last day. A day may have 23 or 25 hours."""
        zone = ZoneInfo(settings.TIME_ZONE)
        after = self.last + timedelta(days=1)
        return datetime.combine(self.first, time(), zone), datetime.combine(after, time(), zone)


EVER = Period(FIRST, LAST)


def last(days: int, now: datetime | None = None) -> Period:
    """The last `days` days, today included."""
    today = (now or timezone.now()).astimezone(ZoneInfo(settings.TIME_ZONE)).date()
    return Period(today - timedelta(days=days - 1), today)


def between(since: datetime | date | None, until: datetime | date | None) -> Period:
    """The days from `since` to before `until`; a moment stands for the whole day it is in, None for no limit."""
    first, end = FIRST, LAST
    zone = ZoneInfo(settings.TIME_ZONE)
    if isinstance(since, datetime):
        first = since.astimezone(zone).date()
    elif since is not None:
        first = since
    if isinstance(until, datetime):
        end = (until.astimezone(zone) - timedelta(microseconds=1)).date()
    elif until is not None:
        end = until - timedelta(days=1)
    return Period(max(first, FIRST), max(min(end, LAST), max(first, FIRST)))
