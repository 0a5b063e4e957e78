"""Filling lists in the background, piece by piece: who is put on or taken off and how far it came are committed
together, so that a worker that dies costs nothing but the piece it was at.

One list is worked on at a time, for a few seconds, so that other work of the queue and other lists get their turn.
"""

import logging
import time
from array import array
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import datetime
from itertools import islice
from typing import Any, NamedTuple

from django.db import InterfaceError, OperationalError, connection, models, transaction
from django.utils import timezone
from django.utils.translation import gettext as _
from psycopg.errors import QueryCanceled

from campaigns.models import ListJob, ListJobReject, Segment
from campaigns.segments import compiler, grammar, list_files, list_names, lists, memberships
from campaigns.segments.list_names import Found
from campaigns.segments.memberships import CHUNK
from crm import pg, tables, uploads, wake
from crm.models import Upload, UploadPart
from crm.rules.errors import RuleError
from crm.rules.sql import Sql, sql
from crm.tombstones import CODE as ERASED

logger = logging.getLogger(__name__)

SECONDS = 10.0  # of work before others get their turn
COUNTING_MS = 60_000
KEPT_REJECTS = 100_000  # of one file; more are only counted
LOCK = 0x4C495354  # the advisory lock of whoever fills lists
TASK, QUEUE = "campaigns.tasks.fill_lists", "ingest"
_ID = 8  # bytes of a number in a file of numbers
State, Mode, Kind = ListJob.State, ListJob.Mode, ListJob.Kind

# Whom a list can be made of besides segments and rules: what of upper layers works out the numbers of the people, each
# once, by the name that a question has as its `kind`.
Source = Callable[[Mapping[str, Any]], Iterator[int]]
_sources: dict[str, Source] = {}


class _Piece(NamedTuple):
    """Rows that are settled together: how many there were, the numbers of people, and rows with names if it is a file
    of names. `place` is the byte after it, about."""

    size: int
    ids: Sequence[int]
    rows: Sequence[tables.Row]
    place: int


# --- Asking for it --------------------------------------------------------------------------------------------


def snapshot(
    source: Segment | Mapping[str, Any], name: str, slug: str = "", by: str = "", now: datetime | None = None
) -> tuple[Segment, ListJob]:
    """Make a list of everybody who is in a segment, or for whom a rule holds, when the work begins.

    No log event tells of it: nobody did anything.

    Args:
        source: a segment of either kind, or a rule as JSON.

    Raises:
        lists.ListError: see `lists.create`.
        RuleError: the rule is wrong.
    """
    if isinstance(source, Segment):
        kind, rule, called = Kind.SEGMENT, {"kind": "segment", "slug": source.slug}, source.name
    else:
        compiler.references(grammar.parse(source))
        kind, rule, called = Kind.RULE, dict(source), ""
    with transaction.atomic():
        made = lists.create(name, slug, by=by, now=now)
        job = ListJob.objects.create(list=made, kind=kind, rule=rule, name=called, started_by=by)
        start(job)
    return made, job


def register(kind: str, source: Source) -> None:
    """Let lists be made of what an upper layer knows; `snapshot_of` asks it."""
    _sources[kind] = source


def snapshot_of(
    question: Mapping[str, Any],
    called: str,
    name: str,
    slug: str = "",
    by: str = "",
    now: datetime | None = None,
) -> tuple[Segment, ListJob]:
    """Make a list of everybody whom a registered source finds when the work begins; as `snapshot`.

    Args:
        question: JSON for the source that is registered under its `kind`.
        called: what the people come from, in words.

    Raises:
        lists.ListError: see `lists.create`.
        KeyError: there is no such source.
    """
    if question["kind"] not in _sources:
        raise KeyError(question["kind"])
    with transaction.atomic():
        made = lists.create(name, slug, by=by, now=now)
        job = ListJob.objects.create(
            list=made, kind=Kind.RULE, rule=dict(question), name=called, started_by=by
        )
        start(job)
    return made, job


