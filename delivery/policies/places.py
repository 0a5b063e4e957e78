"""What counts under people's limits: the messages that were let through, each from the moment it was.

Whether one counts is asked of its delivery. One that did not go out does not count, unless nobody knows whether it
did; one that is being sent counts as sent now. So nothing has to be given back, whatever becomes of a message.
"""

from collections.abc import Collection, Iterable, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec
from django.db import connection
from django.utils import timezone

from crm import signals
from crm.pg import number_array
from delivery.models import Delivery, Message, Place

UNKNOWN = "unknown outcome"  # as `delivery.dispatch.recovery` calls it
KEPT = timedelta(days=35)  # longer than any limit looks back
_SLACK = timedelta(
    hours=1
)  # a message is sent at most so long after it was let through, unless it is let through again
_CHUNK = 50_000
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)

# Rows that are there already are locked by the second statement; those of both are taken in one order by everybody,
# so that no two dispatchers wait for each other.
_KNOW = """
    INSERT INTO delivery_placelock (profile_id) SELECT unnest(%s::bigint[]) ON CONFLICT DO NOTHING
"""
_LOCK = "SELECT FROM delivery_placelock WHERE profile_id = ANY(%s::bigint[]) ORDER BY profile_id FOR UPDATE"
_READ = """
    SELECT p.profile_id, p.delivery_id, p.channel, p.topic, p.message_id, p.content_group, p.thread,
        (extract(epoch FROM CASE
            WHEN d.state = 'sending' THEN greatest(p.taken_at, %(now)s) ELSE coalesce(d.sent_at, p.taken_at)
        END) * 1000000)::bigint,  -- read in a tenth of the time that a timestamp takes
        d.state IN ('suppressed', 'failed', 'expired') AND d.reason <> %(unknown)s
    FROM delivery_place p LEFT JOIN delivery_delivery d ON d.id = p.delivery_id
    WHERE p.profile_id = ANY(%(profiles)s::bigint[]) AND p.taken_at > %(since)s
"""
_PERHAPS_SENT = """
    SELECT DISTINCT delivery_id FROM delivery_attempt
    WHERE delivery_id = ANY(%s) AND (outcome = 'started' OR detail = %s)
"""
_WRITE = """
    INSERT INTO delivery_place AS p
        (delivery_id, profile_id, taken_at, channel, topic, message_id, content_group, thread)
    SELECT r.delivery_id, r.profile_id, %s, r.channel, r.topic, r.message_id, r.content_group, r.thread
    FROM jsonb_to_recordset(%s::jsonb) AS r(
        delivery_id bigint, profile_id bigint, channel text, topic text, message_id bigint, content_group text,
        thread text)
    ON CONFLICT (delivery_id) DO UPDATE SET profile_id = excluded.profile_id, taken_at = excluded.taken_at
"""
_FOLLOW = """
    UPDATE delivery_place p SET profile_id = m.winner
    FROM unnest(%s::bigint[], %s::bigint[]) AS m(loser, winner) WHERE p.profile_id = m.loser
"""
_GIVE_BACK = """
    UPDATE delivery_place p SET profile_id = d.profile_id FROM delivery_delivery d
    WHERE p.profile_id = %s AND d.id = p.delivery_id AND d.profile_id = %s
"""


class Taken(msgspec.Struct, frozen=True):
    """One message that counts. `thread` is the same for messages that one step of a flow sends one after the other."""

    profile_id: int
    delivery_id: int
    channel: str
    topic: str
    message_id: int
    content_group: str
    thread: str
    at: datetime


def of(delivery: Delivery, at: datetime) -> Taken:
    """What a delivery counts as if it is let through at `at`."""
    message: Message = delivery.message
    return Taken(
        profile_id=delivery.profile_id,
        delivery_id=delivery.pk,
        channel=delivery.channel,
        topic=message.topic,
        message_id=message.pk,
        content_group=message.content_group,
        thread=thread(delivery),
        at=at,
    )


