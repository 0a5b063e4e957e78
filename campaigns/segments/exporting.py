"""Members of a segment as a CSV file, written in the background and kept for a while, encrypted.

Each piece of the file is committed with how far it goes, so that a worker that dies costs nothing but the piece it
was at; neither a worker nor PostgreSQL ever holds more than one piece. Pieces know which people are in them: when
somebody is erased theirs are emptied, and made anew from what is left when the file is fetched.
"""

import logging
import time
import zlib
from collections.abc import Iterator, Sequence
from datetime import datetime, timedelta

from cryptography.fernet import Fernet, InvalidToken, MultiFernet
from django.conf import settings
from django.db import InterfaceError, OperationalError, connection, models, transaction
from django.utils import timezone
from django.utils.translation import gettext as _

from campaigns.models import ExportPart, MemberExport, Segment
from campaigns.segments import export_rows
from crm import audit, pg, wake
from crm.table_writing import csv_text

logger = logging.getLogger(__name__)

SECONDS = 10.0  # of work before others get their turn
CHUNK = 5_000  # people in one piece
LOCK = 0x4558504F  # the advisory lock of whoever writes files
TASK, QUEUE = "campaigns.tasks.export_members", "segments"  # where nothing waits that sending needs
PERMISSION = "crm.export_profile"
State = MemberExport.State


class ExportGone(LookupError):
    """The file is no longer kept, or not written yet."""


# --- Asking for it --------------------------------------------------------------------------------------------


@transaction.atomic
def start(
    segment: Segment, columns: Sequence[str] = (), by: str = "", now: datetime | None = None
) -> MemberExport:
    """Have the members written into a file. The caller sees to it that `by` may export people.

    Args:
        columns: names of `export_rows.columns`, in the order that they shall have; none means the usual ones.
        by: who asks, such as a user's name.

    Raises:
        export_rows.UnknownColumns: some of the columns are none.
    """
    chosen = export_rows.check(columns or export_rows.USUAL)
    made = MemberExport.objects.create(
        segment=segment, columns=chosen, total=segment.size, started_by=by, created_at=now or timezone.now()
    )
    audit.record(None, "members.exported", segment, columns=chosen, members=segment.size)
    wake.on_commit(TASK, QUEUE)
    return made


def cancel(export: MemberExport, now: datetime | None = None) -> bool:
    """End it before its next piece, and throw away what was written; whether it was being written."""
    with transaction.atomic():
        found = MemberExport.objects.filter(pk=export.pk, state=State.RUNNING)
        cancelled = bool(found.update(state=State.CANCELLED, ended_at=now or timezone.now()))
        if cancelled:
            ExportPart.objects.filter(export=export).delete()
    return cancelled


def content(export: MemberExport) -> Iterator[bytes]:
    """The file, piece by piece: CSV in UTF-8 with its mark, by which Excel knows it. Fetching is audited.

    Raises:
        ExportGone: see there.
    """
    if export.state != State.DONE:
        raise ExportGone
    audit.record(None, "members.export_fetched", export.segment, export=export.pk, rows=export.rows)
    return _content(export)


def _content(export: MemberExport) -> Iterator[bytes]:
    yield "".join(csv_text([export_rows.header(export.columns)], excel=True)).encode()
    cipher = _cipher()
    numbers = ExportPart.objects.filter(export=export).order_by("number").values_list("pk", flat=True)
    for pk in list(numbers):
        part = ExportPart.objects.filter(pk=pk).first()
        if part is None:
            return  # it expired meanwhile
        if part.content is None:
            yield _written(export, export_rows.between(export.segment_id, part.first, part.last))
            continue
        try:
            yield zlib.decompress(cipher.decrypt(bytes(part.content)))
        except InvalidToken as error:  # the key was changed since
            raise ExportGone from error


def forget(now: datetime | None = None) -> int:
    """Throw away files whose time is over; return how many."""
    now = now or timezone.now()
    with transaction.atomic():
        found = MemberExport.objects.filter(state=State.DONE, expires_at__lte=now)
        gone = list(found.select_for_update().values_list("pk", flat=True))
        ExportPart.objects.filter(export__in=gone).delete()
        MemberExport.objects.filter(pk__in=gone).update(state=State.EXPIRED)
    return len(gone)


def forget_people(profile_ids: Sequence[int]) -> None:
    """Empty the pieces of all files in which these people may be, in the caller's transaction."""
    with connection.cursor() as cursor:
        cursor.execute(
            "UPDATE campaigns_exportpart SET content = NULL WHERE content IS NOT NULL"
            " AND EXISTS (SELECT FROM unnest(%s::bigint[]) AS p(id) WHERE p.id BETWEEN first AND last)",
            [list(profile_ids)],
        )


# --- Writing it -----------------------------------------------------------------------------------------------


def work(seconds: float = SECONDS, now: datetime | None = None) -> bool:
    """Write what was asked for, for about `seconds`; whether more is left.

    Does nothing while another worker is at it.
    """
    with pg.locked(LOCK, 0) as ours:
        if not ours:
            return False
        until = time.monotonic() + seconds
        while export := _next():
            try:
                while _settle(export, now) and time.monotonic() < until:
                    pass
            except MemberExport.DoesNotExist:
                continue
            except (OperationalError, InterfaceError):
                raise  # of the database, not of the file
            except Exception:
                logger.exception("Writing the export %s failed.", export.pk)
                failed = MemberExport.objects.filter(pk=export.pk, state=State.RUNNING)
                problem = _("Something went wrong here; the log says more.")
                failed.update(state=State.FAILED, problem=problem, ended_at=now or timezone.now())
            if time.monotonic() >= until:
                break
        return _next() is not None


def _next() -> MemberExport | None:
    running = MemberExport.objects.filter(state=State.RUNNING)
    return running.order_by(models.F("worked_at").asc(nulls_first=True), "pk").first()


def _settle(export: MemberExport, now: datetime | None) -> bool:
    """Write the next piece; whether there may be more."""
    began = time.monotonic()
    moment = now or timezone.now()
    rows = export_rows.after(export.segment_id, export.position, CHUNK)
    text = _written(export, rows)
    with transaction.atomic():
        held = MemberExport.objects.select_for_update().get(pk=export.pk)
        if held.state != State.RUNNING or held.position != export.position:
            return False
        if rows:
            # Who was erased while their line was being made is not to be kept in it.
            still = export_rows.still(held.segment_id, [row.profile_id for row in rows])
            packed = _cipher().encrypt(zlib.compress(text, 1)) if still else None
            ExportPart.objects.create(
                export=held,
                number=held.rows // CHUNK,
                first=held.position + 1,
                last=rows[-1].profile_id,
                content=packed,
            )
            held.position = rows[-1].profile_id
            held.rows += len(rows)
            held.size += len(text)
        if len(rows) < CHUNK:
            held.state, held.ended_at = State.DONE, moment
            held.expires_at = moment + timedelta(hours=settings.NUDGE_EXPORT_HOURS)
        held.worked_at = moment
        held.seconds += time.monotonic() - began
        held.save()
    export.position = held.position
    return held.state == State.RUNNING


def _written(export: MemberExport, rows: Sequence[export_rows.Member]) -> bytes:
    return "".join(csv_text(export_rows.lines(rows, export.columns))).encode()


def _cipher() -> MultiFernet:
    return MultiFernet([Fernet(key) for key in settings.NUDGE_ENCRYPTION_KEYS])
