"""Rows of files as events: CSV and JSONL, read from any place on, whatever is in them.

A row becomes the JSON text of one event as in the API, so that `crm.ingest` judges both alike. A file is read by
lines and knows the byte after each row: whoever goes on later starts there.
"""

import csv
import re
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime
from typing import IO, Any
from uuid import UUID
from zoneinfo import ZoneInfo

import msgspec
from django.utils.translation import gettext as _

from crm import log, tables
from crm.tables import TableError

NAME, TIME, ID, PROPERTIES, PROPERTY, IGNORE = "name", "occurred_at", "id", "properties", "property", "ignore"
PEOPLE = ("external_id", "email", "anonymous_id")
ROLES = (NAME, TIME, *PEOPLE, ID, PROPERTIES, PROPERTY, IGNORE)
MARK = "rejected_"  # columns that a list of rejected rows adds
LINE_LIMIT = 1024 * 1024  # bytes of one line of JSONL
SHOWN = 4000  # characters kept of a cell of a rejected row
_SAMPLE = 50  # rows looked at to guess
_SYNONYMS = {
    NAME: ("name", "event", "eventname", "action", "activity", "eventtype"),
    TIME: (
        *("occurredat", "timestamp", "time", "eventtime", "datetime", "date"),
        *("when", "happenedat", "happened", "occurred", "createdat"),
    ),
    "external_id": ("externalid", "customerid", "customernumber", "userid", "clientid", "contactid"),
    "email": ("email", "emailaddress", "mail", "useremail", "customeremail"),
    "anonymous_id": ("anonymousid", "visitorid", "deviceid", "distinctid", "cookieid"),
    ID: ("id", "eventid", "uuid", "messageid", "insertid", "orderid"),
    PROPERTIES: ("properties", "props", "eventproperties", "payload", "data"),
}
_NUMBER = re.compile(r"-?(0|[1-9]\d{0,14})(\.\d{1,10})?")
_EPOCH = re.compile(r"\d{10}(\d{3})?")
_LITERALS = {"true": True, "false": False, "TRUE": True, "FALSE": False, "True": True, "False": False}
_FIELDS = {NAME: "name", TIME: "occurred_at", ID: "id", **{name: f"profile.{name}" for name in PEOPLE}}


class Columns(msgspec.Struct, forbid_unknown_fields=True):
    """What the columns, or names in JSONL, mean. Without `roles` each line is an event as in the API.

    Args:
        roles: column -> one of ROLES.
        name: of all events, where no column tells it.
        zone: of times that do not tell theirs.
    """

    roles: dict[str, str] = {}
    name: str = ""
    zone: str = "UTC"


class Problem(msgspec.Struct, gc=False):
    """Why a row can't be an event."""

    code: str
    field: str
    detail: str


class Line(msgspec.Struct, gc=False):
    """One row. `end` is the byte after it; `event` is JSON text, or None where there is a problem."""

    number: int
    end: int
    event: bytes | None
    cells: list[Any]
    problem: Problem | None = None


class Shape(msgspec.Struct):
    """How a file is to be read."""

    format: str  # csv or jsonl
    encoding: str
    columns: Columns
    digest: str


def is_jsonl(start: bytes) -> bool:
    """Whether a file that begins so is JSONL rather than CSV.

    Raises:
        TableError: it is neither.
    """
    text = start.removeprefix(b"\xef\xbb\xbf").lstrip()
    if text.startswith(b"["):
        raise TableError(_("This is one JSON array; write one object in each line instead (JSONL)."))
    if start.startswith((b"PK\x03\x04", b"\xd0\xcf\x11\xe0")):
        raise TableError(_("This is an Excel or ZIP file; save it as CSV, or pack it with gzip."))
    return text.startswith(b"{")


