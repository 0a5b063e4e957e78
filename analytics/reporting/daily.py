"""Charts over days."""

from collections.abc import Iterable, Mapping, Sequence
from datetime import date, timedelta
from typing import Any

from django.utils import formats
from django.utils.translation import gettext as _

from analytics.reporting import columns
from analytics.reporting.query import Query
from analytics.reporting.shapes import Chart, Column, Series
from analytics.reports import figures
from analytics.reports.definitions import Figures
from analytics.reports.periods import Period

MAX_DAYS = 731  # drawn; older days are in the figures


def drawn(period: Period, found: Mapping[date, Any]) -> list[date]:
    """The days of a chart: all of the period, or of a long one those from the first to the last that has anything."""
    first, last = period.first, period.last
    if period.days > MAX_DAYS:
        inside = [day for day in found if first <= day <= last]
        if not inside:
            return []
        last = max(inside)
        first = max(min(inside), last - timedelta(days=MAX_DAYS - 1))
    return Period(first, last).dates()


def chart(
    slug: str,
    title: str,
    days: Sequence[date],
    lines: Sequence[tuple[Column, Mapping[date, Any]]],
    *,
    nothing: Any = 0,
    kind: str = "lines",
    before: timedelta | None = None,
) -> Chart:
    """A chart with a line for each column, of its values by day.

    Args:
        nothing: the value of a day without one.
        before: how much earlier the days are that stand beside these; None for no comparison.
    """
    return Chart(
        slug=slug,
        title=title,
        head=_("Day"),
        labels=[formats.date_format(day, "MONTH_DAY_FORMAT") for day in days],
        days=list(days),
        kind=kind,
        series=[
            Series(
                column=column,
                values=[values.get(day, nothing) for day in days],
                before=None if before is None else [values.get(day - before, nothing) for day in days],
            )
            for column, values in lines
        ],
    )


def drawable(charts: Iterable[Chart]) -> list[Chart]:
    """Those of the charts that have days and lines."""
    return [each for each in charts if each.labels and each.series]


def read(query: Query) -> dict[date, Figures]:
    """Figures of messages by day, for `of_figures`: of the period, and of the one before where it is compared with."""
    before = query.period.before if query.compare else query.period
    return figures.by("day", Period(before.first, query.period.last), query.filters)


def of_figures(
    slug: str,
    title: str,
    query: Query,
    keys: Sequence[str],
    found: Mapping[date, Figures] | None = None,
    kind: str = "lines",
) -> Chart:
    """Figures of messages by day, beside the period before where that is asked for.

    Args:
        keys: all counts, all shares or all amounts.
        found: as of `read`, where several charts are drawn of it.
    """
    found = read(query) if found is None else found
    made = {day: columns.values(one, keys) for day, one in found.items()}
    return chart(
        slug,
        title,
        drawn(query.period, found),
        [(each, {day: values[each.key] for day, values in made.items()}) for each in columns.columns(keys)],
        nothing=columns.values(Figures(), keys)[keys[0]],
        kind=kind,
        before=timedelta(days=query.period.days) if query.compare else None,
    )
