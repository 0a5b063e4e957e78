"""Storing facts together with the difference they make to the figures."""

from collections.abc import Collection, Mapping, Sequence
from functools import cache
from typing import Any

import msgspec
from django.conf import settings
from django.db import connection

from analytics.models import RollupState
from analytics.rollups import columns
from analytics.rollups.seen import TAKEN, TIMES, TRAITS, Seen

SERIES = "message_id, channel, variant, origin_type, origin_id, origin_step"
_NEW_SERIES = f"""
    INSERT INTO analytics_series ({SERIES})
    SELECT DISTINCT d.message_id, d.channel, d.variant, d.origin_type, coalesce(d.origin_id, 0), d.origin_step
    FROM delivery_delivery d
    WHERE d.id = ANY(%s::bigint[]) AND d.origin_type <> 'test' AND NOT EXISTS (
        SELECT FROM analytics_series s WHERE s.message_id = d.message_id AND s.channel = d.channel
            AND s.variant = d.variant AND s.origin_type = d.origin_type
            AND s.origin_id = coalesce(d.origin_id, 0) AND s.origin_step = d.origin_step)
    ORDER BY 1, 2, 3, 4, 5, 6 ON CONFLICT DO NOTHING
"""
FACTS = ("series_id", *TIMES, "ended_at", "ended", "reason", *TRAITS, "device", "device_at")


def merged(old: str, new: str, taken: Mapping[str, str]) -> dict[str, str]:
    """How a fact takes what is new, as SQL by column: the first time of each thing, the last end, the first device.

    Args:
        old: what the fact as it is goes by, without a row where there is none.
        new: what a row goes by that has all of FACTS.
        taken: for the columns of TAKEN, the condition for what was known before to count no more.
    """
    found = {"series_id": f"{new}.series_id"}
    for name in TIMES:
        first = f"least({old}.{name}, {new}.{name})"
        if name in taken:
            first = f"CASE WHEN {taken[name]} THEN {new}.{name} ELSE {first} END"
        found[name] = first
    later = (
        f"{new}.ended_at IS NOT NULL AND ({old}.ended_at IS NULL OR ({new}.ended_at, {new}.ended,"
        f' {new}.reason COLLATE "C") > ({old}.ended_at, {old}.ended, {old}.reason))'
    )
    found["ended_at"] = f"CASE WHEN {later} THEN {new}.ended_at ELSE {old}.ended_at END"
    for name in ("ended", "reason"):
        found[name] = f"CASE WHEN {later} THEN {new}.{name} ELSE coalesce({old}.{name}, '') END"
    for name in TRAITS:
        found[name] = (
            f"""coalesce(least(nullif({old}.{name}, '') COLLATE "C", nullif({new}.{name}, '')), '')"""
        )
    sooner = (
        f"{new}.device <> '' AND (coalesce({old}.device, '') = '' OR (coalesce({new}.device_at, 'infinity'),"
        f" {new}.device COLLATE \"C\") < (coalesce({old}.device_at, 'infinity'), {old}.device))"
    )
    found["device"] = f"CASE WHEN {sooner} THEN {new}.device ELSE coalesce({old}.device, '') END"
    found["device_at"] = f"CASE WHEN {sooner} THEN {new}.device_at ELSE {old}.device_at END"
    return found


def _update() -> str:
    # Looked up in what is nearly always empty: a join is not possible here, and a subquery slow.
    taken = {
        name: f"coalesce((%(taken)s::jsonb ->> g.delivery_id::text)::int & {bit} <> 0, false)"
        for name, bit in TAKEN.items()
    }
    return ", ".join(f"{name} = {value}" for name, value in merged("g", "excluded", taken).items())


