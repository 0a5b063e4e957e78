"""From the event log into the calls of each stream, by a cursor of its own: one transaction moves both."""

from collections.abc import Collection
from datetime import datetime

import msgspec
from django.db import connection
from django.utils import timezone

from crm import log
from crm.models import LogCursor
from delivery.models import EventStream
from delivery.streams import told

EVENTS = 100  # in a call
MOST_WAITING = 50  # calls of a stream; what comes after them stays in the log
READ = 5000  # events of the log at a time

# Calls that have ended are many, so those that wait are counted by their own index, and no further than it matters.
_ROOMY = """
    SELECT s.id FROM delivery_eventstream s
    WHERE s.state <> 'paused' AND (SELECT count(*) FROM (
        SELECT FROM delivery_streamcall c WHERE c.stream_id = s.id AND c.state = 'waiting' LIMIT %s) w) < %s
    ORDER BY s.id
"""
_STORE = """
    INSERT INTO delivery_streamcall (stream_id, events, count, trial, state, attempts, next_at, error)
    SELECT %s, r.events, jsonb_array_length(r.events), false, 'waiting', 0, %s, ''
    FROM jsonb_array_elements(%s::jsonb) WITH ORDINALITY AS r(events, place) ORDER BY r.place
"""


class _Stopped(Exception):
    """The stream was paused or deleted meanwhile: its cursor stays where it is."""


def cursor_of(stream_id: int) -> str:
    """The name under which a stream reads the log."""
    return f"stream:{stream_id}"


def feed(now: datetime | None = None, limit: int = READ) -> bool:
    """Let every stream that has room read on; whether one of them may go on at once.

    Args:
        limit: events of the log that are looked at for each.
    """
    now = now or timezone.now()
    with connection.cursor() as cursor:
        cursor.execute(_ROOMY, [MOST_WAITING, MOST_WAITING])
        roomy = [row[0] for row in cursor.fetchall()]
    more = [_feed(pk, now, limit) for pk in roomy]
    return any(more)


def _feed(stream_id: int, now: datetime, limit: int) -> bool:
    stream: EventStream | None = None

    def names() -> Collection[str]:
        # Asked once the cursor is ours: who pauses or deletes a stream holds it meanwhile.
        nonlocal stream
        stream = EventStream.objects.defer("secret").filter(pk=stream_id).first()
        if stream is None or stream.state == EventStream.State.PAUSED:
            raise _Stopped
        return stream.names

    try:
        with log.read(cursor_of(stream_id), limit, names) as batch:
            if stream is not None and batch.events:
                _store(stream, told.told(stream, batch.events), now)
            return batch.full
    except _Stopped:
        if stream is None:
            LogCursor.objects.filter(name=cursor_of(stream_id)).delete()
        return False


def _store(stream: EventStream, events: list[told.Told], now: datetime) -> None:
    if not events:
        return
    calls = [events[start : start + EVENTS] for start in range(0, len(events), EVENTS)]
    with connection.cursor() as cursor:
        cursor.execute(_STORE, [stream.pk, now, msgspec.json.encode(calls).decode()])
