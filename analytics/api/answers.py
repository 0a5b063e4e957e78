"""Reports as the API gives them: raw values in JSON, tables page by page or as CSV."""

import base64
import binascii
from collections.abc import Iterator
from datetime import date, datetime
from decimal import Decimal
from typing import Any

import msgspec
from django.utils.translation import gettext as _

from analytics.exports import flat
from analytics.reporting import query as queries
from analytics.reporting.query import Query
from analytics.reporting.shapes import Chart, Column, Kind, Report, Row, Sheet, Table
from crm.api.errors import ApiError
from crm.api.paging import MAX_CURSOR
from crm.table_writing import cell, csv_text

DIGITS = 6  # of shares


class Cursor(msgspec.Struct, frozen=True, array_like=True):
    """Where a page of a table ends: `key` is its last row's."""

    report: str
    table: str
    key: str


def asked(report: Report, query: Query) -> dict[str, Any]:
    """What was asked, with the days that it means now."""
    period = None
    if not report.timeless:
        first, last = query.period.first, query.period.last
        everything = query.preset == "all"
        period = {
            "preset": query.preset,
            "from": None if everything else first,
            "to": None if everything else last,
            "unfinished": None if everything else query.unfinished,
        }
    before = query.period.before if query.compare else None
    return {
        "period": period,
        "before": {"from": before.first, "to": before.last} if before else None,
        "parameters": queries.params(report, query),
    }


def sheet(report: Report, query: Query, found: Sheet, limit: int) -> dict[str, Any]:
    """A whole report; of each table the first page."""
    columns = [series.column for chart in found.charts for series in chart.series]
    columns += [column for table in found.tables for column in table.columns]
    columns += found.cards  # what is called as they are elsewhere has its own words in its column
    return {
        **_head(report, query),
        "cards": [_column(column) for column in found.cards],
        "figures": _figures(found),
        "charts": [_chart(chart) for chart in found.charts],
        "tables": [page(report, table, limit) for table in found.tables],
        "warnings": [str(text) for text in found.warnings],
        "notes": [str(text) for text in found.notes],
        "definitions": {column.key: str(column.definition) for column in columns},
    }


def one_table(report: Report, query: Query, table: Table, limit: int, after: str | None) -> dict[str, Any]:
    """A page of one table alone."""
    return {
        **_head(report, query),
        "cards": [],
        "figures": None,
        "charts": [],
        "tables": [page(report, table, limit, after)],
        "warnings": [],
        "notes": [],
        "definitions": {column.key: str(column.definition) for column in table.columns},
    }


def page(report: Report, table: Table, limit: int, after: str | None = None) -> dict[str, Any]:
    """A page of a table by its rows' keys, in whose order pages neither repeat nor skip rows."""
    rows, following = _paged(report, table, limit, after)
    return {
        "table": table.slug,
        "title": str(table.title),
        "head": str(table.head),
        "layout": table.layout,
        "note": str(table.note),
        "columns": [_column(column) for column in table.columns],
        "rows": [_row(row, table.columns, place) for place, row in rows],
        "total": _row(table.total, table.columns, None) if table.total else None,
        "next_cursor": following,
    }


def csv(
    report: Report, table: Table, limit: int | None = None, after: str | None = None
) -> tuple[Iterator[str], str | None]:
    """A table as CSV in pieces with the next cursor: all of it in the report's order, or a page by keys."""
    heads = flat.heads(table)
    rows, following = list(table.rows), None
    if limit is not None:
        found, following = _paged(report, table, limit, after)
        rows = [row for _place, row in found]

    def lines() -> Iterator[list[Any]]:
        yield ["key", "label", *(cell(head.key) for head in heads)]
        for row, values in zip(rows, flat.lines(table, heads, rows), strict=True):
            yield [cell(row.key), cell(row.label), *map(cell, values)]

    return csv_text(lines()), following


def packed(report: Report, table: str, key: str) -> str:
    """The cursor that goes on after a row."""
    cursor = msgspec.json.encode(Cursor(report.slug, table, key))
    return base64.urlsafe_b64encode(cursor).decode().rstrip("=")


def unpacked(text: str, report: Report) -> Cursor | None:
    """The cursor of a request, if it has one.

    Raises:
        ApiError: 400; it is none of this report.
    """
    if not text:
        return None
    try:
        if len(text) > MAX_CURSOR:
            raise ValueError(text)
        raw = base64.b64decode(text + "=" * (-len(text) % 4), altchars=b"-_", validate=True)
        found = msgspec.json.decode(raw, type=Cursor)
        if found.report != report.slug:
            raise ValueError(found.report)
    except (ValueError, binascii.Error, msgspec.MsgspecError) as error:
        raise ApiError(
            400, "invalid_cursor", _("This is not a cursor of this report."), field="cursor"
        ) from error
    return found


def _head(report: Report, query: Query) -> dict[str, Any]:
    return {"report": report.slug, "title": str(report.title), **asked(report, query)}


def _paged(
    report: Report, table: Table, limit: int, after: str | None
) -> tuple[list[tuple[int, Row]], str | None]:
    rows = sorted(enumerate(table.rows, 1), key=lambda found: found[1].key)
    if after is not None:
        rows = [found for found in rows if found[1].key > after]
    if len(rows) <= limit:
        return rows, None
    return rows[:limit], packed(report, table.slug, rows[limit - 1][1].key)


def _column(column: Column) -> dict[str, Any]:
    return {
        "key": column.key,
        "label": str(column.label),
        "kind": column.kind,
        "definition": str(column.definition),
        "better": column.better,
        "people": column.counts,
    }


def _figures(found: Sheet) -> dict[str, Any] | None:
    if found.figures is None:
        return None
    return {
        "values": _values(found.figures.values, found.cards),
        "before": None if found.figures.before is None else _values(found.figures.before, found.cards),
    }


def _row(row: Row, columns: list[Column], place: int | None) -> dict[str, Any]:
    return {
        "key": row.key,
        "label": str(row.label),
        "place": place,
        "depth": row.depth,
        "note": str(row.note),
        "values": _values(row.values, columns),
        "before": None if row.before is None else _values(row.before, columns),
        "narrows": row.narrows,
    }


def _chart(chart: Chart) -> dict[str, Any]:
    return {
        "chart": chart.slug,
        "title": str(chart.title),
        "kind": chart.kind,
        "head": str(chart.head),
        "labels": [str(label) for label in chart.labels],
        "days": chart.days,
        "series": [
            {
                "column": _column(series.column),
                "values": [value(series.column.kind, each) for each in series.values],
                "before": None
                if series.before is None
                else [value(series.column.kind, each) for each in series.before],
            }
            for series in chart.series
        ],
    }


def _values(values: Any, columns: list[Column]) -> dict[str, Any]:
    return {column.key: value(column.kind, values.get(column.key)) for column in columns}


def value(kind: Kind, raw: Any) -> Any:
    """A raw value in JSON: amounts as a list of currencies, shares rounded, no number as null."""
    if raw is None:
        return None
    match kind:
        case Kind.MONEY:
            return [
                {"currency": name, "value": float(amount)} for name, amount in sorted((raw or {}).items())
            ]
        case Kind.SHARE:
            return round(float(raw), DIGITS)
        case Kind.TEXT:
            return str(raw)
    if kind == Kind.COUNT:
        return whole(raw)
    return raw if isinstance(raw, int | float | date | datetime) else str(raw)


def whole(number: float | Decimal) -> int | float:
    """A count that may be divided, without a fraction where it has none."""
    return int(number) if number == int(number) else float(number)
