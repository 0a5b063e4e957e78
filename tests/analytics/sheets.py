"""What every report has to be, for the tests of the reports."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from django.db import connection, transaction
from django.test.utils import CaptureQueriesContext

from analytics.reporting import query
from analytics.reporting.registry import reports
from analytics.reporting.shapes import Sheet, Table


def build(slug: str, now: Any = None, **params: str) -> Sheet:
    """A report as somebody asks for it."""
    report = reports()[slug]
    made = report.build(query.parse(report, params, now))
    check(made)
    return made


def queries(slug: str, **params: str) -> int:
    """How many queries a report takes, without those that read the question."""
    report = reports()[slug]
    asked = query.parse(report, params)
    with CaptureQueriesContext(connection) as captured:
        report.build(asked)
    return len(captured)


def table(sheet: Sheet, slug: str) -> Table:
    """The table of this name."""
    return next(each for each in sheet.tables if each.slug == slug)


def rows(sheet: Sheet, slug: str, *names: str) -> dict[str, Any]:
    """{row's key: its value, or values of `names`}."""
    return {
        row.key: row.values[names[0]] if len(names) == 1 else tuple(row.values[name] for name in names)
        for row in table(sheet, slug).rows
    }


def check(sheet: Sheet) -> None:
    """Columns are defined and filled, rows and tables have keys of their own, charts are whole."""
    assert len({each.slug for each in sheet.tables}) == len(sheet.tables)
    for each in sheet.tables:
        keys = [column.key for column in each.columns]
        assert len(set(keys)) == len(keys), each.slug
        assert all(column.label and column.definition for column in each.columns), each.slug
        assert len({row.key for row in each.rows}) == len(each.rows), each.slug
        for row in [*each.rows, *([each.total] if each.total else [])]:
            assert set(keys) <= set(row.values), (each.slug, row.key)
            assert row.label, each.slug
    if sheet.figures:
        assert {column.key for column in sheet.cards} <= set(sheet.figures.values)
    for chart in sheet.charts:
        for series in chart.series:
            assert len(series.values) == len(chart.labels), chart.slug
            assert series.before is None or len(series.before) == len(chart.labels)
        assert not chart.days or len(chart.days) == len(chart.labels)


@contextmanager
def rolled_back() -> Iterator[None]:
    """A world of its own for each example."""
    with transaction.atomic():
        yield
        transaction.set_rollback(True)
