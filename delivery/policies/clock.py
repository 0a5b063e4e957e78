"""Hours of the day and periods of the calendar, by the clocks on people's walls.

Everything follows what the clock shows: hours that it jumps over do not come, and those that come twice come twice
(PEP 495 tells the two apart by `fold`). Moments are aware datetimes; those returned are in UTC.
"""

from collections.abc import Sequence
from datetime import UTC, date, datetime, time, timedelta
from functools import lru_cache
from zoneinfo import ZoneInfo

import msgspec

_DAY = timedelta(days=1)
_STEP = timedelta(hours=6)  # between two looks at a zone's distance to UTC; no zone changes it twice in less
_SECOND = timedelta(seconds=1)
# A weekday comes again within a week, and a zone may have left out a day (Pacific/Apia, 30 December 2011).
_NEAR, _FAR = 2, 16
ROLLING = {
    "hour": timedelta(hours=1),
    "day": timedelta(days=1),
    "week": timedelta(days=7),
    "month": timedelta(days=30),
}


class Span(msgspec.Struct, frozen=True):
    """Hours of some weekdays (1 is Monday, as in ISO 8601), the end not included.

    An end that is not after the start is of the next day; the hours belong to the weekday they begin on.
    """

    start: time
    end: time
    days: tuple[int, ...] = (1, 2, 3, 4, 5, 6, 7)

    def holds(self, shown: datetime) -> bool:
        """Whether a clock that shows this is within the hours."""
        clock, weekday = shown.time(), shown.isoweekday()
        if self.start < self.end:
            return self.start <= clock < self.end and weekday in self.days
        yesterday = (weekday - 2) % 7 + 1
        return (clock >= self.start and weekday in self.days) or (clock < self.end and yesterday in self.days)


def allowed(quiet: Sequence[Span], windows: Sequence[Span], zone: ZoneInfo, at: datetime) -> bool:
    """Whether something may go out: in no quiet hours, and in one of the windows if there are any."""
    shown = at.astimezone(zone)
    if any(span.holds(shown) for span in quiet):
        return False
    return not windows or any(span.holds(shown) for span in windows)


def next_allowed(
    quiet: Sequence[Span], windows: Sequence[Span], zone: ZoneInfo, now: datetime
) -> datetime | None:
    """The first moment after `now` at which something may go out; None if none comes.

    What is allowed changes only where some hours begin or end, or where the clock jumps.
    """
    marks = {mark for span in (*quiet, *windows) for mark in (span.start, span.end)}
    today = now.astimezone(zone).date()
    for ahead in (_NEAR, _FAR):
        days = [today + timedelta(days=each) for each in range(-1, ahead + 1)]
        changes = set(jumps(zone, days[0], days[-1]))
        for day in days:
            for mark in marks:
                changes.update(moments(day, mark, zone))
        for moment in sorted(changes):
            if moment > now and allowed(quiet, windows, zone, moment):
                return moment
    return None


@lru_cache(maxsize=8192)
def moments(day: date, at: time, zone: ZoneInfo) -> tuple[datetime, ...]:
    """When the clocks show this time on this day: once, or never, or twice."""
    naive = datetime.combine(day, at)
    found = {naive.replace(tzinfo=zone, fold=fold).astimezone(UTC) for fold in (0, 1)}
    return tuple(
        sorted(each for each in found if each.astimezone(zone).replace(tzinfo=None, fold=0) == naive)
    )


@lru_cache(maxsize=2048)
def jumps(zone: ZoneInfo, first: date, last: date) -> tuple[datetime, ...]:
    """When a zone changes its distance to UTC, from a day before `first` to a day after `last`."""
    at, end = (datetime.combine(day, time(), UTC) for day in (first - _DAY, last + 2 * _DAY))
    found = []
    while at < end:
        if _offset(at, zone) != _offset(at + _STEP, zone):
            found.append(_jump(at, at + _STEP, zone))
        at += _STEP
    return tuple(found)


def _jump(low: datetime, high: datetime, zone: ZoneInfo) -> datetime:
    """The first moment, to the second, between two with different distances that has the second one's."""
    before = _offset(low, zone)
    while high - low > _SECOND:
        middle = low + (high - low) // 2 // _SECOND * _SECOND
        low, high = (middle, high) if _offset(middle, zone) == before else (low, middle)
    return high


def _offset(at: datetime, zone: ZoneInfo) -> timedelta:
    return at.astimezone(zone).utcoffset() or timedelta()


@lru_cache(maxsize=8192)
def day_start(day: date, zone: ZoneInfo) -> datetime:
    """When a day begins: at midnight, or with the jump where the clocks jump over it."""
    midnight = moments(day, time(), zone)
    if midnight:
        return midnight[0]
    return next(jump for jump in jumps(zone, day, day) if jump.astimezone(zone).date() >= day)


def period(name: str, zone: ZoneInfo, at: datetime) -> tuple[datetime, datetime]:
    """When the calendar's hour, day, week (from Monday) or month that `at` falls into begins, and the next one."""
    shown = at.astimezone(zone)
    day = shown.date()
    if name == "hour":
        since = timedelta(minutes=shown.minute, seconds=shown.second, microseconds=shown.microsecond)
        start = at.astimezone(UTC) - since
        return start, start + timedelta(hours=1)
    if name == "day":
        return day_start(day, zone), day_start(day + _DAY, zone)
    if name == "week":
        monday = day - timedelta(days=day.weekday())
        return day_start(monday, zone), day_start(monday + timedelta(days=7), zone)
    first = day.replace(day=1)
    return day_start(first, zone), day_start((first + timedelta(days=31)).replace(day=1), zone)


def is_of_age(birthday: date, years: int, today: date) -> bool:
    """Whether somebody has lived so many years; who was born on 29 February turns on 1 March of other years."""
    return (today.year - birthday.year) - ((today.month, today.day) < (birthday.month, birthday.day)) >= years