def fill(
    segment: Segment, profile_ids: Iterable[int], mode: str = Mode.ADD, by: str = "", name: str = ""
) -> ListJob:
    """Have many people, known by their numbers, put on a list or taken off it.

    Raises:
        lists.NotAList: the segment has a rule.
    """
    lists.check(segment)
    upload = _kept(profile_ids, by)
    job = ListJob.objects.create(
        list=segment, kind=Kind.PEOPLE, mode=mode, name=name, upload=upload, started_by=by
    )
    start(job)
    return job


def start(job: ListJob) -> bool:
    """Let the workers begin, or go on where a failed or cancelled filling ended; whether it does."""
    found = ListJob.objects.filter(pk=job.pk).exclude(state__in=[State.RUNNING, State.DONE])
    if job.kind in (Kind.FILE, Kind.PEOPLE):
        found = found.filter(upload__isnull=False)
    started = bool(found.update(state=State.RUNNING, problem="", ended_at=None))
    if started:
        job.state = State.RUNNING
        wake.on_commit(TASK, QUEUE)
    return started


def cancel(job: ListJob, now: datetime | None = None) -> bool:
    """End a filling before its next piece; whether it was running. What was done stays."""
    found = ListJob.objects.filter(pk=job.pk, state=State.RUNNING)
    return bool(found.update(state=State.CANCELLED, ended_at=now or timezone.now()))


def discard(job: ListJob) -> bool:
    """Throw away a file that was not started; whether it was a draft."""
    held = ListJob.objects.filter(pk=job.pk, state=State.DRAFT).select_related("upload").first()
    if held is None:
        return False
    held.delete()
    if held.upload:
        held.upload.delete()
    return True


def forget(now: datetime | None = None) -> int:
    """Delete rejected rows, which repeat people's data, and drafts whose file went, when unused uploads go.

    Returns:
        How many rejected rows went.
    """
    before = (now or timezone.now()) - uploads.KEPT
    ListJob.objects.filter(state=State.DRAFT, upload=None, created_at__lte=before).delete()
    return ListJobReject.objects.filter(job__ended_at__lte=before).delete()[0]


# --- Doing it -------------------------------------------------------------------------------------------------


def work(seconds: float = SECONDS, now: datetime | None = None) -> bool:
    """Fill what was started, for about `seconds`; whether more is left.

    Does nothing while another worker is at it.
    """
    with pg.locked(LOCK, 0) as ours:
        if not ours:
            return False
        until = time.monotonic() + seconds
        while job := _next():
            try:
                _go_on(job, until, now)
            except (tables.TableError, RuleError) as problem:
                _fail(job, str(problem), now)
            except ListJob.DoesNotExist:
                continue
            except (OperationalError, InterfaceError, pg.Contention):
                raise  # of the database, not of the list
            except Exception:
                logger.exception("Filling a list failed (job %s).", job.pk)
                _fail(job, _("Something went wrong here; the log says more. It can go on from there."), now)
            if time.monotonic() >= until:
                break
        return _next() is not None


def _next() -> ListJob | None:
    running = ListJob.objects.filter(state=State.RUNNING).select_related("list", "upload", "found")
    return running.order_by(models.F("worked_at").asc(nulls_first=True), "pk").first()


def _fail(job: ListJob, problem: str, now: datetime | None) -> None:
    found = ListJob.objects.filter(pk=job.pk, state=State.RUNNING)
    found.update(state=State.FAILED, problem=problem, ended_at=now or timezone.now())


def _go_on(job: ListJob, until: float, now: datetime | None) -> None:
    if job.kind in (Kind.SEGMENT, Kind.RULE) and job.upload is None:
        _gather(job, now or timezone.now())
    with _pieces(job) as pieces:
        while True:
            began = time.monotonic()
            piece = next(pieces, None)
            moment = now or timezone.now()
            if piece is None:
                _finish(job, moment, began)
                return
            if not _settle(job, piece, moment, began) or time.monotonic() >= until:
                return


