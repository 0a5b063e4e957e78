"""Writing rows as CSV or Excel, in a form that no spreadsheet mistakes for formulas and `crm.tables` reads back."""

import csv
import json
import tempfile
from collections.abc import Iterable, Iterator, Sequence
from datetime import UTC, date, datetime
from decimal import Decimal
from typing import IO, Any

import openpyxl
from openpyxl.cell.cell import ILLEGAL_CHARACTERS_RE

from crm import tables

AT_ONCE = 500  # lines that are sent together
CELL_LIMIT = 32_767  # characters; Excel's own
EXACT = 10**15  # from here on Excel rounds numbers
BOM = "\ufeff"


def cell(value: Any) -> str | int | float | Decimal | None:
    """A value as a cell: dates in ISO 8601 and UTC, yes or no as true or false, lists in JSON."""
    match value:
        case None:
            return None
        case bool():
            return "true" if value else "false"
        case str():
            return tables.harmless(value)
        case int():
            return value if abs(value) < EXACT else str(value)
        case Decimal():
            return int(value) if value == value.to_integral_value() else value.normalize()
        case float():
            return int(value) if value.is_integer() and abs(value) < EXACT else value
        case datetime():
            return value.astimezone(UTC).isoformat()
        case date():
            return value.isoformat()
    return json.dumps(value, ensure_ascii=False)


class _Pieces:
    """What csv writes into; gives it out again."""

    def __init__(self) -> None:
        self.held: list[str] = []

    def write(self, text: str) -> None:
        """Keep it."""
        self.held.append(text)

    def taken(self) -> str:
        """Everything since the last time."""
        text = "".join(self.held)
        self.held.clear()
        return text


def csv_text(lines: Iterable[Sequence[Any]], excel: bool = False) -> Iterator[str]:
    """The file in pieces, as its lines come.

    Args:
        lines: of `cell`s, the header first.
        excel: begin with a byte order mark, by which Excel knows UTF-8.
    """
    pieces = _Pieces()
    writer = csv.writer(pieces)
    if excel:
        pieces.write(BOM)
    for number, line in enumerate(lines, 1):
        writer.writerow(line)
        if number % AT_ONCE == 0:
            yield pieces.taken()
    yield pieces.taken()


def workbook(lines: Iterable[Sequence[Any]]) -> IO[bytes]:
    """An Excel workbook in a temporary file, to be read from its beginning.

    What Excel can't hold is left out: control characters, and what goes beyond CELL_LIMIT characters.
    """
    book = openpyxl.Workbook(write_only=True)
    sheet = book.create_sheet()
    for line in lines:
        sheet.append([_excel(value) for value in line])
    file = tempfile.TemporaryFile()  # noqa: SIM115 - whoever sends it closes it
    book.save(file)
    file.seek(0)
    return file


def _excel(value: Any) -> Any:
    if not isinstance(value, str):
        return value
    text = value if value.isprintable() else ILLEGAL_CHARACTERS_RE.sub("", value)
    return text[:CELL_LIMIT]
