"""Looking at the event log as it stood at an earlier moment, without a way to change anything.

Rules, computed attributes and steps all ask the one log. A temporary view of its name, which PostgreSQL finds
before the table, ends at a moment that can be set: whatever is asked meanwhile by this connection knows nothing of
what came later. The view is made and dropped outside of the transactions that ask, so that these get no transaction
id, for which readers of the log would wait.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime

from django.db import connection, transaction

# `SELECT *` of the table: the view does not exist yet when its own definition is read.
_MAKE = """
    CREATE TEMPORARY VIEW crm_event AS
    SELECT * FROM crm_event WHERE occurred_at <= current_setting('nudge.seen_until', true)::timestamptz
"""


@contextmanager
def looking_back() -> Iterator[None]:
    """For its length this connection sees what `at` lets it see. Not to be nested."""
    with connection.cursor() as cursor:
        cursor.execute(_MAKE)
    try:
        yield
    finally:
        # With a lost connection the view is gone, and what happened is to be told, not that.
        if connection.connection is not None and not connection.connection.closed:
            with connection.cursor() as cursor:
                cursor.execute("DROP VIEW pg_temp.crm_event")


@contextmanager
def at(moment: datetime) -> Iterator[None]:
    """A transaction that can't write and, within `looking_back`, sees only events up to `moment`."""
    with transaction.atomic(), connection.cursor() as cursor:
        cursor.execute("SET TRANSACTION READ ONLY")
        look(moment)
        yield


def look(moment: datetime) -> None:
    """Within `at`: see events up to another moment from here on."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT set_config('nudge.seen_until', %s, true)", [moment.isoformat()])
