"""Figures of several things together."""

from collections.abc import Iterable
from decimal import Decimal

from analytics.reports.definitions import Figures
from analytics.rollups.columns import COLUMNS


def total(parts: Iterable[Figures]) -> Figures:
    """The figures of all parts together, which have no message in common."""
    summed = Figures(revenue={}, earned={})
    for part in parts:
        for name in (*COLUMNS, "waiting", "people_converted", "converted", "conversions"):
            setattr(summed, name, getattr(summed, name) + getattr(part, name))
        for amounts, more in ((summed.revenue, part.revenue), (summed.earned, part.earned)):
            for currency, amount in more.items():
                amounts[currency] = amounts.get(currency, Decimal(0)) + amount
    return summed
