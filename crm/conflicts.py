"""Two known people who were named in one breath: remembered for a person to decide, never joined silently."""

import json
from collections.abc import Collection, Iterable, Sequence
from datetime import datetime, timedelta
from typing import Any

import msgspec
from django.db import connection, transaction
from django.utils import timezone

from crm.models import IdentityConflict

State = IdentityConflict.State
AGAIN = timedelta(minutes=10)  # how often a repetition is counted, so that a stream of them locks nothing
NAMES = 10  # of one pair that are kept
Pair = tuple[int, int]

_RECORD = """
    INSERT INTO crm_identityconflict AS c (first_id, second_id, names, source, proven, first_seen, last_seen)
    SELECT first_id, second_id, names, source, proven, %(now)s, %(now)s
    FROM jsonb_to_recordset(%(rows)s::jsonb)
        AS r(first_id bigint, second_id bigint, names jsonb, source text, proven boolean)
    WHERE NOT EXISTS (
        SELECT FROM crm_identityconflict h WHERE h.first_id = r.first_id AND h.second_id = r.second_id
            AND h.last_seen > %(now)s::timestamptz - %(again)s::interval
    )
    ORDER BY first_id, second_id
    ON CONFLICT (first_id, second_id) DO UPDATE SET last_seen = excluded.last_seen, seen = c.seen + 1,
        source = excluded.source, proven = c.proven OR excluded.proven,
        names = CASE WHEN c.names @> excluded.names OR jsonb_array_length(c.names) >= %(limit)s THEN c.names
            ELSE c.names || excluded.names END
"""
# The losers' pairs become the winners'; one that would be a pair with itself, or is there already, goes.
_FOLLOW = """
    WITH merged AS (SELECT * FROM unnest(%(losers)s::bigint[], %(winners)s::bigint[]) AS m(loser, winner)),
    gone AS (
        DELETE FROM crm_identityconflict c USING merged m
        WHERE (c.first_id = m.loser OR c.second_id = m.loser) AND c.state <> 'joined'
        RETURNING c.*
    ), renamed AS (
        SELECT coalesce(a.winner, g.first_id) AS one, coalesce(b.winner, g.second_id) AS two, g.*
        FROM gone g LEFT JOIN merged a ON a.loser = g.first_id LEFT JOIN merged b ON b.loser = g.second_id
    )
    INSERT INTO crm_identityconflict (first_id, second_id, names, source, proven, seen, first_seen, last_seen, state,
        decided_by, decided_at)
    SELECT DISTINCT ON (least(one, two), greatest(one, two)) least(one, two), greatest(one, two), names, source,
        proven, seen, first_seen, last_seen, state, decided_by, decided_at
    FROM renamed WHERE one <> two ORDER BY least(one, two), greatest(one, two), state, last_seen DESC
    ON CONFLICT DO NOTHING
"""


class Conflict(msgspec.Struct):
    """Two profiles and the [kind, value] names by which they collided."""

    one: int
    other: int
    names: Sequence[tuple[str, str]]
    source: str
    proven: bool


def record(conflicts: Iterable[Conflict], now: datetime) -> None:
    """Put these pairs on the list; a pair that is on it is counted. In the caller's transaction."""
    pairs: dict[Pair, dict] = {}
    for conflict in conflicts:
        first, second = sorted((conflict.one, conflict.other))
        if first == second:
            continue
        row = pairs.setdefault(
            (first, second), {"first_id": first, "second_id": second, "names": [], "proven": False}
        )
        row["source"] = conflict.source
        row["proven"] = row["proven"] or conflict.proven
        row["names"] += [list(name) for name in conflict.names if list(name) not in row["names"]][:NAMES]
    if pairs:
        with connection.cursor() as cursor:
            values: dict[str, Any] = {
                "now": now,
                "rows": json.dumps(list(pairs.values())),
                "again": AGAIN,
                "limit": NAMES,
            }
            cursor.execute(_RECORD, values)


def apart(profile_ids: Collection[int]) -> set[Pair]:
    """The pairs among these profiles that somebody keeps apart, each with the smaller number first."""
    rows = IdentityConflict.objects.filter(
        first_id__in=profile_ids, second_id__in=profile_ids, state=State.APART
    )
    return set(rows.values_list("first_id", "second_id"))


def keep_apart(pairs: Iterable[Pair], by: str, now: datetime | None = None) -> int:
    """Remember that these are two people each: they are not asked about again; return how many pairs."""
    now = now or timezone.now()
    ordered = sorted({(min(pair), max(pair)) for pair in pairs})
    rows = [
        IdentityConflict(
            first_id=first,
            second_id=second,
            state=State.APART,
            decided_by=by,
            decided_at=now,
            first_seen=now,
            last_seen=now,
        )
        for first, second in ordered
    ]
    with transaction.atomic():
        IdentityConflict.objects.bulk_create(
            rows,
            update_conflicts=True,
            unique_fields=["first_id", "second_id"],
            update_fields=["state", "decided_by", "decided_at"],
        )
    return len(rows)


def joined(pairs: Sequence[Pair], by: str, now: datetime) -> None:
    """Close what is open about pairs that become one, and let the losers' other pairs be the winners'.

    Args:
        pairs: (loser, winner); in the transaction of their merge.
    """
    losers, winners = [loser for loser, _ in pairs], [winner for _, winner in pairs]
    with connection.cursor() as cursor:
        cursor.execute(
            """
            UPDATE crm_identityconflict c SET state = 'joined', decided_by = %s, decided_at = %s
            FROM unnest(%s::bigint[], %s::bigint[]) AS m(loser, winner)
            WHERE c.first_id = least(m.loser, m.winner) AND c.second_id = greatest(m.loser, m.winner)
            """,
            [by, now, losers, winners],
        )
        cursor.execute(_FOLLOW, {"losers": losers, "winners": winners})


def forget(profile_ids: Collection[int]) -> None:
    """Drop what is kept about these people, who are being erased."""
    with connection.cursor() as cursor:
        cursor.execute(
            "DELETE FROM crm_identityconflict WHERE first_id = ANY(%s) OR second_id = ANY(%s)",
            [list(profile_ids)] * 2,
        )
