"""Reading CSV and Excel files row by row, whatever is in them; broken rows are told, never dropped.

Excel is read by openpyxl in its streaming mode, CSV by Python's csv module.
"""

import codecs
import csv
import io
import re
import zipfile
from collections.abc import Iterator
from contextlib import suppress
from datetime import date, datetime, time
from typing import IO, Any

import msgspec
import openpyxl
from django.utils.translation import gettext as _

ENCODINGS = ("utf-8", "utf-16", "cp1250", "cp1251", "cp1252", "cp1256", "shift_jis")
DELIMITERS = ",;\t|"
HEADER_LIMIT = 64 * 1024  # bytes looked at for the delimiter
CELL_LIMIT = 1024 * 1024  # characters
ROW_LIMIT = 4 * 1024 * 1024  # characters of one row of a CSV file; it is held in memory
UNPACKED_LIMIT = 1024 * 1024 * 1024  # bytes that a workbook may unpack to
UNPACKED_TIMES = 50  # the size of the file that it may unpack to, beyond UNPACKED_FREE
UNPACKED_FREE = 100 * 1024 * 1024  # bytes
TEXTS_LIMIT = 128 * 1024 * 1024  # bytes of a workbook's shared texts; they are held in memory
PART_LIMIT = 8 * 1024 * 1024  # bytes of any other part of a workbook that is not a sheet; the same
SHEET_ROWS = 1_048_576  # Excel's own limit
COLUMN_LIMIT = 1000
# Spreadsheets take a text that begins like this for a formula (OWASP, "CSV Injection").
_FORMULA = re.compile(r"'*[=+\-@\t\r\n]")


class TableError(ValueError):
    """The file can't be read as a table; the message says why and what to do."""


class Row(msgspec.Struct):
    """One row below the header. `number` counts from 2, as spreadsheets do; `problem` says why it can't be used."""

    number: int
    values: dict[str, Any]
    problem: str = ""


def harmless(text: str) -> str:
    """A text that no spreadsheet takes for a formula: with an apostrophe in front, where that is needed."""
    return f"'{text}" if _FORMULA.match(text) else text


def plain(text: str) -> str:
    """The text that `harmless` was given."""
    return text[1:] if text.startswith("'") and _FORMULA.match(text, 1) else text


def read(file: IO[bytes], name: str, encoding: str = "utf-8") -> tuple[list[str], Iterator[Row]]:
    """The column names and the rows of a table.

    A value is text or, in Excel files, also a number, a boolean or an ISO 8601 text; None where a cell is empty.

    Args:
        file: seekable; must stay open while the rows are read.
        name: the file's name, whose ending tells what it is.
        encoding: of a CSV file, one of ENCODINGS.

    Raises:
        TableError: it is no such file, or has no header.
    """
    try:
        found = lines(file, name, encoding)
        _number, first, problem = next(found)
    except StopIteration:
        raise TableError(_("The file is empty.")) from None
    if problem:
        raise TableError(problem)
    columns = ["" if cell is None else plain(str(cell).strip()) for cell in first]
    while columns and not columns[-1]:
        columns.pop()
    if not any(columns):
        raise TableError(_("The first row must hold the names of the columns."))
    if len(columns) > COLUMN_LIMIT:
        raise TableError(_("The file has more than %d columns.") % COLUMN_LIMIT)
    twice = sorted({column for column in columns if column and columns.count(column) > 1})
    if twice:
        raise TableError(_("Two columns are called “%s”; give each a name of its own.") % twice[0])
    if any(not _clean(column) or "\0" in column for column in columns):
        raise TableError(
            _("The column names can't be read; is the file perhaps not in the encoding that was chosen?")
        )
    return [column for column in columns if column], _rows(columns, found)


def lines(file: IO[bytes], name: str, encoding: str = "utf-8") -> Iterator[tuple[int, list[Any], str]]:
    """The lines of a table that may have no header: (number from 1, cells, why it can't be read or "").

    Raises:
        TableError: it is no such file.
    """
    return _excel(file) if name.lower().endswith((".xlsx", ".xlsm")) else _csv(file, encoding)


def _rows(columns: list[str], lines: Iterator[tuple[int, list[Any], str]]) -> Iterator[Row]:
    for number, cells, problem in lines:
        cells = [None if cell == "" else plain(cell) if isinstance(cell, str) else cell for cell in cells]
        if not problem and not any(cell is not None for cell in cells):
            continue
        values = {column: cell for column, cell in zip(columns, cells, strict=False) if column}
        values |= {column: None for column in columns[len(cells) :] if column}
        if not problem and any(cell is not None for cell in cells[len(columns) :]):
            problem = _("It has more cells than there are columns; is a quotation mark missing?")
        if not problem and not all(_clean(cell) for cell in cells if isinstance(cell, str)):
            problem = _("It holds characters that are not in the encoding that was chosen.")
        yield Row(number, values, problem)


