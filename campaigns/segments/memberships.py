"""Writing who comes into segments and who drops out of them: members, log events and sizes together."""

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import NamedTuple

import msgspec
from django.db import connection

from campaigns.models import Segment
from campaigns.segments import sizes
from crm import log_alike

CHUNK = 5_000  # people written in one transaction, as readers of the event log wait for it
ENTERED, LEFT = "segment_entered", "segment_left"
SOURCE = "segments"
EVENT, CHANGE, TIME, RULE, LIST, MERGE, CHECK = "event", "change", "time", "rule", "list", "merge", "check"

# They must not be merged or removed before this is stored.
_HOLD = "SELECT id FROM crm_profile WHERE id = ANY(%s::bigint[]) ORDER BY id FOR KEY SHARE"
_ENTER = """
    INSERT INTO campaigns_segmentmembership (segment_id, profile_id, entered_at)
    SELECT segment_id, profile_id, %s FROM unnest(%s::bigint[], %s::bigint[]) AS m(segment_id, profile_id)
    ORDER BY segment_id, profile_id ON CONFLICT DO NOTHING RETURNING segment_id, profile_id
"""
_LEAVE = """
    DELETE FROM campaigns_segmentmembership t USING unnest(%s::bigint[], %s::bigint[]) AS m(segment_id, profile_id)
    WHERE t.segment_id = m.segment_id AND t.profile_id = m.profile_id RETURNING t.segment_id, t.profile_id
"""
Pair = tuple[int, int]  # segment id, profile id


class Changed(NamedTuple):
    """How many came in and how many dropped out."""

    entered: int
    left: int


class Move(NamedTuple):
    """Somebody comes into a segment or drops out of it: why, and by which event."""

    segment_id: int
    profile_id: int
    enters: bool
    cause: str
    event: str = ""

    @property
    def pair(self) -> Pair:
        return self.segment_id, self.profile_id


class Written(NamedTuple):
    """The moves that were made, and those of people who are being written by somebody else just now."""

    done: list[Move]
    later: list[Move]


def change(
    segment: Segment,
    entering: Sequence[int],
    leaving: Sequence[int],
    now: datetime,
    cause: str,
    event: str = "",
    events: bool = True,
) -> Changed:
    """Let people in and out, in the caller's transaction; who is in or out already is left alone.

    Args:
        segment: its `size` is brought up to date as well.
        entering: profile ids, CHUNK at most, like `leaving`; those that are no profiles are left out.
        now: aware.
        cause: one of EVENT, CHANGE, TIME, RULE, LIST, MERGE and CHECK; told by the log events.
        event: name of the event that was the cause.
        events: whether the log and the history of the size shall tell. Nobody "enters" when a list is brought back.
    """
    now = now.astimezone(UTC)
    with connection.cursor() as cursor:
        cursor.execute(_HOLD, [[*entering, *leaving]])
        held = {row[0] for row in cursor.fetchall()}
    moves = [Move(segment.pk, pk, True, cause, event) for pk in entering if pk in held]
    gone = [pk for pk in leaving if pk not in held]
    done = _write([*moves, *(Move(segment.pk, pk, False, cause, event) for pk in leaving if pk in held)], now)
    if gone:
        _returned(_LEAVE, [[segment.pk] * len(gone), gone])
    if events:
        _tell(done, {segment.pk: segment}, now)
    if done or gone:
        sizes.add_up([segment.pk], now, told=events)
        segment.refresh_from_db(fields=["size"])
    entered = sum(move.enters for move in done)
    return Changed(entered, len(done) - entered)


def write(moves: Sequence[Move], segments: Mapping[int, Segment], now: datetime) -> Written:
    """Make these moves in the caller's transaction and let the log tell; wait for nobody who writes about the people.

    Args:
        segments: by id.
    """
    ids = sorted({move.profile_id for move in moves})
    if not ids:
        return Written([], [])
    with connection.cursor() as cursor:
        cursor.execute(f"{_HOLD} SKIP LOCKED", [ids])
        held = {row[0] for row in cursor.fetchall()}
        others = [pk for pk in ids if pk not in held]
        there: set[int] = set()
        if others:
            cursor.execute("SELECT id FROM crm_profile WHERE id = ANY(%s)", [others])
            there = {row[0] for row in cursor.fetchall()}
    done = _write([move for move in moves if move.profile_id in held], now)
    _tell(done, segments, now)
    gone = [move for move in moves if move.profile_id not in held and move.profile_id not in there]
    if gone:  # nobody to tell anything about
        _returned(_LEAVE, _columns(gone))
    return Written(done, [move for move in moves if move.profile_id in there])


def _write(moves: Sequence[Move], now: datetime) -> list[Move]:
    """Change the members; return the moves that changed something."""
    entering = [move for move in moves if move.enters]
    leaving = [move for move in moves if not move.enters]
    changed = set(_returned(_ENTER, [now, *_columns(entering)])) if entering else set()
    if leaving:
        changed |= set(_returned(_LEAVE, _columns(leaving)))
    return [move for move in moves if move.pair in changed]


def _tell(moves: Sequence[Move], segments: Mapping[int, Segment], now: datetime) -> None:
    told: dict[tuple[int, str, str], str] = {}
    rows = []
    for move in moves:
        kind = move.segment_id, move.cause, move.event
        if kind not in told:
            told[kind] = _properties(move, segments[move.segment_id])
        rows.append((move.profile_id, ENTERED if move.enters else LEFT, told[kind]))
    log_alike.append(rows, now, SOURCE)


def _properties(move: Move, segment: Segment) -> str:
    told = {"segment": segment.slug, "name": segment.name, "cause": move.cause}
    return msgspec.json.encode({**told, "event": move.event} if move.event else told).decode()


def _columns(moves: Sequence[Move]) -> list[list[int]]:
    return [[move.segment_id for move in moves], [move.profile_id for move in moves]]


def _returned(statement: str, values: list) -> list[Pair]:
    with connection.cursor() as cursor:
        cursor.execute(statement, values)
        return cursor.fetchall()
