"""Today beside the same day of last week, as that stood at this time of day."""

from collections.abc import Iterable
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from typing import Any
from zoneinfo import ZoneInfo

import msgspec
from django.conf import settings
from django.db import connection

from analytics.reports import figures, money
from analytics.reports.definitions import Figures
from analytics.reports.filters import EVERYTHING, Filters
from analytics.reports.periods import Period
from analytics.rollups import columns

WEEK = 7  # days; sending and buying have a weekly rhythm
_ARRIVED = columns.ARRIVED.replace("f.", "g.")
_TOLD = {
    "delivered": _ARRIVED,
    **{name: f"g.{name}_at" for name in ("opened", "clicked", "dismissed", "read", "bounced", "complained")},
    "unsubscribed": "g.unsubscribed_at",
    "machine_opened": "CASE WHEN g.opened_at IS NULL OR g.opened_at > %(until)s THEN g.machine_opened_at END",
    "machine_clicked": "CASE WHEN g.clicked_at IS NULL OR g.clicked_at > %(until)s THEN g.machine_clicked_at END",
}
# Of what was sent from midnight until then, what had come of it by then: it has had as much time as today's.
_STOOD = f"""
    SELECT count(*), {", ".join(f"count(*) FILTER (WHERE {at} <= %(until)s)" for at in _TOLD.values())}
    FROM analytics_engagement g JOIN analytics_series s ON s.id = g.series_id
    WHERE g.sent_at >= %(since)s AND g.sent_at <= %(until)s AND {{of_series}} AND {{of_facts}}
"""
_MONEY = f"""
    SELECT date_part('hour', c.occurred_at AT TIME ZONE %(zone)s)::int,
        coalesce(nullif(c.account_currency, ''), c.currency), sum(c.share),
        coalesce(sum(coalesce(c.account_value, c.value)), 0),
        coalesce(sum(c.share) FILTER (WHERE g.sent_at >= %(since)s), 0),
        coalesce(sum(coalesce(c.account_value, c.value)) FILTER (WHERE g.sent_at >= %(since)s), 0),
        c.occurred_at <= %(until)s, array_agg(DISTINCT c.delivery_id) FILTER (WHERE g.sent_at >= %(since)s)
    FROM analytics_credit c
    JOIN analytics_engagement g ON g.delivery_id = c.delivery_id
    JOIN analytics_series s ON s.id = g.series_id
    WHERE c.goal_id = {money.GOAL} AND c.model = {money.MODEL}
        AND c.occurred_at >= %(since)s AND c.occurred_at < %(end)s AND {{of_series}} AND {{of_facts}}
    GROUP BY 1, 2, 7 ORDER BY 1, 2
"""


class Hours(msgspec.Struct):
    """One day: its sums until some moment, and what happened in each of its hours."""

    total: Figures
    hours: dict[int, Figures]


def today(now: datetime, filters: Filters = EVERYTHING) -> Hours:
    """This day until now. Three queries."""
    day = _day(now)
    found = figures.hours(day, filters)
    total = summed(found.values())
    _add_money(Hours(total, found), day, now, filters)
    return Hours(total, found)


def a_week_before(now: datetime, filters: Filters = EVERYTHING) -> Hours:
    """The same weekday of last week: its hours, all of them, and its sums as they stood at this time. Three queries."""
    day = _day(now) - timedelta(days=WEEK)
    zone = ZoneInfo(settings.TIME_ZONE)
    until = datetime.combine(day, now.astimezone(zone).time(), zone)
    told = Hours(_stood(day, until, filters), figures.hours(day, filters))
    _add_money(told, day, until, filters)
    return told


def summed(found: Iterable[Figures]) -> Figures:
    """The sum of several; reasons are left out."""
    total = Figures()
    for one in found:
        for name in Figures.__struct_fields__:
            value = getattr(one, name)
            if isinstance(value, int | float):
                setattr(total, name, getattr(total, name) + value)
            elif name != "reasons":
                sums = getattr(total, name)
                for currency, amount in value.items():
                    sums[currency] = sums.get(currency, Decimal()) + amount
    return total


def _day(now: datetime) -> date:
    return now.astimezone(ZoneInfo(settings.TIME_ZONE)).date()


def _stood(day: date, until: datetime, filters: Filters) -> Figures:
    of_series, values = filters.of_series()
    of_facts, more = filters.of_facts()
    since = datetime.combine(day, time(), ZoneInfo(settings.TIME_ZONE))
    with connection.cursor() as cursor:
        cursor.execute(
            _STOOD.format(of_series=of_series, of_facts=of_facts),
            values | more | {"since": since, "until": until},
        )
        row = cursor.fetchone()
    total = Figures(sent=row[0], **dict(zip(_TOLD, row[1:], strict=True)))
    if filters.machines:
        total.opened += total.machine_opened
        total.clicked += total.machine_clicked
    return total


def _add_money(told: Hours, day: date, until: datetime, filters: Filters) -> None:
    of_series, values = filters.of_series()
    of_facts, more = filters.of_facts()
    since, end = Period(day, day).bounds()
    values |= more | {"since": since, "until": until, "end": end, "zone": settings.TIME_ZONE}
    values |= {"goal": filters.goal, "model": filters.model}
    people: set[int] = set()
    with connection.cursor() as cursor:
        cursor.execute(_MONEY.format(of_series=of_series, of_facts=of_facts), values)
        rows: list[tuple[Any, ...]] = cursor.fetchall()
    for hour, currency, number, value, sent_number, sent_value, in_time, deliveries in rows:
        _add(told.hours[hour], currency, money.whole(number), value)
        if in_time:
            _add(told.total, currency, money.whole(number), value)
            told.total.converted += money.whole(sent_number)
            people.update(deliveries or ())
            if sent_value:
                told.total.revenue[currency] = told.total.revenue.get(currency, Decimal()) + sent_value
    told.total.people_converted = len(people)


def _add(one: Figures, currency: str, number: float, value: Decimal) -> None:
    one.conversions += number
    if value:
        one.earned[currency] = one.earned.get(currency, Decimal()) + value