def _clean(text: str) -> bool:
    """Whether no byte had to be smuggled through as a lone surrogate."""
    return not any("\ud800" <= letter <= "\udfff" for letter in text)


def _codec(start: bytes, encoding: str) -> str:
    """The codec for a CSV file that begins so."""
    if start.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        return "utf-16"
    return {"utf-8": "utf-8-sig", "utf-16": "utf-16-le"}.get(encoding, encoding)


def _csv(file: IO[bytes], encoding: str) -> Iterator[tuple[int, list[Any], str]]:
    file.seek(0)
    start = file.read(HEADER_LIMIT)
    encoding = _codec(start, encoding)
    if start.startswith((b"PK\x03\x04", b"\xd0\xcf\x11\xe0")):
        raise TableError(_("This is an Excel file; its name has to end in .xlsx."))
    # What isn't UTF-8 is told row by row; in other encodings there is no way to keep such bytes apart.
    errors = "surrogateescape" if encoding.startswith("utf-8") else "replace"
    file.seek(0)
    text = io.TextIOWrapper(file, encoding, errors=errors, newline="")
    header = start.decode(encoding, "replace").splitlines()
    delimiter = max(DELIMITERS, key=lambda mark: header[0].count(mark)) if header else ","
    csv.field_size_limit(CELL_LIMIT)
    lines = _Lines(text)
    reader = csv.reader(lines, delimiter=delimiter)
    number = 0
    try:
        while True:
            number += 1
            lines.room = ROW_LIMIT
            try:
                yield number, next(reader), ""
            except csv.Error:
                yield (
                    number,
                    [],
                    _("A cell is longer than a million characters; is a quotation mark missing?"),
                )
            except StopIteration:
                return
    finally:
        with suppress(ValueError):  # whoever opened the file may have closed it before this ends
            text.detach()


class _Lines:
    """A text's lines, as long as they fit into the `room` that is left for the row they belong to."""

    def __init__(self, text: IO[str]):
        self.text = text
        self.room = 0

    def __iter__(self) -> Iterator[str]:
        return self

    def __next__(self) -> str:
        line = self.text.readline(self.room + 1)
        self.room -= len(line)
        if self.room < 0:
            raise TableError(
                _(
                    "A row is longer than %d million characters; is a quotation mark missing, or is it no CSV file?"
                )
                % (ROW_LIMIT // 1024**2)
            )
        if not line:
            raise StopIteration
        return line


def _too_large(packed: zipfile.ZipFile) -> bool:
    """Whether a workbook's parts would take too much memory or time, by the sizes that bind their unpacking."""
    parts = packed.infolist()
    whole = sum(part.file_size for part in parts)
    sent = sum(part.compress_size for part in parts)
    if whole > min(UNPACKED_LIMIT, max(UNPACKED_FREE, UNPACKED_TIMES * sent)):
        return True
    for part in parts:
        name = part.filename.lower()
        if name.endswith((".xml", ".rels")) and not name.startswith("xl/worksheets/"):
            most = TEXTS_LIMIT if name == "xl/sharedstrings.xml" else PART_LIMIT
            if part.file_size > most:
                return True
    return False


def _excel(file: IO[bytes]) -> Iterator[tuple[int, list[Any], str]]:
    try:
        file.seek(0)
        with zipfile.ZipFile(file) as packed:
            if _too_large(packed):
                raise TableError(_("The workbook is too large; save it as CSV."))
        book = openpyxl.load_workbook(file, read_only=True, data_only=True, keep_links=False)
    except TableError:
        raise
    except Exception as error:  # openpyxl raises whatever it stumbles over
        raise TableError(_("This is not an Excel workbook; save it as .xlsx or as CSV.")) from error
    try:
        sheet = book.worksheets[0] if book.worksheets else None
        if sheet is None:
            return
        for number, cells in enumerate(sheet.iter_rows(values_only=True), 1):
            if number > SHEET_ROWS:
                raise TableError(_("The workbook has more rows than Excel allows; save it as CSV."))
            yield number, [_cell(cell) for cell in cells], ""
    except TableError:
        raise
    except Exception as error:
        raise TableError(
            _("The workbook is damaged; open it in Excel, save it anew and try again.")
        ) from error
    finally:
        book.close()


def _cell(value: Any) -> Any:
    match value:
        case bool() | int() | str() | None:
            return value
        case float():
            return int(value) if value.is_integer() and abs(value) < 2**53 else value
        case datetime():
            return value.date().isoformat() if value.time() == time() else value.isoformat()
        case date() | time():
            return value.isoformat()
    return str(value)
