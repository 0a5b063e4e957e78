"""Periods that reports are about, in the account's time zone."""

from datetime import datetime, timedelta
from zoneinfo import ZoneInfo

from django.conf import settings
from django.utils import timezone


def last_days(days: int, now: datetime | None = None) -> tuple[datetime, datetime]:
    """The last `days` days, today included, as (first midnight, midnight after the last).

    A day has 23 or 25 hours when the clocks change.
    """
    zone = ZoneInfo(settings.TIME_ZONE)
    today = (now or timezone.now()).astimezone(zone).replace(hour=0, minute=0, second=0, microsecond=0)
    # Arithmetic on aware datetimes of one zone is by wall clock, so both ends are midnights.
    return today - timedelta(days=days - 1), today + timedelta(days=1)
