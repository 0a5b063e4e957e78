"""Monthly partitions of the event log."""

from collections.abc import Iterable
from datetime import UTC, date, datetime

from django.db import connection, transaction

MONTHS_AHEAD = 2
_LOCK = 0x6E7564676501

_known: set[date] = set()


def _month(at: datetime) -> date:
    return at.astimezone(UTC).date().replace(day=1)


def _next(month: date) -> date:
    return date(month.year + month.month // 12, month.month % 12 + 1, 1)


def ensure(times: Iterable[datetime]) -> None:
    """Create the partitions that hold `times` where they are missing.

    Runs in the caller's transaction. A new table is attached rather than created as a partition, because
    that does not lock out the readers and writers of the others.
    """
    missing = {_month(at) for at in times} - _known
    if not missing:
        return
    with transaction.atomic(), connection.cursor() as cursor:
        existing = _existing(cursor)
        if missing - set(existing):
            cursor.execute("SELECT pg_advisory_xact_lock(%s)", [_LOCK])
            existing = _existing(cursor)
        for month in sorted(missing - set(existing)):
            name = f"crm_event_y{month.year:04d}m{month.month:02d}"
            cursor.execute(f"CREATE TABLE {name} (LIKE crm_event INCLUDING DEFAULTS INCLUDING INDEXES)")
            cursor.execute(
                f"ALTER TABLE crm_event ATTACH PARTITION {name} "
                f"FOR VALUES FROM ('{month} 00:00:00+00') TO ('{_next(month)} 00:00:00+00')"
            )
    _known.update(month for month in missing if existing.get(month))


def hold() -> None:
    """Let no partition come into being until the present transaction ends.

    A statement is planned before its snapshot is taken. A partition attached and filled in between would be
    missing from the plan while its transaction counts as past: a log reader would step over its rows for good.
    """
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_advisory_xact_lock_shared(%s)", [_LOCK])


def ensure_ahead(now: datetime) -> None:
    """Create the partitions of this month and the next two."""
    month = _month(now)
    months = []
    for _ in range(MONTHS_AHEAD + 1):
        months.append(datetime(month.year, month.month, 1, tzinfo=UTC))
        month = _next(month)
    ensure(months)


def forget() -> None:
    """Drop what this process remembers; for a database that was replaced under it."""
    _known.clear()


def _existing(cursor) -> dict[date, bool]:
    """The months there are, and whether each is there for good: our own may still be rolled back.

    Rows that our transaction wrote bear its number or, from inside a savepoint, a later one.
    """
    cursor.execute(
        """
        SELECT inhrelid::regclass::text, pg_current_xact_id_if_assigned() IS NULL
            OR age(c.xmin) > age(pg_current_xact_id_if_assigned()::xid)
        FROM pg_inherits JOIN pg_class c ON c.oid = inhrelid WHERE inhparent = 'crm_event'::regclass
        """
    )
    rows = [(row[0].rpartition(".")[2].strip('"'), row[1]) for row in cursor.fetchall()]
    return {date(int(name[11:15]), int(name[16:18]), 1): settled for name, settled in rows}
