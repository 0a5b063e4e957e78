"""What steps of flows want in people's records in connected CRMs: kept until the next sync writes it.

A row is for the connection. It goes into the person's record of the first object that has all its fields; a person whom
the CRM does not know yet has a day to come there.
"""

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec
from django.db import connection as database
from django.utils import timezone

from crm import connectors, wake
from crm.models import Connection
from crm.sync import writeback
from crm.sync.mapping import Mapping

NOBODY_AFTER = timedelta(days=1)  # how long a person may take to come into the CRM
TRY_AGAIN = timedelta(hours=1)
ATTEMPTS = 5
FORGET_AFTER = timedelta(days=30)

_ASK = """
    INSERT INTO campaigns_crmwrite (enrollment_id, flow_id, profile_id, step, connection_id, wanted, state, attempts,
        error, asked_at, due_at)
    SELECT r.enrollment, r.flow, r.profile, %(step)s, %(connection)s, r.wanted, 'waiting', 0, '', %(now)s, %(now)s
    FROM jsonb_to_recordset(%(rows)s::jsonb) AS r(enrollment bigint, flow bigint, profile bigint, wanted jsonb)
    ON CONFLICT (enrollment_id, step, connection_id) DO NOTHING
"""
_DUE = """
    WITH nobody AS (
        UPDATE campaigns_crmwrite w SET state = 'nobody', due_at = NULL, finished_at = %(now)s
        WHERE connection_id = %(connection)s AND due_at <= %(now)s AND asked_at < %(long_ago)s AND attempts = 0
          AND (asked_at < %(too_long_ago)s OR NOT EXISTS (
            SELECT FROM crm_identifier i WHERE i.profile_id = w.profile_id AND starts_with(i.kind, %(crm)s)))
        RETURNING id
    )
    SELECT w.id, s.record_id, w.wanted::text FROM campaigns_crmwrite w
    JOIN crm_identifier i ON i.profile_id = w.profile_id AND i.kind = %(kind)s
    JOIN crm_sourcerecord s ON s.connection_id = w.connection_id AND s.object = %(object)s
        AND s.record_id = i.value AND s.state = 'live'
    WHERE w.connection_id = %(connection)s AND w.due_at <= %(now)s AND w.id NOT IN (SELECT id FROM nobody)
      AND (%(fields)s::text[] IS NULL OR NOT EXISTS (
            SELECT FROM jsonb_object_keys(w.wanted) AS k WHERE NOT k = ANY(%(fields)s::text[])))
    ORDER BY w.due_at, w.id LIMIT %(limit)s
"""
_ANSWERED = """
    UPDATE campaigns_crmwrite w
    SET attempts = w.attempts + 1, error = coalesce(r.error, ''),
        state = CASE WHEN r.error IS NULL THEN 'written' WHEN w.attempts + 1 >= %(most)s THEN 'refused'
            ELSE 'waiting' END,
        due_at = CASE WHEN r.error IS NULL OR w.attempts + 1 >= %(most)s THEN NULL ELSE %(again)s END,
        finished_at = CASE WHEN r.error IS NULL OR w.attempts + 1 >= %(most)s THEN %(now)s END
    FROM jsonb_to_recordset(%(rows)s::jsonb) AS r(id bigint, error text) WHERE w.id = r.id
"""
_FORGET = """
    UPDATE campaigns_crmwrite SET wanted = '{}' WHERE finished_at < %s AND wanted <> '{}'
"""


class Wanted(msgspec.Struct):
    """What one run wants written."""

    enrollment: int
    flow: int
    profile: int
    wanted: dict[str, Any]


def ask(wanted: Sequence[Wanted], step: str, connection_id: int, now: datetime) -> None:
    """Keep values for the connection's next sync, once for each run and step, in the caller's transaction."""
    if not wanted:
        return
    rows = msgspec.json.encode(wanted).decode()
    with database.cursor() as cursor:
        cursor.execute(_ASK, {"step": step, "connection": connection_id, "rows": rows, "now": now})
    wake.on_commit("crm.tasks.sync_due", "sync")


def writable() -> list[Connection]:
    """The connections whose CRM takes values of people."""
    started = Connection.objects.exclude(state=Connection.State.DRAFT).order_by("name")
    return [connection for connection in started if people_objects(connection)]


def people_objects(connection: Connection) -> list[str]:
    """The objects of a connection whose records are people that values can be written into."""
    kind = connectors.kinds().get(connection.kind)
    if kind is None or not kind.write_batch:
        return []
    roles = {each.name: each.role for each in kind.objects}
    return [name for name in connection.mapping if roles.get(name) == "person"]


def fields(connection: Connection) -> dict[str, dict[str, str]]:
    """By object of people: the CRM's fields with their kinds as the last sync saw them; none before the first."""
    return {
        name: found
        for name in people_objects(connection)
        if (found := connection.schema.get(name)) is not None
    }


def computed(connection: Connection) -> set[str]:
    """The fields that the mapping writes by itself, over whatever else is written there."""
    return {
        field
        for name in people_objects(connection)
        for field in msgspec.convert(connection.mapping[name], Mapping).write
    }


class _Asker:
    """For crm.sync.writeback."""

    def due(
        self, connection: Connection, object_name: str, limit: int, now: datetime
    ) -> list[writeback.Asked]:
        """What waits for this object's records; who is still unknown to the CRM after a day is given up."""
        schema = connection.schema.get(object_name)
        with database.cursor() as cursor:
            cursor.execute(
                _DUE,
                {
                    "kind": f"{connection.slug}:{object_name}",
                    "object": object_name,
                    "connection": connection.pk,
                    "now": now,
                    "long_ago": now - NOBODY_AFTER,
                    "too_long_ago": now - FORGET_AFTER,
                    "crm": f"{connection.slug}:",
                    "fields": None if schema is None else list(schema),
                    "limit": limit,
                },
            )
            rows = cursor.fetchall()
        return [
            writeback.Asked(pk, record_id, _sendable(msgspec.json.decode(values), schema or {}))
            for pk, record_id, values in rows
        ]

    def answered(
        self, connection: Connection, object_name: str, answers: dict[int, str | None], now: datetime
    ) -> None:
        """Note what was written and what is tried again."""
        rows = [{"id": pk, "error": error} for pk, error in answers.items()]
        with database.cursor() as cursor:
            cursor.execute(
                _ANSWERED,
                {
                    "rows": msgspec.json.encode(rows).decode(),
                    "most": ATTEMPTS,
                    "again": now + TRY_AGAIN,
                    "now": now,
                },
            )


def connect() -> None:
    """Called once when Django is ready."""
    writeback.register(_asker)


_asker = _Asker()


def _sendable(values: dict[str, Any], schema: dict[str, str]) -> dict[str, Any]:
    """Times as connectors take them; what is none is sent as it stands, and refused with the CRM's own words."""
    sent = {}
    for name, value in values.items():
        if schema.get(name) == "datetime" and isinstance(value, str):
            try:
                moment = datetime.fromisoformat(value)
                value = moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment.astimezone(UTC)
            except ValueError:
                pass
        sent[name] = value
    return sent


def forget(now: datetime | None = None) -> None:
    """Drop values that were written a month ago; that they were stays."""
    with database.cursor() as cursor:
        cursor.execute(_FORGET, [(now or timezone.now()) - FORGET_AFTER])
