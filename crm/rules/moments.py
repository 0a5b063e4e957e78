"""Days, moments and windows of time in rules. Days are days of UTC."""

import re
from datetime import UTC, date, datetime, timedelta
from typing import NamedTuple

import msgspec
from django.utils.translation import gettext as _

from crm.rules.errors import RuleError

_YEAR = "(?!0000)[0-9]{4}"
_LEAP_YEAR = "(?:[0-9]{2}(?:0[48]|[2468][048]|[13579][26])|(?:[02468][048]|[13579][26])00)"
_DAY_OF_ANY_YEAR = (
    "(?:(?:0[13578]|1[02])-(?:0[1-9]|[12][0-9]|3[01])|(?:0[469]|11)-(?:0[1-9]|[12][0-9]|30)"
    "|02-(?:0[1-9]|1[0-9]|2[0-8]))"
)
_DAY = f"(?:{_YEAR}-{_DAY_OF_ANY_YEAR}|(?!0000){_LEAP_YEAR}-02-29)"
_OFFSET = "(?:Z|[+-](?:0[0-9]|1[0-4]):?[0-5][0-9])"
_CLOCK = f"[T ](?:[01][0-9]|2[0-3]):[0-5][0-9](?::[0-5][0-9](?:[.][0-9]{{1,6}})?)?{_OFFSET}?"

# ISO 8601 days and moments that exist, so that PostgreSQL can cast every match (it has no safe cast before 16).
DAY_PATTERN = f"^{_DAY}$"
MOMENT_PATTERN = f"^{_DAY}(?:{_CLOCK})?$"

LONGEST = {"days": 36_500, "hours": 876_000, "minutes": 52_560_000}  # a hundred years each


class Span(msgspec.Struct, forbid_unknown_fields=True, frozen=True, omit_defaults=True):
    """A length of time in one unit, such as {"days": 30}."""

    days: int | None = None
    hours: int | None = None
    minutes: int | None = None

    @property
    def unit(self) -> str:
        return next((unit for unit in LONGEST if getattr(self, unit) is not None), "days")

    @property
    def number(self) -> int:
        return getattr(self, self.unit) or 0

    @property
    def length(self) -> timedelta:
        return timedelta(**{self.unit: self.number})

    def check(self, path: str, least: int = 1) -> None:
        """Raises RuleError unless exactly one unit is given, from `least` to a hundred years."""
        given = [unit for unit in LONGEST if getattr(self, unit) is not None]
        if len(given) != 1:
            raise RuleError(_("Give one of days, hours or minutes."), path)
        if not least <= self.number <= LONGEST[self.unit]:
            raise RuleError(
                _("Give a whole number from %(least)d to %(most)d.")
                % {"least": least, "most": LONGEST[self.unit]},
                f"{path}.{self.unit}",
            )


class Moment(NamedTuple):
    """A point in time, or a whole day: `start` is its midnight and `end` the next one."""

    start: datetime
    end: datetime | None = None

    @property
    def day(self) -> date | None:
        return self.start.date() if self.end else None


def parse(text: object, path: str, day_only: bool = False) -> Moment:
    """Read `2026-05-01` or `2026-05-01T10:00:00Z` (without an offset: UTC). Raises RuleError."""
    if not isinstance(text, str) or not re.fullmatch(DAY_PATTERN if day_only else MOMENT_PATTERN, text):
        raise RuleError(
            _("Give a day, such as 2026-05-01.")
            if day_only
            else _("Give a day or a moment, such as 2026-05-01 or 2026-05-01T10:00:00Z."),
            path,
        )
    try:
        if len(text) == 10:
            start = datetime.fromisoformat(text).replace(tzinfo=UTC)
            return Moment(start, start + timedelta(days=1))
        moment = datetime.fromisoformat(text)
        return Moment(moment.replace(tzinfo=moment.tzinfo or UTC).astimezone(UTC))
    except OverflowError as error:
        raise RuleError(_("This day is too far away."), path) from error


def anniversaries(now: datetime, days: int) -> list[int]:
    """The days of the year from today to `days` days ahead, as month * 100 + day.

    Who was born on 29 February has an anniversary on 28 February in other years.
    """
    today, found = now.astimezone(UTC).date(), set()
    for offset in range(min(days, 366) + 1):
        day = today + timedelta(days=offset)
        found.add(day.month * 100 + day.day)
        if (day.month, day.day) == (2, 28) and (day + timedelta(days=1)).month == 3:
            found.add(229)
    return sorted(found)
