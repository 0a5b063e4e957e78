"""Comparing all record ids with the CRM's: finds deletions that it never reported, and records that never came.

The CRM's ids go into a temporary table and the difference is taken there, so memory stays flat. Nothing is
believed from a list alone: what differs is read by its id. A sweep that is interrupted begins again; it keeps
nothing but what it has repaired.
"""

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any

from django.db import DatabaseError
from django.db import connection as database
from django.utils.translation import gettext as _

from crm.connectors.base import ConnectorError, Page, Record
from crm.models import SourceRecord
from crm.sync import brake
from crm.sync.reading import Reading

CHUNK = 500
IDLE = 100  # batches of ids in a row without a new one

# The CRM has them, and we have not: unless they wait among the rejects, or must never return.
_UNKNOWN = """
    SELECT t.record_id FROM crm_swept t
    WHERE t.record_id > %(after)s
        AND NOT EXISTS (SELECT FROM crm_sourcerecord s WHERE s.connection_id = %(connection)s
            AND s.object = %(object)s AND s.record_id = t.record_id AND s.state IN ('live', 'erased'))
        AND NOT EXISTS (SELECT FROM crm_syncreject r WHERE r.connection_id = %(connection)s
            AND r.object = %(object)s AND r.record_id = t.record_id AND r.resolved_at IS NULL)
    ORDER BY t.record_id LIMIT %(limit)s
"""
_MISSING_ONES = """
    FROM crm_sourcerecord s
    WHERE s.connection_id = %(connection)s AND s.object = %(object)s AND s.state = 'live'
        AND NOT EXISTS (SELECT FROM crm_swept t WHERE t.record_id = s.record_id)
"""
_MISSING = (
    f"SELECT s.record_id {_MISSING_ONES} AND s.record_id > %(after)s ORDER BY s.record_id LIMIT %(limit)s"
)
_HOLD = f"""
    INSERT INTO crm_synchint (connection_id, object, record_id, kind, received_at)
    SELECT %(connection)s, %(object)s, s.record_id, 'held', %(now)s {_MISSING_ONES}
    ON CONFLICT DO NOTHING
"""
_THERE_AGAIN = """
    DELETE FROM crm_synchint h USING crm_swept t
    WHERE h.connection_id = %(connection)s AND h.object = %(object)s AND h.kind IN ('held', 'held_erased')
        AND h.record_id = t.record_id
"""


def sweep(reading: Reading) -> None:
    """Make the set of live records of one object equal to the CRM's.

    Raises:
        ConnectorError: the CRM can't be read; what was repaired so far stays.
    """
    with _table():
        _Sweep(reading).go()


@contextmanager
def _table() -> Iterator[None]:
    with database.cursor() as cursor:
        cursor.execute("DROP TABLE IF EXISTS pg_temp.crm_swept")
        cursor.execute("CREATE TEMPORARY TABLE crm_swept (record_id text PRIMARY KEY)")
    try:
        yield
    finally:
        with suppress(DatabaseError), database.cursor() as cursor:  # it ends with the session at the latest
            cursor.execute("DROP TABLE pg_temp.crm_swept")


class _Sweep:
    def __init__(self, reading: Reading):
        self.reading = reading
        self.connection = reading.connection
        self.values: dict[str, Any] = {"connection": self.connection.pk, "object": reading.name}

    def go(self) -> None:
        """List, compare, look up, believe."""
        self._collect()
        with database.cursor() as cursor:
            cursor.execute(_THERE_AGAIN, self.values)
        for ids in self._chunks(_UNKNOWN):
            self.reading.store([self._page(self.reading.look_up(ids))])
        count = self._count_missing()
        try:
            brake.check(self.connection, self.reading.name, count, self.reading.session.clock())
        except brake.HeldError:
            with database.cursor() as cursor:
                cursor.execute(_HOLD, {**self.values, "now": self.reading.session.clock()})
            self.reading.session.count(held=count)
            return
        for ids in self._chunks(_MISSING):
            self._bury(ids)

    def _collect(self) -> None:
        idle = 0
        for ids in self.reading.connector.ids(self.reading.name):
            self.reading.session.beat()
            with database.cursor() as cursor:
                cursor.execute(
                    "INSERT INTO crm_swept SELECT unnest(%s::text[]) ON CONFLICT DO NOTHING", [list(ids)]
                )
                idle = 0 if cursor.rowcount else idle + 1
            if idle > IDLE:
                raise ConnectorError(
                    _("The CRM's list of ids goes in circles and would never end; the next run tries again.")
                )
        with database.cursor() as cursor:
            cursor.execute("ANALYZE crm_swept")

    def _chunks(self, statement: str) -> Iterator[list[str]]:
        after = ""
        while True:
            with database.cursor() as cursor:
                cursor.execute(statement, {**self.values, "after": after, "limit": CHUNK})
                ids = [row[0] for row in cursor.fetchall()]
            if not ids:
                return
            after = ids[-1]
            yield ids

    def _count_missing(self) -> int:
        with database.cursor() as cursor:
            cursor.execute(f"SELECT count(*) {_MISSING_ONES}", self.values)
            return cursor.fetchone()[0]

    def _bury(self, ids: list[str]) -> None:
        """Look for records that the list has not, and believe that those are gone that can't be read either."""
        found = self.reading.look_up(ids)
        there = {record.id for record in found}
        stamps = SourceRecord.objects.filter(
            connection=self.connection, object=self.reading.name, record_id__in=ids
        ).values_list("record_id", "modified_at")
        gone = [Record(name, at, deleted=True) for name, at in stamps if name not in there]

        def mark() -> None:
            SourceRecord.objects.filter(
                connection=self.connection,
                object=self.reading.name,
                record_id__in=[record.id for record in gone],
                state=SourceRecord.State.DELETED,
            ).update(state=SourceRecord.State.MISSING)

        self.reading.store([self._page([*found, *gone])], mark)

    def _page(self, records: list[Record]) -> Page:
        return Page(
            self.reading.name, records, self.connection.cursor.get(self.reading.name) or {}, current=True
        )