@contextmanager
def _pieces(job: ListJob) -> Iterator[Iterator[_Piece]]:
    """What is left of a job, CHUNK rows at a time."""
    if job.kind == Kind.FILE:
        with list_files.opened(job) as (_names, rows, parts):
            rest = islice(rows, job.position, None)
            yield (
                _Piece(len(piece), (), piece, parts.tell())
                for piece in iter(lambda: list(islice(rest, CHUNK)), [])
            )
        return
    if job.upload is None:
        raise tables.TableError(_("The people are no longer kept; choose them again."))
    file = uploads.Parts(job.upload)
    file.seek(job.position * _ID)
    yield (_Piece(len(ids), ids, (), file.tell()) for ids in iter(lambda: _numbers(file, CHUNK), array("q")))


@pg.atomically
def _settle(job: ListJob, piece: _Piece, now: datetime, began: float) -> bool:
    """Do a piece and note how far it came; whether it was for us to do."""
    held = ListJob.objects.select_for_update(of=("self",)).select_related("list", "found").get(pk=job.pk)
    if held.state != State.RUNNING or held.position != job.position:
        return False
    ids = _named(held, piece, now) if held.kind == Kind.FILE else list(piece.ids)
    wanted = len(ids)
    if held.mode == Mode.REMOVE:
        changed = memberships.change(held.list, [], lists.current(ids), now, lists.CAUSE)
    else:
        present = lists.present(ids)
        if held.kind != Kind.FILE:
            wanted = len(present)
            held.rejected += len(ids) - wanted
        # Nobody enters a list that is made of who is somewhere already, as nobody does when a segment is new.
        told = held.kind in (Kind.FILE, Kind.PEOPLE)
        changed = memberships.change(held.list, present, [], now, lists.CAUSE, events=told)
    held.added += changed.entered
    held.removed += changed.left
    held.known += wanted - changed.entered - changed.left
    if held.kind == Kind.FILE and held.mode == Mode.REPLACE:
        held.found = held.found or Upload.objects.create(name=held.name, uploaded_by=held.started_by)
        UploadPart.objects.create(
            upload=held.found, number=held.position // CHUNK, content=array("q", ids).tobytes()
        )
    held.rows += piece.size
    held.position += piece.size
    held.settled_bytes = piece.place
    held.worked_at = now
    held.seconds += time.monotonic() - began
    held.save()
    job.position, job.found = held.position, held.found
    return True


def _named(held: ListJob, piece: _Piece, now: datetime) -> list[int]:
    """Whom a piece of a file of names means; what means nobody is kept with the reason."""
    good = [row for row in piece.rows if not row.problem]
    asked = [list_files.names_in(held, row) for row in good]
    found = list_names.find_or_create(asked, now) if held.create_unknown else list_names.find(asked)
    ids = {one.profile_id for one in found if one.profile_id}
    if held.mode != Mode.REMOVE:
        gone = ids - set(lists.present(sorted(ids)))
        erased = Found(None, ERASED, "", _("This person was erased and does not come back by an import."))
        found = [erased if one.profile_id in gone else one for one in found]
    refused = [(row, Found(None, "unreadable", "", row.problem)) for row in piece.rows if row.problem] + [
        (row, one) for row, one in zip(good, found, strict=True) if one.profile_id is None
    ]
    room = max(0, KEPT_REJECTS - held.rejected)
    ListJobReject.objects.bulk_create(
        [
            ListJobReject(
                job=held,
                row=row.number,
                code=one.code,
                field=list_files.column_of(held, one.field),
                detail=one.detail,
                values=list_files.shown_cells(row),
            )
            for row, one in sorted(refused, key=lambda each: each[0].number)[:room]
        ],
        batch_size=1_000,
    )
    held.rejected += len(refused)
    held.created += sum(one.created for one in found)
    return [one.profile_id for one in found if one.profile_id is not None]


