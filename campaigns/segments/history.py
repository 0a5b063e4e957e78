"""How many people were in a segment, and why they came and went."""

from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from typing import NamedTuple

from django.db import connection
from django.utils import timezone

from campaigns.models import Segment, SegmentSize
from campaigns.segments.limits import TooSlow, limits
from crm.models import Event

HOURLY = 3  # days of a chart that has a point for each hour; longer ones have one for each day
LATEST = 10  # entries and departures shown
TIMEOUT_MS = 1_000

_CURVE = """
    WITH points AS (
        SELECT generate_series(
            date_trunc(%(unit)s, %(first)s::timestamptz, 'UTC'), %(last)s::timestamptz, ('1 ' || %(unit)s)::interval
        ) AS at
    )
    SELECT points.at,
        (SELECT s.size FROM campaigns_segmentsize s
         WHERE s.segment_id = %(segment)s AND s.hour < points.at + ('1 ' || %(unit)s)::interval
         ORDER BY s.hour DESC LIMIT 1),
        coalesce(sum(c.entered), 0), coalesce(sum(c.departed), 0)
    FROM points LEFT JOIN campaigns_segmentsize c ON c.segment_id = %(segment)s
        AND c.hour >= points.at AND c.hour < points.at + ('1 ' || %(unit)s)::interval
    GROUP BY points.at ORDER BY points.at
"""


class Point(NamedTuple):
    """An hour or a day: how many were in at its end (None before the first count), who came in and dropped out."""

    at: datetime
    size: int | None
    entered: int
    departed: int


class Change(NamedTuple):
    """What happened to a segment's size: people who came in and dropped out, and the size before (None: unknown)."""

    entered: int = 0
    departed: int = 0
    before: int | None = None


class Move(NamedTuple):
    """Somebody came in or dropped out, and why: `cause` is a code, `event` the name of the event that did it."""

    profile_id: int
    entered: bool
    at: datetime
    cause: str
    event: str


def curve(segment: Segment, days: int, now: datetime | None = None) -> list[Point]:
    """The size over the last `days`, by hours up to HOURLY days and by days of UTC beyond; one statement."""
    moment = (now or timezone.now()).astimezone(UTC)
    with connection.cursor() as cursor:
        cursor.execute(
            _CURVE,
            {
                "unit": "hour" if days <= HOURLY else "day",
                "first": moment - timedelta(days=days),
                "last": moment,
                "segment": segment.pk,
            },
        )
        found = [Point(*row) for row in cursor.fetchall()]
    # What is not counted yet has no size, however long the chart.
    return [point for point in found if point.size is not None]


def changes(segment_ids: Iterable[int], days: int = 7, now: datetime | None = None) -> dict[int, Change]:
    """What happened to each segment in the last `days`, by its id; one statement."""
    since = (now or timezone.now()) - timedelta(days=days)
    with connection.cursor() as cursor:
        cursor.execute(
            """
            SELECT wanted.id, coalesce(sum(s.entered), 0), coalesce(sum(s.departed), 0),
                (SELECT b.size FROM campaigns_segmentsize b WHERE b.segment_id = wanted.id AND b.hour <= %(since)s
                 ORDER BY b.hour DESC LIMIT 1)
            FROM unnest(%(ids)s::bigint[]) AS wanted(id)
            LEFT JOIN campaigns_segmentsize s ON s.segment_id = wanted.id AND s.hour > %(since)s
            GROUP BY wanted.id
            """,
            {"ids": list(segment_ids), "since": since},
        )
        return {pk: Change(entered, departed, before) for pk, entered, departed, before in cursor.fetchall()}


def latest(segment: Segment, number: int = LATEST) -> list[Move]:
    """Who came in or dropped out last, the latest first; empty when that takes too long to find.

    Two statements. The hours kept with the sizes say how far back to look, so that a segment in which nothing
    happens does not have the whole log searched.
    """
    since, seen = None, 0
    hours = SegmentSize.objects.filter(segment=segment).exclude(entered=0, departed=0).order_by("-hour")
    for hour, entered, departed in hours.values_list("hour", "entered", "departed")[: number * 2]:
        since, seen = hour, seen + entered + departed
        if seen >= number:
            break
    if since is None:
        return []
    events = Event.objects.filter(
        name__in=("segment_entered", "segment_left"),
        occurred_at__gte=since - timedelta(hours=1),
        properties__segment=segment.slug,
        profile__isnull=False,
    ).order_by("-occurred_at", "-id")
    try:
        with limits(TIMEOUT_MS):
            found = list(events.values_list("profile_id", "name", "occurred_at", "properties")[:number])
    except TooSlow:
        return []
    return [
        Move(
            profile_id,
            name == "segment_entered",
            at,
            str(properties.get("cause", "")),
            str(properties.get("event", "")),
        )
        for profile_id, name, at, properties in found
    ]
