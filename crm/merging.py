"""Folding profiles into others that turned out to be the same person, so that it can be undone.

A merge re-points what is kept about the loser, and writes down which rows those were: crm/unmerging.py gives exactly
them back. Layers above do the same for their tables when they hear `signals.profiles_merging`.
"""

import json
from collections.abc import Callable, Collection, Sequence
from datetime import datetime
from typing import Any, TypeVar

import msgspec
from django.db import connection
from django.utils import timezone

from crm import changes, combining, conflicts, log, masking, pg, signals
from crm.models import Profile
from crm.patches import FIELDS, NAMES

Pair = tuple[int, int]  # loser, winner
Moved = dict[int, dict[str, Any]]  # of each loser: what ProfileMerge.moved is to hold

ROWS = "rows"  # in `moved`: {table: keys of the rows that were re-pointed}
FILLED = "filled"  # fields and "attributes.<name>" that the winner got from the loser
BEFORE = "before"  # the winner's names, and when it was first and last seen, before the merge
EVENTS = "crm_event"
PROFILE_ID = "profile_id"
# What is re-pointed here, in this order: the table, its column that names the profile, and the one that names the row.
TABLES = {
    "crm_identifier": (PROFILE_ID, "id"),
    "crm_device": (PROFILE_ID, "id"),
    "crm_consentchange": (PROFILE_ID, "id"),
    "crm_profilemerge": ("winner_id", "id"),
}
Result = TypeVar("Result")
_PAIRS = "unnest(%(losers)s::bigint[], %(winners)s::bigint[]) AS m(loser, winner)"
_COLUMNS = (*FIELDS, "attributes", "sources", "first_seen", "last_seen")
_UPDATE = f"""
    UPDATE crm_profile p SET {", ".join(f"{name} = r.{name}" for name in _COLUMNS)}, updated_at = now()
    FROM jsonb_populate_recordset(NULL::crm_profile, %s::jsonb) AS r WHERE p.id = r.id
"""
_INSERT = f"""
    INSERT INTO crm_profilemerge (loser_id, winner_id, reason, snapshot, merged_at)
    SELECT m.loser, m.winner, %(reason)s, to_jsonb(l) || jsonb_build_object('identifiers',
        (SELECT coalesce(jsonb_agg(jsonb_build_array(kind, value)), '[]') FROM crm_identifier
         WHERE profile_id = m.loser)), %(now)s
    FROM {_PAIRS} JOIN crm_profile l ON l.id = m.loser ORDER BY m.loser
    RETURNING id, loser_id
"""


def merge(pairs: Sequence[Pair], reason: str, now: datetime | None = None, by: str = "") -> None:
    """Fold each (loser, winner) pair of profile ids into the winner, keeping all history.

    The loser's row goes; ProfileMerge keeps what it was and what moved. The winner's own data stays, the loser's
    fills the gaps, the oldest loser's first. Winners must not be losers of the same call.

    Args:
        by: who decided it; empty: it followed from what was told.
    """
    retried(lambda: _merge(pairs, reason, now or timezone.now(), by))


def retried(work: Callable[[], Result]) -> Result:
    """Do `work` in a transaction, again after a deadlock, and with people's data as they are: whoever may not see it
    must not save its outline either."""

    def seeing() -> Result:
        with masking.hiding(False):
            return work()

    return pg.retried(seeing)


def joined_with_oldest(pairs: Sequence[Pair]) -> list[Pair]:
    """The merges that make one profile of those that hang together by these pairs: the oldest one stays."""
    root: dict[int, int] = {}

    def find(profile_id: int) -> int:
        while root.get(profile_id, profile_id) != profile_id:
            profile_id = root[profile_id]
        return profile_id

    for one, other in pairs:
        older, newer = sorted((find(one), find(other)))
        root[newer] = older
    return [(profile_id, find(profile_id)) for profile_id in root if find(profile_id) != profile_id]


def winners(ids: Collection[int]) -> dict[int, int]:
    """The profiles that these merged ones are part of now."""
    if not ids:
        return {}
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT loser_id, winner_id FROM crm_profilemerge WHERE loser_id = ANY(%s) ORDER BY id",
            [list(ids)],
        )
        return dict(cursor.fetchall())


