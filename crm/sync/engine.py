"""Running a sync: one run per connection at a time, page by page, from wherever the last one came to."""

import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import datetime, timedelta

from django.db import DatabaseError
from django.db import connection as database
from django.utils import timezone
from django.utils.translation import gettext as _
from django.utils.translation import ngettext

from crm import alerts, connectors
from crm.connectors.base import Connector, ConnectorError, Mode, Page
from crm.models import Connection, SyncReject, SyncRun
from crm.sync import mapping as mappings
from crm.sync.apply import SupersededError, apply
from crm.sync.mapping import Mapping, MappingError

logger = logging.getLogger(__name__)

LOCK = 0x6E75  # with the connection's id, the advisory lock that a run holds
RETRIED = 500  # rejected records tried again in one run
LONGEST_PAUSE = timedelta(hours=1)

Progress = Callable[[SyncRun], None]


class AlreadyRunningError(Exception):
    """Another process is syncing this connection."""


def run(
    connection: Connection,
    mode: SyncRun.Mode | None = None,
    now: datetime | None = None,
    progress: Progress | None = None,
    by: str = "",
) -> SyncRun:
    """Sync one connection to the end and return the finished run.

    A run that is waiting in the queue is taken up; else a new one is made. A CRM that can't be read makes
    a failed run with a sentence in `error`, not an exception; what was stored before stays, and the next
    run goes on behind it.

    Args:
        mode: overrules the queued run's; default: incremental.
        now: the time to write everywhere, default the clock.
        progress: called with the fresh run after every page.
        by: who asked, if no run is queued.

    Raises:
        AlreadyRunningError: another process is at it.
    """
    with _alone(connection):
        connection.refresh_from_db()
        return _Run(connection, mode, now, progress or (lambda _run: None), by).go()


@contextmanager
def _alone(connection: Connection) -> Iterator[None]:
    """Hold the connection's lock. PostgreSQL frees it when this process dies, however it dies."""
    with database.cursor() as cursor:
        cursor.execute("SELECT pg_try_advisory_lock(%s, %s)", [LOCK, connection.pk])
        if not cursor.fetchone()[0]:
            raise AlreadyRunningError(_("“%s” is being synced at this moment.") % connection)
    try:
        yield
    finally:
        try:
            with database.cursor() as cursor:
                cursor.execute("SELECT pg_advisory_unlock(%s, %s)", [LOCK, connection.pk])
        except DatabaseError:
            logger.warning("The lock of sync %s goes with its lost database connection.", connection.slug)


