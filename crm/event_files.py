"""Taking in files of events, however large: piece by piece in the background, each row once.

A piece's events, the rejected rows and how far the file was taken are committed together, so that a worker that
dies costs nothing but the piece it was at. Rows without an id get one from the file's content and their place:
the same file again stores nothing twice. One file is worked on at a time, for a few seconds, so that other work of
the queue and other files get their turn.
"""

import codecs
import hashlib
import logging
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from datetime import datetime
from io import BufferedReader
from itertools import islice
from typing import IO, Any
from zoneinfo import ZoneInfo

import msgspec
from django.conf import settings
from django.db import InterfaceError, OperationalError, models, transaction
from django.utils import timezone
from django.utils.translation import gettext as _

from crm import event_rows, ingest, pg, tables, unpacking, uploads, wake
from crm.event_rows import Columns, Line, Shape
from crm.models import EventFile, EventFileReject

logger = logging.getLogger(__name__)

SOURCE = "file"
CHUNK = 5000  # rows of one transaction
CHUNK_BYTES = 16 * 1024**2  # of the file in one transaction, whose rows are all in memory
SECONDS = 10.0  # of work before others get their turn
UNPACKED_LIMIT = 4 * 1024**3  # bytes
TRIED = 200  # rows of a preview
KEPT_REJECTS = 100_000  # of one file; more are only counted
LOCK = 0x6576  # the advisory lock of whoever works on files
_PIECE = 256 * 1024  # bytes
_START = 64 * 1024  # bytes
State = EventFile.State


class Preview(msgspec.Struct):
    """What the first rows would become; nothing of it is kept.

    Args:
        events: name, time, person and properties of some rows, or why a row is none.
    """

    events: list[dict[str, Any]]
    rows: int
    stored: int
    known: int
    rejected: list[dict[str, Any]]


class Progress(msgspec.Struct):
    """How a command's import goes on. `position` of `size` bytes are settled."""

    size: int
    position: int = 0
    rows: int = 0
    stored: int = 0
    known: int = 0
    rejected: int = 0


# --- Uploading and describing ---------------------------------------------------------------------------------


def keep(name: str, chunks: Iterable[bytes], by: str = "") -> EventFile:
    """Store a file, unpacked if it came in gzip's format, and guess what its columns mean.

    Raises:
        uploads.UploadError: it is too large, or damaged.
        tables.TableError: it is no such file.
    """
    digest = hashlib.sha256()

    def plain() -> Iterator[bytes]:
        for piece in unpacking.plain(chunks):
            digest.update(piece)
            yield piece

    upload = uploads.keep(name, plain(), by, UNPACKED_LIMIT)
    try:
        shape = described(BufferedReader(uploads.Parts(upload), _PIECE), name, digest.hexdigest())
    except tables.TableError:
        upload.delete()
        raise
    shape.columns.zone = settings.TIME_ZONE
    return EventFile.objects.create(
        upload=upload,
        name=name,
        format=shape.format,
        encoding=shape.encoding,
        digest=shape.digest,
        size=upload.size,
        mapping=msgspec.to_builtins(shape.columns),
        created_by=by,
    )


def described(file: IO[bytes], name: str, digest: str) -> Shape:
    """How a file is probably to be read.

    Raises:
        tables.TableError: it is no such file.
    """
    file.seek(0)
    start = file.read(_START)
    if not start.strip():
        raise tables.TableError(_("The file is empty."))
    form = "jsonl" if event_rows.is_jsonl(start) else "csv"
    try:
        codecs.getincrementaldecoder("utf-8")().decode(start)
        encoding = "utf-8"
    except UnicodeDecodeError:
        encoding = "cp1252"
    shape = Shape(form, encoding, Columns(), digest)
    shape.columns = event_rows.guess(event_rows.header(file, shape), name)
    return shape


def digest_of(file: IO[bytes]) -> str:
    """The SHA-256 of a file's content, in hexadecimal."""
    found = hashlib.sha256()
    file.seek(0)
    while piece := file.read(_PIECE):
        found.update(piece)
    return found.hexdigest()


def shape_of(file: EventFile) -> Shape:
    """How a stored file is to be read."""
    return Shape(file.format, file.encoding, msgspec.convert(file.mapping, Columns), file.digest)


@contextmanager
def opened(file: EventFile) -> Iterator[IO[bytes]]:
    """A stored file's content.

    Raises:
        tables.TableError: it was deleted.
    """
    if file.upload is None:
        raise tables.TableError(_("The file is no longer kept; upload it again."))
    with BufferedReader(uploads.Parts(file.upload), _PIECE) as content:
        yield content


