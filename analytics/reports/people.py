"""Whom a number is about: page by page, the latest deliveries first, or all of them as a list of their own."""

from collections.abc import Iterator, Mapping
from datetime import datetime
from typing import Any

import msgspec
from django.db import connection

from analytics.reports import money
from analytics.reports.filters import EVERYTHING, Filters
from analytics.reports.periods import Period
from analytics.rollups import columns
from campaigns.models import ListJob, Segment
from campaigns.segments import list_work

CONVERTED = "people_converted"
COLUMNS = (*columns.COLUMNS, CONVERTED)
OF_SENT = (*columns.COHORT, CONVERTED)  # counted, and listed, by when the message was sent
SOURCE = "report"  # how the work on lists names it
_CREDITED = f"""EXISTS (SELECT FROM analytics_credit c
    WHERE c.delivery_id = g.delivery_id AND c.goal_id = {money.GOAL} AND c.model = {money.MODEL})"""


class Person(msgspec.Struct, frozen=True):
    """One delivery behind a number, whose it is, and when what was counted happened."""

    delivery_id: int
    profile_id: int
    at: datetime


class Page(msgspec.Struct, frozen=True):
    """Some people; `next` is what to ask for the following ones with, None at the end."""

    rows: list[Person]
    next: int | None


def page(
    column: str,
    period: Period,
    filters: Filters = EVERYTHING,
    before: int | None = None,
    limit: int = 50,
) -> Page:
    """The deliveries that a column of the figures counts, whose person is still there; see COLUMNS.

    Args:
        before: the `next` of the page before.

    Raises:
        KeyError: there is no such column.
    """
    facts, of_series, values = _asked(column, period, filters)
    values |= {"before": before, "limit": limit + 1}
    facts += " AND (%(before)s::bigint IS NULL OR g.delivery_id < %(before)s)"
    latest = "ORDER BY delivery_id DESC LIMIT %(limit)s"
    if filters.about_one:
        # The latest of each series: what was sent long ago is not looked for among all that followed.
        chosen = f"""
            SELECT p.* FROM analytics_series s
            CROSS JOIN LATERAL ({facts} AND g.series_id = s.id {latest}) p WHERE {of_series}
        """
    else:
        chosen = f"{facts} AND {_in_series(of_series)}"
    with connection.cursor() as cursor:
        cursor.execute(f"{chosen} {latest}", values)
        rows = [Person(*row) for row in cursor.fetchall()]
    return Page(rows[:limit], rows[limit - 1].delivery_id if len(rows) > limit else None)


def everybody(column: str, period: Period, filters: Filters = EVERYTHING) -> Iterator[int]:
    """The numbers of all people whom `page` would come to, each once, in ascending order.

    Raises:
        KeyError: there is no such column.
    """
    facts, of_series, values = _asked(column, period, filters)
    with connection.chunked_cursor() as cursor:
        cursor.execute(
            f"SELECT DISTINCT profile_id FROM ({facts} AND {_in_series(of_series)}) p ORDER BY profile_id",
            values,
        )
        while rows := cursor.fetchmany(10_000):
            yield from (row[0] for row in rows)


def save(
    column: str, period: Period, filters: Filters, called: str, name: str, slug: str = "", by: str = ""
) -> tuple[Segment, ListJob]:
    """Make a list of everybody behind a number, in the background; who comes to the number later is not on it.

    Args:
        called: what the number is, in words.
        by: who makes it, such as a user's name.

    Raises:
        lists.ListError: it can't be called so.
        KeyError: there is no such column.
    """
    _counted(column, filters.machines)
    question = {
        "kind": SOURCE,
        "column": column,
        "period": msgspec.to_builtins(period),
        "filters": msgspec.to_builtins(filters),
    }
    return list_work.snapshot_of(question, called, name, slug, by)


def saved(question: Mapping[str, Any]) -> Iterator[int]:
    """The people of a list that `save` began, for the work on lists."""
    period = msgspec.convert(question["period"], Period)
    return everybody(question["column"], period, msgspec.convert(question["filters"], Filters))


def _asked(column: str, period: Period, filters: Filters) -> tuple[str, str, dict[str, Any]]:
    """What a column counts, whatever its series; the condition on a series `s`; and the parameters of both."""
    at, condition = _counted(column, filters.machines)
    of_series, values = filters.of_series()
    of_facts, more = filters.of_facts()
    since, until = period.bounds()
    facts = f"""
        SELECT g.delivery_id, d.profile_id, {at} AS at
        FROM (SELECT f.*, {columns.ARRIVED} AS arrived_at FROM analytics_engagement f) g
        JOIN delivery_delivery d ON d.id = g.delivery_id
        WHERE {at} >= %(since)s AND {at} < %(until)s AND {condition} AND {of_facts}
    """
    values |= more | {"since": since, "until": until, "goal": filters.goal, "model": filters.model}
    return facts, of_series, values


def _in_series(of_series: str) -> str:
    return f"EXISTS (SELECT FROM analytics_series s WHERE s.id = g.series_id AND {of_series})"


def _counted(column: str, machines: bool) -> tuple[str, str]:
    """When what a column counts happened, and the condition for counting it, as SQL on a fact `g`."""
    if column == CONVERTED:
        return "g.sent_at", f"g.sent_at IS NOT NULL AND {_CREDITED}"
    if column in columns.NOT_SENT:
        return "g.ended_at", f"g.sent_at IS NULL AND g.ended = '{column}'"
    if column in columns.COHORT:
        condition = columns.COHORT[column]
        if machines and column in ("opened", "clicked"):
            condition = f"({condition} OR {columns.COHORT[f'machine_{column}']})"
        return "g.sent_at", condition.replace("f.", "g.")
    at = columns.ACTIVITY[column]
    if machines and column in ("opens", "clicks"):
        at = f"coalesce({at}, {columns.ACTIVITY[f'machine_{column}']})"
    return at.replace("f.", "g."), "g.sent_at IS NOT NULL"
