"""Who is to be asked about, for which segment: whoever finds people in bulk leaves them here, keeping takes them."""

from collections.abc import Collection, Iterable, Sequence
from typing import NamedTuple

from django.db import connection

from campaigns.models import Segment


class Candidate(NamedTuple):
    """Somebody who may have come into a segment or dropped out of it."""

    id: int
    segment_id: int
    profile_id: int
    cause: str
    event: str


def add(rows: Iterable[tuple[int, int, str, str]]) -> None:
    """Leave (segment id, profile id, cause, event), in the caller's transaction."""
    columns = [list(column) for column in zip(*rows, strict=True)]
    if columns:
        with connection.cursor() as cursor:
            cursor.execute(
                "INSERT INTO campaigns_segmentcandidate (segment_id, profile_id, cause, event)"
                " SELECT * FROM unnest(%s::bigint[], %s::bigint[], %s::text[], %s::text[])",
                columns,
            )


def add_people(segment_id: int, profile_ids: Sequence[int], cause: str) -> None:
    """Leave these people, in the caller's transaction."""
    with connection.cursor() as cursor:
        cursor.execute(
            "INSERT INTO campaigns_segmentcandidate (segment_id, profile_id, cause, event)"
            " SELECT %s, unnest(%s::bigint[]), %s, ''",
            [segment_id, list(profile_ids), cause],
        )


def peek(limit: int, segment_id: int | None = None) -> list[Candidate]:
    """The oldest candidates of segments that are kept, or of one of them."""
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT c.id, c.segment_id, c.profile_id, c.cause, c.event FROM campaigns_segmentcandidate c"
            " JOIN campaigns_segment s ON s.id = c.segment_id AND s.state = %s"
            " WHERE %s::bigint IS NULL OR c.segment_id = %s ORDER BY c.id LIMIT %s",
            [Segment.State.READY.value, segment_id, segment_id, limit],
        )
        return [Candidate(*row) for row in cursor.fetchall()]


def drop(ids: Collection[int]) -> None:
    """Take candidates away, in the transaction that stores what came of them."""
    if ids:
        with connection.cursor() as cursor:
            cursor.execute("DELETE FROM campaigns_segmentcandidate WHERE id = ANY(%s)", [list(ids)])


def drop_left() -> None:
    """Take away those of segments that were deleted while somebody left them."""
    with connection.cursor() as cursor:
        cursor.execute(
            "DELETE FROM campaigns_segmentcandidate c"
            " WHERE NOT EXISTS (SELECT FROM campaigns_segment s WHERE s.id = c.segment_id)"
        )


def drop_all(segment_id: int) -> None:
    """Take away all of a segment: everybody is about to be counted."""
    with connection.cursor() as cursor:
        cursor.execute("DELETE FROM campaigns_segmentcandidate WHERE segment_id = %s", [segment_id])