def columns(file: EventFile) -> list[str]:
    """The names of its columns; none where lines are events already."""
    with opened(file) as content:
        return event_rows.header(content, shape_of(file))


def describe(file: EventFile, found: Columns, encoding: str) -> None:
    """Keep what the columns mean.

    Raises:
        ValueError: they can't mean that; the message says why.
    """
    check(found)
    file.mapping, file.encoding = msgspec.to_builtins(found), encoding
    EventFile.objects.filter(pk=file.pk, state=State.DRAFT).update(mapping=file.mapping, encoding=encoding)


def check(found: Columns) -> None:
    """Whether columns can mean this.

    Raises:
        ValueError: they can't; the message says why.
    """
    roles = list(found.roles.values())
    for role in (*event_rows.PEOPLE, event_rows.NAME, event_rows.TIME, event_rows.ID, event_rows.PROPERTIES):
        if roles.count(role) > 1:
            raise ValueError(_("Two columns are “%s”; choose one.") % role)
    if roles and not set(event_rows.PEOPLE) & set(roles):
        raise ValueError(
            _("Choose the column that tells the person: customer number, email or visitor's id.")
        )
    if roles and event_rows.NAME not in roles and not found.name:
        raise ValueError(_("Choose the column that tells what happened, or write it for all rows."))
    try:
        ZoneInfo(found.zone)
    except (ValueError, OSError) as error:
        raise ValueError(_("There is no such time zone.")) from error


def preview(file: EventFile, rows: int = 10, now: datetime | None = None) -> Preview:
    """What the first rows would become, by doing it and taking it back.

    Raises:
        tables.TableError: it can't be read.
    """
    with opened(file) as content:
        lines = [line for line in islice(event_rows.read(content, shape_of(file)), TRIED) if not _empty(line)]
    with transaction.atomic():
        result, refused = _taken(lines, msgspec.convert(file.mapping, Columns), now or timezone.now())
        transaction.set_rollback(True)
    reasons = {each["row"]: each["detail"] for each in refused}
    events = []
    for line in lines[:rows]:
        event = {"row": line.number, "problem": reasons.get(line.number, "")}
        if line.event is not None and not event["problem"]:
            event |= msgspec.json.decode(line.event)
        events.append(event)
    return Preview(events, len(lines), result.accepted, result.duplicates, refused)


# --- Running --------------------------------------------------------------------------------------------------


def start(file: EventFile) -> bool:
    """Let the workers begin, or go on where a failed or cancelled import ended; whether it does."""
    found = EventFile.objects.filter(pk=file.pk, upload__isnull=False).exclude(
        state__in=[State.RUNNING, State.DONE]
    )
    started = bool(found.update(state=State.RUNNING, problem="", ended_at=None))
    if started:
        wake.on_commit("crm.tasks.import_event_files", "ingest")
    return started


def cancel(file: EventFile, now: datetime | None = None) -> bool:
    """End an import before the next piece; whether it was running. What was stored stays."""
    found = EventFile.objects.filter(pk=file.pk, state=State.RUNNING)
    return bool(found.update(state=State.CANCELLED, ended_at=now or timezone.now()))


def work(seconds: float = SECONDS, now: datetime | None = None) -> bool:
    """Take in what was started, for about `seconds`; whether more is left.

    Does nothing while another worker is at it.
    """
    with pg.locked(LOCK, 0) as ours:
        if not ours:
            return False
        until = time.monotonic() + seconds
        while file := _next():
            try:
                _go_on(file, until, now)
            except tables.TableError as problem:
                _fail(file, str(problem), now)
            except EventFile.DoesNotExist:
                continue
            except (OperationalError, InterfaceError, pg.Contention):
                raise  # of the database, not of the file
            except Exception:
                logger.exception("The import of events from file %s failed.", file.pk)
                _fail(
                    file,
                    _("Something went wrong here; the log says more. The import can go on from there."),
                    now,
                )
            if time.monotonic() >= until:
                break
        return _next() is not None


def _next() -> EventFile | None:
    running = EventFile.objects.filter(state=State.RUNNING).select_related("upload")
    return running.order_by(models.F("worked_at").asc(nulls_first=True), "pk").first()


def _fail(file: EventFile, problem: str, now: datetime | None) -> None:
    found = EventFile.objects.filter(pk=file.pk, state=State.RUNNING)
    found.update(state=State.FAILED, problem=problem, ended_at=now or timezone.now())


def _go_on(file: EventFile, until: float, now: datetime | None) -> None:
    shape = shape_of(file)
    with opened(file) as content:
        lines = event_rows.read(content, shape, file.position, file.line)
        while True:
            began = time.monotonic()
            piece = _piece(lines, file.position)
            if (
                not _settle(file, piece, shape.columns, now or timezone.now(), began)
                or time.monotonic() >= until
            ):
                return


