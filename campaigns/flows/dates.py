"""People's own dates: what a profile, an attribute, a computed attribute or an event tells, and moments around it.

A day is the person's own day; a moment without an offset is one of UTC, as in segments.
"""

from collections.abc import Collection, Mapping
from datetime import date, datetime, time, timedelta
from typing import Any
from zoneinfo import ZoneInfo

import msgspec
from django.utils.translation import gettext as _

from campaigns.flows import local
from campaigns.segments import fields
from crm import computed
from crm.models import ComputedAttribute, Profile
from crm.rules import moments
from crm.rules.errors import RuleError
from crm.rules.moments import Moment

COMPUTED = "computed."
LONGEST = {"days": 3_650, "hours": 87_600, "minutes": 5_256_000}  # ten years each


class Offset(msgspec.Struct, forbid_unknown_fields=True, omit_defaults=True, frozen=True):
    """So much before (negative) or after: {"days": -3}. Days are those of the calendar, whatever the clocks do."""

    days: int = 0
    hours: int = 0
    minutes: int = 0

    @property
    def unit(self) -> str:
        return next((unit for unit in LONGEST if getattr(self, unit)), "days")

    @property
    def number(self) -> int:
        return getattr(self, self.unit)

    def check(self, path: str) -> None:
        """Raises RuleError when it mixes units or is too long."""
        if sum(1 for unit in LONGEST if getattr(self, unit)) > 1:
            raise RuleError(_("Give one of days, hours or minutes."), path)
        if abs(self.number) > LONGEST[self.unit]:
            raise RuleError(_("Ten years at most."), path)


def clock(text: str, path: str = "at") -> time:
    """A local time of day, "HH:MM". Raises RuleError."""
    try:
        if len(text) == 5:
            return time.fromisoformat(text)
    except ValueError:
        pass
    raise RuleError(_("Give a time of day, such as 09:00."), path)


def check_field(name: str, path: str = "field") -> None:
    """Raises RuleError unless a profile may have a date of this name."""
    if name.startswith(COMPUTED):
        slug = name.removeprefix(COMPUTED)
        if "\x00" in slug or not ComputedAttribute.objects.filter(slug=slug).exists():
            raise RuleError(_("There is no computed attribute “%s”.") % slug[:100], path)
        return
    try:
        found = fields.field(name)
    except RuleError as error:
        raise RuleError(error.message, path) from error
    if found.type not in ("date", "datetime", "json"):
        raise RuleError(_("“%s” is no date.") % name[:100], path)


def of_profiles(
    profile_ids: Collection[int], name: str, now: datetime | None = None
) -> dict[int, Moment | None]:
    """Everybody's date of this name, as `check_field` takes it, in one query; None for who has none.

    Raises:
        RuleError: there is no such field.
    """
    if name.startswith(COMPUTED):
        slug = name.removeprefix(COMPUTED)
        held = computed.values(profile_ids, [slug], now)
        return {profile_id: read(values.get(slug)) for profile_id, values in held.items()}
    field = fields.field(name)
    column = "attributes" if field.path else field.name
    rows = dict(Profile.objects.filter(pk__in=set(profile_ids)).values_list("pk", column))
    return {
        profile_id: read(within(rows.get(profile_id), field.path) if field.path else rows.get(profile_id))
        for profile_id in profile_ids
    }


def of_event(context: Mapping[str, Any], path: str) -> Moment | None:
    """The date in a property of the event that started a run; None if there is none."""
    event = context.get("event")
    facts = event.get("properties") if isinstance(event, Mapping) else None
    return read(within(facts, path.split(".")))


def within(value: Any, path: Collection[str]) -> Any:
    """What lies at a path inside nested objects; None if nothing does."""
    for key in path:
        value = value.get(key) if isinstance(value, Mapping) else None
    return value


def read(value: Any) -> Moment | None:
    """A day or a moment, from what a database or JSON holds; None if it is neither."""
    if isinstance(value, datetime):
        return Moment(value) if value.tzinfo else None
    if isinstance(value, date):
        value = value.isoformat()
    try:
        return moments.parse(value, "")
    except RuleError:
        return None


def around(
    found: Moment, zone: ZoneInfo, offset: Offset, at: time | None = None, year: int | None = None
) -> datetime:
    """The moment so much before or after a date.

    Args:
        at: the local time on the day that this leads to; without it a day counts from its beginning.
        year: the date's anniversary in this year instead of itself.

    Raises:
        OverflowError: the calendar has no such day.
    """
    exact = None if found.day else found.start.astimezone(zone)
    day, clock_then = (exact.date(), exact.time()) if exact else (found.day or found.start.date(), time())
    if year is not None:
        day = local.anniversary(day, year)
    if exact is not None and year is None and not offset.days:
        reached = found.start
    else:
        reached = local.moment(local.day_after(day, offset.days), clock_then, zone)
    reached += timedelta(hours=offset.hours, minutes=offset.minutes)
    return reached if at is None else local.moment(reached.astimezone(zone).date(), at, zone)


def next_around(
    found: Moment, zone: ZoneInfo, offset: Offset, now: datetime, at: time | None = None
) -> datetime:
    """As `around`, for the first anniversary with which it is not before `now`.

    Raises:
        OverflowError: the calendar has no such day.
    """
    about = now - timedelta(days=offset.days, hours=offset.hours, minutes=offset.minutes)
    for year in range(about.year - 1, about.year + 3):
        reached = around(found, zone, offset, at, year)
        if reached >= now:
            return reached
    raise OverflowError("no such day")
