"""Reading one object of a connection in one run: hints, what changed, what was rejected, and the comparison."""

from collections.abc import Callable, Sequence
from datetime import datetime, timedelta
from typing import Protocol

from django.db import OperationalError, transaction
from django.db.models import Q
from django.utils.translation import gettext as _
from psycopg.errors import DeadlockDetected

from crm.connectors.base import Connector, ConnectorError, Mode, ObjectType, Page, Record
from crm.models import Connection, SyncReject, SyncRun
from crm.profiles import CollisionError
from crm.sync import brake, hints
from crm.sync.apply import apply
from crm.sync.mapping import Mapping
from crm.sync.pages import batches

RETRIED = 500  # rejected records tried again in one run
PATIENCE = 10  # attempts, after which a reject is tried once an hour
HINT_BATCHES = 100  # in one go
HOUR = timedelta(hours=1)
SINGLES = 50  # hints read one by one when the CRM refuses them together
FAILURES = 5  # in a row; then it is not the ids that are wrong
TRIES = 5  # to store a group, when other writers hold what it needs


class Session(Protocol):
    """The run as its objects see it."""

    row: SyncRun
    connection: Connection

    def clock(self) -> datetime:
        """The time to write."""

    def stored(self) -> None:
        """Something was stored: look at the budget and show the progress."""

    def beat(self) -> None:
        """Still alive; look at the budget."""

    def note(self, sentence: str) -> None:
        """Put a sentence on the run."""

    def count(self, **numbers: int) -> None:
        """Add to the run's counters."""


class Reading:
    """One object of one run."""

    def __init__(self, session: Session, connector: Connector, found: ObjectType, mapping: Mapping):
        self.session, self.connector = session, connector
        self.connection = session.connection
        self.name, self.role = found.name, found.role
        self.mapping, self.names = mapping, mapping.names()
        self.until: datetime | None = None
        self._refused = False  # the CRM refused to read hinted records together

    def hints(self) -> None:
        """Read what the CRM called about; and what waited for a person's yes, once it is there.

        A refusal does not end the run: one bad id must not keep everything else out.
        """
        size = 1 if self._refused else hints.BATCH
        after = failures = 0
        for _number in range(SINGLES if self._refused else HINT_BATCHES):
            waiting = brake.agreed(self.connection, self.session.clock())
            due = hints.due(self.connection, self.name, waiting, after, size)
            if not due:
                return
            after = due[-1].id
            try:
                found = self.look_up([hint.record_id for hint in due])
            except ConnectorError as error:
                if error.retry_minutes is not None:
                    raise
                if not self._refused:
                    self._refused = True
                    return
                self.session.note(
                    _("Record %(id)s can't be looked up: %(why)s")
                    % {
                        "id": due[0].record_id,
                        "why": error,
                    }
                )
                hints.postpone(self.connection, due)
                failures += 1
                if failures >= FAILURES:
                    return
            else:
                now = self.session.clock()
                self.store([hints.page(self.connection, self.name, due, found, now)])
                doubtful = hints.doubtful(due, found)
                hints.postpone(self.connection, doubtful)
                hints.done(self.connection, [hint for hint in due if hint not in doubtful])
                failures = 0

    def changes(self, mode: Mode, begun: Callable[[], None]) -> None:
        """Read what changed, or everything.

        Args:
            begun: called before the first page is stored.
        """
        cursor = self.connection.cursor.get(self.name) or {}
        for pages in batches(self.connector.pages(self.name, cursor, mode, self.names)):
            begun()
            self.store(pages)
            self.until = pages[-1].until or self.until

    def rejected(self) -> None:
        """Try rejected records again, as they are now; those that are gone leave the list."""
        waiting = SyncReject.objects.filter(
            Q(attempts__lt=PATIENCE) | Q(last_seen__lt=self.session.clock() - HOUR),
            connection=self.connection,
            object=self.name,
            resolved_at=None,
            last_seen__lt=self.session.row.started_at,
        )
        ids = list(waiting.order_by("last_seen").values_list("record_id", flat=True)[:RETRIED])
        if not ids:
            return
        records = self.look_up(ids)
        self.store([Page(self.name, records, self.connection.cursor.get(self.name) or {}, current=True)])
        there = {record.id for record in records}
        waiting.filter(record_id__in=[record_id for record_id in ids if record_id not in there]).update(
            resolved_at=self.session.clock()
        )

    def look_up(self, ids: Sequence[str]) -> list[Record]:
        """The records with these ids, as they are now."""
        self.session.beat()
        return self.connector.read(self.name, ids, self.names)

    def store(self, pages: Sequence[Page], also: Callable[[], None] | None = None) -> None:
        """Store pages, and do `also` in the same transaction."""
        if not pages:
            return
        for attempt in range(TRIES):
            try:
                with transaction.atomic():
                    apply(self.session.row, pages, self.mapping, self.role, self.session.clock())
                    if also:
                        also()
                break
            except (OperationalError, DeadlockDetected, CollisionError) as error:
                # A group holds many people until its end: one of two writers that wait for each other has to give way.
                other = isinstance(error, OperationalError) and not isinstance(
                    error.__cause__, DeadlockDetected
                )
                if other or attempt == TRIES - 1:
                    raise
        self.session.stored()
