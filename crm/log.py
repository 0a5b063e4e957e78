"""Writing to and reading from the event log without gaps.

Sequence order is not commit order, so a reader that remembers the highest number it saw loses rows that
commit late. Each row carries its transaction id; a reader takes rows in (txid, seq) order and only those of
transactions older than every transaction still running (`pg_snapshot_xmin`). Whatever a reader does happens
in the transaction that moves its cursor, so each event is handled exactly once.
"""

import uuid
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import contextmanager
from datetime import datetime, timedelta
from enum import Enum
from typing import Any

import msgspec
from django.db import IntegrityError, connection, transaction
from django.db.models.functions import Now

from crm import partitions, signals
from crm.models import LogCursor, UndatedEvent

RESERVED_NAMES = frozenset(
    {
        "message_sent",
        "message_delivered",
        "message_opened",
        "message_clicked",
        "message_machine_opened",
        "message_machine_clicked",
        "message_withdrawn",
        "message_dismissed",
        "message_converted",
        "message_suppressed",
        "message_failed",
        "message_bounced",
        "message_complained",
        "message_read",
        "message_received",
        "flow_entered",
        "flow_completed",
        "flow_exited",
        "segment_entered",
        "segment_left",
        "push_subscribed",
        "push_unsubscribed",
        "consent_changed",
        "profile_merged",
        "profile_erased",
        "profile_unmerged",
        "consent_requested",
        "back_in_stock",
        "price_dropped",
        "entered_place",
        "attribute_changed",
        "experiment_exposed",
    }
)
DATED_WITHIN = timedelta(days=2)
REMEMBERED = timedelta(days=90)  # a browser that was offline keeps its reports for a week
_NAMESPACE = uuid.UUID("5f1d4c0e-9d43-4f0e-8d3c-6e7564676531")

INSERT = """
    INSERT INTO crm_event (id, profile_id, name, occurred_at, properties, source, clock)
    SELECT id, profile_id, name, occurred_at, properties, source, clock
    FROM jsonb_to_recordset(%s::jsonb) AS r(
        id uuid, profile_id bigint, name text, occurred_at timestamptz, properties jsonb, source text, clock text
    )
    ON CONFLICT DO NOTHING
"""
# For events with a time of their own, whose ids may have come before without one: see `first_time`.
INSERT_DATED = INSERT.replace(
    "ON CONFLICT", "WHERE NOT EXISTS (SELECT FROM crm_undatedevent u WHERE u.id = r.id) ON CONFLICT"
)


class NewEvent(msgspec.Struct):
    """An event to be stored. `properties` is a dict, or JSON text of an object as msgspec.Raw.

    `clock` is empty, or the Event.Clock that tells why `occurred_at` is not what the sender told.
    """

    id: uuid.UUID
    profile_id: int
    name: str
    occurred_at: datetime
    properties: Any
    source: str
    clock: str = ""


class LoggedEvent(msgspec.Struct):
    """A stored event."""

    id: uuid.UUID
    seq: int
    txid: int
    profile_id: int
    name: str
    occurred_at: datetime
    received_at: datetime
    properties: dict
    source: str
    clock: str = ""


class Position(msgspec.Struct, frozen=True, order=True):
    """A place in the log: everything up to and including this row was read."""

    txid: int
    seq: int


class Batch(msgspec.Struct):
    """What one `read` hands out. `full` tells that more may be waiting; `start` is where the batch begins.

    Not `ours`: another process reads with the same cursor.
    """

    events: list[LoggedEvent]
    full: bool
    start: Position | None = None

    @property
    def ours(self) -> bool:
        return self.start is not None


def event_id(*parts: object) -> uuid.UUID:
    """A UUID derived from `parts`, so that recording the same fact twice stores it once."""
    return uuid.uuid5(_NAMESPACE, ":".join(map(str, parts)))


