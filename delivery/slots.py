"""Limits of how often one person gets something, safe with any number of dispatchers at once.

A place is taken by one statement that waits for whoever takes the same one at that moment. It is free again when
its period is over, or when the message that took it did not go out after all.
"""

from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any

import msgspec
from django.db import connection

from crm import signals


class Wanted(msgspec.Struct, frozen=True):
    """A place that a delivery needs. `key` names the limit."""

    delivery_id: int
    profile_id: int
    key: str


# The order keeps two dispatchers from waiting for each other.
_TAKE = """
    INSERT INTO delivery_slot AS s (profile_id, key, taken_at, delivery_id)
    SELECT r.profile_id, r.key, %(now)s, r.delivery_id
    FROM jsonb_to_recordset(%(wanted)s::jsonb) AS r(profile_id bigint, key text, delivery_id bigint)
    ORDER BY r.profile_id, r.key
    ON CONFLICT (profile_id, key) DO UPDATE SET taken_at = %(now)s, delivery_id = excluded.delivery_id
        WHERE s.delivery_id = excluded.delivery_id OR s.taken_at <= %(free)s
            OR EXISTS (
                SELECT FROM delivery_delivery d
                WHERE d.id = s.delivery_id AND d.state IN ('suppressed', 'failed', 'expired'))
    RETURNING s.delivery_id
"""
_HELD = """
    SELECT s.profile_id, s.key, s.taken_at FROM delivery_slot s
    JOIN jsonb_to_recordset(%s::jsonb) AS r(profile_id bigint, key text) USING (profile_id, key)
"""
_MOVE = """
    WITH moved AS (
        DELETE FROM delivery_slot s USING unnest(%(losers)s::bigint[], %(winners)s::bigint[]) AS m(loser, winner)
        WHERE s.profile_id = m.loser RETURNING m.winner, s.key, s.taken_at, s.delivery_id
    )
    INSERT INTO delivery_slot AS s (profile_id, key, taken_at, delivery_id)
    SELECT DISTINCT ON (winner, key) winner, key, taken_at, delivery_id FROM moved
    ORDER BY winner, key, taken_at DESC
    ON CONFLICT (profile_id, key) DO UPDATE SET taken_at = excluded.taken_at, delivery_id = excluded.delivery_id
        WHERE s.taken_at < excluded.taken_at
"""


def take(wanted: Sequence[Wanted], period: timedelta, now: datetime) -> dict[int, datetime]:
    """Take places in the caller's transaction; return when those get free that can't be had, by delivery id.

    Of two deliveries that want the same place the first in order gets it. Two queries, whatever the number.

    Args:
        period: how long a place stays taken.
    """
    first: dict[tuple[int, str], Wanted] = {}
    for each in wanted:
        first.setdefault((each.profile_id, each.key), each)
    if not first:
        return {}
    with connection.cursor() as cursor:
        given = msgspec.json.encode(list(first.values())).decode()
        cursor.execute(_TAKE, {"now": now, "free": now - period, "wanted": given})
        taken = {row[0] for row in cursor.fetchall()}
        refused = [each for each in wanted if each.delivery_id not in taken]
        if not refused:
            return {}
        cursor.execute(_HELD, [msgspec.json.encode(refused).decode()])
        held: Mapping[tuple[int, str], datetime] = {(pk, key): at for pk, key, at in cursor.fetchall()}
    return {each.delivery_id: held.get((each.profile_id, each.key), now) + period for each in refused}


def connect() -> None:
    """Called once when the app is ready."""
    signals.profiles_merging.connect(_move, dispatch_uid="delivery.move_slots")
    signals.profiles_erased.connect(_forget, dispatch_uid="delivery.forget_slots")


def _move(pairs: Sequence[tuple[int, int]], **kwargs: Any) -> None:
    losers, winners = [loser for loser, _winner in pairs], [winner for _loser, winner in pairs]
    with connection.cursor() as cursor:
        cursor.execute(_MOVE, {"losers": losers, "winners": winners})


def _forget(profile_ids: Sequence[int], **kwargs: Any) -> None:
    with connection.cursor() as cursor:
        cursor.execute("DELETE FROM delivery_slot WHERE profile_id = ANY(%s)", [list(profile_ids)])
