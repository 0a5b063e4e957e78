"""What goals brought, beside the figures that reports show."""

from collections.abc import Sequence
from datetime import date, timedelta
from typing import Any

from django.db import connection

from analytics.reports.definitions import Figures
from analytics.reports.filters import Filters
from analytics.reports.periods import Period

EARLIER = timedelta(days=1)  # how much sooner than the sending a device's clock may put what follows
_DAY = "(x.at AT TIME ZONE z.zone)::date"


def add(
    found: dict[tuple[bool, Any], Figures],
    keys: Sequence[str],
    where: str,
    period: Period,
    late: date,
    filters: Filters,
) -> None:
    """Add conversions and amounts to `found`, by its keys: whether on or after `late`, and what `keys` select."""
    of_series, values = filters.of_series()
    of_facts, more = filters.of_facts()
    since, until = period.bounds()
    columns = [f"{_DAY} >= %(late)s", *(_DAY if key == "f.day" else key for key in keys)]
    places = ", ".join(str(place) for place in range(1, len(columns) + 2))
    with connection.cursor() as cursor:
        cursor.execute(
            f"""
            SELECT x.sent, {", ".join(columns)}, c.currency, GROUPING(c.currency) = 1, count(*),
                count(DISTINCT c.delivery_id), coalesce(sum(c.value), 0)
            FROM analytics_conversion c
            JOIN analytics_engagement g ON g.delivery_id = c.delivery_id
            JOIN analytics_series s ON s.id = g.series_id
            CROSS JOIN (SELECT zone FROM analytics_rollupstate WHERE id = 1) z
            CROSS JOIN LATERAL (VALUES (true, g.sent_at), (false, c.occurred_at)) AS x(sent, at)
            WHERE c.occurred_at >= %(early)s AND x.at >= %(since)s AND x.at < %(until)s
                AND {where} AND {of_series} AND {of_facts}
            GROUP BY GROUPING SETS (({places}), ({places}, c.currency))
            ORDER BY c.currency
            """,
            values | more | {"late": late, "early": since - EARLIER, "since": since, "until": until},
        )
        rows = cursor.fetchall()
    for sent, newer, *parts, currency, everything, number, people, value in rows:
        key = (newer, parts[0] if len(parts) == 1 else tuple(parts))
        figures = found.setdefault(key, Figures())
        _note(figures, sent, None if everything else currency, number, people, value)


def _note(figures: Figures, sent: bool, currency: str | None, number: int, people: int, value: Any) -> None:
    if currency is not None:
        if value:
            (figures.revenue if sent else figures.earned)[currency] = value
    elif sent:
        figures.converted, figures.people_converted = number, people
    else:
        figures.conversions = number