def thread(delivery: Delivery) -> str:
    """What the messages share that one step sends to one person, by one channel after the other; else ""."""
    if delivery.origin_type != Delivery.Origin.FLOW:
        return ""
    parts = delivery.cause.split(":")
    return ":".join(parts[:3]) if len(parts) >= 3 else ""


def lock(profile_ids: Collection[int]) -> None:
    """Let nobody else count these people's messages until the caller's transaction ends; two queries."""
    ids = number_array(sorted(profile_ids))
    with connection.cursor() as cursor:
        cursor.execute(_KNOW, [ids])
        cursor.execute(_LOCK, [ids])


def read(profile_ids: Collection[int], since: datetime, now: datetime) -> dict[int, list[Taken]]:
    """What counts since then, by profile id; one query, and another one if some of it did not go out."""
    with connection.cursor() as cursor:
        cursor.execute(
            _READ,
            {"profiles": number_array(profile_ids), "since": since - _SLACK, "now": now, "unknown": UNKNOWN},
        )
        rows = cursor.fetchall()
        lost = [row[1] for row in rows if row[-1]]
        if lost:
            cursor.execute(_PERHAPS_SENT, [lost, UNKNOWN])
            lost = list(set(lost) - {row[0] for row in cursor.fetchall()})
    gone = set(lost)
    found: dict[int, list[Taken]] = {}
    for profile_id, delivery_id, channel, topic, message_id, group, own, microseconds, _lost in rows:
        if delivery_id not in gone:
            at = _EPOCH + timedelta(microseconds=microseconds)
            taken = Taken(profile_id, delivery_id, channel, topic, message_id, group, own, at)
            found.setdefault(profile_id, []).append(taken)
    return found


def write(taken: Sequence[Taken], refused: Iterable[int], now: datetime) -> None:
    """Let messages count from now, and deliveries that were refused no more; at most two queries."""
    gone = list(refused)
    with connection.cursor() as cursor:
        if gone:
            forget = "DELETE FROM delivery_place WHERE delivery_id = ANY(%s::bigint[])"
            cursor.execute(forget, [number_array(gone)])
        if taken:
            cursor.execute(_WRITE, [now, msgspec.json.encode(taken).decode()])


def forget_old(now: datetime | None = None) -> int:
    """Delete what no limit looks back to any more, in short transactions; return how much it was."""
    before, total = (now or timezone.now()) - KEPT, 0
    while True:
        old = Place.objects.filter(taken_at__lt=before).values("pk")[:_CHUNK]
        gone, _by_model = Place.objects.filter(pk__in=old).delete()
        total += gone
        if gone < _CHUNK:
            return total


def connect() -> None:
    """Called once when the app is ready, after what moves deliveries: it waits for the dispatchers that hold them."""
    signals.profiles_merging.connect(_follow, dispatch_uid="delivery.move_places")
    signals.profiles_unmerging.connect(_give_back, dispatch_uid="delivery.give_back_places")
    signals.profiles_erased.connect(_forget, dispatch_uid="delivery.forget_places")


def _follow(pairs: Sequence[tuple[int, int]], **kwargs: Any) -> None:
    losers, winners = [loser for loser, _winner in pairs], [winner for _loser, winner in pairs]
    with connection.cursor() as cursor:
        cursor.execute(_FOLLOW, [losers, winners])


def _give_back(loser: int, winner: int, **kwargs: Any) -> None:
    with connection.cursor() as cursor:
        cursor.execute(_GIVE_BACK, [winner, loser])


def _forget(profile_ids: Sequence[int], **kwargs: Any) -> None:
    with connection.cursor() as cursor:
        for table in ("delivery_place", "delivery_placelock"):
            cursor.execute(f"DELETE FROM {table} WHERE profile_id = ANY(%s)", [list(profile_ids)])
