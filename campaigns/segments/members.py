"""Who is in a segment, a page at a time, since when and why; as quick with a million members as with ten."""

from collections.abc import Sequence
from datetime import datetime
from typing import NamedTuple

from django.db import connection
from django.db.models import QuerySet

from campaigns.models import Segment, SegmentMembership
from campaigns.segments.memberships import ENTERED
from crm.models import Profile

SIZE = 50
RARE = 10_000  # people

# Who came in at that moment, by the index on (profile_id, name, occurred_at) and in the one month's partition.
_WHY = """
    SELECT m.id, e.properties ->> 'cause', e.properties ->> 'event'
    FROM unnest(%s::bigint[], %s::timestamptz[]) AS m(id, at)
    JOIN crm_event e ON e.profile_id = m.id AND e.name = %s AND e.occurred_at = m.at
        AND e.properties ->> 'segment' = %s
"""


class Member(NamedTuple):
    """One person in a segment. `cause` is as in `memberships.change`, "" for who was in when it was first counted or
    where the log no longer tells; `event` is the event's name where one was the cause."""

    profile: Profile
    since: datetime
    cause: str = ""
    event: str = ""


class Page(NamedTuple):
    """Members from the newest profile down. `next` is what to give as `after` for those that follow; None: no more."""

    rows: list[Member]
    next: int | None


def page(
    segment: Segment, after: int | None = None, size: int = SIZE, matching: QuerySet[Profile] | None = None
) -> Page:
    """Some members, by descending number of their profiles; in a fixed number of queries that count nobody.

    Args:
        after: the number of the last profile of the page before.
        matching: only these profiles.
    """
    found = SegmentMembership.objects.filter(segment=segment)
    if matching is not None:
        found = found.filter(profile__in=_few(matching))
    if after is not None:
        found = found.filter(profile_id__lt=after)
    rows = list(found.order_by("-profile_id").values_list("profile_id", "entered_at")[: size + 1])
    more = len(rows) > size
    rows = rows[:size]
    people = Profile.objects.in_bulk([pk for pk, _at in rows])
    why = _why(segment, rows)
    members = [Member(people[pk], at, *why.get(pk, ("", ""))) for pk, at in rows if pk in people]
    return Page(members, rows[-1][0] if more else None)


def _few(matching: QuerySet[Profile]) -> list[int] | QuerySet:
    """The numbers themselves where they are few, lest PostgreSQL looks at member after member for a rare name."""
    ids = list(matching.order_by().values_list("pk", flat=True)[: RARE + 1])
    return ids if len(ids) <= RARE else matching.order_by().values("pk")


def _why(segment: Segment, rows: Sequence[tuple[int, datetime]]) -> dict[int, tuple[str, str]]:
    if not rows:
        return {}
    ids, times = zip(*rows, strict=True)
    with connection.cursor() as cursor:
        cursor.execute(_WHY, [list(ids), list(times), ENTERED, segment.slug])
        return {pk: (cause or "", event or "") for pk, cause, event in cursor.fetchall()}
