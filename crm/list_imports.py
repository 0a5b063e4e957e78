"""Reading in files of consents and of suppressed addresses: piece by piece, each row judged alone.

A piece's rows and how far the file was read are committed together, so that a reader who dies costs nothing but
the piece it was at. What people said before is history: it is kept with its own time, undoes nothing newer, and is
no event.
"""

import logging
import time as clock
from collections.abc import Iterable, Sequence
from datetime import UTC, date, datetime, time
from io import BufferedReader
from itertools import islice
from typing import Any

from django.db import InterfaceError, OperationalError, transaction
from django.utils import timezone
from django.utils.translation import gettext as _

from crm import answers, consent, identity, suppressions, tables, uploads, wake
from crm.identity import Reference
from crm.models import ListImport
from crm.normalise import Rejection
from crm.pg import Contention

logger = logging.getLogger(__name__)

SOURCE = "import"
CHUNK = 1000  # rows of one transaction
SECONDS = 10.0  # of work on one file before others of the queue get their turn
KEPT_PROBLEMS = 500  # of one file; more are only counted
TASK = "crm.tasks.import_lists"
State, Kind = ListImport.State, ListImport.Kind

# Column -> other spellings, in small letters and without anything but letters and digits.
CONSENT_COLUMNS = {
    "id": ("profile", "profileid"),
    "external_id": ("externalid", "customerid", "customernumber"),
    "email": ("mail", "emailaddress"),
    "phone": ("mobile", "phonenumber"),
    "kind": (),
    "key": ("name",),
    "channel": (),
    "topic": (),
    "state": ("status", "consent", "subscribed", "optin"),
    "changed_at": ("changedat", "time", "date", "timestamp", "when"),
    "wording": ("text",),
    "wording_version": ("wordingversion", "version"),
    "legal_basis": ("legalbasis", "basis"),
    "page": ("url", "source"),
    "language": (),
}
SUPPRESSION_COLUMNS = {
    "channel": (),
    "address": ("email", "mail", "emailaddress", "phone", "mobile", "phonenumber", "number"),
    "reason": ("why", "type"),
}
COLUMNS = {Kind.CONSENTS: CONSENT_COLUMNS, Kind.SUPPRESSIONS: SUPPRESSION_COLUMNS}
_YES = ("subscribed", "yes", "true", "1", "y", "optin", "optedin", "granted")
_NO = ("unsubscribed", "no", "false", "0", "n", "optout", "optedout", "denied")


def begin(kind: str, name: str, chunks: Iterable[bytes], by: str = "") -> ListImport:
    """Keep a file and let the workers read it.

    Raises:
        uploads.UploadError: it is too large.
        tables.TableError: it is no table, or lacks a column.
    """
    upload = uploads.keep(name, chunks, by)
    try:
        columns, _rows = tables.read(BufferedReader(uploads.Parts(upload)), name)
        _check(kind, _targets(kind, columns))
    except tables.TableError:
        upload.delete()
        raise
    with transaction.atomic():
        job = ListImport.objects.create(kind=kind, upload=upload, name=name, started_by=by)
        wake.on_commit(TASK, "ingest")
    return job


def work(now: datetime | None = None, seconds: float = SECONDS) -> int:
    """Read what waits to be read, of each file for about `seconds`; return how many came to their end.

    What is left is gone on with later. Two workers never read one piece twice: whoever finds that the other was
    faster leaves the file to it.
    """
    ended = 0
    for job in ListImport.objects.filter(state__in=[State.WAITING, State.RUNNING]).order_by("pk"):
        try:
            ended += _read(job, now, seconds)
        except tables.TableError as problem:
            _fail(job, str(problem), now)
        except (OperationalError, InterfaceError, Contention):
            raise  # of the database, not of the file
        except Exception:
            logger.exception("The import of list %s failed.", job.pk)
            _fail(job, _("Something went wrong here; the log says more."), now)
    return ended


def _read(job: ListImport, now: datetime | None, seconds: float) -> bool:
    if job.upload is None:
        raise tables.TableError(_("The file is no longer kept; upload it again."))
    with BufferedReader(uploads.Parts(job.upload)) as file:
        columns, rows = tables.read(file, job.name)
        targets = _targets(job.kind, columns)
        _check(job.kind, targets)
        rows = islice(rows, job.line, None)
        until: float | None = None
        while True:
            piece = list(islice(rows, CHUNK))
            # Only from here on: however long it takes to come to where the last one ended, there is progress.
            until = until or clock.monotonic() + seconds
            if not _settle(job, piece, targets, now or timezone.now()):
                return False
            if len(piece) < CHUNK:
                return True
            if clock.monotonic() >= until:
                wake.on_commit(TASK, "ingest")
                return False


@transaction.atomic
def _settle(job: ListImport, piece: Sequence[tables.Row], targets: dict[str, str], now: datetime) -> bool:
    """Take a piece; whether nobody else was faster."""
    held = ListImport.objects.select_for_update(skip_locked=True).filter(pk=job.pk).first()
    if held is None or held.line != job.line or held.state not in (State.WAITING, State.RUNNING):
        return False
    good: list[tuple[int, dict[str, Any]]] = []
    problems: list[tuple[int, Rejection]] = []
    for row in piece:
        if row.problem:
            problems.append((row.number, Rejection("unreadable", "", row.problem)))
        else:
            given = {targets[name]: value for name, value in row.values.items() if name in targets}
            good.append(
                (row.number, {name: str(value) for name, value in given.items() if value is not None})
            )
    take = _consents if held.kind == Kind.CONSENTS else _suppressions
    taken, changed, refused = take(good, now)
    problems = sorted(problems + refused, key=lambda each: each[0])
    held.rows += len(piece)
    held.line += len(piece)
    held.taken += taken
    held.changed += changed
    room = max(0, KEPT_PROBLEMS - len(held.problems))
    held.problems += [
        {"row": number, "field": each.field, "detail": each.detail} for number, each in problems[:room]
    ]
    held.rejected += len(problems)
    done = len(piece) < CHUNK
    held.state, held.finished_at = (State.DONE, now) if done else (State.RUNNING, None)
    held.save()
    if done and held.upload:
        held.upload.delete()  # it holds people's data, and nobody needs it any more
    job.line = held.line
    return True