def _piece(lines: Iterator[Line], start: int) -> list[Line]:
    """The next rows, which begin at byte `start`."""
    piece: list[Line] = []
    for line in lines:
        piece.append(line)
        if not _is_last(piece, start):
            break
    return piece


def _is_last(piece: list[Line], start: int) -> bool:
    """Whether a piece that begins at byte `start` would have taken more rows, if there were any."""
    return not piece or (len(piece) < CHUNK and piece[-1].end - start < CHUNK_BYTES)


@transaction.atomic
def _settle(file: EventFile, piece: list[Line], found: Columns, now: datetime, began: float) -> bool:
    """Store a piece and how far it goes; whether there may be more."""
    held = EventFile.objects.select_for_update().get(pk=file.pk)
    if held.state != State.RUNNING or held.position != file.position:
        return False
    rows = [line for line in piece if not _empty(line)]
    if rows:
        result, refused = _taken(rows, found, now)
        held.rows += len(rows)
        held.stored += result.accepted
        held.known += result.duplicates
        kept = refused[: max(0, KEPT_REJECTS - held.rejected)]
        held.rejected += len(refused)
        EventFileReject.objects.bulk_create([EventFileReject(file=held, **each) for each in kept])
    over = _is_last(piece, held.position)
    if piece:
        held.position = piece[-1].end
        held.line += len(piece)
    if over:
        held.state, held.ended_at = State.DONE, now
    held.worked_at = now
    held.seconds += time.monotonic() - began
    held.save()
    file.position, file.line = held.position, held.line
    return not over


def _taken(
    rows: list[Line], found: Columns, now: datetime
) -> tuple[ingest.IngestResult, list[dict[str, Any]]]:
    """Store rows; return what became of them, and the refused as fields of EventFileReject."""
    good = [line for line in rows if line.event is not None]
    result = ingest.store([line.event for line in good if line.event is not None], SOURCE, now)
    refused = [(line, line.problem) for line in rows if line.problem is not None]
    refused += [
        (good[each.index], event_rows.Problem(each.code, each.field, each.detail)) for each in result.rejected
    ]
    return result, [
        {
            "row": line.number,
            "code": problem.code,
            "field": event_rows.column_of(found, problem.field),
            "detail": problem.detail,
            "values": event_rows.shown(line.cells),
        }
        for line, problem in sorted(refused, key=lambda each: each[0].number)
    ]


def _empty(line: Line) -> bool:
    return line.event is None and line.problem is None


def run(
    content: IO[bytes], shape: Shape, tell: Callable[[Progress, list[dict[str, Any]]], None], size: int = 0
) -> Progress:
    """Take in a file at once, as a command does; run again after a failure, it stores nothing twice.

    Args:
        tell: called after each piece, with the rows refused in it.

    Raises:
        tables.TableError: it can't be read.
    """
    progress = Progress(size)
    lines = event_rows.read(content, shape)
    while piece := _piece(lines, progress.position):
        rows = [line for line in piece if not _empty(line)]
        result, refused = _taken(rows, shape.columns, timezone.now())
        progress.position = piece[-1].end
        progress.rows += len(rows)
        progress.stored += result.accepted
        progress.known += result.duplicates
        progress.rejected += len(refused)
        tell(progress, refused)
    return progress


def rejects(file: EventFile) -> Iterator[list[str]]:
    """The rejected rows as a table to be corrected and imported: its header first."""
    names = []
    if file.format == "csv":
        try:
            names = columns(file)
        except tables.TableError:
            names = list(file.mapping.get("roles", {}))
    yield reject_header(names)
    fields = ("row", "code", "field", "detail", "values")
    for each in file.rejects.order_by("row").values(*fields).iterator(chunk_size=2000):
        yield reject_row(**each)


def reject_header(names: list[str]) -> list[str]:
    """The columns of a table of rejected rows of a file with these columns."""
    return [f"{event_rows.MARK}{name}" for name in ("row", "field", "code", "reason")] + [
        tables.harmless(name) for name in names or ["line"]
    ]


def reject_row(row: int, code: str, field: str, detail: str, values: list[str]) -> list[str]:
    """One line of a table of rejected rows."""
    return [str(row), *map(tables.harmless, (field, code, detail, *values))]


def forget(now: datetime | None = None) -> int:
    """Delete the rejected rows of imports that ended as long ago as unused uploads go; return how many."""
    now = now or timezone.now()
    return EventFileReject.objects.filter(file__ended_at__lte=now - uploads.KEPT).delete()[0]
