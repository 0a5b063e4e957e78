"""Writing who comes into a segment and who drops out of it: members, log events, size and its history together."""

import uuid
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any, NamedTuple

from django.db import connection

from campaigns.models import Segment
from crm import log

CHUNK = 5_000  # people written in one transaction, as readers of the event log wait for it
ENTERED, LEFT = "segment_entered", "segment_left"
SOURCE = "segments"

_ENTER = """
    INSERT INTO campaigns_segmentmembership (segment_id, profile_id, entered_at)
    SELECT %s, p.id, %s FROM crm_profile p WHERE p.id = ANY(%s::bigint[])
    ORDER BY p.id FOR KEY SHARE  -- they must not be merged or removed before this is stored
    ON CONFLICT DO NOTHING RETURNING profile_id
"""
_LEAVE = """
    DELETE FROM campaigns_segmentmembership WHERE segment_id = %s AND profile_id = ANY(%s::bigint[])
    RETURNING profile_id
"""
_RESIZE = "UPDATE campaigns_segment SET size = greatest(size + %s, 0) WHERE id = %s RETURNING size"
_HISTORY = """
    INSERT INTO campaigns_segmentsize AS s (segment_id, hour, size, entered, departed)
    VALUES (%s, %s, %s, %s, %s)
    ON CONFLICT (segment_id, hour) DO UPDATE SET size = EXCLUDED.size,
        entered = s.entered + EXCLUDED.entered, departed = s.departed + EXCLUDED.departed
"""


class Changed(NamedTuple):
    """How many came in and how many dropped out."""

    entered: int
    left: int


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
        cause: event, change, time, rule, list, merge or check; told by the log events.
        event: name of the event that was the cause.
        events: whether the log shall tell. Nobody "enters" when a new segment is counted for the first time.
    """
    now = now.astimezone(UTC)
    with connection.cursor() as cursor:
        came = _returned(cursor, _ENTER, [segment.pk, now, list(entering)]) if entering else []
        went = _returned(cursor, _LEAVE, [segment.pk, list(leaving)]) if leaving else []
        if events:
            properties = {"segment": segment.slug, "name": segment.name, "cause": cause}
            if event:
                properties["event"] = event
            log.append(
                [
                    log.NewEvent(uuid.uuid4(), profile_id, name, now, properties, SOURCE)
                    for name, ids in ((ENTERED, came), (LEFT, went))
                    for profile_id in ids
                ]
            )
        if came or went:
            cursor.execute(_RESIZE, [len(came) - len(went), segment.pk])
            row = cursor.fetchone()
            if row:
                segment.size = row[0]
                hour = now.replace(minute=0, second=0, microsecond=0)
                cursor.execute(_HISTORY, [segment.pk, hour, segment.size, len(came), len(went)])
    return Changed(len(came), len(went))


def _returned(cursor: Any, statement: str, values: list[Any]) -> list[int]:
    cursor.execute(statement, values)
    return [row[0] for row in cursor.fetchall()]
