"""Numbers as people read them, in the language of the page."""

from collections.abc import Mapping
from decimal import Decimal
from functools import cache

from babel import Locale, UnknownLocaleError, numbers
from django.utils.translation import get_language, to_locale


def count(number: float | Decimal) -> str:
    """A number with the separators of the reader's language."""
    return str(_pattern("#,##0.##").apply(number, reader_locale()))


def percent(share: float | None, digits: int = 1) -> str:
    """A share as per cent; a dash where there is none."""
    if share is None:
        return "–"
    pattern = "#,##0." + "#" * digits + "%" if digits else "#,##0%"
    return str(_pattern(pattern).apply(share, reader_locale()))


def money(amount: Decimal | float, currency: str) -> str:
    """An amount with its currency; what is no currency code is written as it came."""
    if len(currency) == 3 and currency.isascii() and currency.isalpha():
        return numbers.format_currency(amount, currency.upper(), locale=reader_locale())
    return f"{numbers.format_decimal(amount, format='#,##0.00', locale=reader_locale())} {currency}".strip()


def amounts(revenue: Mapping[str, Decimal]) -> list[str]:
    """Each currency's sum, the largest first; nothing earned is an empty list."""
    return [money(value, currency) for currency, value in sorted(revenue.items(), key=lambda row: -row[1])]


def reader_locale() -> Locale:
    """How the reader of the page writes; English where that is not known."""
    return _locale_of(get_language() or "en")


@cache
def _locale_of(language: str) -> Locale:
    try:
        return Locale.parse(to_locale(language))
    except (UnknownLocaleError, ValueError):
        return Locale("en")


# Reading a pattern takes as long as writing a number by it.
_pattern = cache(numbers.parse_pattern)
