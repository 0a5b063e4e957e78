"""Running a sync: one run per connection at a time, object by object, from wherever the last one came to."""

import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import datetime, timedelta

from django.conf import settings
from django.db import DatabaseError
from django.db import connection as database
from django.db.models import F
from django.urls import reverse
from django.utils import timezone
from django.utils.translation import gettext as _
from django.utils.translation import ngettext

from crm import alerts, connectors
from crm.connectors.base import Connector, ConnectorError
from crm.models import Connection, SourceRecord, SyncRun
from crm.sync import brake, drift, hints, plan, writeback
from crm.sync import mapping as mappings
from crm.sync.apply import SupersededError
from crm.sync.mapping import Mapping, MappingError
from crm.sync.reading import Reading
from crm.sync.sweep import sweep

logger = logging.getLogger(__name__)

LOCK = 0x6E75  # with the connection's id, the advisory lock that a run holds
LONGEST_PAUSE = timedelta(hours=1)
PARKED = timedelta(minutes=15)  # after a run that came to the end of its share of the budget
SOON = timedelta(minutes=1)
SCHEDULED_SHARE, ASKED_SHARE = 0.80, 0.95  # of the CRM's budget that we may use up

Progress = Callable[[SyncRun], None]


class AlreadyRunningError(Exception):
    """Another process is syncing this connection."""


class _OutOfBudgetError(Exception):
    """What remains of the CRM's calls is for others."""


def run(
    connection: Connection,
    mode: SyncRun.Mode | None = None,
    now: datetime | None = None,
    progress: Progress | None = None,
    by: str = "",
    sweep: bool = False,
    hints_only: bool = False,
) -> SyncRun:
    """Sync one connection to the end and return the finished run.

    A run that is waiting in the queue is taken up; else a new one is made. A CRM that can't be read makes
    a failed run with a sentence in `error`, not an exception; what was stored before stays, and the next
    run goes on behind it.

    Args:
        mode: overrules the queued run's; default: incremental.
        now: the time to write everywhere, default the clock.
        progress: called with the fresh run whenever something was stored.
        by: who asked, if no run is queued.
        sweep: compare all record ids with the CRM's, even if it isn't time for that.
        hints_only: only look up what the CRM called about.

    Raises:
        AlreadyRunningError: another process is at it.
    """
    with alone(connection):
        connection.refresh_from_db()
        return _Run(connection, now, progress or (lambda _run: None), hints_only).go(mode, by, sweep)


def end_dead(connection: Connection, now: datetime | None = None) -> bool:
    """End a run whose process is dead; return whether there was one. One that is alive is left alone."""
    try:
        with alone(connection):
            return _end_dead(connection, now or timezone.now())
    except AlreadyRunningError:
        return False


def _end_dead(connection: Connection, now: datetime) -> bool:
    # We hold the lock, so whoever wrote "running" is dead.
    running = SyncRun.objects.filter(connection=connection, state=SyncRun.State.RUNNING)
    return bool(
        running.update(
            state=SyncRun.State.FAILED,
            finished_at=now,
            error=_("The process that ran it stopped; the next run goes on behind its last page."),
        )
    )