def append(events: Sequence[NewEvent]) -> int:
    """Store `events` in the caller's transaction and return how many were new.

    An event whose (id, occurred_at) is already stored is left alone, and so is one of a month that is closed
    (partitions.detach). Readers are woken after commit.
    """
    closed = partitions.ensure(event.occurred_at for event in events)
    if closed:
        events = [event for event in events if partitions.month_of(event.occurred_at) not in closed]
    if not events:
        return 0
    try:
        stored = insert(INSERT, [msgspec.json.encode(events).decode()])
    except MonthClosed:
        return append(events)
    if stored:
        announce({event.name for event in events})
    return stored


class MonthClosed(Exception):
    """A month was closed since we looked."""


def insert(statement: str, values: list[Any]) -> int:
    """Run an INSERT into the log; return how many rows it stored.

    Raises:
        MonthClosed: to be tried again, with `partitions.ensure` before.
    """
    try:
        with transaction.atomic(), connection.cursor() as cursor:
            cursor.execute(statement, values)
            return cursor.rowcount
    except IntegrityError as error:
        if not partitions.is_missing(error):
            raise
        partitions.forget()
        raise MonthClosed from error


def first_time(ids: Collection[uuid.UUID], now: datetime) -> set[uuid.UUID]:
    """Claim ids whose events have no time of their own; return those that were not claimed before.

    The log is unique on (id, occurred_at), so such an event would be stored twice under two times. An id that was
    stored with a time of its own in these days counts as claimed.
    """
    with connection.cursor() as cursor:
        cursor.execute(
            """
            INSERT INTO crm_undatedevent (id, received_at) SELECT unnest(%s::uuid[]), %s
            ON CONFLICT DO NOTHING RETURNING id
            """,
            [sorted(ids), now],
        )
        new = {row[0] for row in cursor.fetchall()}
        cursor.execute(
            "SELECT id FROM crm_event WHERE id = ANY(%s::uuid[]) AND occurred_at BETWEEN %s AND %s",
            [sorted(new), now - DATED_WITHIN, now + DATED_WITHIN],
        )
        return new - {row[0] for row in cursor.fetchall()}


def came_undated(ids: Collection[uuid.UUID]) -> set[uuid.UUID]:
    """Those of `ids` that were claimed by `first_time`."""
    if not ids:
        return set()
    with connection.cursor() as cursor:
        cursor.execute("SELECT id FROM crm_undatedevent WHERE id = ANY(%s)", [list(ids)])
        return {row[0] for row in cursor.fetchall()}


def forget_undated(now: datetime) -> int:
    """Drop the ids that were claimed longer ago than anybody repeats a request; return how many."""
    return UndatedEvent.objects.filter(received_at__lt=now - REMEMBERED).delete()[0]


def append_once(events: Sequence[NewEvent], now: datetime) -> int:
    """As `append`, but an id counts once whatever its time; for reports whose time a browser tells."""
    if not events:
        return 0
    with transaction.atomic():
        new = first_time({event.id for event in events}, now)
        return append(list({event.id: event for event in events if event.id in new}.values()))


def announce(names: Collection[str]) -> None:
    """Tell the layers above, after commit, that events called `names` were stored."""
    names = set(names)
    transaction.on_commit(lambda: signals.events_recorded.send(sender=None, names=names))


@contextmanager
def read(
    cursor: str, limit: int = 5000, names: Collection[str] | Callable[[], Collection[str]] | None = None
) -> Iterator[Batch]:
    """Hand out the next events of reader `cursor`, in one transaction that also moves the cursor.

    Of the next `limit` events only those called `names` are handed out (default: all); a function is asked once
    the cursor is ours, see `hold`. The batch is empty when nothing new is safe to read or when another process
    is reading with the same cursor; then `start` is None. If the block raises, nothing is kept and the same
    events come again.
    """
    with transaction.atomic():
        position = LogCursor.objects.select_for_update(skip_locked=True).filter(name=cursor).first()
        if position is not None:
            partitions.hold()
            wanted = names() if callable(names) else names
            rows, last = _next_rows(position, limit, wanted)
            yield Batch(rows, last is not None and last[2] == limit, Position(position.txid, position.seq))
            if last is not None:
                LogCursor.objects.filter(name=cursor).update(txid=last[0], seq=last[1], moved_at=Now())
            return
    if LogCursor.objects.filter(name=cursor).exists():
        yield Batch([], full=False)
        return
    LogCursor.objects.bulk_create([LogCursor(name=cursor)], ignore_conflicts=True)
    with read(cursor, limit, names) as batch:
        yield batch


