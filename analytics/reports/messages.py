"""What came of messages, with what waits and why others were not sent."""

from datetime import datetime
from typing import Any

from django.db import connection

from analytics.reports import figures, periods
from analytics.reports.definitions import DEFINITIONS, Figures
from analytics.reports.filters import Filters
from analytics.reports.periods import Period
from delivery.models import Message

__all__ = [
    "DEFINITIONS",
    "Figures",
    "by_step",
    "counted",
    "report",
]

Moment = datetime | None
_WAITING = """
    (SELECT d.message_id, d.channel, d.variant, d.origin_type, coalesce(d.origin_id, 0) AS origin_id, d.origin_step,
        d.locale, d.reason, d.state, (d.queued_at AT TIME ZONE %(zone)s)::date AS day
     FROM delivery_delivery d
     WHERE d.state IN ('queued', 'deferred', 'sending') AND d.origin_type <> 'test'
        AND d.queued_at >= %(since)s AND d.queued_at < %(until)s)
"""


def report(message: Message, since: Moment = None, until: Moment = None, machines: bool = False) -> Figures:
    """Figures of `message` for the days from `since` to before `until` (default: all), with reasons.

    Args:
        machines: count what machines opened and clicked as opened and clicked.
    """
    filters = Filters(message=message.pk, machines=machines)
    return _told("", since, until, filters).get((), Figures())


def by_step(
    flow_id: int, since: Moment = None, until: Moment = None, machines: bool = False
) -> dict[str, Figures]:
    """The same for what each step of a flow has sent, by the step's key."""
    found = _told("step", since, until, Filters(flow=flow_id, machines=machines))
    return {step: one for (_flow, step), one in found.items()}


def _told(dimension: str, since: Moment, until: Moment, filters: Filters) -> dict[Any, Figures]:
    return counted(dimension, periods.between(since, until), filters)


def counted(dimension: str, period: Period, filters: Filters) -> dict[Any, Figures]:
    """The figures by a dimension (see figures.DIMENSIONS), with what waits, and with reasons where it is about little.

    What waits and the reasons heed none of the filters that are about people and devices.
    """
    found = figures.by(dimension, period, filters)
    _add_waiting(found, dimension, period, filters)
    if dimension in ("", "message", "step"):
        _add_reasons(found, dimension, period, filters)
    return found


def _keys(dimension: str) -> tuple[list[str], str]:
    made = figures.DIMENSIONS[dimension] if dimension else figures.Dimension()
    names = {"f.value": "s.locale", "f.day": "s.day"}
    return [names.get(key, key) for key in made.keys], made.where


def _add_waiting(found: dict[Any, Figures], dimension: str, period: Period, filters: Filters) -> None:
    """From the outbox as it is now: what waits is in no figures yet."""
    keys, where = _keys(dimension)
    of_series, values = filters.of_series()
    since, until = period.bounds()
    zone = since.tzinfo
    for *key, state, reason, number in _rows(
        f"""
        SELECT {", ".join([*keys, "s.state", "CASE WHEN s.state = 'deferred' THEN s.reason ELSE '' END"])}, count(*)
        FROM {_WAITING} s WHERE {where} AND {of_series}
        GROUP BY {", ".join(str(place) for place in range(1, len(keys) + 3))} ORDER BY count(*) DESC
        """,
        values | {"since": since, "until": until, "zone": str(zone)},
    ):
        one = found.setdefault(figures.key_of(key), Figures())
        one.waiting += number
        if state == "deferred":
            one.reasons.setdefault(state, {})[reason] = number


def _add_reasons(found: dict[Any, Figures], dimension: str, period: Period, filters: Filters) -> None:
    keys, where = _keys(dimension)
    of_series, values = filters.of_series()
    for *key, reason, suppressed, failed in _rows(
        f"""
        SELECT {", ".join([*keys, "f.value"])}, sum(f.suppressed)::bigint, sum(f.failed)::bigint
        FROM analytics_dayfigures f JOIN analytics_series s ON s.id = f.series_id
        WHERE f.generation = (SELECT generation FROM analytics_rollupstate WHERE id = 1) AND f.dimension = 'reason'
            AND f.day BETWEEN %(first)s AND %(last)s AND {where} AND {of_series}
        GROUP BY {", ".join(str(place) for place in range(1, len(keys) + 2))}
        ORDER BY sum(f.suppressed + f.failed) DESC
        """,
        values | {"first": period.first, "last": period.last},
    ):
        one = found.setdefault(figures.key_of(key), Figures())
        for state, number in (("suppressed", suppressed), ("failed", failed)):
            if number:
                one.reasons.setdefault(state, {})[reason] = number


def _rows(statement: str, values: dict[str, Any]) -> list[tuple[Any, ...]]:
    with connection.cursor() as cursor:
        cursor.execute(statement, values)
        return cursor.fetchall()