def read(file: IO[bytes], shape: Shape, position: int = 0, number: int = 0) -> Iterator[Line]:
    """The rows from byte `position` on, where `number` rows came before.

    Raises:
        TableError: it is no such file.
    """
    if shape.format == "jsonl":
        return _json_lines(file, shape, position, number)
    return _csv_lines(file, shape, position, number)


def header(file: IO[bytes], shape: Shape) -> list[str]:
    """The columns of a CSV file; the names in the first lines of a JSONL file, empty where those are events already.

    Raises:
        TableError: it has none.
    """
    if shape.format == "csv":
        return _header(_Texts(file, shape, 0))[0]
    names: dict[str, None] = {}
    file.seek(0)
    for _number in range(_SAMPLE):
        try:
            found = msgspec.json.decode(file.readline(LINE_LIMIT).strip() or b"{}")
        except (msgspec.DecodeError, RecursionError):
            continue
        if isinstance(found, dict):
            if isinstance(found.get("profile"), dict):
                return []
            names |= dict.fromkeys(found)
    return list(names)


def guess(names: Sequence[str], file_name: str) -> Columns:
    """What columns so called probably mean."""
    found = Columns(roles=dict.fromkeys(names, PROPERTY))
    if not names:
        return found
    folded = {re.sub(r"[^a-z0-9]", "", name.lower()): name for name in reversed(names)}
    for role, words in _SYNONYMS.items():
        column = next((folded[word] for word in words if word in folded), None)
        if column and found.roles[column] == PROPERTY:
            found.roles[column] = role
    found.roles |= {name: IGNORE for name in names if name.startswith(MARK)}
    if NAME not in found.roles.values():
        found.name = re.sub(r"\W+", "_", file_name.partition(".")[0].strip().lower()).strip("_")[:100]
    return found


class _Taker:
    """Makes events of rows."""

    def __init__(self, columns: Columns, digest: str):
        self.columns, self.digest = columns, digest
        self.zone = ZoneInfo(columns.zone)
        self.by_role = {role: name for name, role in columns.roles.items()}
        self.people = [(kind, self.by_role[kind]) for kind in PEOPLE if kind in self.by_role]
        self.own = [
            (name, name.removeprefix("properties."))
            for name, role in columns.roles.items()
            if role == PROPERTY
        ]

    def event(self, values: Mapping[str, Any], number: int, typed: bool) -> bytes:
        """The row's event. `typed`: values are JSON's, not texts."""
        found: dict[str, Any] = {"id": self._id(values, number)}
        name = self._text(values, NAME) or self.columns.name
        if name:
            found["name"] = name
        if (time := values.get(self.by_role.get(TIME, ""))) not in (None, ""):
            found["occurred_at"] = self._time(time)
        found["profile"] = {
            kind: str(value).strip() if typed else value.strip()
            for kind, column in self.people
            if (value := values.get(column)) not in (None, "")
        }
        properties = self._properties(values, typed)
        for column, title in self.own:
            value = values.get(column)
            if value not in (None, ""):
                properties[title] = value if typed else _typed(value)
        found["properties"] = properties
        return msgspec.json.encode(found)

    def _text(self, values: Mapping[str, Any], role: str) -> str:
        value = values.get(self.by_role.get(role, ""))
        return "" if value is None else str(value).strip()

    def _id(self, values: Mapping[str, Any], number: int) -> UUID:
        text = self._text(values, ID)
        if not text:
            return log.event_id("file", self.digest, number)
        try:
            return UUID(text)
        except ValueError:
            # Another file that tells of the same thing by the same number must find it stored.
            return log.event_id("row", self._text(values, NAME) or self.columns.name, text)

    def _time(self, value: Any) -> Any:
        """With its zone, where it can be read; else as it is, which `crm.ingest` refuses."""
        text = str(value).strip()
        try:
            if _EPOCH.fullmatch(text):
                return datetime.fromtimestamp(int(text) / (1000 if len(text) == 13 else 1), UTC)
            moment = datetime.fromisoformat(text)
            return moment if moment.tzinfo else moment.replace(tzinfo=self.zone)
        except (ValueError, OverflowError):
            return text

    def _properties(self, values: Mapping[str, Any], typed: bool) -> dict[str, Any]:
        value = values.get(self.by_role.get(PROPERTIES, ""))
        if value in (None, ""):
            return {}
        if not isinstance(value, dict):
            value = msgspec.json.decode(str(value))
        if not isinstance(value, dict):
            raise msgspec.ValidationError("Expected an object")
        return value

    def problem(self, code: str, detail: str) -> Problem:
        """A problem with the column of properties."""
        return Problem(code, self.by_role.get(PROPERTIES, ""), detail)


