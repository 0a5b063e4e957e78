"""Sheets as plain tables: one value in each cell, a column of its own for each currency."""

from collections.abc import Iterable, Iterator
from decimal import Decimal
from typing import Any

import msgspec
from django.utils.translation import gettext as _

from analytics.reporting.shapes import Chart, Column, Kind, Row, Sheet, Table

FIGURES = "figures"


class Head(msgspec.Struct, frozen=True):
    """A column of a plain table: what of a report's column it has."""

    column: Column
    currency: str = ""
    before: bool = False

    @property
    def key(self) -> str:
        """Its name for programs, such as revenue_EUR_before."""
        return "_".join(
            part for part in (self.column.key, self.currency, "before" if self.before else "") if part
        )

    @property
    def label(self) -> str:
        """Its name for people."""
        label = str(self.column.label)
        if self.currency:
            label = f"{label} ({self.currency})"
        elif self.column.kind == Kind.SECONDS:
            label = _("%s in seconds") % label
        return _("%s, period before") % label if self.before else label

    def value(self, row: Row) -> Any:
        """The raw value in its cell: None where there is no number."""
        values = row.before if self.before else row.values
        value = None if values is None else values.get(self.column.key)
        if value is None:
            return None
        if self.column.kind == Kind.MONEY:
            return (value or {}).get(self.currency, Decimal()) if self.currency else None
        return str(value) if self.column.kind == Kind.TEXT else value


def tables(sheet: Sheet) -> list[Table]:
    """All that a sheet has as tables: its figures as one of a single row, its charts, and its tables."""
    found = []
    if sheet.figures is not None and sheet.cards:
        found.append(
            Table(
                slug=FIGURES,
                title=_("Figures"),
                head=_("In all"),
                columns=sheet.cards,
                rows=[sheet.figures],
            )
        )
    taken = {table.slug for table in sheet.tables} | {FIGURES}
    for chart in sheet.charts:
        slug = f"{chart.slug}-chart" if chart.slug in taken else chart.slug
        taken.add(slug)
        found.append(_charted(chart, slug))
    return [*found, *sheet.tables]


def heads(table: Table) -> list[Head]:
    """The columns that its values need, besides the rows' labels: those of the period before only if there is one."""
    rows = [*table.rows, *([table.total] if table.total else [])]
    beside = any(row.before is not None for row in rows)
    found = []
    for column in table.columns:
        for currency in _currencies(column, rows):
            found += [Head(column, currency, before) for before in ([False, True] if beside else [False])]
    return found


def lines(table: Table, columns: Iterable[Head], rows: Iterable[Row]) -> Iterator[list[Any]]:
    """The rows as lists of raw values, in the order of `heads`, without their labels."""
    wanted = list(columns)
    for row in rows:
        yield [head.value(row) for head in wanted]


def _currencies(column: Column, rows: Iterable[Row]) -> list[str]:
    if column.kind != Kind.MONEY:
        return [""]
    found: set[str] = set()
    for row in rows:
        for values in (row.values, row.before or {}):
            found |= set(values.get(column.key) or ())
    return sorted(found) or [""]


def _charted(chart: Chart, slug: str) -> Table:
    """A chart's values as rows; of what is compared with, day stands beside day."""
    labels = [day.isoformat() for day in chart.days] or chart.labels
    rows = []
    for place, label in enumerate(labels):
        before = {
            series.column.key: series.before[place]
            for series in chart.series
            if series.before is not None and place < len(series.before)
        }
        rows.append(
            Row(
                key=label,
                label=label,
                values={series.column.key: series.values[place] for series in chart.series},
                before=before or None,
            )
        )
    return Table(
        slug=slug,
        title=str(chart.title),
        head=str(chart.head),
        columns=[series.column for series in chart.series],
        rows=rows,
    )