def _consents(
    rows: Sequence[tuple[int, dict[str, Any]]], now: datetime
) -> tuple[int, int, list[tuple[int, Rejection]]]:
    topics = answers.topics()
    given: list[answers.Given] = []
    refused: list[tuple[int, Rejection]] = []
    for number, values in rows:
        try:
            reference = identity.normal(_reference(values), "")
            given.append(answers.checked(number, _answer(values), reference, True, SOURCE, now, topics))
        except Rejection as error:
            refused.append((number, Rejection(error.code, error.field.lstrip("."), error.detail)))
    stored = answers.store(given, SOURCE, now, events=False)
    return stored.taken, stored.taken, refused + stored.rejected


def _suppressions(
    rows: Sequence[tuple[int, dict[str, Any]]], now: datetime
) -> tuple[int, int, list[tuple[int, Rejection]]]:
    entries: list[suppressions.Entry] = []
    refused: list[tuple[int, Rejection]] = []
    for number, values in rows:
        try:
            entries.append(
                suppressions.entry(values.get("channel"), values.get("address"), values.get("reason"))
            )
        except Rejection as error:
            refused.append((number, error))
    return len(entries), suppressions.add(entries, SOURCE), refused


def _reference(values: dict[str, Any]) -> Reference:
    number = values.get("id")
    if number is not None and not (number.isascii() and number.isdigit() and len(number) < 20):
        raise Rejection("unknown_profile", "id", _("There is no such profile."))
    names = {name: values.get(name) for name in ("external_id", "email", "phone")}
    return Reference(id=int(number) if number is not None else None, **names)


def _answer(values: dict[str, Any]) -> answers.Row:
    """Of channel and topic the one that is told; both kinds at once would be two answers."""
    kind, key = values.get("kind", ""), values.get("key", "")
    for name in (consent.CHANNEL, consent.TOPIC):
        if values.get(name):
            if key:
                raise Rejection("invalid_value", name, _("Tell a channel or a topic in each row, not both."))
            kind, key = name, values[name]
    if not key:
        raise Rejection("missing_field", "channel", _("Tell a channel or a topic."))
    word = _folded(values.get("state", ""))
    if word not in (*_YES, *_NO):
        raise Rejection("invalid_value", "state", _("Write subscribed or unsubscribed."))
    return answers.Row(
        kind,
        key.strip(),
        consent.SUBSCRIBED if word in _YES else consent.UNSUBSCRIBED,
        _time(values.get("changed_at", "")),
        values.get("wording"),
        values.get("wording_version"),
        (values.get("legal_basis") or "").strip().lower().replace(" ", "_"),
        values.get("page"),
        values.get("language"),
        confirmed=True,
    )


def _time(text: str) -> datetime:
    """When it was said; without it nobody could tell whether something newer is known."""
    if not text.strip():
        raise Rejection("missing_field", "changed_at", _("%(field)s is missing.") % {"field": "changed_at"})
    try:
        if len(text.strip()) == 10:
            return datetime.combine(date.fromisoformat(text.strip()), time(), UTC)
        moment = datetime.fromisoformat(text.strip())
        return moment if moment.tzinfo else moment.replace(tzinfo=UTC)
    except ValueError:
        detail = _("Write the time with its zone, like 2026-01-31T12:00:00Z (RFC 3339).")
        raise Rejection("invalid_time", "changed_at", detail) from None


def _targets(kind: str, columns: Sequence[str]) -> dict[str, str]:
    """Column -> field."""
    found: dict[str, str] = {}
    for column in columns:
        folded = _folded(column)
        for name, spellings in COLUMNS[Kind(kind)].items():
            if folded in (name.replace("_", ""), *spellings) and name not in found.values():
                found[column] = name
                break
    return found


def _folded(text: str) -> str:
    return "".join(letter for letter in text.lower() if letter.isalnum())


def _check(kind: str, targets: dict[str, str]) -> None:
    told = set(targets.values())
    if kind == Kind.SUPPRESSIONS:
        missing = {"address"} - told
    else:
        missing = {"state", "changed_at"} - told
        if not told & {"id", "external_id", "email", "phone"}:
            missing.add("email")
        if not told & {"key", "channel", "topic"}:
            missing.add("channel")
    if missing:
        raise tables.TableError(_("These columns are missing: %s.") % ", ".join(sorted(missing)))


def _fail(job: ListImport, problem: str, now: datetime | None) -> None:
    running = ListImport.objects.filter(pk=job.pk, state__in=[State.WAITING, State.RUNNING])
    running.update(state=State.FAILED, error=problem, finished_at=now or timezone.now())


def forget(now: datetime | None = None) -> int:
    """Drop the reasons why rows were not taken, which repeat what was in them, when unused uploads go; return of how
    many imports."""
    old = ListImport.objects.filter(finished_at__lte=(now or timezone.now()) - uploads.KEPT)
    return old.exclude(problems=[]).update(problems=[])