def column_of(columns: Columns, field: str) -> str:
    """The column that tells a field of an event, such as profile.email; the field itself where none does."""
    for column, role in columns.roles.items():
        if _FIELDS.get(role) == field:
            return column
    return field


def _typed(text: str) -> Any:
    """A number or truth value, where a text can only be that; `007` is a text."""
    if text in _LITERALS:
        return _LITERALS[text]
    if _NUMBER.fullmatch(text):
        return float(text) if "." in text else int(text)
    return text


class _Texts:
    """A file's lines as text, and the byte after the last one given out."""

    def __init__(self, file: IO[bytes], shape: Shape, position: int):
        self.file, self.position = file, position
        file.seek(0)
        self.codec = "utf-8" if file.read(3) == b"\xef\xbb\xbf" else shape.encoding
        self.room = tables.ROW_LIMIT
        file.seek(position)

    def __iter__(self) -> Iterator[str]:
        return self

    def __next__(self) -> str:
        line = self.file.readline(tables.ROW_LIMIT)
        if not line:
            raise StopIteration
        self.position += len(line)
        self.room -= len(line)
        if self.room < 0:
            detail = _("A row is longer than %d MB; is a quotation mark missing, or is it no CSV file?")
            raise TableError(detail % (tables.ROW_LIMIT // 1024**2))
        return line.decode(self.codec, "surrogateescape" if self.codec == "utf-8" else "replace")


def _header(texts: _Texts) -> tuple[list[str], str]:
    """The columns and the delimiter."""
    line = next(texts, "")
    delimiter = max(tables.DELIMITERS, key=line.count)
    cells = next(csv.reader([line], delimiter=delimiter), [])
    columns = [tables.plain(cell.lstrip("\ufeff").strip()) for cell in cells]
    while columns and not columns[-1]:
        columns.pop()
    if not any(columns):
        raise TableError(_("The first row must hold the names of the columns."))
    if len(columns) > tables.COLUMN_LIMIT:
        raise TableError(_("The file has more than %d columns.") % tables.COLUMN_LIMIT)
    twice = sorted({column for column in columns if column and columns.count(column) > 1})
    if twice:
        raise TableError(_("Two columns are called “%s”; give each a name of its own.") % twice[0])
    if not all(_clean(column) and "\0" not in column for column in columns):
        detail = _("The column names can't be read; is the file perhaps not in the encoding that was chosen?")
        raise TableError(detail)
    return columns, delimiter


def _csv_lines(file: IO[bytes], shape: Shape, position: int, number: int) -> Iterator[Line]:
    texts = _Texts(file, shape, 0)
    columns, delimiter = _header(texts)
    if position:
        texts = _Texts(file, shape, position)
    csv.field_size_limit(tables.CELL_LIMIT)
    reader = csv.reader(texts, delimiter=delimiter)
    taker = _Taker(shape.columns, shape.digest)
    while True:
        texts.room = tables.ROW_LIMIT
        number += 1
        try:
            cells = next(reader)
        except StopIteration:
            return
        except csv.Error:
            detail = _("A cell is longer than a million characters; is a quotation mark missing?")
            yield Line(number + 1, texts.position, None, [], Problem("invalid_row", "", detail))
            continue
        if any(cells):
            yield _csv_line(taker, columns, cells, number + 1, texts.position)
        else:
            yield Line(number + 1, texts.position, None, [])


def _csv_line(taker: _Taker, columns: list[str], cells: list[str], number: int, end: int) -> Line:
    if any(cells[len(columns) :]):
        detail = _("It has more cells than there are columns; is a quotation mark missing?")
        return Line(number, end, None, cells, Problem("invalid_row", "", detail))
    values = dict(
        zip(columns, [tables.plain(cell) if cell[:1] == "'" else cell for cell in cells], strict=False)
    )
    try:
        return Line(number, end, taker.event(values, number, False), cells)
    except UnicodeEncodeError:
        detail = _("It holds characters that are not in the encoding that was chosen.")
        return Line(number, end, None, cells, Problem("invalid_text", "", detail))
    except (msgspec.MsgspecError, RecursionError):
        problem = taker.problem("invalid_properties", _("Properties are a JSON object."))
        return Line(number, end, None, cells, problem)


class _Peek(msgspec.Struct):
    id: msgspec.Raw | msgspec.UnsetType = msgspec.UNSET


_peek = msgspec.json.Decoder(_Peek)


def _json_lines(file: IO[bytes], shape: Shape, position: int, number: int) -> Iterator[Line]:
    taker = _Taker(shape.columns, shape.digest)
    file.seek(position)
    while raw := file.readline(LINE_LIMIT + 1):
        number += 1
        position += len(raw)
        long = len(raw) > LINE_LIMIT
        if long and not raw.endswith(b"\n"):
            while (more := file.readline(LINE_LIMIT)) and not more.endswith(b"\n"):
                position += len(more)
            position += len(more)
        text = raw.removeprefix(b"\xef\xbb\xbf").strip() if number == 1 else raw.strip()
        if not text:
            yield Line(number, position, None, [])
        elif long:
            detail = _("A line is longer than %d MB.") % (LINE_LIMIT // 1024**2)
            yield Line(
                number, position, None, [text.decode(errors="replace")], Problem("too_large", "", detail)
            )
        else:
            yield _json_line(taker, text, number, position)


def _json_line(taker: _Taker, text: bytes, number: int, end: int) -> Line:
    cells = [text]
    if not taker.columns.roles:
        return Line(number, end, _with_id(text, taker.digest, number), cells)
    try:
        values = msgspec.json.decode(text)
        if not isinstance(values, dict):
            raise msgspec.ValidationError("Expected an object")
        return Line(number, end, taker.event(values, number, True), cells)
    except msgspec.ValidationError:
        problem = taker.problem("invalid_properties", _("Properties are a JSON object."))
        return Line(number, end, None, cells, problem)
    except (msgspec.MsgspecError, UnicodeError, RecursionError) as error:
        return Line(
            number, end, None, cells, Problem("invalid_text", "", f"Not valid JSON in UTF-8: {error}.")
        )


def _with_id(text: bytes, digest: str, number: int) -> bytes:
    """An event as in the API, with an id of its own where it has none; what is no object stays as it is."""
    try:
        if _peek.decode(text).id not in (msgspec.UNSET, msgspec.Raw(b"null")):
            return text
        event = msgspec.json.decode(text, type=dict[str, msgspec.Raw])
    except (msgspec.MsgspecError, UnicodeError, RecursionError):
        return text
    event["id"] = msgspec.Raw(msgspec.json.encode(log.event_id("file", digest, number)))
    return msgspec.json.encode(event)


def _clean(text: str) -> bool:
    return not any("\ud800" <= letter <= "\udfff" for letter in text)


def shown(cells: Sequence[Any]) -> list[str]:
    """A row's cells as texts that jsonb takes, shortened."""
    texts = [cell.decode(errors="replace") if isinstance(cell, bytes) else str(cell) for cell in cells]
    return [
        text[:SHOWN].encode("utf-8", "replace").decode().replace("\x00", "\ufffd")
        for text in texts[: tables.COLUMN_LIMIT]
    ]
