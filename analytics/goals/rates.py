"""Rates of exchange by day, as somebody enters or sends them; nothing is fetched from anywhere."""

import csv
import io
import re
from collections.abc import Iterable
from datetime import UTC, date, datetime, time
from decimal import Decimal, InvalidOperation

import msgspec
from django.conf import settings
from django.db import transaction
from django.utils.translation import gettext as _

from analytics.goals import recompute
from analytics.models import ExchangeRate
from crm import log

MOST_LINES = 50_000
_LARGEST = Decimal(10) ** 9
_SMALLEST = Decimal(1).scaleb(-10)


class Rate(msgspec.Struct, frozen=True):
    """What one unit of a currency was worth on a day, in the account's currency."""

    day: date
    currency: str
    rate: Decimal


class BadRates(ValueError):
    """Some lines are no rates; `problems` says which and why."""

    def __init__(self, problems: list[str]):
        super().__init__("\n".join(problems))
        self.problems = problems


def read(text: str) -> list[Rate]:
    """Rates from CSV lines of day, currency and rate, such as `2026-03-02,USD,0.92`; a heading may come first.

    Columns are divided by commas, semicolons or tabs. Of a day that comes twice, the last line counts.

    Raises:
        BadRates: lines that can't be read; then none is.
    """
    lines = text.strip().splitlines()
    if len(lines) > MOST_LINES:
        raise BadRates([_("Give at most %d lines at once.") % MOST_LINES])
    separator = next((mark for mark in "\t;" if lines and mark in lines[0]), ",")
    found: dict[tuple[str, date], Rate] = {}
    problems = []
    for number, cells in enumerate(csv.reader(io.StringIO("\n".join(lines)), delimiter=separator), start=1):
        parts = [cell.strip() for cell in cells]
        if not any(parts) or (number == 1 and parts[0].lower() in ("day", "date")):
            continue
        try:
            rate = _rate(parts)
        except ValueError as error:
            problems.append(_("Line %(number)d: %(why)s") % {"number": number, "why": error})
        else:
            found[(rate.currency, rate.day)] = rate
    if problems:
        raise BadRates(problems)
    return list(found.values())


def _rate(parts: list[str]) -> Rate:
    if len(parts) != 3:
        raise ValueError(_("give day, currency and rate."))
    try:
        day = date.fromisoformat(parts[0])
    except ValueError as error:
        raise ValueError(_("the day is written like 2026-03-02.")) from error
    currency = parts[1].upper()
    if not re.fullmatch("[A-Z]{3}", currency):
        raise ValueError(_("a currency has three letters, like USD."))
    if currency == settings.NUDGE_CURRENCY.upper():
        raise ValueError(_("this is the account's currency."))
    try:
        rate = Decimal(parts[2])
    except InvalidOperation as error:
        raise ValueError(_("the rate is no number.")) from error
    if not rate.is_finite() or not _SMALLEST <= rate < _LARGEST:
        raise ValueError(_("the rate is not above zero, or too large."))
    return Rate(day, currency, rate)


@transaction.atomic
def store(rates: Iterable[Rate]) -> int:
    """Store rates in place of those of the same day; return how many. Amounts of those days and later are made anew."""
    rows = [ExchangeRate(day=rate.day, currency=rate.currency, rate=rate.rate) for rate in rates]
    if not rows:
        return 0
    log.hold(recompute.CURSOR)
    ExchangeRate.objects.bulk_create(
        rows,
        update_conflicts=True,
        unique_fields=["currency", "day"],
        update_fields=["rate"],
        batch_size=2000,
    )
    changed(min(row.day for row in rows))
    return len(rows)


def changed(first: date) -> None:
    """Rates of this day, or later ones, have changed: plan to make amounts anew."""
    recompute.plan(since=datetime.combine(first, time(), UTC))
