"""Making the calls of event streams: one at a time for each stream, so that events arrive in their order.

A call is claimed for as long as a try may last, made without any transaction, and its answer stored at once; then the
stream's next one follows, while other streams wait for their own receivers. A worker that dies leaves its call to the
next one, which makes it again under the same number.
"""

import random
import time
from collections import deque
from collections.abc import Collection, Iterator
from datetime import datetime, timedelta
from typing import Any

import msgspec
from django.db import connection, transaction
from django.utils import timezone

from crm import alerts
from crm.models import ProfileMerge
from delivery import httpclient, pushhosts, webhook_hosts, webhook_signing
from delivery.models import EventStream, StreamCall
from delivery.streams import feeding

SECONDS = 10  # of one try
LEASE = timedelta(seconds=60)
GIVEN_UP_AFTER = timedelta(days=3)
PAUSES = tuple(timedelta(seconds=each) for each in (5, 30, 120, 600, 1800, 3600, 7200, 14_400, 28_800))
FAILING_FROM = 4  # tries of one call
LOOK_EVERY = 1.0  # seconds
GONE = 410

_CLAIM = """
    WITH heads AS MATERIALIZED (
        SELECT head.id FROM delivery_eventstream s CROSS JOIN LATERAL (
            SELECT c.id, c.next_at FROM delivery_streamcall c
            WHERE c.stream_id = s.id AND c.state = 'waiting' ORDER BY c.id LIMIT 1
        ) head
        WHERE s.state <> 'paused' AND head.next_at <= %(now)s AND (%(only)s::bigint IS NULL OR s.id = %(only)s)
    ), mine AS MATERIALIZED (
        SELECT c.id FROM delivery_streamcall c JOIN heads USING (id)
        WHERE c.state = 'waiting' AND c.next_at <= %(now)s FOR UPDATE OF c SKIP LOCKED
    )
    UPDATE delivery_streamcall c
    SET next_at = %(until)s, attempts = c.attempts + 1, began_at = coalesce(c.began_at, %(now)s)
    FROM mine WHERE c.id = mine.id
    RETURNING c.id, c.stream_id, c.attempts, c.began_at, c.events::text
"""


class Call(msgspec.Struct):
    """A call that is ours to make. `held` is the try by which it is: a later one is somebody else's."""

    id: int
    stream: int
    held: int
    began_at: datetime
    body: bytes
    url: str = ""
    keys: list[str] = []


def body(events: list[object] | msgspec.Raw) -> bytes:
    """What is posted."""
    return msgspec.json.encode({"events": events})


def keys(secret: Any, now: datetime) -> list[str]:
    """The keys that sign, the newest first: after a change both for a while. None of a secret that can't be read."""
    found = [secret["key"]] if "key" in secret else []
    if secret.get("before") and now < datetime.fromisoformat(secret["until"]):
        found.append(secret["before"])
    return found


def claim(now: datetime, only: int | None = None) -> list[Call]:
    """Take the next call of every stream that is due, or of the one called."""
    with connection.cursor() as cursor:
        cursor.execute(_CLAIM, {"now": now, "until": now + LEASE, "only": only})
        calls = [
            Call(pk, stream, held, began, body(msgspec.Raw(events.encode())))
            for pk, stream, held, began, events in cursor.fetchall()
        ]
    if calls:
        streams = EventStream.objects.only("url", "secret").in_bulk([call.stream for call in calls])
        for call in calls:
            if call.stream in streams:
                call.url = streams[call.stream].url
                call.keys = keys(streams[call.stream].secret, now)
    return calls


def run(seconds: float, now: datetime | None = None) -> int:
    """Read the log for all streams and make their calls until nothing is due; how many were made.

    Args:
        seconds: no call is begun after that.
    """
    end, looked, made = time.monotonic() + seconds, 0.0, 0
    ready: deque[Call] = deque()
    flying: set[int] = set()

    def requests() -> Iterator[httpclient.Request[Call] | None]:
        nonlocal looked
        while True:
            idle = not ready and not flying
            if time.monotonic() < end and (idle or time.monotonic() >= looked + LOOK_EVERY):
                more = feeding.feed(now)
                ready.extend(claim(now or timezone.now()))
                looked = time.monotonic()
                if more and idle and not ready:
                    continue  # there was nothing for anybody among the events so far
            if ready:
                call = ready.popleft()
                flying.add(call.id)
                yield request(call)
            elif flying:
                yield None
            else:
                return

    for response in httpclient.client(pushhosts.public).post(requests()):
        made += 1
        call = response.tag
        flying.discard(call.id)
        took = record(call, response, now or timezone.now())
        if took and time.monotonic() < end:
            ready.extend(claim(now or timezone.now(), call.stream))
    return made


def request(call: Call) -> httpclient.Request[Call]:
    """What is sent; with an address that may not be called, one that the client refuses."""
    at = int(time.time())  # the receiver's clock is a real one
    headers = [
        "Content-Type: application/json",
        *webhook_signing.sign(call.keys, f"stream_{call.id}", at, call.body),
    ]
    try:
        trusted, url = webhook_hosts.look_at(call.url).trusted, call.url
    except webhook_hosts.BadAddress:
        trusted, url = False, ""
    if not call.keys:
        url = ""
    return httpclient.Request(call, url, headers, call.body, trusted, seconds=SECONDS)


