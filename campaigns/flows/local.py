"""Clocks on people's walls: which moment a local time is, and in which zone each person lives.

Where the clocks are put forward over a local time, it is the moment after the gap; where they are put back, an hour
comes twice and the first one is meant (PEP 495 calls it fold=0).
"""

from collections.abc import Collection
from datetime import UTC, date, datetime, time, timedelta
from functools import lru_cache
from zoneinfo import ZoneInfo

import msgspec
from django.db import connection

from crm import geography, pg

_ZONE = ("timezone", "latitude", "longitude", "country")
# By where they live, as most share that with many; as JSON, which costs a third of what reading each number does.
_PLACES = f"""
    SELECT {", ".join(_ZONE)}, json_agg(id)::text FROM crm_profile
    WHERE id = ANY(%s::bigint[]) GROUP BY {", ".join(_ZONE)}
"""
_A_DAY = timedelta(days=1)
_LAST_DAY = date.max - timedelta(days=2)  # a day later there may be no moment in UTC any more


def zones(profile_ids: Collection[int]) -> dict[int, ZoneInfo]:
    """Everybody's time zone by `crm.geography.zone_for`, in one query; the account's for whoever is gone."""
    found: dict[int, ZoneInfo] = dict.fromkeys(profile_ids, geography.account_zone())
    if not found:
        return found
    with connection.cursor() as cursor:
        cursor.execute(_PLACES, [pg.number_array(found)])
        for *place, ids in cursor.fetchall():
            there = msgspec.json.decode(ids, type=list[int])
            found |= dict.fromkeys(there, geography.zone_for(dict(zip(_ZONE, place, strict=True))))
    return found


@lru_cache(maxsize=4096)
def moment(day: date, at: time, zone: ZoneInfo) -> datetime:
    """The moment in UTC at which the clocks of a zone show this time on this day."""
    naive = datetime.combine(day, at)
    local = naive.replace(tzinfo=zone)
    found = local.astimezone(UTC)
    if found.astimezone(zone).replace(tzinfo=None) == naive:
        return found
    # In a gap: read by the offsets before and after it, the time lies on either side of the jump.
    before, after = local.replace(fold=1).astimezone(UTC), found
    return _jump(before, after, zone)


def moment_of_day(day: date, zone: ZoneInfo) -> datetime:
    """When a day begins; midnight may be in a gap."""
    return moment(day, time(), zone)


def next_at(now: datetime, at: time | None, zone: ZoneInfo, days: Collection[int] = ()) -> datetime:
    """The first moment from `now` on at which the clocks show `at` on one of these weekdays.

    Args:
        at: None for the whole day: `now` if this is one of the days, else the beginning of the next one.
        days: 1 (Monday) to 7 as in ISO 8601; empty for any.
    """
    today = now.astimezone(zone).date()
    # A zone may have left out a whole day (Pacific/Apia, 30 December 2011), so more days than a week are looked at.
    for ahead in range(16):
        day = today + timedelta(days=ahead)
        if days and day.isoweekday() not in days:
            continue
        if at is None and not ahead:
            return now
        found = moment(day, at or time(), zone)
        if found >= now and found.astimezone(zone).date() == day:
            return found
    raise ValueError(f"{sorted(days)} are no weekdays")


def shifted(at: datetime, days: int, zone: ZoneInfo) -> datetime:
    """The moment so many days later (or earlier) by the calendar of the zone, at the same time of day.

    Raises:
        OverflowError: the calendar ends before.
    """
    local = at.astimezone(zone)
    return moment(day_after(local.date(), days), local.time(), zone)


def day_after(day: date, days: int) -> date:
    """So many days later, or earlier.

    Raises:
        OverflowError: the calendar ends before.
    """
    found = day + timedelta(days=days)
    if not date.min + _A_DAY * 2 <= found <= _LAST_DAY:
        raise OverflowError("no such day")
    return found


def anniversary(day: date, year: int) -> date:
    """The same day of another year; of 29 February the 28th where there is none, as in segments."""
    try:
        return day.replace(year=year)
    except ValueError:
        return day.replace(year=year, day=28)


@lru_cache(maxsize=2048)
def offsets(zone: ZoneInfo, first: date, last: date) -> tuple[tuple[datetime, datetime, timedelta], ...]:
    """The parts of the UTC days from `first` to `last` in which a zone keeps its distance to UTC.

    Each with its start, its end (which is not part of it) and what to add to UTC.
    """
    start, end = (datetime.combine(day, time(), UTC) for day in (first, last + _A_DAY))
    parts: list[tuple[datetime, datetime, timedelta]] = []
    since, at = start, start
    while at < end:
        following = at + _A_DAY
        if _offset(at, zone) != _offset(following, zone):
            jump = _jump(at, following, zone)
            parts.append((since, min(jump, end), _offset(at, zone)))
            since = jump
        at = following
    if since < end:
        parts.append((since, end, _offset(end - timedelta(microseconds=1), zone)))
    return tuple(parts)


def _jump(low: datetime, high: datetime, zone: ZoneInfo) -> datetime:
    """The first moment, to the second, after `low` at which the zone has the offset that it has at `high`."""
    before = _offset(low, zone)
    second = timedelta(seconds=1)
    low = low.replace(microsecond=0)
    while high - low > second:
        middle = low + (high - low) // 2 // second * second
        if _offset(middle, zone) == before:
            low = middle
        else:
            high = middle
    return high.replace(microsecond=0)


def _offset(at: datetime, zone: ZoneInfo) -> timedelta:
    return at.astimezone(zone).utcoffset() or timedelta()
