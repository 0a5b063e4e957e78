"""When a broadcast begins, when it comes again, and when each person gets it."""

from collections.abc import Collection, Mapping, Sequence
from datetime import date, datetime, timedelta
from zoneinfo import ZoneInfo

from django.utils.translation import gettext as _

from campaigns.flows import best_hour, local
from campaigns.models import Broadcast
from crm import geography

When, Repeat = Broadcast.When, Broadcast.Repeat

FIRST_ZONE = ZoneInfo("Pacific/Kiritimati")  # UTC+14: nobody's clocks are ahead of these
BEST_WITHIN_HOURS = 24
CAUGHT_UP = timedelta(days=1)  # a time that passed unnoticed longer ago is over


class TimeError(ValueError):
    """The times of a broadcast don't fit together; `field` is what has to be changed."""

    def __init__(self, field: str, message: str):
        super().__init__(message)
        self.field = field


def check(broadcast: Broadcast) -> None:
    """Raises TimeError when something about the time is missing or contradicts the rest."""
    timed = broadcast.when in (When.AT, When.LOCAL) or broadcast.repeat
    if timed and broadcast.time is None:
        raise TimeError("time", _("Say at what time."))
    if (timed or broadcast.time is not None) and broadcast.day is None:
        raise TimeError("day", _("Say on which day."))
    if broadcast.repeat and broadcast.when == When.NOW:
        raise TimeError("when", _("What is repeated goes out at a time, not at once."))
    if broadcast.repeat == Repeat.WEEKLY and not (
        broadcast.weekdays and set(broadcast.weekdays) <= set(range(1, 8))
    ):
        raise TimeError("weekdays", _("Choose at least one day of the week."))
    if broadcast.last_day and broadcast.day and broadcast.last_day < broadcast.day:
        raise TimeError("last_day", _("It ends before it begins."))


def begins(broadcast: Broadcast, now: datetime) -> datetime:
    """When to look who is in the audience and to queue their messages; `now` or later.

    By people's own clocks that is when the first clocks on earth show the time.
    """
    if broadcast.occurrence is not None:
        return max(broadcast.occurrence, now)
    if broadcast.when == When.NOW or broadcast.day is None or broadcast.time is None:
        return now
    return max(local.moment(broadcast.day, broadcast.time, _clock(broadcast)), now)


def following(broadcast: Broadcast, after: datetime) -> datetime | None:
    """The first time after `after` at which a repeating broadcast is due; None when it is over."""
    if broadcast.day is None or broadcast.time is None:
        return None
    zone = _clock(broadcast)
    day = max(broadcast.day, after.astimezone(zone).date() - timedelta(days=1))
    # A month has 31 days at most, and a zone may have left out a day.
    for _ahead in range(40):
        if broadcast.last_day is not None and day > broadcast.last_day:
            return None
        if _falls_on(broadcast, day):
            found = local.moment(day, broadcast.time, zone)
            if found > after:
                return found
        day += timedelta(days=1)
    return None


def latest(broadcast: Broadcast, planned: datetime, now: datetime) -> datetime | None:
    """Of the times from `planned` to `now`, the last that is not over yet: what was missed is not sent many times."""
    found, at = None, planned if planned <= now else None
    if at is not None and now - at > CAUGHT_UP:
        at = following(broadcast, now - CAUGHT_UP)
    while at is not None and at <= now:
        found, at = at, following(broadcast, at)
    return found


def day_of(broadcast: Broadcast, occurrence: datetime) -> date:
    """The day on the wall that a time of a repeating broadcast is on."""
    return occurrence.astimezone(_clock(broadcast)).date()


def due_times(
    broadcast: Broadcast, profile_ids: Collection[int], places: Mapping[int, int], now: datetime
) -> dict[int, datetime]:
    """When each of these people gets it, in a number of queries that does not depend on theirs.

    Whose clock shows a later time already gets it now.

    Args:
        places: how many people come before each, for what is to go out at a limited pace.
    """
    if broadcast.when == When.LOCAL and broadcast.day is not None and broadcast.time is not None:
        zones = local.zones(profile_ids)
        there = {
            zone: max(local.moment(broadcast.day, broadcast.time, zone), now) for zone in set(zones.values())
        }
        return {pk: there[zones[pk]] for pk in profile_ids}
    if broadcast.when == When.BEST:
        zones = local.zones(profile_ids)
        hours = best_hour.best_hours(profile_ids, now, zones)
        return {pk: best_hour.next_at(hours[pk], zones[pk], now, BEST_WITHIN_HOURS) for pk in profile_ids}
    start = max(broadcast.started_at or now, now - timedelta(days=365))
    if broadcast.per_minute:
        return {pk: start + slot(broadcast.per_minute, places[pk]) for pk in profile_ids}
    return dict.fromkeys(profile_ids, now)


def slot(per_minute: int, place: int) -> timedelta:
    """How long after the first message the one with so many before it goes out."""
    return timedelta(microseconds=60_000_000 * place // per_minute)


def spread(broadcast: Broadcast) -> bool:
    """Whether each person's time depends on who they are."""
    return broadcast.when in (When.LOCAL, When.BEST)


def weekday_names(days: Sequence[int]) -> list[str]:
    """What 1 (Monday) to 7 are called."""
    names = [
        _("Monday"), _("Tuesday"), _("Wednesday"), _("Thursday"), _("Friday"), _("Saturday"), _("Sunday"),
    ]  # fmt: skip
    return [names[day - 1] for day in days]


def _clock(broadcast: Broadcast) -> ZoneInfo:
    return FIRST_ZONE if broadcast.when == When.LOCAL else geography.account_zone()


def _falls_on(broadcast: Broadcast, day: date) -> bool:
    if broadcast.repeat == Repeat.WEEKLY:
        return day.isoweekday() in broadcast.weekdays
    if broadcast.repeat == Repeat.MONTHLY and broadcast.day is not None:
        last = (day.replace(day=28) + timedelta(days=4)).replace(day=1) - timedelta(days=1)
        return day.day == min(broadcast.day.day, last.day)
    return True