def hold(cursor: str) -> None:
    """Keep reader `cursor` where it is until the caller's transaction ends.

    Whoever changes what the reader looks for calls this first, so that no batch is read by half of each.
    """
    LogCursor.objects.bulk_create([LogCursor(name=cursor)], ignore_conflicts=True)
    LogCursor.objects.select_for_update().get(name=cursor)


def between(
    after: Position, upto: Position, limit: int, names: Collection[str]
) -> tuple[list[LoggedEvent], Position]:
    """The events called `names` among the next `limit` after one position up to another that was read before.

    Returns them with the position that was reached: `upto` when there is nothing left.
    """
    rows, last = _next_rows(after, limit, names, upto)
    return rows, upto if last is None or last[2] < limit else Position(last[0], last[1])


def _next_rows(
    position: LogCursor | Position, limit: int, names: Collection[str] | None, upto: Position | None = None
):
    """Return the wanted rows and (txid, seq, count) of the last row looked at, or None."""
    with connection.cursor() as cursor:
        cursor.execute(
            """
            WITH next AS (
                SELECT id, seq, txid, profile_id, name, occurred_at, received_at, properties, source, clock
                FROM crm_event
                WHERE (txid, seq) > (%s, %s)
                  AND txid < pg_snapshot_xmin(pg_current_snapshot())::text::bigint
                  AND (%s::bigint IS NULL OR (txid, seq) <= (%s, %s))
                ORDER BY txid, seq LIMIT %s
            ), edge AS (
                SELECT count(*) AS n, (array_agg(txid ORDER BY txid DESC, seq DESC))[1] AS txid,
                       (array_agg(seq ORDER BY txid DESC, seq DESC))[1] AS seq
                FROM next
            )
            SELECT edge.n, edge.txid, edge.seq, next.id, next.seq, next.txid, next.profile_id, next.name,
                   next.occurred_at, next.received_at, next.properties::text, next.source,
                   next.clock
            FROM edge LEFT JOIN next ON %s::text[] IS NULL OR next.name = ANY(%s::text[])
            ORDER BY next.txid, next.seq
            """,
            [
                *(position.txid, position.seq),
                *((upto.txid, upto.txid, upto.seq) if upto else (None, None, None)),
                limit,
                *2 * (list(names) if names is not None else None,),
            ],
        )
        found = cursor.fetchall()
    count, txid, seq = found[0][:3]
    if not count:
        return [], None
    rows = [_logged(*row[3:]) for row in found if row[3] is not None]
    return rows, (txid, seq, count)


def _logged(
    event_id, seq, txid, profile_id, name, occurred_at, received_at, properties, source, clock
) -> LoggedEvent:
    facts = msgspec.json.decode(properties)
    return LoggedEvent(event_id, seq, txid, profile_id, name, occurred_at, received_at, facts, source, clock)


def position(cursor: str) -> Position:
    """Where reader `cursor` is; one that is new begins with events stored from now on."""
    start_at_end(cursor)
    return Position(*LogCursor.objects.values_list("txid", "seq").get(name=cursor))


def people_after(after: Position, limit: int) -> tuple[list[tuple[int, str]], Position]:
    """Who did what next: (profile id, name) of the next `limit` events, as they stand in the log, and where they end.

    Nothing is locked. Whoever reads so makes sure that nobody else does, and calls `move` when what came of it is
    stored: other readers wait for that short transaction only, and not for all that is worked out before.
    """
    with connection.cursor() as sql:
        sql.execute(
            """
            SELECT txid, seq, profile_id, name FROM crm_event
            WHERE (txid, seq) > (%s, %s) AND txid < pg_snapshot_xmin(pg_current_snapshot())::text::bigint
            ORDER BY txid, seq LIMIT %s
            """,
            [after.txid, after.seq, limit],
        )
        rows = sql.fetchall()
    return [row[2:] for row in rows], Position(*rows[-1][:2]) if rows else after


