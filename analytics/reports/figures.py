"""What came of messages in a period: the numbers behind all reports, from the figures by day.

Those that are about messages sent in the period say what came of them until now; the others say what happened in the
period, whenever the message was sent. Days are those of the account's time zone.
"""

from collections.abc import Sequence
from datetime import date
from typing import Any

import msgspec
from django.db import connection

from analytics.reports import kept, money
from analytics.reports.definitions import DEFINITIONS, RATES, Comparison, Figures
from analytics.reports.filters import EVERYTHING, TRAITS, Filters
from analytics.reports.periods import Period
from analytics.rollups import columns

__all__ = ["DEFINITIONS", "DIMENSIONS", "RATES", "Comparison", "Figures", "Filters"]


class Dimension(msgspec.Struct, frozen=True):
    """By what figures can be told apart: SQL on a series `s` and a day's figures `f`; or a kept dimension's value."""

    keys: tuple[str, ...] = ()
    where: str = "true"
    kept: str = ""


DIMENSIONS = {
    "channel": Dimension(("s.channel",)),
    "message": Dimension(("s.message_id",)),
    "variant": Dimension(("s.message_id", "s.variant")),
    "flow": Dimension(("s.origin_id",), "s.origin_type = 'flow'"),
    "broadcast": Dimension(("s.origin_id",), "s.origin_type = 'broadcast'"),
    "step": Dimension(("s.origin_id", "s.origin_step"), "s.origin_type = 'flow'"),
    "origin": Dimension(("s.origin_type",)),
    "day": Dimension(("f.day",)),
    "carrier": Dimension(("s.channel", "f.value"), kept="provider"),
    **{name: Dimension(("f.value",), kept=name) for name in (*TRAITS, "hour", "slot", "reason")},
}
_ALL = Dimension()
_OF_SERIES = "JOIN analytics_series s ON s.id = f.series_id"
# Slots where nothing but a channel is asked for.
_WEEK = f"""
    (
        SELECT generation, dimension, day, split_part(value, ' ', 1) AS value, split_part(value, ' ', 2) AS channel,
            {", ".join(columns.COLUMNS)} FROM analytics_dayfigures
    ) f CROSS JOIN LATERAL (SELECT f.channel) s
"""


def compare(period: Period, filters: Filters = EVERYTHING) -> Comparison:
    """The figures of a period and of the one before."""
    found = by_before("", period, filters)
    return found.get((), Comparison(Figures(), Figures()))


def total(period: Period, filters: Filters = EVERYTHING) -> Figures:
    """The figures of a period."""
    return by("", period, filters).get((), Figures())


def hours(day: date, filters: Filters = EVERYTHING) -> dict[int, Figures]:
    """The figures of every hour of a day, by the account's clock; without what was earned."""
    found = by("hour", Period(day, day), filters)
    return {hour: found.get(str(hour), Figures()) for hour in range(24)}


def by(dimension: str, period: Period, filters: Filters = EVERYTHING) -> dict[Any, Figures]:
    """The figures by what DIMENSIONS name: {key: figures}, a tuple where the key has several parts.

    The number of queries does not depend on how much there is to count.
    """
    found = _read(_dimension(dimension), period, period, filters)
    return {key: figures for (late, key), figures in found.items() if late}


def by_before(dimension: str, period: Period, filters: Filters = EVERYTHING) -> dict[Any, Comparison]:
    """The same together with the period before."""
    found = _read(_dimension(dimension), period, period.before, filters)
    keys = dict.fromkeys(key for _late, key in found)
    return {
        key: Comparison(found.get((True, key), Figures()), found.get((False, key), Figures())) for key in keys
    }


def _dimension(name: str) -> Dimension:
    return DIMENSIONS[name] if name else _ALL


def _read(
    dimension: Dimension, period: Period, before: Period, filters: Filters
) -> dict[tuple[bool, Any], Figures]:
    """{(whether in `period`, key): figures} of both periods, which follow each other or are one."""
    if not filters.exact:
        return _summed(dimension, period, before, filters)
    question = (dimension, period, before, filters)
    return kept.kept("figures", question, lambda: _summed(*question))


def _summed(
    dimension: Dimension, period: Period, before: Period, filters: Filters
) -> dict[tuple[bool, Any], Figures]:
    first = min(before.first, period.first)
    where, values = filters.of_series()
    values |= {"first": first, "last": period.last, "late": period.first}
    source, only, more = _source(dimension, Period(first, period.last), filters)
    keys = ["f.day >= %(late)s", *dimension.keys]
    with connection.cursor() as cursor:
        cursor.execute(
            f"""
            SELECT {", ".join(keys)}, {", ".join(f"sum(f.{name})::bigint" for name in columns.COLUMNS)}
            FROM {source}
            WHERE f.day BETWEEN %(first)s AND %(last)s AND {only} AND {dimension.where} AND {where}
            GROUP BY {", ".join(str(place) for place in range(1, len(keys) + 1))}
            """,
            values | more,
        )
        rows = cursor.fetchall()
    found = {
        (row[0], key_of(row[1 : len(keys)])): Figures(*row[len(keys) :])
        for row in rows
        if any(row[len(keys) :])
    }
    if not dimension.kept or dimension.kept in TRAITS:
        span = Period(first, period.last)
        money.add(found, dimension.keys, dimension.where, dimension.kept, span, period.first, filters)
    if filters.machines:
        for figures in found.values():
            figures.opened += figures.machine_opened
            figures.clicked += figures.machine_clicked
            figures.opens += figures.machine_opens
            figures.clicks += figures.machine_clicks
    return found


def key_of(parts: Sequence[Any]) -> Any:
    """What a row of figures is found by: the only part of its key by itself, or all of them."""
    return parts[0] if len(parts) == 1 else tuple(parts)


def _source(dimension: Dimension, period: Period, filters: Filters) -> tuple[str, str, dict[str, Any]]:
    """Where to read, the condition on its dimension and value, and their parameters."""
    traits = filters.traits
    by_fact = filters.exact or (bool(traits) and dimension.kept not in ("", *traits))
    if not by_fact:
        name, value = next(iter(traits.items())) if traits else (dimension.kept, None)
        where = "f.generation = (SELECT generation FROM analytics_rollupstate WHERE id = 1) AND f.dimension = %(kept)s"
        if name == "slot" and filters.of_series()[1].keys() <= {"channel"}:
            return _WEEK, where, {"kept": "week"}
        source = f"analytics_dayfigures f {_OF_SERIES}"
        if value is None:
            return source, where, {"kept": name}
        return source, f"{where} AND f.value = %(value)s", {"kept": name, "value": value}
    since, until = period.bounds()
    where, values = filters.of_facts()
    facts = f"""
        (SELECT g.*, 1 AS sign FROM analytics_engagement g WHERE {where} AND (
            g.sent_at >= %(since)s AND g.sent_at < %(until)s
            OR g.sent_at IS NULL AND g.ended_at >= %(since)s AND g.ended_at < %(until)s))
    """
    targets = "(SELECT 0 AS generation, zone, NULL::bigint AS upto FROM analytics_rollupstate WHERE id = 1)"
    made = columns.counted(facts, targets, [dimension.kept] if dimension.kept else ["hour"])
    values |= {"kept": dimension.kept, "since": since, "until": until}
    return f"({made}) f {_OF_SERIES}", "f.dimension = %(kept)s", values
