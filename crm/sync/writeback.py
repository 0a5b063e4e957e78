"""Writing back into a CRM what happened here: only differences, in batches, never twice.

A reader of the event log marks the records of the people concerned as due; a profile that changed is found
by its time. What is due is computed anew and compared with what was sent last, so nothing is lost or sent
twice when a process dies: at worst the same values are written again, which changes nothing. Events for the
CRM's timeline wait in a table with the log's own ids, by which the CRM knows a repetition.
"""

import hashlib
from collections.abc import Collection, Sequence
from datetime import UTC, datetime, timedelta
from itertools import islice
from typing import Any, Protocol

import msgspec
from django.db import connection as database
from django.db import transaction

from crm import log
from crm.connectors.base import Activity, Change, Connector
from crm.models import Connection, LogCursor, OutgoingActivity, WrittenRecord
from crm.sync import written_values
from crm.sync.mapping import Mapping

READ = 5_000  # events looked at in one transaction
BATCHES = 100  # calls in one run; the rest waits for the next
LOOK_BACK = timedelta(minutes=10)  # how late a profile's change may be committed
TRY_AGAIN = timedelta(hours=6)
ATTEMPTS = 5  # of an activity that the CRM refuses

_DUE = """
    INSERT INTO crm_writtenrecord (connection_id, object, record_id, profile_id, "values", error, due_at, written_at)
    SELECT s.connection_id, s.object, s.record_id, i.profile_id, '{}', '', %(now)s, %(now)s
    FROM crm_identifier i
    JOIN crm_sourcerecord s ON s.connection_id = %(connection)s AND s.object = %(object)s
        AND s.record_id = i.value AND s.state = 'live'
    WHERE i.kind = %(kind)s AND (%(everybody)s OR i.profile_id = ANY(%(profiles)s))
    ON CONFLICT (connection_id, object, record_id)
        DO UPDATE SET due_at = excluded.due_at, profile_id = excluded.profile_id
"""
_ACTIVITIES = """
    INSERT INTO crm_outgoingactivity (connection_id, object, record_id, event_id, name, occurred_at, properties,
        attempts, error)
    SELECT s.connection_id, s.object, s.record_id, e.id, e.name, e.occurred_at, e.properties, 0, ''
    FROM jsonb_to_recordset(%(events)s::jsonb)
        AS e(id uuid, profile_id bigint, name text, occurred_at timestamptz, properties jsonb)
    JOIN crm_identifier i ON i.profile_id = e.profile_id AND i.kind = %(kind)s
    JOIN crm_sourcerecord s ON s.connection_id = %(connection)s AND s.object = %(object)s
        AND s.record_id = i.value AND s.state = 'live'
    ON CONFLICT DO NOTHING
"""


class Asked(msgspec.Struct):
    """Values that somebody else than the mapping wants in a CRM's record. `key` is the asker's own number."""

    key: int
    record_id: str
    values: dict[str, Any]


class Asker(Protocol):
    """A part of the product that has values written into records; it remembers what it asks for."""

    def due(self, connection: Connection, object_name: str, limit: int, now: datetime) -> list[Asked]:
        """What waits, oldest first; records of one person may be asked for several times."""

    def answered(
        self, connection: Connection, object_name: str, answers: dict[int, str | None], now: datetime
    ) -> None:
        """What became of it by key: None, or the sentence why the CRM refused it."""


_askers: list[Asker] = []


def register(asker: Asker) -> None:
    """Let runs write what `asker` wants."""
    if asker not in _askers:
        _askers.append(asker)


class Written(msgspec.Struct):
    """What one call came to. `waiting`: records and activities left for the next one."""

    records: int = 0
    activities: int = 0
    refused: int = 0
    waiting: int = 0


def write_back(
    connector: Connector, connection: Connection, object_name: str, mapping: Mapping, now: datetime
) -> Written:
    """Bring one object's records in the CRM up to date, as far as one run may go.

    Only the holder of the connection's sync lock may call this.

    Raises:
        ConnectorError: the CRM could not be reached; what was written is remembered, the rest stays due.
    """
    work = _Work(connector, connection, object_name, mapping, now)
    if work.wanted:
        work.notice()
        work.write()
        work.send()
        work.count_waiting()
    work.write_asked()
    return work.written


def forget(connection: Connection) -> None:
    """Drop what is remembered about a connection's writing."""
    WrittenRecord.objects.filter(connection=connection).delete()
    OutgoingActivity.objects.filter(connection=connection).delete()
    LogCursor.objects.filter(name__startswith=f"writeback:{connection.pk}:").delete()


