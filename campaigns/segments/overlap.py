"""Who is in several segments at once: counted from the stored members, in one statement."""

from collections.abc import Sequence
from typing import NamedTuple

from campaigns.models import Segment
from campaigns.segments.limits import fetch
from crm.rules.sql import sql

MOST = 4  # segments compared
TIMEOUT_MS = 8_000


class Cell(NamedTuple):
    """The people who are in exactly these segments of those compared, and in none of the others."""

    inside: tuple[Segment, ...]
    outside: tuple[Segment, ...]
    people: int
    share: float  # of all people in any of them, 0 to 1


class Pair(NamedTuple):
    """Two segments: how many people are in both, and by how much they are the same.

    `jaccard` is both / either; `of_first` and `of_second` are both / each (0 to 1; 0 where a segment is empty).
    """

    first: Segment
    second: Segment
    both: int
    jaccard: float
    of_first: float
    of_second: float


class Overlap(NamedTuple):
    """How segments overlap; `cells` the largest first, without empty ones."""

    segments: tuple[Segment, ...]
    sizes: tuple[int, ...]
    cells: tuple[Cell, ...]
    pairs: tuple[Pair, ...]
    people: int


def compare(segments: Sequence[Segment], timeout_ms: int = TIMEOUT_MS) -> Overlap:
    """Count who is in which of two to four segments or lists, by their members as they are stored.

    Raises:
        ValueError: fewer than two or more than MOST.
        TooSlow: it takes longer than that.
    """
    chosen = tuple(dict.fromkeys(segments))
    if not 2 <= len(chosen) <= MOST:
        raise ValueError(f"Compare two to {MOST} segments.")
    ids = [segment.pk for segment in chosen]
    rows = fetch(
        sql(
            "SELECT mask, count(*) FROM (SELECT profile_id,"
            " bit_or(1 << (array_position({}::bigint[], segment_id) - 1)) AS mask"
            " FROM campaigns_segmentmembership WHERE segment_id = ANY({}::bigint[]) GROUP BY profile_id) AS people"
            " GROUP BY mask",
            ids,
            ids,
        ),
        timeout_ms,
    )
    counts: dict[int, int] = dict(rows)
    people = sum(counts.values())

    def inside(wanted: int) -> int:
        return sum(number for mask, number in counts.items() if mask & wanted == wanted)

    def parts(mask: int, within: bool) -> tuple[Segment, ...]:
        return tuple(each for place, each in enumerate(chosen) if bool(mask >> place & 1) is within)

    cells = [
        Cell(parts(mask, True), parts(mask, False), number, number / people)
        for mask, number in counts.items()
    ]
    sizes = tuple(inside(1 << place) for place in range(len(chosen)))
    pairs = []
    for first in range(len(chosen)):
        for second in range(first + 1, len(chosen)):
            both = inside(1 << first | 1 << second)
            pairs.append(
                Pair(
                    chosen[first],
                    chosen[second],
                    both,
                    _ratio(both, sizes[first] + sizes[second] - both),
                    _ratio(both, sizes[first]),
                    _ratio(both, sizes[second]),
                )
            )
    cells.sort(key=lambda cell: (-cell.people, [segment.pk for segment in cell.inside]))
    return Overlap(chosen, sizes, tuple(cells), tuple(pairs), people)


def _ratio(part: int, whole: int) -> float:
    return part / whole if whole else 0.0
