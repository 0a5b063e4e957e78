"""How many people are in each segment, and how that went: kept by adding up, not by counting all members.

A trigger writes a row of SegmentMove for each statement that lets members in or out, whoever does it; adding them up
here moves the sizes by exactly what was committed. Counting everybody (`count`) sets the size anew.
"""

from collections.abc import Collection
from datetime import UTC, datetime

from django.db import connection, transaction

_LOCK = "SELECT id FROM campaigns_segment WHERE id = ANY(%s) ORDER BY id FOR NO KEY UPDATE"
_ADD = """
    WITH gone AS (
        DELETE FROM campaigns_segmentmove WHERE segment_id = ANY(%(ids)s) RETURNING segment_id, entered, departed
    ), sums AS (
        SELECT segment_id, sum(entered) AS entered, sum(departed) AS departed FROM gone GROUP BY segment_id
    ), resized AS (
        UPDATE campaigns_segment s SET size = greatest(s.size + sums.entered - sums.departed, 0)
        FROM sums WHERE s.id = sums.segment_id RETURNING s.id, s.size, sums.entered, sums.departed
    )
    INSERT INTO campaigns_segmentsize AS h (segment_id, hour, size, entered, departed)
    SELECT id, %(hour)s, size, CASE WHEN %(told)s THEN entered ELSE 0 END, CASE WHEN %(told)s THEN departed ELSE 0 END
    FROM resized ORDER BY id
    ON CONFLICT (segment_id, hour) DO UPDATE SET size = excluded.size,
        entered = h.entered + excluded.entered, departed = h.departed + excluded.departed
"""
# One statement, thus one look at members and moves, of which each is counted in exactly one way.
_COUNT = """
    WITH gone AS (DELETE FROM campaigns_segmentmove WHERE segment_id = %(id)s RETURNING entered, departed),
    resized AS (
        UPDATE campaigns_segment SET size =
            (SELECT count(*) FROM campaigns_segmentmembership WHERE segment_id = %(id)s)
        WHERE id = %(id)s RETURNING id, size
    )
    INSERT INTO campaigns_segmentsize AS h (segment_id, hour, size, entered, departed)
    SELECT id, %(hour)s, size, (SELECT coalesce(sum(entered), 0) FROM gone),
        (SELECT coalesce(sum(departed), 0) FROM gone) FROM resized
    ON CONFLICT (segment_id, hour) DO UPDATE SET size = excluded.size,
        entered = h.entered + excluded.entered, departed = h.departed + excluded.departed
    RETURNING size
"""


def waiting() -> list[int]:
    """Ids of the segments whose members have moved since their sizes were brought up to date."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT DISTINCT segment_id FROM campaigns_segmentmove ORDER BY segment_id")
        return [row[0] for row in cursor.fetchall()]


@transaction.atomic
def add_up(segment_ids: Collection[int], now: datetime, told: bool = True) -> None:
    """Bring the sizes of these segments up to date with what was committed, and with what this transaction did.

    Args:
        now: the hour in which it is noted.
        told: whether it is part of the history that people came in and dropped out; not when a segment is counted for
            the first time.
    """
    ids = sorted(segment_ids)
    if not ids:
        return
    with connection.cursor() as cursor:
        cursor.execute(_LOCK, [ids])
        cursor.execute(_ADD, {"ids": ids, "hour": _hour(now), "told": told})


@transaction.atomic
def count(segment_id: int, now: datetime) -> int:
    """Count the members of one segment; return how many there are."""
    with connection.cursor() as cursor:
        cursor.execute(_LOCK, [[segment_id]])
        cursor.execute(_COUNT, {"id": segment_id, "hour": _hour(now)})
        row = cursor.fetchone()
        return row[0] if row else 0


def _hour(now: datetime) -> datetime:
    return now.astimezone(UTC).replace(minute=0, second=0, microsecond=0)