_TYPES = dict.fromkeys((*TIMES, "ended_at", "device_at"), "timestamptz")
_TYPES |= dict.fromkeys(("ended", "reason", *TRAITS, "device"), "text")
_TOLD = f"""
    told AS MATERIALIZED (
        SELECT * FROM jsonb_to_recordset(%(seen)s::jsonb)
            AS r(delivery bigint, {", ".join(f"{name} {kind}" for name, kind in _TYPES.items())})
    )
"""
_PUT = f"""
        INSERT INTO analytics_engagement AS g (delivery_id, {", ".join(FACTS)})
        SELECT n.delivery, s.id, {", ".join(f"n.{name}" for name in FACTS[1:])}
        FROM told n JOIN delivery_delivery d ON d.id = n.delivery
        LEFT JOIN analytics_series s ON d.origin_type <> 'test' AND s.message_id = d.message_id
            AND s.channel = d.channel AND s.variant = d.variant AND s.origin_type = d.origin_type
            AND s.origin_id = coalesce(d.origin_id, 0) AND s.origin_step = d.origin_step
        ORDER BY n.delivery
        ON CONFLICT (delivery_id) DO UPDATE SET {_update()}
"""
# Adds to the figures what the facts `after` are more than those `before`.
_COUNT = f"""
    facts AS (
        SELECT a.*, 1 AS sign FROM after a
        UNION ALL
        SELECT b.*, -1 FROM before b WHERE EXISTS (SELECT FROM after a WHERE a.delivery_id = b.delivery_id)
    ), targets AS (
        SELECT generation, zone, NULL::bigint AS upto FROM analytics_rollupstate WHERE id = 1
        UNION ALL
        SELECT next_generation, next_zone, position FROM analytics_rollupstate
        WHERE id = 1 AND next_generation IS NOT NULL
    )
    {columns.added(columns.counted("facts", "targets"))}
"""
_STORE = f"""
    WITH {_TOLD}, before AS (
        SELECT g.* FROM analytics_engagement g WHERE g.delivery_id = ANY(%(ids)s::bigint[])
    ), after AS ({_PUT} RETURNING g.*), {_COUNT}
"""
# What tells something about a person; that a message was sent and what came of it stays.
_PERSONAL = ("reason", *TRAITS, "device")
_FORGET = f"""
    WITH before AS (
        SELECT g.* FROM analytics_engagement g JOIN delivery_delivery d ON d.id = g.delivery_id
        WHERE d.profile_id = ANY(%s::bigint[])
    ), after AS (
        UPDATE analytics_engagement g SET {", ".join(f"{name} = ''" for name in _PERSONAL)}, device_at = NULL
        FROM before b WHERE g.delivery_id = b.delivery_id RETURNING g.*
    ), {_COUNT}
"""


def store(seen: Sequence[Seen]) -> None:
    """Add to the facts what was seen, and to the figures what that changes, in the transaction that holds the cursor.

    Saying the same again changes nothing. Two queries.
    """
    if not seen:
        return
    ids = [each.delivery for each in seen]
    with connection.cursor() as cursor:
        cursor.execute(_NEW_SERIES, [ids])
        taken = {each.delivery: each.taken for each in seen if each.taken}
        values: dict[str, Any] = {
            "seen": msgspec.json.encode(seen).decode(),
            "ids": ids,
            "taken": msgspec.json.encode(taken).decode(),
        }
        cursor.execute(_STORE, values)


def forget(profile_ids: Collection[int]) -> None:
    """Drop what facts tell about erased people, and count their messages as ones of which that is not known.

    To be called in the transaction that holds the cursor, when what the log told before is stored; one query.
    """
    with connection.cursor() as cursor:
        cursor.execute(_FORGET, [list(profile_ids)])


def state() -> tuple[RollupState, bool]:
    """The one row of state, and whether it was made just now."""
    return RollupState.objects.get_or_create(pk=1, defaults={"zone": account_zone()})


def account_zone() -> str:
    """The time zone whose days reports have; UTC where the database does not know the account's."""
    return settings.TIME_ZONE if known_zone(settings.TIME_ZONE) else "UTC"


def known_zone(name: str) -> bool:
    """Whether PostgreSQL knows this time zone: an unknown name would stop a whole statement."""
    return name in zones()


@cache
def zones() -> frozenset[str]:
    """The names of the time zones that PostgreSQL knows."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT name FROM pg_timezone_names")
        return frozenset(row[0] for row in cursor.fetchall())
