"""The people of a segment one by one, such as for previews of a message."""

from campaigns.models import Segment, SegmentMembership
from delivery import walking

MOST = 200  # segments that are offered


def groups() -> list[tuple[str, str]]:
    """Return (number, name) of the segments that have members, by name."""
    rows = Segment.objects.filter(size__gt=0).order_by("name").values_list("pk", "name")[:MOST]
    return [(str(pk), name) for pk, name in rows]


def beside(key: str, profile_id: int, step: int) -> int | None:
    """Return the next (1) or previous (-1) member's profile, going round; None if the segment has none."""
    if not (key.isascii() and key.isdigit() and len(key) < 19):
        return None
    members = SegmentMembership.objects.filter(segment=int(key))
    found: SegmentMembership | None = walking.neighbour(members, "profile_id", profile_id, step)
    return found.profile_id if found is not None else None