def _finish(job: ListJob, now: datetime, began: float) -> None:
    """Take off whoever was not named, if that is asked for, and end."""
    if job.mode == Mode.REPLACE and not _take_off_others(job, now):
        return
    with transaction.atomic():
        held = (
            ListJob.objects.select_for_update(of=("self",)).select_related("upload", "found").get(pk=job.pk)
        )
        if held.state != State.RUNNING:
            return
        held.state, held.ended_at = State.DONE, now
        held.seconds += time.monotonic() - began
        held.save(update_fields=["state", "ended_at", "seconds"])
        for upload in (held.upload, held.found):
            if upload:
                upload.delete()  # it holds people's data, and nobody needs it any more


def _take_off_others(job: ListJob, now: datetime) -> bool:
    """Whether it came to its end; begun again, it takes off whoever is left."""
    seen = job.upload if job.kind != Kind.FILE else job.found
    named = array("q")
    for content in (
        UploadPart.objects.filter(upload=seen).order_by("number").values_list("content", flat=True)
    ):
        named.frombytes(bytes(content))
    if not named:
        raise tables.TableError(_("No row names anybody who is known here, so the list was left as it is."))
    rest = iter(lists.others(job.list, named))
    while ids := list(islice(rest, CHUNK)):
        if not _take_off(job, ids, now):
            return False
    return True


@pg.atomically
def _take_off(job: ListJob, ids: list[int], now: datetime) -> bool:
    held = ListJob.objects.select_for_update(of=("self",)).select_related("list").get(pk=job.pk)
    if held.state != State.RUNNING:
        return False
    held.removed += memberships.change(held.list, [], ids, now, lists.CAUSE).left
    held.worked_at = now
    held.save(update_fields=["removed", "worked_at"])
    return True


# --- Numbers of people in files -------------------------------------------------------------------------------


def _gather(job: ListJob, now: datetime) -> None:
    """Work out who is meant, and keep their numbers: later pieces must not change with the answer."""
    asked = job.rule or {}
    if job.kind == Kind.SEGMENT:
        slug = asked.get("slug", "")
        source = Segment.objects.filter(slug=slug).first()
        if source is None:
            raise RuleError(_("There is no segment “%s”.") % slug)
        found = _ids(
            sql(
                "SELECT profile_id FROM campaigns_segmentmembership WHERE segment_id = {} ORDER BY profile_id",
                source.pk,
            )
        )
    elif asked.get("kind") in _sources:
        found = _sources[asked["kind"]](asked)
    else:
        rule = grammar.parse(job.rule)
        found = _ids(compiler.ids(rule, compiler.query(rule, now)))
    try:
        numbers = _numbers_of(found)
    except OperationalError as error:
        if isinstance(error.__cause__, QueryCanceled):
            raise RuleError(
                _("Counting took longer than %d seconds. Narrow the time windows.") % (COUNTING_MS // 1000)
            ) from error
        raise
    job.upload = _kept(numbers, job.started_by)
    if not ListJob.objects.filter(pk=job.pk, state=State.RUNNING, upload=None).update(upload=job.upload):
        job.upload.delete()
        raise ListJob.DoesNotExist


def _numbers_of(people: Iterator[int]) -> array:
    """The ids, 8 bytes a person in memory: they can't be written while they are read, or readers of the log wait."""
    with pg.statement_limits(COUNTING_MS):
        return array("q", people)


def _ids(statement: Sql) -> Iterator[int]:
    with connection.chunked_cursor() as cursor:
        cursor.execute(statement.text, list(statement.params))
        while rows := cursor.fetchmany(10_000):
            yield from (row[0] for row in rows)


def _kept(profile_ids: Iterable[int], by: str) -> Upload:
    """Numbers as a file, 8 bytes each."""
    rest = iter(profile_ids)
    pieces = iter(lambda: array("q", islice(rest, 100_000)).tobytes(), b"")
    return uploads.keep("", pieces, by)


def _numbers(file: uploads.Parts, most: int) -> array:
    """The next numbers of such a file."""
    found = array("q")
    held = b""
    while len(held) < most * _ID and (more := file.read(most * _ID - len(held))):
        held += more
    found.frombytes(held)
    return found
