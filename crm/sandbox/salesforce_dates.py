"""SOQL's relative dates, such as LAST_N_DAYS:30, as spans of days in UTC; weeks begin on Sunday."""

from __future__ import annotations

import re
from datetime import date, timedelta

PATTERN = re.compile(
    r"(?P<n_ago>N_(?P<ago_unit>DAYS|WEEKS|MONTHS|QUARTERS|YEARS)_AGO)"
    r"|(?P<span>LAST|NEXT)_N_(?P<span_unit>DAYS|WEEKS|MONTHS|QUARTERS|YEARS)"
    r"|(?P<single>LAST|THIS|NEXT)_(?P<single_unit>WEEK|MONTH|QUARTER|YEAR)"
    r"|(?P<ninety>LAST|NEXT)_90_DAYS"
    r"|(?P<day>YESTERDAY|TODAY|TOMORROW)"
)
DAYS = {"YESTERDAY": -1, "TODAY": 0, "TOMORROW": 1}
STEPS = {"LAST": -1, "THIS": 0, "NEXT": 1}
LARGEST = 100_000


def is_relative(name: str) -> bool:
    """Whether this word begins a relative date."""
    return PATTERN.fullmatch(name.upper()) is not None


def takes_number(name: str) -> bool:
    """Whether the word must be followed by `:n`."""
    return name.upper().startswith(("N_", "LAST_N_", "NEXT_N_"))


def span(name: str, number: int, today: date) -> tuple[date, date]:
    """First day and the day after the last; OverflowError if it leaves the calendar."""
    found = PATTERN.fullmatch(name.upper())
    if found is None or number > LARGEST:
        raise OverflowError(name)
    day = timedelta(days=1)
    if found["day"]:
        first = today + DAYS[found["day"]] * day
        return first, first + day
    if found["ninety"]:
        return (
            (today - 90 * day, today + day) if found["ninety"] == "LAST" else (today + day, today + 91 * day)
        )
    if found["single"]:
        unit, step = found["single_unit"], STEPS[found["single"]]
        return _start(unit, today, step), _start(unit, today, step + 1)
    if found["n_ago"]:
        unit = found["ago_unit"].removesuffix("S")
        return _start(unit, today, -number), _start(unit, today, 1 - number)
    unit = found["span_unit"].removesuffix("S")
    if found["span"] == "NEXT":
        return _start(unit, today, 1), _start(unit, today, number + 1)
    # Past days run up to today and include it; past weeks, months, quarters and years end before the present one.
    return _start(unit, today, -number), _start(unit, today, 1 if unit == "DAY" else 0)


def _start(unit: str, today: date, step: int) -> date:
    """The first day of the unit that lies `step` units from today's."""
    if unit == "DAY":
        return today + timedelta(days=step)
    if unit == "WEEK":
        return today - timedelta(days=(today.weekday() + 1) % 7) + timedelta(weeks=step)
    if unit == "YEAR":
        return _month(today.year + step, 1)
    if unit == "QUARTER":
        return _month(today.year, (today.month - 1) // 3 * 3 + 1 + 3 * step)
    return _month(today.year, today.month + step)


def _month(year: int, month: int) -> date:
    year, month = year + (month - 1) // 12, (month - 1) % 12 + 1
    if not 1 <= year <= 9999:
        raise OverflowError(year)
    return date(year, month, 1)