def repoint(
    table: str,
    pairs: Sequence[Pair],
    moved: Moved,
    column: str = PROFILE_ID,
    key: str = "id",
    where: str = "",
) -> int:
    """Give the losers' rows of a table to their winners and remember which; return how many.

    Args:
        column: names the profile.
        key: names the row, by a number.
        where: more conditions, in SQL, on the table's alias t.
    """
    with connection.cursor() as cursor:
        cursor.execute(
            f"""
            WITH moved AS (
                UPDATE {table} t SET {column} = m.winner FROM {_PAIRS}
                WHERE t.{column} = m.loser {where and f"AND {where}"} RETURNING m.loser, t.{key} AS row
            )
            SELECT loser, array_agg(row ORDER BY row) FROM moved GROUP BY loser
            """,
            columns(pairs),
        )
        found = cursor.fetchall()
    for loser, rows in found:
        moved[loser].setdefault(ROWS, {})[table] = rows
    return sum(len(rows) for _loser, rows in found)


def columns(pairs: Sequence[Pair]) -> dict[str, list[int]]:
    """The pairs as parameters for `unnest(%(losers)s::bigint[], %(winners)s::bigint[])`."""
    return {"losers": [loser for loser, _ in pairs], "winners": [winner for _, winner in pairs]}


def _merge(pairs: Sequence[Pair], reason: str, now: datetime, by: str) -> None:
    ids = sorted({profile_id for pair in pairs for profile_id in pair})
    locked = {
        profile.pk: profile
        for profile in Profile.objects.select_for_update().filter(pk__in=ids).order_by("pk")
    }
    pairs = sorted({(loser, winner) for loser, winner in pairs if loser in locked and winner in locked})
    if not pairs:
        return
    moved: Moved = {loser: {} for loser, _ in pairs}
    with connection.cursor() as cursor:
        cursor.execute(_INSERT, {**columns(pairs), "reason": reason, "now": now})
        numbers = {loser: number for number, loser in cursor.fetchall()}
    _fill_gaps(pairs, locked, moved)
    for table, (column, key) in TABLES.items():
        repoint(table, pairs, moved, column, key)
    combining.merge(pairs, moved)
    conflicts.joined(pairs, by, now)
    signals.profiles_merging.send(sender=None, pairs=pairs, moved=moved)
    # Last: who writes about a device or delivery locks its row, so by then such writers have ended and nobody can
    # begin to write about the loser.
    repoint(EVENTS, pairs, moved, key="seq")
    Profile.objects.filter(pk__in=[loser for loser, _ in pairs]).delete()
    changes.touch((winner for _, winner in pairs), (changes.EVERYTHING, changes.MERGED))
    with connection.cursor() as cursor:
        cursor.execute(
            "UPDATE crm_profilemerge p SET moved = r.moved "
            "FROM jsonb_to_recordset(%s::jsonb) AS r(id bigint, moved jsonb) WHERE p.id = r.id",
            [_json([{"id": numbers[loser], "moved": what} for loser, what in moved.items()])],
        )
    log.append(
        [
            log.NewEvent(
                id=log.event_id("merge", loser, winner),
                profile_id=winner,
                name="profile_merged",
                occurred_at=now,
                properties={"merged": loser, "reason": reason},
                source="nudge",
            )
            for loser, winner in pairs
        ]
    )


def _fill_gaps(pairs: Sequence[Pair], locked: dict[int, Profile], moved: Moved) -> None:
    """Let winners have what only their losers had, and note what that was."""
    for loser, winner in pairs:
        into, gone = locked[winner], locked[loser]
        before = {name: getattr(into, name) for name in (*NAMES, "first_seen", "last_seen")}
        filled = [name for name in FIELDS if getattr(into, name) is None and getattr(gone, name) is not None]
        if {"latitude", "longitude"} & set(filled) and (into.latitude, into.longitude) != (None, None):
            filled = [
                name for name in filled if name not in ("latitude", "longitude")
            ]  # of one place, or none
        for name in filled:
            setattr(into, name, getattr(gone, name))
        extra = {name: value for name, value in gone.attributes.items() if name not in into.attributes}
        into.attributes |= extra
        filled += [f"attributes.{name}" for name in extra]
        into.sources |= {name: gone.sources[name] for name in filled if name in gone.sources}
        moved[loser][FILLED] = filled
        moved[loser][BEFORE] = before
        into.first_seen = min(filter(None, (into.first_seen, gone.first_seen)), default=None)
        into.last_seen = max(filter(None, (into.last_seen, gone.last_seen)), default=None)
    changed = [locked[winner] for winner in sorted({winner for _loser, winner in pairs})]
    store(changed)


def store(profiles: Sequence[Profile]) -> None:
    """Write these profiles' data by one statement."""
    rows = [{"id": row.pk, **{name: getattr(row, name) for name in _COLUMNS}} for row in profiles]
    with connection.cursor() as cursor:
        cursor.execute(_UPDATE, [_json(rows)])


def _json(value: Any) -> str:
    try:
        return msgspec.json.encode(value).decode()
    except OverflowError:
        return json.dumps(
            value, default=lambda other: other.isoformat()
        )  # whole numbers of more than 64 bits
