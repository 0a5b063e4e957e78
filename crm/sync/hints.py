"""Records to look at by their ids, soon: what a CRM called about, and deletions that wait for a person's yes.

One row per record, so a storm of calls about one record is one row. What a hint says is never data: the record
is read again.
"""

from collections.abc import Iterable, Sequence
from datetime import datetime, timedelta

import msgspec
from django.db import connection as database
from django.db.models import Q
from django.utils import timezone

from crm.connectors.base import Hint, Page, Record
from crm.models import Connection, SourceRecord, SyncHint

CHANGED, DELETED, ERASED = "changed", "deleted", "erased"
HELD, HELD_ERASED = "held", "held_erased"  # deletions that the brake stopped
STRENGTH = (CHANGED, DELETED, ERASED)
WAITING = (HELD, HELD_ERASED)
GONE = (DELETED, ERASED, *WAITING)
MOST = 100_000  # rows of one connection; what comes beyond is found by the next regular run
LONGEST_ID = 255
BATCH = 500
POSTPONED = timedelta(hours=1)
AWAY = POSTPONED / 2  # a hint of a time so far ahead waits; the clocks of two machines do not differ as much

# That a record was erased or deleted is not forgotten for a later, weaker word; a new word ends the waiting.
_REMEMBER = """
    INSERT INTO crm_synchint AS h (connection_id, object, record_id, kind, received_at)
    SELECT %s, %s, record_id, kind, %s FROM unnest(%s::text[], %s::text[]) AS r(record_id, kind)
    ORDER BY record_id
    ON CONFLICT (connection_id, object, record_id) DO UPDATE SET received_at = excluded.received_at,
        kind = CASE
            WHEN excluded.kind IN ('held', 'held_erased') THEN CASE
                WHEN 'held_erased' IN (h.kind, excluded.kind) OR h.kind = 'erased' THEN 'held_erased'
                ELSE 'held' END
            WHEN h.kind = 'held_erased' OR 'erased' IN (h.kind, excluded.kind) THEN 'erased'
            WHEN h.kind = 'held' OR 'deleted' IN (h.kind, excluded.kind) THEN 'deleted'
            ELSE 'changed' END
"""


class Due(msgspec.Struct, frozen=True):
    """One hint as it was read."""

    id: int
    record_id: str
    kind: str
    received_at: datetime


def add(connection: Connection, hints: Iterable[Hint], now: datetime | None = None) -> int:
    """Remember what a CRM called about; return how many records that concerns.

    Objects that the connection doesn't read, ids that can't be one, and what goes beyond MOST are left out.
    """
    now = now or timezone.now()
    by_object: dict[str, dict[str, str]] = {}
    for hint in hints:
        if hint.object in connection.mapping and _possible(hint.record_id):
            held = by_object.setdefault(hint.object, {})
            held[hint.record_id] = max(held.get(hint.record_id, CHANGED), hint.kind, key=STRENGTH.index)
    if not by_object:
        return 0
    room = MOST - SyncHint.objects.filter(connection=connection)[:MOST].count()
    added = 0
    for object_name, kinds in sorted(by_object.items()):
        rows = list(kinds.items())[: max(0, room - added)]
        remember(connection, object_name, rows, now)
        added += len(rows)
    return added


def _possible(record_id: str) -> bool:
    return 0 < len(record_id) <= LONGEST_ID and record_id.isprintable()


def remember(
    connection: Connection, object_name: str, rows: Sequence[tuple[str, str]], now: datetime
) -> None:
    """Store (record id, kind) pairs; the ids differ."""
    if not rows:
        return
    with database.cursor() as cursor:
        cursor.execute(
            _REMEMBER,
            [connection.pk, object_name, now, [row[0] for row in rows], [row[1] for row in rows]],
        )


def objects(connection: Connection, begun: Sequence[str]) -> set[str]:
    """The objects with hints that can be looked up now; hints about others than those `begun` are forgotten.

    Nobody reads the ones that are no longer chosen, and a first import that is yet to begin sees how things are.
    """
    mine = SyncHint.objects.filter(connection=connection)
    mine.exclude(object__in=begun).delete()
    return set(
        mine.filter(ready()).exclude(kind__in=WAITING).order_by().values_list("object", flat=True).distinct()
    )


def due(
    connection: Connection, object_name: str, waiting: bool, after: int = 0, size: int = BATCH
) -> list[Due]:
    """The next hints with a number above `after`, the oldest first; those that wait for a yes only if `waiting`."""
    found = SyncHint.objects.filter(connection=connection, object=object_name, pk__gt=after)
    found = found.filter(ready()).order_by("pk")
    if not waiting:
        found = found.exclude(kind__in=WAITING)
    return [Due(*row) for row in found.values_list("pk", "record_id", "kind", "received_at")[:size]]


def page(
    connection: Connection, object_name: str, due: Sequence[Due], found: list[Record], now: datetime
) -> Page:
    """What the CRM said about the hinted records as a page.

    A record hinted as gone that can't be read any more is gone, as of the time that we know of it: the hint's own
    time is our clock's or anybody's. One that only changed, and can't be read, is left to the deletion feed and
    the sweep.
    """
    there = {record.id for record in found}
    missing = [hint for hint in due if hint.record_id not in there and hint.kind in GONE]
    known = dict(
        SourceRecord.objects.filter(
            connection=connection, object=object_name, record_id__in=[hint.record_id for hint in missing]
        ).values_list("record_id", "modified_at")
    )
    gone = [
        Record(
            hint.record_id,
            known.get(hint.record_id, now),
            deleted=True,
            erased=hint.kind in (ERASED, HELD_ERASED),
        )
        for hint in missing
    ]
    return Page(object_name, [*found, *gone], connection.cursor.get(object_name) or {}, current=True)


def ready(now: datetime | None = None) -> Q:
    """Which hints were not postponed until later."""
    return Q(received_at__lt=(now or timezone.now()) + AWAY)


def doubtful(due: Sequence[Due], found: Sequence[Record]) -> list[Due]:
    """Those that say that somebody was erased who can be read: the call may have been faster than the erasure.

    One that was postponed before, which its time tells, was wrong.
    """
    there = {record.id for record in found if not record.deleted}
    now = timezone.now()
    return [
        hint for hint in due if hint.kind == ERASED and hint.record_id in there and hint.received_at <= now
    ]


def postpone(connection: Connection, due: Sequence[Due]) -> None:
    """Look at those that say that somebody is gone again later; nothing else may tell that. Forget the others."""
    gone = [hint for hint in due if hint.kind in GONE]
    for hint in gone:
        SyncHint.objects.filter(pk=hint.id, kind=hint.kind, received_at=hint.received_at).update(
            received_at=timezone.now() + POSTPONED
        )
    done(connection, [hint for hint in due if hint not in gone])


def done(connection: Connection, due: Sequence[Due]) -> None:
    """Forget hints, unless there was another word about the record meanwhile, or it waits for a yes by now."""
    with database.cursor() as cursor:
        cursor.execute(
            """
            DELETE FROM crm_synchint h
            USING unnest(%s::bigint[], %s::text[], %s::timestamptz[]) AS r(id, kind, received_at)
            WHERE h.id = r.id AND h.kind = r.kind AND h.received_at = r.received_at AND h.connection_id = %s
            """,
            [
                [hint.id for hint in due],
                [hint.kind for hint in due],
                [hint.received_at for hint in due],
                connection.pk,
            ],
        )