class _Work:
    """One call of `write_back`."""

    def __init__(
        self, connector: Connector, connection: Connection, object_name: str, mapping: Mapping, now: datetime
    ):
        self.connector, self.connection, self.now = connector, connection, now
        self.object = object_name
        self.fields = {
            name: value for name, value in mapping.write.items() if written_values.find(value) is not None
        }
        self.activities = set(mapping.activities) if connector.takes_activities else set()
        self.written = Written()

    @property
    def wanted(self) -> bool:
        """Whether there is anything to do at all."""
        return bool((self.fields and self.connector.write_batch) or self.activities)

    # Noticing

    @property
    def reader(self) -> str:
        """The log cursor; another choice of values is another reader, which begins with everybody."""
        chosen = msgspec.json.encode([sorted(self.fields.items()), sorted(self.activities)])
        digest = hashlib.blake2b(chosen, digest_size=6).hexdigest()
        return f"writeback:{self.connection.pk}:{self.object}:{digest}"

    def notice(self) -> None:
        """Mark what has changed since the last run as due."""
        reader = self.reader
        if not LogCursor.objects.filter(name=reader).exists():
            self._begin(reader)
        engagement = written_values.event_names(self.fields.values())
        names = engagement | self.activities | {"profile_merged"}
        more = True
        while more:
            with log.read(reader, READ, names) as batch:
                self._mark_due(
                    {e.profile_id for e in batch.events if e.name in engagement or e.name == "profile_merged"}
                )
                self._queue([event for event in batch.events if event.name in self.activities])
                more = batch.full
        if written_values.needs_profile(self.fields.values()):
            self._notice_profiles()

    @transaction.atomic
    def _begin(self, reader: str) -> None:
        LogCursor.objects.filter(name__startswith=f"writeback:{self.connection.pk}:{self.object}:").delete()
        log.start_at_end(reader)
        self._mark_due(None)

    def _notice_profiles(self) -> None:
        """For all objects at once, as they share the time up to which profiles were looked at."""
        since = self.connection.written_until
        if since is not None:
            with database.cursor() as cursor:
                cursor.execute(
                    "SELECT id FROM crm_profile WHERE updated_at > %s ORDER BY updated_at, id",
                    [since - LOOK_BACK],
                )
                rows = iter([row[0] for row in cursor.fetchall()])
            names = self._writers()
            while ids := set(islice(rows, READ)):
                for name in names:
                    self._mark_due(ids, name)
        self.connection.written_until = self.now
        Connection.objects.filter(pk=self.connection.pk).update(written_until=self.now)

    def _writers(self) -> set[str]:
        """The objects into which values of profiles are written."""
        return {self.object} | {
            name
            for name, part in self.connection.mapping.items()
            if written_values.needs_profile(part.get("write", {}).values())
        }

    def _place(self, object_name: str) -> dict[str, Any]:
        return {
            "connection": self.connection.pk,
            "object": object_name,
            "kind": f"{self.connection.slug}:{object_name}",
        }

    def _mark_due(self, profile_ids: Collection[int] | None, object_name: str = "") -> None:
        """None: everybody."""
        if profile_ids is not None and not profile_ids:
            return
        chosen: dict[str, Any] = {"everybody": profile_ids is None, "profiles": list(profile_ids or ())}
        with database.cursor() as cursor:
            place = self._place(object_name or self.object)
            cursor.execute(_DUE, {**place, **chosen, "now": self.now})

    def _queue(self, events: Sequence[log.LoggedEvent]) -> None:
        if not events:
            return
        rows = [
            {
                "id": event.id,
                "profile_id": event.profile_id,
                "name": event.name,
                "occurred_at": event.occurred_at,
                "properties": event.properties,
            }
            for event in events
        ]
        with database.cursor() as cursor:
            cursor.execute(
                _ACTIVITIES, {**self._place(self.object), "events": msgspec.json.encode(rows).decode()}
            )

    # Writing

    def write(self) -> None:
        """Send the differences of what is due."""
        if not self.fields or not self.connector.write_batch:
            return
        for _call in range(BATCHES):
            rows = self._claim()
            if not rows:
                return
            self._write(rows)

    def _claim(self) -> list[WrittenRecord]:
        due = WrittenRecord.objects.filter(
            connection=self.connection, object=self.object, due_at__lte=self.now
        )
        return list(due.order_by("due_at", "pk")[: self.connector.write_batch])

    def _write(self, rows: list[WrittenRecord]) -> None:
        values = written_values.compute(set(self.fields.values()), [row.profile_id for row in rows])
        changes, changed = [], []
        for row in rows:
            fresh = {field: values[row.profile_id][name] for field, name in self.fields.items()}
            differing = {
                field: value
                for field, value in fresh.items()
                if (value != row.values[field] if field in row.values else not _empty(value))
            }
            row.error, row.due_at = "", None
            if differing:
                sent = {field: self._sendable(field, value) for field, value in differing.items()}
                changes.append(Change(row.record_id, sent))
                changed.append((row, differing))
        answers = self.connector.write(self.object, changes) if changes else []
        for (row, differing), refusal in zip(changed, answers, strict=True):
            if refusal is None:
                row.values = {**row.values, **differing}
                row.written_at = self.now
                self.written.records += 1
            else:
                row.error, row.due_at = refusal, self.now + TRY_AGAIN
                self.written.refused += 1
        sent_to = [row for row, _ in changed]
        same = {row.pk for row in rows} - {row.pk for row in sent_to}
        WrittenRecord.objects.filter(pk__in=same).update(error="", due_at=None)  # mostly all of them: cheap
        WrittenRecord.objects.bulk_update(sent_to, ["values", "error", "due_at", "written_at"])

    def _sendable(self, field: str, value: Any) -> Any:
        found = written_values.find(self.fields[field])
        if found and found.kind == "datetime" and isinstance(value, str):
            return datetime.fromisoformat(value).astimezone(UTC)
        return value

    def write_asked(self) -> None:
        """Send what other parts of the product want in records; of one record's values the last asked for count."""
        if not self.connector.write_batch:
            return
        for asker in _askers:
            for _call in range(BATCHES):
                asked = asker.due(self.connection, self.object, self.connector.write_batch, self.now)
                if not asked:
                    break
                records: dict[str, dict[str, Any]] = {}
                for one in asked:
                    records.setdefault(one.record_id, {}).update(one.values)
                answers = self.connector.write(
                    self.object, [Change(record_id, values) for record_id, values in records.items()]
                )
                refusals = dict(zip(records, answers, strict=True))
                asker.answered(
                    self.connection,
                    self.object,
                    {one.key: refusals[one.record_id] for one in asked},
                    self.now,
                )
                refused = sum(refusal is not None for refusal in answers)
                self.written.refused += refused
                self.written.records += len(answers) - refused

    # The timeline

    def send(self) -> None:
        """Send what waits for the CRM's timeline, oldest first."""
        if not self.activities:
            return
        waiting = OutgoingActivity.objects.filter(
            connection=self.connection, object=self.object, attempts__lt=ATTEMPTS
        )
        refused: set[int] = set()
        for _call in range(BATCHES):
            untried = waiting.exclude(pk__in=refused).order_by("attempts", "pk")
            rows = list(untried[: max(self.connector.write_batch, 1)])
            if not rows:
                return
            refused |= self._send(rows)

    def _send(self, rows: list[OutgoingActivity]) -> set[int]:
        """Send some; the keys of those that the CRM refused, which wait for the next run."""
        answers = self.connector.send(
            self.object,
            [
                Activity(str(row.event_id), row.record_id, row.name, row.occurred_at, row.properties)
                for row in rows
            ],
        )
        sent, refused = [], []
        for row, refusal in zip(rows, answers, strict=True):
            if refusal is None:
                sent.append(row.pk)
            else:
                row.attempts, row.error = row.attempts + 1, refusal
                refused.append(row)
        OutgoingActivity.objects.filter(pk__in=sent).delete()
        OutgoingActivity.objects.bulk_update(refused, ["attempts", "error"])
        self.written.activities += len(sent)
        self.written.refused += len(refused)
        return {row.pk for row in refused}

    def count_waiting(self) -> None:
        """What the next run has to do."""
        mine = {"connection": self.connection, "object": self.object}
        self.written.waiting = (
            WrittenRecord.objects.filter(**mine, due_at__lte=self.now).count()
            + OutgoingActivity.objects.filter(**mine, attempts__lt=ATTEMPTS).count()
        )


def _empty(value: Any) -> bool:
    """What a CRM's field holds anyway when nobody has written into it."""
    return value is None or value is False or value == 0 or value == ""
