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
from analytics.goals.attribution import RATE_DAYS
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


class BadRate(ValueError):
    """One that can't be taken; `field` is the part of it that is wrong, "" where it is not complete."""

    def __init__(self, why: str, field: str = ""):
        super().__init__(why)
        self.field = field


class Stored(msgspec.Struct):
    """How many rates were new, changed, and as they were before."""

    created: int = 0
    updated: int = 0
    unchanged: int = 0


class BadRates(ValueError):
    """Some lines are no rates; `problems` says which and why."""

    def __init__(self, problems: list[str]):
        super().__init__("\n".join(problems))
        self.problems = problems


def worth(event: str) -> str:
    """By what an amount of `event` is multiplied to be in the account's currency, as SQL; null where nobody knows.

    The event says its currency in a property of that name; without one it is the account's, `%(account)s`.
    """
    code = f"{event}.properties ->> 'currency'"
    return f"""
        CASE WHEN {code} ~ '^[A-Za-z][A-Za-z][A-Za-z]$' AND upper({code}) <> %(account)s THEN (
            SELECT r.rate FROM analytics_exchangerate r
            WHERE r.currency = upper({code}) AND r.day <= ({event}.occurred_at AT TIME ZONE 'UTC')::date
                AND r.day > ({event}.occurred_at AT TIME ZONE 'UTC')::date - {RATE_DAYS}
            ORDER BY r.day DESC LIMIT 1
        ) ELSE 1 END
    """


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
            if len(parts) != 3:
                raise BadRate(_("give day, currency and rate."))
            good = rate(*parts)
        except BadRate as error:
            problems.append(_("Line %(number)d: %(why)s") % {"number": number, "why": error})
        else:
            found[(good.currency, good.day)] = good
    if problems:
        raise BadRates(problems)
    return list(found.values())


def rate(day: str, currency: str, number: str) -> Rate:
    """A rate of what somebody wrote.

    Raises:
        BadRate: it is none.
    """
    try:
        when = datetime.strptime(day, "%Y-%m-%d").date()
    except ValueError as error:
        raise BadRate(_("the day is written like 2026-03-02."), "day") from error
    code = currency.upper()
    if not re.fullmatch("[A-Z]{3}", code):
        raise BadRate(_("a currency has three letters, like USD."), "currency")
    if code == settings.NUDGE_CURRENCY.upper():
        raise BadRate(_("this is the account's currency."), "currency")
    try:
        worth = Decimal(number)
    except InvalidOperation as error:
        raise BadRate(_("the rate is no number."), "rate") from error
    if not worth.is_finite() or not _SMALLEST <= worth < _LARGEST:
        raise BadRate(_("the rate is not above zero, or too large."), "rate")
    return Rate(when, code, round(worth, 10))


@transaction.atomic
def store(rates: Iterable[Rate]) -> Stored:
    """Store rates in place of those of the same day; amounts of the days of those that change something, and later,
    are made anew.

    Args:
        rates: at most one of each currency and day.
    """
    given = {(each.currency, each.day): each.rate for each in rates}
    if not given:
        return Stored()
    log.hold(recompute.CURSOR)
    first, last = min(day for _code, day in given), max(day for _code, day in given)
    there = ExchangeRate.objects.filter(currency__in={code for code, _day in given}, day__range=(first, last))
    known = {(code, day): worth for code, day, worth in there.values_list("currency", "day", "rate")}
    new = {key: worth for key, worth in given.items() if known.get(key) != worth}
    if new:
        ExchangeRate.objects.bulk_create(
            (ExchangeRate(day=day, currency=code, rate=worth) for (code, day), worth in new.items()),
            update_conflicts=True,
            unique_fields=["currency", "day"],
            update_fields=["rate"],
            batch_size=2000,
        )
        changed(min(day for _code, day in new))
    updated = sum(key in known for key in new)
    return Stored(len(new) - updated, updated, len(given) - len(new))


def changed(first: date) -> None:
    """Rates of this day, or later ones, have changed: plan to make amounts anew."""
    recompute.plan(since=datetime.combine(first, time(), UTC))