@contextmanager
def alone(connection: Connection) -> Iterator[None]:
    """Hold the connection's lock. PostgreSQL frees it when this process dies, however it dies.

    Raises:
        AlreadyRunningError: somebody else holds it.
    """
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
    """One run, from taking it up to its report; what its objects see is `reading.Session`."""

    row: SyncRun
    connector: Connector | None = None

    def __init__(self, connection: Connection, now: datetime | None, progress: Progress, hints_only: bool):
        self.connection = connection
        self.now = now
        self.progress = progress
        self.hints_only = hints_only
        self.until: list[datetime | None] = []
        self.soon = self.swept = self.comparing = False
        self.write_error: ConnectorError | None = None

    # What the objects of the run need

    def clock(self) -> datetime:
        """The time to write."""
        return self.now or timezone.now()

    def stored(self) -> None:
        """See Session."""
        self._save_usage()
        self.row.refresh_from_db()
        self.row.connection = self.connection
        self.progress(self.row)
        self._afford()

    def beat(self) -> None:
        """See Session."""
        self._save_usage()
        self._afford()

    def note(self, sentence: str) -> None:
        """See Session."""
        if sentence not in self.row.notes.splitlines():
            self.row.notes = f"{self.row.notes}\n{sentence}".strip()
            self.row.save(update_fields=["notes"])

    def count(self, **numbers: int) -> None:
        """See Session."""
        counted = {name: F(name) + number for name, number in numbers.items() if number}
        if counted:
            SyncRun.objects.filter(pk=self.row.pk).update(**counted)

    def _usage(self) -> dict[str, int]:
        if self.connector is None:
            return {}
        budget = self.connector.budget
        spent = {"budget_used": budget.used, "budget_limit": budget.limit} if budget else {}
        return {"calls": self.connector.calls, **spent}

    def _save_usage(self) -> None:
        found = SyncRun.objects.filter(pk=self.row.pk, state=SyncRun.State.RUNNING)
        if not found.update(beat_at=self.clock(), **self._usage()):
            raise SupersededError

    def _afford(self) -> None:
        budget = self.connector.budget if self.connector else None
        share = ASKED_SHARE if self.row.requested_by else SCHEDULED_SHARE
        if budget and budget.limit and budget.used >= share * budget.limit:
            raise _OutOfBudgetError

    # From beginning to end

    def go(self, mode: SyncRun.Mode | None, by: str, sweep: bool) -> SyncRun:
        """Read and store everything; always leaves a finished run."""
        self._take_up(mode, by, sweep)
        try:
            self._read()
            if self.write_error and self.write_error.retry_minutes is not None:
                raise self.write_error
        except ConnectorError as error:
            self._fail(str(error), error.retry_minutes)
        except MappingError as error:
            self._fail(_("The field mapping can't be used: %s") % error)
        except _OutOfBudgetError:
            self._pause()
        except SupersededError:
            logger.warning("Sync run %s was ended by somebody else.", self.row.pk)
        except BaseException as error:
            # Whoever looks at the run must not have to guess; the log has the details.
            self._fail(_("Stopped by an unexpected error (%s).") % type(error).__name__)
            raise
        else:
            self._succeed()
        return SyncRun.objects.filter(pk=self.row.pk).first() or self.row

    def _take_up(self, mode: SyncRun.Mode | None, by: str, sweep: bool) -> None:
        _end_dead(self.connection, self.clock())
        row = (
            SyncRun.objects.filter(connection=self.connection, state=SyncRun.State.QUEUED)
            .order_by("pk")
            .first()
        )
        if row is None:
            row = SyncRun(connection=self.connection, queued_at=self.clock(), requested_by=by)
        row.mode = mode or row.mode
        row.sweep = row.sweep or sweep or (not self.hints_only and self._time_to_sweep())
        row.state = SyncRun.State.RUNNING
        row.started_at = row.beat_at = self.clock()
        row.cursor_before = row.cursor_after = plan.objects(self.connection.cursor)
        row.save()
        row.connection = self.connection
        self.row = row

    def _time_to_sweep(self) -> bool:
        days, last = self.connection.sweep_every_days, self.connection.swept_at
        begun = bool(plan.objects(self.connection.cursor))
        return bool(days and begun and (last is None or last + timedelta(days=days) <= self.clock()))

    def _read(self) -> None:
        self.connector = connector = self._connect()
        wanted = mappings.parse_all(self.connection.mapping, type(connector))
        hinted = hints.objects(self.connection, [name for name in wanted if name in self.connection.cursor])
        if self.hints_only:
            self._recognise(connector)
            for name in [name for name in wanted if name in hinted]:
                reading = self._reading(name, wanted[name])
                reading.hints()
                reading.hints()  # one by one, if the CRM has refused them together
            return
        full = self.row.mode == SyncRun.Mode.FULL
        compare = connector.complete and (full or self.row.sweep)
        plan.begin(self.connection, list(wanted), full, compare, anew=bool(self.row.requested_by))
        self._recognise(connector)
        self.comparing = plan.SWEEP in self.connection.cursor
        self._watch(connector)
        for name, mapping in wanted.items():
            self._read_object(name, mapping)
        if self.until and None not in self.until:
            self._know(min(until for until in self.until if until is not None))

    def _connect(self) -> Connector:
        try:
            return connectors.connector(self.connection)
        except KeyError:
            raise ConnectorError(
                _("There is no connector for “%s” in this version.") % self.connection.kind
            ) from None

    def _recognise(self, connector: Connector) -> None:
        """Make sure that other credentials lead to the same account; the ids of another one's records are others'."""
        held = self.connection.cursor.get(plan.ACCOUNT) or {}
        if held.get("by") == connector.tokens.mark:
            return
        account = connector.account()
        if not account:
            return
        if held.get("id", account) != account:
            if SourceRecord.objects.filter(connection=self.connection).exists():
                raise ConnectorError(
                    _(
                        "The credentials lead to another account (%(other)s) than the one whose records are here "
                        "(%(account)s). Enter those of that account, or connect the other one as a new connection."
                    )
                    % {"other": account, "account": held["id"]}
                )
            self.connection.cursor = {}
        self.connection.cursor = {
            **self.connection.cursor,
            plan.ACCOUNT: {"id": account, "by": connector.tokens.mark},
        }
        plan.save(self.connection)

    def _watch(self, connector: Connector) -> None:
        """Ask for calls from the CRM, or renew that. Without them changes come by the schedule."""
        url = settings.NUDGE_PUBLIC_URL + reverse("crm-hook", args=[self.connection.slug])
        try:
            state = connector.watch(url, self.connection.watch, self.clock())
        except ConnectorError as error:
            if error.retry_minutes is not None:
                raise
            self.note(_("The CRM does not call us about changes: %s") % error)
            return
        if state != self.connection.watch:
            self.connection.watch = state
            Connection.objects.filter(pk=self.connection.pk).update(watch=state)

    def _reading(self, name: str, mapping: Mapping) -> Reading:
        """One object with the fields that the CRM has now."""
        assert self.connector is not None  # noqa: S101 - for the type checker
        fields = self.connector.fields(name)
        changed = drift.check(self.connection, name, mapping, fields)
        for sentence in changed.notes:
            self.note(sentence)
        if changed.volatile and plan.pending(self.connection, plan.SWEEP, name):
            plan.add(self.connection, plan.FULL, name)
        if changed.returned and name in self.connection.cursor:
            plan.add(self.connection, plan.FULL, name)
            plan.save(self.connection)
        self._afford()
        known = mapping.only({field.name for field in fields})
        return Reading(self, self.connector, self.connector.object_type(name), known)

    def _read_object(self, name: str, mapping: Mapping) -> None:
        reading = self._reading(name, mapping)
        reading.hints()
        self._read_changes(reading)
        self._close_gap(name)
        reading.hints()
        reading.rejected()
        if plan.pending(self.connection, plan.SWEEP, name):
            sweep(reading)
            plan.drop(self.connection, plan.SWEEP, name)
            plan.drop(self.connection, plan.GAP, name)
            plan.save(self.connection)
            self.swept = True
        self.until.append(reading.until)
        if reading.role == "person":
            self._write_back(name, reading.mapping)

    def _read_changes(self, reading: Reading) -> None:
        """What changed, or everything if that is wanted.

        A connector goes on with a complete reading that was interrupted. Whoever asked for everything since, with
        another mapping perhaps, wants also what that one has behind it: then the next run begins anew.
        """
        name = reading.name
        going_on = plan.pending(self.connection, plan.READING, name)
        full = plan.pending(self.connection, plan.FULL, name) and not going_on

        def begun() -> None:
            if full or name not in self.connection.cursor:
                plan.add(self.connection, plan.READING, name)
            if full:
                plan.drop(self.connection, plan.FULL, name)

        reading.changes("full" if full else "incremental", begun)
        if full or plan.pending(self.connection, plan.READING, name):
            plan.drop(self.connection, plan.FULL if full else plan.READING, name)
            plan.drop(self.connection, plan.READING, name)
            plan.save(self.connection)
        self.soon = self.soon or plan.pending(self.connection, plan.FULL, name)

    def _close_gap(self, name: str) -> None:
        """Compare all ids where the CRM can no longer tell which records were deleted; not more than once a day."""
        assert self.connector is not None  # noqa: S101 - for the type checker
        cursor, last = self.connection.cursor, self.connection.swept_at
        told = (cursor.get(name) or {}).get("gap") and self.connector.complete
        if told and not plan.pending(self.connection, plan.GAP, name):
            plan.add(self.connection, plan.GAP, name)
            plan.save(self.connection)
        recent = last is not None and last > self.clock() - timedelta(days=1)
        if not plan.pending(self.connection, plan.GAP, name) or recent or self.comparing:
            return
        self.comparing = True
        self.note(_("The CRM can't tell all deletions since the last run; all records are compared."))
        names = [other for other in self.connection.mapping if other in self.connection.cursor]
        plan.begin(self.connection, names, full=False, compare=True, anew=False)

    def _write_back(self, name: str, mapping: Mapping) -> None:
        """Tell the CRM what happened here. That it refuses does not undo what was read, nor slow reading down."""
        assert self.connector is not None  # noqa: S101 - for the type checker
        try:
            written = writeback.write_back(self.connector, self.connection, name, mapping, self.clock())
        except ConnectorError as error:
            self.write_error = error
            self.note(_("Writing back did not work: %s") % error)
            return
        self.count(written=written.records + written.activities)
        self.soon = self.soon or written.waiting > 0
        if written.refused:
            self.note(
                ngettext(
                    "%d record was refused by the CRM when writing back.",
                    "%d records were refused by the CRM when writing back.",
                    written.refused,
                )
                % written.refused
            )

    def _know(self, until: datetime) -> None:
        self.connection.synced_until = until
        Connection.objects.filter(pk=self.connection.pk).update(synced_until=until)
        lag = max(0.0, (self.clock() - until).total_seconds())
        SyncRun.objects.filter(pk=self.row.pk).update(lag_seconds=lag)

    # Endings

    def _succeed(self) -> None:
        # Who was read for the first time needs no comparison yet.
        first = self.connection.swept_at is None and not self.hints_only
        if plan.SWEEP not in self.connection.cursor and (self.swept or first):
            Connection.objects.filter(pk=self.connection.pk).update(swept_at=self.clock())
        interval = timedelta(minutes=self.connection.interval_minutes)
        pause = None if self.hints_only else min(interval, SOON) if self.soon else interval
        self._finish(SyncRun.State.SUCCEEDED, "", pause)
        alerts.resolve(f"sync:{self.connection.slug}")
        if self.hints_only:
            return
        key = f"sync:{self.connection.slug}:write"
        if self.write_error:
            title = _("What happened here could not be written into “%s”.") % self.connection
            alerts.raise_alert(key, title, str(self.write_error))
        else:
            alerts.resolve(key)

    def _pause(self) -> None:
        """End early: what remains of the CRM's calls is for the company's other programs, and for people."""
        budget = self.connector.budget if self.connector else None
        if budget:
            self.note(
                _(
                    "Stopped early: %(used)d of the %(limit)d calls that the CRM allows are used up. The rest follows."
                )
                % {"used": budget.used, "limit": budget.limit}
            )
        interval = timedelta(minutes=self.connection.interval_minutes)
        self._finish(SyncRun.State.SUCCEEDED, "", max(interval, PARKED))

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

    def _finish(self, state: SyncRun.State, error: str, pause: timedelta | None) -> None:
        """Write the run's end, and when the next one begins; None: as planned before."""
        held = SyncRun.objects.filter(pk=self.row.pk).values_list("held", flat=True).first()
        if held:
            self.note(
                ngettext(
                    "%d deletion is held back until a person allows it.",
                    "%d deletions are held back until a person allows them.",
                    held,
                )
                % held
            )
        brake.report(self.connection, bool(held))
        finished = self.clock()
        SyncRun.objects.filter(pk=self.row.pk, state=SyncRun.State.RUNNING).update(
            state=state, error=error, finished_at=finished, beat_at=finished, **self._usage()
        )
        if pause is not None:
            Connection.objects.filter(pk=self.connection.pk).update(next_sync_at=finished + pause)