@transaction.atomic
def record(call: Call, response: httpclient.Response[Call], now: datetime) -> bool:
    """Store what came of a try; whether the call was taken, so that the next one may follow."""
    status, error = response.status or None, problem(call, response)
    # The stream first, as everybody does who changes both.
    stream = EventStream.objects.select_for_update().defer("secret").filter(pk=call.stream).first()
    mine = StreamCall.objects.filter(pk=call.id, attempts=call.held, state=StreamCall.State.WAITING)
    if stream is None:
        return False
    told = {"status_code": status, "error": error}
    if not error:
        ended: dict[str, Any] = {
            "state": StreamCall.State.TAKEN,
            "events": [],
            "next_at": None,
            "finished_at": now,
        }
        if mine.update(**told, **ended):
            _healthy(stream, status, now)
        return True
    if not mine.update(**told, next_at=_next(call, response, now)):
        return False
    stream.last_status, stream.last_error, stream.last_at = status, error, now
    if stream.state != EventStream.State.PAUSED:
        if status == GONE:
            _pause(stream, "It answered 410: nobody listens there any more.")
        elif now - call.began_at >= GIVEN_UP_AFTER:
            _pause(stream, f"It took nothing for three days. The last answer: {error}")
        elif call.held >= FAILING_FROM:
            stream.state = EventStream.State.FAILING
            _tell(
                stream,
                f"The event stream “{stream.name}” is not taken",
                f"It is tried again for three days; its events wait. The last answer: {error}",
            )
    stream.save(update_fields=["state", "why", "last_status", "last_error", "last_at"])
    return False


def problem(call: Call, response: httpclient.Response[Call]) -> str:
    """What is wrong with an answer; empty if it took the call."""
    if not call.keys:
        return "The secret can't be read with the present encryption key: make a new one."
    if not response.status:
        try:
            webhook_hosts.look_at(call.url)
        except webhook_hosts.BadAddress as error:
            return str(error)
    if 200 <= response.status < 300:
        return ""
    return (response.error or f"HTTP {response.status}")[:500]


def alert_key(stream_id: int) -> str:
    """What alerts about a stream are kept under."""
    return f"stream:{stream_id}"


def _healthy(stream: EventStream, status: int | None, now: datetime) -> None:
    was = stream.state
    stream.last_status, stream.last_error, stream.last_at = status, "", now
    if was == EventStream.State.FAILING:
        stream.state = EventStream.State.ACTIVE
        alerts.resolve(alert_key(stream.pk))
    stream.save(update_fields=["state", "last_status", "last_error", "last_at"])


def _pause(stream: EventStream, why: str) -> None:
    stream.state, stream.why = EventStream.State.PAUSED, why
    _tell(stream, f"The event stream “{stream.name}” was paused", f"{why} Its events wait until it goes on.")


def _tell(stream: EventStream, title: str, detail: str) -> None:
    alerts.raise_alert(alert_key(stream.pk), title, detail)


def _next(call: Call, response: httpclient.Response[Call], now: datetime) -> datetime:
    """When to try again: after pauses that grow, with a quarter of jitter, or when the receiver says."""
    pause = PAUSES[min(call.held, len(PAUSES)) - 1] * random.uniform(1.0, 1.25)  # noqa: S311 - no secret
    wish = response.headers.get("retry-after", "").strip()
    if response.status in (429, 503) and wish.isdecimal() and len(wish) < 10:
        pause = min(max(pause, timedelta(seconds=int(wish))), PAUSES[-1])
    last = call.began_at + GIVEN_UP_AFTER
    return min(now + pause, last) if now < last else now


def forget_people(profile_ids: Collection[int]) -> None:
    """Drop what waits about these people and those who were merged into them, in the caller's transaction."""
    merged = ProfileMerge.objects.filter(winner_id__in=profile_ids).values_list("loser_id", flat=True)
    with connection.cursor() as cursor:
        cursor.execute(
            """
            UPDATE delivery_streamcall c SET events = left_over.events, count = jsonb_array_length(left_over.events)
            FROM (
                SELECT w.id, coalesce(jsonb_agg(e.event ORDER BY e.place) FILTER (
                    WHERE NOT (e.event #>> '{profile,id}')::bigint = ANY(%(ids)s)), '[]') AS events
                FROM delivery_streamcall w, jsonb_array_elements(w.events) WITH ORDINALITY AS e(event, place)
                WHERE w.state = 'waiting' GROUP BY w.id
                HAVING bool_or((e.event #>> '{profile,id}')::bigint = ANY(%(ids)s))
            ) left_over
            WHERE c.id = left_over.id
            """,
            {"ids": [*profile_ids, *merged]},
        )
        cursor.execute("DELETE FROM delivery_streamcall WHERE state = 'waiting' AND count = 0")