class _Run:
    """One run, from taking it up to its report."""

    def __init__(
        self,
        connection: Connection,
        mode: SyncRun.Mode | None,
        now: datetime | None,
        progress: Progress,
        by: str,
    ):
        self.connection = connection
        self.now = now
        self.progress = progress
        self.row = self._take_up(mode, by)

    def clock(self) -> datetime:
        """The time to write."""
        return self.now or timezone.now()

    def _take_up(self, mode: SyncRun.Mode | None, by: str) -> SyncRun:
        runs = SyncRun.objects.filter(connection=self.connection)
        # We hold the lock, so whoever wrote "running" is dead.
        runs.filter(state=SyncRun.State.RUNNING).update(
            state=SyncRun.State.FAILED,
            finished_at=self.clock(),
            error=_("The process that ran it stopped; the next run goes on behind its last page."),
        )
        row = runs.filter(state=SyncRun.State.QUEUED).order_by("pk").first()
        if row is None:
            row = SyncRun(connection=self.connection, queued_at=self.clock(), requested_by=by)
        row.mode = mode or row.mode
        row.state = SyncRun.State.RUNNING
        row.started_at = row.beat_at = self.clock()
        row.cursor_before = row.cursor_after = self.connection.cursor
        row.save()
        row.connection = self.connection
        return row

    def go(self) -> SyncRun:
        """Read and store everything; always leaves a finished run."""
        try:
            self._read()
        except ConnectorError as error:
            self._fail(str(error), error.retry_minutes)
        except MappingError as error:
            self._fail(_("The field mapping can't be used: %s") % error)
        except SupersededError:
            logger.warning("Sync run %s was ended by somebody else.", self.row.pk)
        except BaseException as error:
            # Whoever looks at the run must not have to guess; the log has the details.
            self._fail(_("Stopped by an unexpected error (%s).") % type(error).__name__)
            raise
        else:
            self._succeed()
        self.row.refresh_from_db()
        return self.row

    def _read(self) -> None:
        connector = self._connector()
        mode: Mode = "full" if self.row.mode == SyncRun.Mode.FULL else "incremental"
        for name, wanted in mappings.parse_all(self.connection.mapping, type(connector)).items():
            mapping = self._mapping(connector, name, wanted)
            names = mapping.names()
            for page in connector.pages(name, self.connection.cursor.get(name) or {}, mode, names):
                self._store(page, mapping)
            if mode == "incremental":
                self._retry_rejected(connector, name, mapping, names)

    def _connector(self) -> Connector:
        try:
            return connectors.connector(self.connection)
        except KeyError:
            raise ConnectorError(
                _("There is no connector for “%s” in this version.") % self.connection.kind
            ) from None

    def _mapping(self, connector: Connector, name: str, mapping: Mapping) -> Mapping:
        """The mapping without fields that the CRM no longer has; those are noted, and the rest goes on."""
        known = {field.name for field in connector.fields(name)}
        missing = sorted(set(mapping.names()) - known)
        if missing:
            self.row.notes = ngettext(
                "The mapped field %(names)s no longer exists in the CRM; it was left out.",
                "The mapped fields %(names)s no longer exist in the CRM; they were left out.",
                len(missing),
            ) % {"names": ", ".join(missing)}
            self.row.save(update_fields=["notes"])
        return mapping.only(known)

    def _store(self, page: Page, mapping: Mapping) -> None:
        apply(self.row, page, mapping, self.clock())
        self.row.refresh_from_db()
        self.row.connection = self.connection
        self.progress(self.row)

    def _retry_rejected(self, connector: Connector, name: str, mapping: Mapping, names: list[str]) -> None:
        waiting = SyncReject.objects.filter(
            connection=self.connection,
            object=name,
            resolved_at=None,
            last_seen__lt=self.row.started_at,
        )
        ids = list(waiting.order_by("last_seen").values_list("record_id", flat=True)[:RETRIED])
        if not ids:
            return
        records = connector.read(name, ids, names)
        self._store(Page(name, records, self.connection.cursor[name], current=True), mapping)
        there = {record.id for record in records}
        waiting.filter(record_id__in=[record_id for record_id in ids if record_id not in there]).update(
            resolved_at=self.clock()
        )

    def _succeed(self) -> None:
        self._finish(SyncRun.State.SUCCEEDED, "", timedelta(minutes=self.connection.interval_minutes))
        alerts.resolve(f"sync:{self.connection.slug}")

    def _fail(self, error: str, retry_minutes: int | None = None) -> None:
        """End the run; the more failures in a row, the longer the pause."""
        failures = 1
        for state in (
            SyncRun.objects.filter(connection=self.connection, finished_at__isnull=False)
            .order_by("-pk")
            .values_list("state", flat=True)[:10]
        ):
            if state != SyncRun.State.FAILED:
                break
            failures += 1
        pause = timedelta(minutes=self.connection.interval_minutes) * 2 ** (failures - 1)
        wait = timedelta(minutes=retry_minutes or 0)
        self._finish(SyncRun.State.FAILED, error, max(min(pause, LONGEST_PAUSE), wait))
        alerts.raise_alert(
            f"sync:{self.connection.slug}", _("“%s” could not be synced.") % self.connection, error
        )

    def _finish(self, state: SyncRun.State, error: str, pause: timedelta) -> None:
        finished = self.clock()
        SyncRun.objects.filter(pk=self.row.pk, state=SyncRun.State.RUNNING).update(
            state=state, error=error, finished_at=finished, beat_at=finished
        )
        Connection.objects.filter(pk=self.connection.pk).update(next_sync_at=finished + pause)
