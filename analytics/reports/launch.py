"""The first hours after something went out at once."""

from datetime import datetime, time, timedelta
from zoneinfo import ZoneInfo

from django.conf import settings
from django.utils import timezone

from analytics.reports import figures
from analytics.reports.definitions import Figures
from analytics.reports.filters import Filters

HOURS = 48
HOUR = timedelta(hours=1)
Hour = tuple[datetime, Figures]


def hours(start: datetime, filters: Filters, now: datetime | None = None) -> list[Hour]:
    """What happened in each of the first 48 hours, as far as they have come: (the hour's begin, its figures).

    Full hours of the account's clock, from the one that `start` is in, as figures are kept by these; where clocks are
    put back, the hour that comes twice is one. One query for each of the three days at most, whatever was sent.
    """
    zone = ZoneInfo(settings.TIME_ZONE)
    first = _clock(start, zone)
    reached = min(_clock(now or timezone.now(), zone), first + (HOURS - 1) * HOUR)
    found: dict[datetime, Figures] = {}
    day = first.date()
    while day <= reached.date():
        for hour, each in figures.hours(day, filters).items():
            found[datetime.combine(day, time(hour))] = each
        day += timedelta(days=1)
    moments = [first + place * HOUR for place in range(int((reached - first) / HOUR) + 1)]
    return [(moment.replace(tzinfo=zone), found[moment]) for moment in moments]


def until_half(curve: list[Hour], name: str, total: int) -> int | None:
    """After how many hours half of `total` had happened, from 1; None if it took longer than the curve tells."""
    so_far = 0
    for place, (_moment, each) in enumerate(curve, start=1):
        so_far += getattr(each, name)
        if total and 2 * so_far >= total:
            return place
    return None


def _clock(moment: datetime, zone: ZoneInfo) -> datetime:
    """What a clock showed when the hour began, without a zone, so that hours can be counted on it."""
    return moment.astimezone(zone).replace(minute=0, second=0, microsecond=0, tzinfo=None)