def move(cursor: str, before: Position, to: Position) -> bool:
    """Put reader `cursor` forward, in the caller's transaction; False if it is not where the caller read from."""
    found = LogCursor.objects.filter(name=cursor, txid=before.txid, seq=before.seq)
    return bool(found.update(txid=to.txid, seq=to.seq, moved_at=Now()))


def move_to_end(cursor: str) -> None:
    """Have reader `cursor` leave out what is stored by now, in the caller's transaction."""
    with connection.cursor() as sql:
        sql.execute(
            """
            WITH edge AS (SELECT pg_snapshot_xmin(pg_current_snapshot())::text::bigint AS txid)
            UPDATE crm_logcursor c SET txid = edge.txid, seq = 0, moved_at = now() FROM edge
            WHERE c.name = %s AND (c.txid, c.seq) < (edge.txid, 0::bigint)
            """,
            [cursor],
        )


def start_at_end(cursor: str) -> None:
    """Create reader `cursor` so that it begins with events stored from now on; an existing one is kept."""
    with connection.cursor() as sql:
        sql.execute(
            """
            INSERT INTO crm_logcursor (name, txid, seq, moved_at)
            VALUES (%s, pg_snapshot_xmin(pg_current_snapshot())::text::bigint, 0, now())
            ON CONFLICT DO NOTHING
            """,
            [cursor],
        )


def lag(cursor: str) -> int:
    """How many stored events reader `cursor` has yet to take, counted up to 100,000."""
    with connection.cursor() as sql:
        sql.execute(
            """
            SELECT count(*) FROM (
                SELECT 1 FROM crm_event e, crm_logcursor c
                WHERE c.name = %s AND (e.txid, e.seq) > (c.txid, c.seq) LIMIT 100000
            ) waiting
            """,
            [cursor],
        )
        return sql.fetchone()[0]


class Waiting(Enum):
    """What a reader has before it: events that are `HIDDEN` come when an older transaction ends."""

    NOTHING = "nothing"
    HIDDEN = "hidden"
    READY = "ready"


def waiting(cursor: str) -> Waiting:
    """Whether there is something to read, without taking the cursor: to be asked often."""
    with connection.cursor() as sql:
        sql.execute(
            """
            SELECT next.txid < pg_snapshot_xmin(pg_current_snapshot())::text::bigint
            FROM crm_logcursor c CROSS JOIN LATERAL (
                SELECT e.txid FROM crm_event e WHERE (e.txid, e.seq) > (c.txid, c.seq) ORDER BY e.txid, e.seq LIMIT 1
            ) next
            WHERE c.name = %s
            """,
            [cursor],
        )
        found = sql.fetchone()
    return Waiting.NOTHING if found is None else Waiting.READY if found[0] else Waiting.HIDDEN


@transaction.atomic
def rebase() -> bool:
    """Make the log of a database that was restored into another server readable; return whether it had to be.

    Transaction numbers belong to a server. In a new one they begin again at a small number: what is stored
    would seem to lie in the future, and what comes now would sort before every cursor, to be read by nobody.
    Rows and cursors are moved together behind the present number, so each reader goes on where it was. Whoever wrote
    when the change feed began to watch has ended in any case.
    To be called before anything writes to the log.
    """
    with connection.cursor() as sql:
        sql.execute(
            "SELECT greatest((SELECT max(txid) FROM crm_event), (SELECT max(txid) FROM crm_logcursor))"
        )
        [last] = sql.fetchone()
        sql.execute(
            "UPDATE crm_watch SET txid = 0 WHERE txid >= pg_snapshot_xmax(pg_current_snapshot())::text::bigint"
        )
        sql.execute("SELECT pg_snapshot_xmax(pg_current_snapshot())::text::bigint")
        if last is None or last < sql.fetchone()[0]:
            return False
        sql.execute("UPDATE crm_event SET txid = txid - %s", [last + 1])
        sql.execute("UPDATE crm_logcursor SET txid = txid - %s", [last + 1])
        sql.execute("UPDATE crm_computedattribute SET txid = txid - %s", [last + 1])
    return True
