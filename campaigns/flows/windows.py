"""When a flow's messages may go out, by the clock on each person's wall."""

from datetime import date, datetime, time, timedelta
from zoneinfo import ZoneInfo

from campaigns.flows import local
from campaigns.flows.definition import Window

# A zone may have left out a whole day (Pacific/Apia, 30 December 2011), so more days than a week are looked at.
_DAYS_AHEAD = 16


def opening(window: Window, zone: ZoneInfo, now: datetime) -> datetime | None:
    """When the window opens next; None while it is open.

    A window whose end is not after its start reaches into the next day and belongs to the weekday it starts on.
    Where the clocks are put forward over its start or end, the moment after the gap counts; where an hour comes
    twice, its first coming does.

    Raises:
        ValueError: a time that no clock shows, or no weekday.
    """
    start, end = time.fromisoformat(window.start), time.fromisoformat(window.end)
    today = now.astimezone(zone).date()
    for ahead in range(-1, _DAYS_AHEAD):
        day = today + timedelta(days=ahead)
        if day.isoweekday() not in window.days:
            continue
        opens, closes = _span(day, start, end, zone)
        if now < opens < closes:
            return opens
        if opens <= now < closes:
            return None
    raise ValueError(f"{window.days} are no weekdays")


def _span(day: date, start: time, end: time, zone: ZoneInfo) -> tuple[datetime, datetime]:
    last = day if start < end else day + timedelta(days=1)
    return local.moment(day, start, zone), local.moment(last, end, zone)
