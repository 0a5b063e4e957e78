"""Monthly partitions of the event log: made ahead or on demand, and taken out once their time is over."""

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from datetime import UTC, date, datetime, timedelta
from typing import Any

from django.db import IntegrityError, OperationalError, connection, transaction
from psycopg.errors import CheckViolation, LockNotAvailable

from crm.models import ClosedMonth

MONTHS_AHEAD = 2
READERS_MOVE_WITHIN = timedelta(days=30)  # a reader that stood still for longer is no longer run by anybody
PATIENCE_MS = 5_000  # of `detach`, for whoever uses the table: a backup may do so for hours
_LOCK = 0x6E7564676501

_known: set[date] = set()


class StillRead(Exception):
    """Some reader of the log has yet to come past events of this month."""


class InUse(Exception):
    """Some transaction, such as a backup's, has looked at this month and goes on."""


def month_of(at: datetime) -> date:
    """The first day of the month that `at` lies in, in UTC."""
    return at.astimezone(UTC).date().replace(day=1)


def _next(month: date) -> date:
    return date(month.year + month.month // 12, month.month % 12 + 1, 1)


def ensure(times: Iterable[datetime]) -> frozenset[date]:
    """Create the partitions that hold `times` where they are missing; return the months that are closed.

    A closed month (see `detach`) gets no partition again. Runs in the caller's transaction. A new table is
    attached rather than created as a partition, because that does not lock out the readers and writers of the
    others.
    """
    missing = _missing(times)
    if not missing:
        return frozenset()
    with transaction.atomic(), connection.cursor() as cursor:
        existing, closed = _existing(cursor)
        if missing - set(existing) - closed:
            cursor.execute("SELECT pg_advisory_xact_lock(%s)", [_LOCK])
            existing, closed = _existing(cursor)
        for month in sorted(missing - set(existing) - closed):
            name = _table(month)
            cursor.execute(f"CREATE TABLE {name} (LIKE crm_event INCLUDING DEFAULTS INCLUDING INDEXES)")
            cursor.execute(
                f"ALTER TABLE crm_event ATTACH PARTITION {name} "
                f"FOR VALUES FROM ('{month} 00:00:00+00') TO ('{_next(month)} 00:00:00+00')"
            )
    _known.update(month for month in missing - closed if existing.get(month))
    return frozenset(missing & closed)


def _missing(times: Iterable[datetime]) -> set[date]:
    """The months of `times` that this process does not know to be there."""
    times = list(times)
    if not times:
        return set()
    # Nearly always all lie in one month, and looking at two of a thousand tells.
    first, last = month_of(min(times)), month_of(max(times))
    months = {first} if first == last else {month_of(at) for at in times}
    return months - _known


def is_missing(error: IntegrityError) -> bool:
    """Whether a row found no partition: it went after this process saw it last, see `forget`."""
    return isinstance(error.__cause__, CheckViolation)


def hold() -> None:
    """Let no partition come into being until the present transaction ends.

    A statement is planned before its snapshot is taken. A partition attached and filled in between would be
    missing from the plan while its transaction counts as past: a log reader would step over its rows for good.
    """
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_advisory_xact_lock_shared(%s)", [_LOCK])


def ensure_ahead(now: datetime) -> None:
    """Create the partitions of this month and the next two."""
    month = month_of(now)
    months = []
    for _ in range(MONTHS_AHEAD + 1):
        months.append(datetime(month.year, month.month, 1, tzinfo=UTC))
        month = _next(month)
    ensure(months)


def months() -> list[date]:
    """The first days of the months that have a partition, the oldest first."""
    with connection.cursor() as cursor:
        return sorted(_existing(cursor)[0])


def unfinished() -> list[ClosedMonth]:
    """The closed months whose table is still there: `detach` was interrupted, and can be repeated."""
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT month FROM crm_closedmonth WHERE to_regclass("
            "'crm_event_' || to_char(month, '\"y\"YYYY\"m\"MM')) IS NOT NULL"
        )
        return list(ClosedMonth.objects.filter(pk__in=[row[0] for row in cursor.fetchall()]))


def detach(month: date, keep: bool = False) -> int:
    """Take a month out of the log for good; events that come for it from now on are refused.

    Readers and writers go on meanwhile (DETACH PARTITION CONCURRENTLY), so it can't be part of a transaction.
    May be repeated after it was interrupted.

    Args:
        month: the first day of one of `months`.
        keep: whether the table stays, as crm_event_archived_y2024m03, for whoever wants to look into it.

    Returns:
        How many events the month held.

    Raises:
        LookupError: there is no such partition.
        StillRead: a reader of the log has not read all of it; try again later.
        InUse: somebody has used the table for longer than PATIENCE_MS; try again later.
    """
    table, archive = _table(month), f"crm_event_archived_{_table(month).rpartition('_')[2]}"
    with connection.cursor() as cursor, _impatient(cursor, table):
        state = _state(cursor, table)
        if state is None:
            raise LookupError(f"There is no partition for {month:%Y-%m}.")
        if state == "attached":
            _check_that_all_is_read(cursor, table)
        # First of all, so that a writer that finds the partition gone finds this as well.
        ClosedMonth.objects.get_or_create(month=month, defaults={"archive": archive if keep else ""})
        if state == "attached":
            cursor.execute(f"ALTER TABLE crm_event DETACH PARTITION {table} CONCURRENTLY")
        elif state == "detaching":
            cursor.execute(f"ALTER TABLE crm_event DETACH PARTITION {table} FINALIZE")
        _known.discard(month)
        cursor.execute(f"SELECT count(*) FROM {table}")
        [count] = cursor.fetchone()
        cursor.execute(f"ALTER TABLE {table} RENAME TO {archive}" if keep else f"DROP TABLE {table}")
    return count


@contextmanager
def _impatient(cursor: Any, table: str) -> Iterator[None]:
    """Wait for no lock longer than PATIENCE_MS: who waits for one here holds up who makes the next months."""
    cursor.execute("SELECT set_config('lock_timeout', %s, false)", [str(PATIENCE_MS)])
    try:
        yield
    except OperationalError as error:
        if isinstance(error.__cause__, LockNotAvailable):
            raise InUse(f"{table} is in use.") from error
        raise
    finally:
        cursor.execute("RESET lock_timeout")


def _state(cursor, table: str) -> str | None:
    """Whether the table is "attached", "detaching" (that was interrupted) or "detached"; None if there is none."""
    cursor.execute(
        """
        SELECT inhdetachpending FROM pg_class c LEFT JOIN pg_inherits ON inhrelid = c.oid
        WHERE c.oid = to_regclass(%s)
        """,
        [table],
    )
    row = cursor.fetchone()
    return row and {None: "detached", True: "detaching", False: "attached"}[row[0]]


def _check_that_all_is_read(cursor, table: str) -> None:
    cursor.execute(
        f"""
        SELECT name FROM crm_logcursor c WHERE moved_at > now() - %s
            AND EXISTS (SELECT FROM {table} e WHERE (e.txid, e.seq) > (c.txid, c.seq)) LIMIT 1
        """,
        [READERS_MOVE_WITHIN],
    )
    if row := cursor.fetchone():
        raise StillRead(f"{row[0]} has not read all of {table}.")


def forget() -> None:
    """Drop what this process remembers: for a database that was replaced, or a partition that went, under it."""
    _known.clear()


def _table(month: date) -> str:
    return f"crm_event_y{month.year:04d}m{month.month:02d}"


def _existing(cursor) -> tuple[dict[date, bool], set[date]]:
    """The months there are, each with whether it is there for good (our own may still be rolled back), and the
    closed ones.

    Rows that our transaction wrote bear its number or, from inside a savepoint, a later one.
    """
    cursor.execute(
        """
        SELECT inhrelid::regclass::text, pg_current_xact_id_if_assigned() IS NULL
            OR age(c.xmin) > age(pg_current_xact_id_if_assigned()::xid)
        FROM pg_inherits JOIN pg_class c ON c.oid = inhrelid
        WHERE inhparent = 'crm_event'::regclass AND NOT inhdetachpending
        """
    )
    rows = [(row[0].rpartition(".")[2].strip('"'), row[1]) for row in cursor.fetchall()]
    cursor.execute("SELECT month FROM crm_closedmonth")
    closed = {row[0] for row in cursor.fetchall()}
    return {date(int(name[11:15]), int(name[16:18]), 1): settled for name, settled in rows}, closed
