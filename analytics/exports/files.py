"""Reports as CSV and as Excel workbooks."""

import re
import tempfile
from collections.abc import Iterator
from datetime import datetime
from decimal import Decimal
from typing import IO, Any

import msgspec
import openpyxl
from django.utils import timezone
from django.utils.translation import get_language_bidi
from django.utils.translation import gettext as _
from openpyxl.cell import WriteOnlyCell
from openpyxl.cell.cell import ILLEGAL_CHARACTERS_RE
from openpyxl.styles import Alignment, Font

from analytics.exports import flat
from analytics.reporting import writing
from analytics.reporting.query import Query
from analytics.reporting.shapes import Column, Kind, Report, Row, Sheet, Table
from crm.table_writing import CELL_LIMIT, cell, csv_text

XLSX_TYPE = "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet"
CSV_TYPE = "text/csv; charset=utf-8"
FORMATS = {
    Kind.COUNT: "#,##0.##",
    Kind.MONEY: "#,##0.00",
    Kind.SECONDS: "#,##0.0",
    Kind.DAY: "yyyy-mm-dd",
    Kind.MOMENT: "yyyy-mm-dd hh:mm",
}
TITLE_LIMIT = 31  # characters; Excel's own
_FORBIDDEN = re.compile(r"[\[\]:*?/\\']")
_WIDE, _USUAL = 40, 16  # characters


class Made(msgspec.Struct, frozen=True, kw_only=True):
    """A report as it was found, with what it was asked."""

    report: Report
    query: Query
    sheet: Sheet
    at: datetime

    @property
    def rows(self) -> int:
        """Rows of all its tables."""
        return sum(len(table.rows) for table in self.sheet.tables)


def made(report: Report, query: Query, now: datetime | None = None) -> Made:
    """Build a report, in the language and with the permissions that are in force."""
    return Made(report=report, query=query, sheet=report.build(query), at=now or timezone.now())


def table_called(sheet: Sheet, slug: str = "") -> Table | None:
    """The table of this name, a chart or the figures included; the first one without a name."""
    every = flat.tables(sheet)
    if not slug:
        return sheet.tables[0] if sheet.tables else next(iter(every), None)
    return next((table for table in every if table.slug == slug), None)


def csv_of(table: Table, excel: bool = False) -> Iterator[str]:
    """One table for people, in pieces: labels as names of columns, the total as the last line."""
    heads = flat.heads(table)

    def written() -> Iterator[list[Any]]:
        yield [cell(text) for text in (str(table.head), *(head.label for head in heads))]
        rows = _rows(table)
        for row, values in zip(rows, flat.lines(table, heads, rows), strict=True):
            yield [cell(row.label), *map(cell, values)]

    return csv_text(written(), excel)


def workbook_of(found: Made) -> IO[bytes]:
    """A workbook in a temporary file: a sheet about the report, and one for each of its tables and charts."""
    book = openpyxl.Workbook(write_only=True)
    taken: set[str] = set()
    _about(_sheet(book, _("About"), taken, widths=(28, 60, 90)), found)
    for table in flat.tables(found.sheet):
        _write(book, table, taken)
    file = tempfile.TemporaryFile()  # noqa: SIM115 - whoever sends it closes it
    book.save(file)
    file.seek(0)
    return file


def _write(book: Any, table: Table, taken: set[str]) -> None:
    heads = flat.heads(table)
    page = _sheet(book, str(table.title), taken, widths=(_WIDE, *(_USUAL for _head in heads)), frozen=True)
    page.append([_head(page, text) for text in (str(table.head), *(head.label for head in heads))])
    rows = _rows(table)
    for row, values in zip(rows, flat.lines(table, heads, rows), strict=True):
        label = _text(page, row.label)
        if row.depth:
            label.alignment = Alignment(indent=row.depth)
        cells = [_typed(page, head.column, value) for head, value in zip(heads, values, strict=True)]
        page.append([label, *cells])


def _about(page: Any, found: Made) -> None:
    report, query = found.report, found.query
    lines = [(_("Report"), str(report.title)), ("", str(report.description))]
    if not report.timeless:
        lines.append((_("Period"), writing.period_in_words(query)))
    if unequal := writing.unequal(query):
        lines.append((_("Comparison"), unequal))
    lines += [(label, text) for _name, label, text in writing.filters_in_words(report, query)]
    lines.append((_("As of"), writing.moment(found.at)))
    lines += [(_("Mind"), text) for text in found.sheet.warnings]
    lines += [(_("Note"), text) for text in found.sheet.notes]
    for label, text in lines:
        page.append([_head(page, label), _text(page, str(text))])
    page.append([])
    page.append([_head(page, text) for text in (_("Table"), _("Column"), _("What it means"))])
    for table in flat.tables(found.sheet):
        for column in table.columns:
            words = (table.title, column.label, column.definition)
            page.append([_text(page, str(text)) for text in words])


def _rows(table: Table) -> list[Row]:
    return [*table.rows, *([table.total] if table.total else [])]


def _sheet(book: Any, title: str, taken: set[str], widths: tuple[int, ...], frozen: bool = False) -> Any:
    """A page whose name Excel takes and no other page has."""
    title = " ".join(_FORBIDDEN.sub(" ", ILLEGAL_CHARACTERS_RE.sub("", title)).split()) or "-"
    name, number = title[:TITLE_LIMIT], 2
    while name.lower() in taken:
        name = f"{title[: TITLE_LIMIT - 4]} {number}"
        number += 1
    taken.add(name.lower())
    page = book.create_sheet(name)
    page.sheet_view.rightToLeft = get_language_bidi()
    if frozen:
        page.freeze_panes = "B2"
    for place, width in enumerate(widths, 1):
        page.column_dimensions[openpyxl.utils.get_column_letter(place)].width = width
    return page


def _text(page: Any, text: str) -> Any:
    """A cell that is text whatever it begins with: never a formula."""
    made_cell = WriteOnlyCell(page, value=ILLEGAL_CHARACTERS_RE.sub("", text)[:CELL_LIMIT])
    made_cell.data_type = "s"
    return made_cell


def _head(page: Any, text: str) -> Any:
    made_cell = _text(page, text)
    made_cell.font = Font(bold=True)
    made_cell.alignment = Alignment(wrap_text=True, vertical="top")
    return made_cell


def _typed(page: Any, column: Column, value: Any) -> Any:
    if value is None:
        return None
    if column.kind == Kind.TEXT:
        return _text(page, value)
    if isinstance(value, datetime):  # Excel knows no time zones
        value = timezone.localtime(value).replace(tzinfo=None)
    elif isinstance(value, Decimal) and value == value.to_integral_value():
        value = int(value)
    found = WriteOnlyCell(page, value=value)
    found.number_format = _format(column, value)
    return found


def _format(column: Column, value: Any) -> str:
    if column.kind == Kind.SHARE:
        return f"0.{'0' * column.digits}%" if column.digits else "0%"
    return "#,##0" if column.kind == Kind.COUNT and isinstance(value, int) else FORMATS[column.kind]
