"""Filters that write amounts, numbers and dates as the reader does (CLDR, by Babel)."""

import re
from contextvars import ContextVar
from datetime import date, datetime, time, tzinfo
from decimal import Decimal, InvalidOperation
from functools import lru_cache
from typing import Any, Literal
from zoneinfo import ZoneInfo

import msgspec
from babel import Locale, UnknownLocaleError
from babel.dates import format_date, format_datetime, format_skeleton, get_day_names, get_month_names
from babel.numbers import format_currency, format_decimal, format_percent
from dateutil import parser
from django.conf import settings
from django.utils.translation import gettext as _
from liquid import is_undefined
from liquid.exceptions import FilterArgumentError

STYLES = ("short", "medium", "long", "full")
LONGEST_FORMAT = 100
_CURRENCY = re.compile(r"[A-Za-z]{3}")
_NAMES = re.compile(r"%[-^]?([AaBbh%])")


class Place(msgspec.Struct, frozen=True):
    """How to write, and in which zone to tell the time."""

    locale: Locale
    zone: tzinfo

    @classmethod
    def of(cls, locale: str, language: Any = None, zone: Any = None) -> "Place":
        """Return the place of a text in `locale` ("": the installation's) for somebody of `language` and `zone`.

        Who reads ar-SA has the text in ar written as in Saudi Arabia; who reads Polish, but gets it in English, has it
        written as in English. What is not known is left out.
        """
        text = (locale or settings.LANGUAGE_CODE).replace("_", "-").lower()
        own = str(language or "").replace("_", "-").lower()
        return cls(_locale(own if own.split("-")[0] == text.split("-")[0] else text), _zone(str(zone or "")))


@lru_cache(maxsize=256)
def _locale(tag: str) -> Locale:
    parts = tag.split("-")
    for count in range(len(parts), 0, -1):
        try:
            return Locale.parse("-".join(parts[:count]), sep="-")
        except (UnknownLocaleError, ValueError):
            continue
    return Locale("en")


@lru_cache(maxsize=1024)
def _zone(name: str) -> tzinfo:
    try:
        return ZoneInfo(name or settings.TIME_ZONE)
    except (KeyError, ValueError, OSError):  # ZoneInfoNotFoundError is a KeyError
        return ZoneInfo(settings.TIME_ZONE)


place: ContextVar[Place] = ContextVar("place")


def money(value: Any, currency: Any = "") -> str:
    """`{{ 1234.5 | money: "EUR" }}`: an amount; without a currency just with two decimals."""
    if is_undefined(value):
        return str(value)
    amount = _number(value)
    code = "" if is_undefined(currency) else str(currency)
    if not code:
        return str(format_decimal(amount, format="#,##0.00", locale=place.get().locale))
    if not _CURRENCY.fullmatch(code):
        raise FilterArgumentError(_("money expects a currency such as EUR"), token=None)
    return str(format_currency(amount, code.upper(), locale=place.get().locale))


def price(value: Any, currency: Any = "") -> str:
    """`{{ "12.50" | price: "EUR" }}`: as `money`; what is no amount, as events of shops may say, stays as it is."""
    try:
        return money(value, currency)
    except FilterArgumentError:
        return str(value) if is_undefined(currency) else f"{value} {currency}".strip()


def number(value: Any) -> str:
    """`{{ 1234.5 | number }}`: grouped, with the language's decimal sign."""
    return (
        str(value) if is_undefined(value) else str(format_decimal(_number(value), locale=place.get().locale))
    )


def percent(value: Any) -> str:
    """`{{ 0.25 | percent }}`: a share of one."""
    return (
        str(value) if is_undefined(value) else str(format_percent(_number(value), locale=place.get().locale))
    )


def day(value: Any, how: Any = "medium") -> str:
    """`{{ event.occurred_at | date: "long" }}`: short, medium, long or full; a pattern of strftime such as "%d %B";
    or a skeleton of CLDR such as "MMMd". Without one, medium."""
    if is_undefined(value):
        return str(value)
    style = "medium" if is_undefined(how) else str(how)
    if len(style) > LONGEST_FORMAT:
        raise FilterArgumentError(_("the format of the date is too long"), token=None)
    moment, here = _moment(value), place.get()
    if moment is None:  # as Liquid does: what is no date is shown as it is
        return str(value)
    if style in STYLES:
        return str(format_date(moment, style, locale=here.locale))
    if "%" in style:
        return _strftime(moment, style, here.locale)
    try:
        return str(format_skeleton(style, moment, locale=here.locale))
    except (KeyError, ValueError, AttributeError) as error:
        raise FilterArgumentError(
            _("date expects short, medium, long, full or %d.%m.%Y"), token=None
        ) from error


def clock(value: Any) -> str:
    """`{{ event.occurred_at | time }}`: the date and the time of day, in the person's zone."""
    if is_undefined(value):
        return str(value)
    moment = _moment(value)
    return str(value) if moment is None else str(format_datetime(moment, "short", locale=place.get().locale))


FILTERS = {"money": money, "price": price, "number": number, "percent": percent, "date": day, "time": clock}


def _number(value: Any) -> Decimal:
    if isinstance(value, bool):
        raise FilterArgumentError(_("this is not a number"), token=None)
    try:
        found = Decimal(str(value).strip())
    except InvalidOperation as error:
        raise FilterArgumentError(_("this is not a number"), token=None) from error
    if not found.is_finite() or abs(found.adjusted()) > 30:
        raise FilterArgumentError(_("the number is too large"), token=None)
    return found


def _moment(value: Any) -> datetime | None:
    """What a template may call a moment, in the person's zone; None if it is none. A day has no zone."""
    zone = place.get().zone
    if isinstance(value, str) and value in ("now", "today"):
        return datetime.now(zone)
    found: Any = value
    try:
        if isinstance(value, int | float) or (isinstance(value, str) and value.isdigit() and len(value) > 8):
            found = datetime.fromtimestamp(int(value), zone)
        elif isinstance(value, str):
            try:
                found = datetime.fromisoformat(value.strip())
            except ValueError:
                found = parser.parse(value)
        elif isinstance(value, date) and not isinstance(value, datetime):
            found = datetime.combine(value, time())
        if not isinstance(found, datetime):
            return None
        if found.tzinfo is None:
            return found
        return found.astimezone(zone)
    except (ValueError, OverflowError, OSError):
        return None


def _strftime(moment: datetime, pattern: str, locale: Locale) -> str:
    """strftime with the language's names of days and months."""

    def named(match: re.Match[str]) -> str:
        kind = match[1]
        if kind == "%":
            return "%%"
        width: Literal["wide", "abbreviated"] = "wide" if kind in "AB" else "abbreviated"
        names = get_day_names(width, locale=locale) if kind in "Aa" else get_month_names(width, locale=locale)
        found = names[moment.weekday()] if kind in "Aa" else names[moment.month]
        return str(found).replace("%", "%%")

    try:
        return moment.strftime(_NAMES.sub(named, pattern))
    except ValueError as error:
        raise FilterArgumentError(str(error), token=None) from error
