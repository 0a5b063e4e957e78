"""What goals brought, beside the figures that reports show: from figures by day, or from single credits."""

from collections.abc import Sequence
from datetime import date, timedelta
from decimal import Decimal
from typing import Any

from django.conf import settings
from django.db import connection

from analytics.reports.definitions import Figures
from analytics.reports.filters import Filters
from analytics.reports.periods import Period

EARLIER = timedelta(days=1)  # how much sooner than the sending a device's clock may put what follows
# Of which goal, by which model; of messages' own goals the last click counts where nothing else is asked for.
GOAL = (
    "(SELECT id FROM analytics_goal WHERE CASE WHEN %(goal)s::bigint IS NULL THEN own ELSE id = %(goal)s END)"
)
MODEL = f"coalesce(nullif(%(model)s, ''), (SELECT default_model FROM analytics_goal WHERE id = {GOAL}))"
_NOTE = {True: ("converted", "people_converted", "revenue"), False: ("conversions", "", "earned")}


def add(
    found: dict[tuple[bool, Any], Figures],
    keys: Sequence[str],
    where: str,
    kept: str,
    period: Period,
    late: date,
    filters: Filters,
) -> None:
    """Add conversions and amounts to `found`, by its keys: whether on or after `late`, and what `keys` select.

    Args:
        keys: SQL on a series `s` and figures by day `f`.
        where: a condition on the series.
        kept: the trait whose value is `f.value` in the keys; "" where none is.
    """
    traits = filters.traits
    if filters.exact or (traits and kept not in ("", *traits)):
        rows = _of_credits(keys, where, kept, period, late, filters)
    else:
        rows = _of_days(keys, where, kept, period, late, filters)
    for sent, newer, *parts, currency, number, people, value in rows:
        key = (newer, parts[0] if len(parts) == 1 else tuple(parts))
        conversions, of_people, amounts = _NOTE[sent]
        figures = found.setdefault(key, Figures())
        if value:
            getattr(figures, amounts)[currency or settings.NUDGE_CURRENCY.upper()] = value
        if currency:
            continue
        setattr(figures, conversions, whole(number))
        if of_people:
            setattr(figures, of_people, people)


def whole(number: Decimal) -> float:
    """A sum of shares as a figure: a whole number where it is one."""
    return int(number) if number == int(number) else round(float(number), 6)


def _of_days(
    keys: Sequence[str], where: str, kept: str, period: Period, late: date, filters: Filters
) -> list[tuple[Any, ...]]:
    of_series, values = filters.of_series()
    dimension, trait = next(iter(filters.traits.items()), (kept, None))
    values |= {"goal": filters.goal, "model": filters.model, "dimension": dimension, "trait": trait}
    values |= {"late": late, "first": period.first, "last": period.last}
    named = ["f.day >= %(late)s", *(key.replace("f.value", "f.trait") for key in keys), "f.currency"]
    sums = ("conversions", "people", "value")
    with connection.cursor() as cursor:
        cursor.execute(
            f"""
            SELECT {", ".join(named)}, {", ".join(f"sum(f.{name}), sum(f.sent_{name})" for name in sums)}
            FROM analytics_earnedday f JOIN analytics_series s ON s.id = f.series_id
            WHERE f.generation = (SELECT generation FROM analytics_rollupstate WHERE id = 1)
                AND f.goal_id = {GOAL} AND f.model = {MODEL} AND f.dimension = %(dimension)s
                AND (%(trait)s::text IS NULL OR f.trait = %(trait)s) AND f.day BETWEEN %(first)s AND %(last)s
                AND {where} AND {of_series}
            GROUP BY {", ".join(str(place) for place in range(1, len(named) + 1))}
            ORDER BY f.currency
            """,
            values,
        )
        rows = cursor.fetchall()
    return [
        (sent, *parts, *figures)
        for *parts, number, of_sent, people, people_of_sent, value, value_of_sent in rows
        for sent, figures in (
            (True, (of_sent, int(people_of_sent), value_of_sent)),
            (False, (number, int(people), value)),
        )
        if any(figures)
    ]


def _of_credits(
    keys: Sequence[str], where: str, kept: str, period: Period, late: date, filters: Filters
) -> list[tuple[Any, ...]]:
    of_series, values = filters.of_series()
    of_facts, more = filters.of_facts()
    since, until = period.bounds()
    day = "(x.at AT TIME ZONE z.zone)::date"
    currency = "coalesce(nullif(c.account_currency, ''), c.currency)"
    known = {"f.day": day, "f.value": f"g.{kept}"}
    columns = ["x.sent", f"{day} >= %(late)s", *(known.get(key, key) for key in keys)]
    places = ", ".join(str(place) for place in range(1, len(columns) + 1))
    values |= more | {"late": late, "early": since - EARLIER, "since": since, "until": until}
    with connection.cursor() as cursor:
        cursor.execute(
            f"""
            SELECT {", ".join(columns)}, CASE WHEN GROUPING({currency}) = 1 THEN '' ELSE {currency} END, sum(c.share),
                count(DISTINCT c.delivery_id),
                CASE WHEN GROUPING({currency}) = 0 THEN sum(coalesce(c.account_value, c.value)) END
            FROM analytics_credit c
            JOIN analytics_engagement g ON g.delivery_id = c.delivery_id
            JOIN analytics_series s ON s.id = c.series_id
            CROSS JOIN (SELECT zone FROM analytics_rollupstate WHERE id = 1) z
            CROSS JOIN LATERAL (VALUES (true, c.sent_at), (false, c.occurred_at)) AS x(sent, at)
            WHERE c.goal_id = {GOAL} AND c.model = {MODEL} AND c.occurred_at >= %(early)s
                AND x.at >= %(since)s AND x.at < %(until)s AND {where} AND {of_series} AND {of_facts}
            GROUP BY GROUPING SETS (({places}), ({places}, {currency}))
            ORDER BY {len(columns) + 1}
            """,
            values | {"goal": filters.goal, "model": filters.model},
        )
        rows = cursor.fetchall()
    return [row for row in rows if row[-4] == "" or row[-1]]
