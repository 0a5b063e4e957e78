"""Telling other systems of events as they happen: signed, in order, repeated until they are taken.

`feeding` moves events from the log into calls, `calling` makes them. Events come at least once, under the same ids.
"""

import uuid
from collections.abc import Collection
from datetime import datetime, timedelta
from typing import Any

import msgspec
from django.db import transaction
from django.db.models import Min, Sum
from django.utils import timezone

from crm import alerts, log, wake
from crm.models import LogCursor
from delivery import httpclient, pushhosts, webhook_signing
from delivery.models import EventStream, StreamCall
from delivery.streams import calling, told
from delivery.streams.feeding import cursor_of

TASK, QUEUE = "delivery.tasks.run_streams", "webhooks"
OVERLAP = timedelta(days=1)  # both keys sign, so that receivers can change over
KEPT = timedelta(days=7)
BATCH = 5000


class Backlog(msgspec.Struct):
    """What a stream has yet to be told: events in calls, and since when the first of them waits."""

    events: int = 0
    since: datetime | None = None


@transaction.atomic
def create(stream: EventStream) -> str:
    """Store a new stream, which tells of what happens from now on; return its secret as receivers enter it."""
    key = webhook_signing.make()
    secret: Any = {"key": key}
    stream.secret = secret
    stream.save(force_insert=True)
    log.start_at_end(cursor_of(stream.pk))
    return webhook_signing.PREFIX + key


@transaction.atomic
def change(stream: EventStream) -> None:
    """Store what an administrator says of a stream; what waits is tried at once, perhaps at a new address."""
    log.hold(cursor_of(stream.pk))
    stream.updated_at = timezone.now()
    fields = ["name", "url", "names", "api_only", "message_ids", "tells_numbers", "updated_at"]
    stream.save(update_fields=fields)
    _hurry(stream.pk, stream.updated_at)


@transaction.atomic
def renew_secret(stream_id: int, now: datetime | None = None) -> str:
    """Make a new secret and return it; the one before signs beside it for a day."""
    now = now or timezone.now()
    stream = EventStream.objects.select_for_update().get(pk=stream_id)
    old: Any = stream.secret
    key = webhook_signing.make()
    secret = {"key": key}
    if "key" in old:
        secret |= {"before": old["key"], "until": (now + OVERLAP).isoformat()}
    EventStream.objects.filter(pk=stream_id).update(secret=secret, updated_at=now)
    return webhook_signing.PREFIX + key


@transaction.atomic
def pause(stream_id: int) -> None:
    """Make no more calls; what happens meanwhile stays in the log, and waits there."""
    log.hold(cursor_of(stream_id))
    EventStream.objects.filter(pk=stream_id).update(state=EventStream.State.PAUSED, why="")
    alerts.resolve(calling.alert_key(stream_id))


@transaction.atomic
def resume(stream_id: int, skip: bool = False, now: datetime | None = None) -> None:
    """Go on where the stream stopped.

    Args:
        skip: leave out all that has happened until now.
    """
    now = now or timezone.now()
    log.hold(cursor_of(stream_id))
    EventStream.objects.filter(pk=stream_id).update(state=EventStream.State.ACTIVE, why="")
    waiting = StreamCall.objects.filter(stream=stream_id, state=StreamCall.State.WAITING)
    if skip:
        left_out = StreamCall.State.LEFT_OUT
        waiting.update(state=left_out, events=[], next_at=None, finished_at=now)
        log.move_to_end(cursor_of(stream_id))
    else:
        waiting.update(attempts=0, began_at=None)
        _hurry(stream_id, now)
    alerts.resolve(calling.alert_key(stream_id))


@transaction.atomic
def remove(stream_id: int) -> None:
    """Delete a stream with its calls, and its place in the log."""
    log.hold(cursor_of(stream_id))
    EventStream.objects.filter(pk=stream_id).delete()
    LogCursor.objects.filter(name=cursor_of(stream_id)).delete()
    alerts.resolve(calling.alert_key(stream_id))


def try_out(stream: EventStream, now: datetime | None = None) -> StreamCall:
    """Send a test event at once, beside those that wait, and return the call with its answer."""
    now = now or timezone.now()
    state = StreamCall.State.FAILED
    row = StreamCall.objects.create(
        stream=stream, count=1, trial=True, state=state, attempts=1, began_at=now, finished_at=now
    )
    event = told.Told(str(uuid.uuid4()), told.TEST, now, None, {})
    call = calling.Call(row.pk, stream.pk, 1, now, calling.body([event]), stream.url)
    call.keys = calling.keys(stream.secret, now)
    [response] = httpclient.client(pushhosts.public).post([calling.request(call)])
    row.error, row.status_code = calling.problem(call, response), response.status or None
    row.state = StreamCall.State.FAILED if row.error else StreamCall.State.TAKEN
    StreamCall.objects.filter(pk=row.pk).update(state=row.state, error=row.error, status_code=row.status_code)
    return row


def backlogs(stream_ids: Collection[int]) -> dict[int, Backlog]:
    """What waits of each of these streams, in one query."""
    waiting = StreamCall.objects.filter(stream__in=stream_ids, state=StreamCall.State.WAITING)
    rows = waiting.values("stream").annotate(events=Sum("count"), since=Min("created_at"))
    return dict.fromkeys(stream_ids, Backlog()) | {
        row["stream"]: Backlog(row["events"], row["since"]) for row in rows
    }


def unread(stream_id: int) -> int:
    """How many events of the log the stream has yet to look through, counted up to 100,000."""
    return log.lag(cursor_of(stream_id))


def forget(now: datetime | None = None) -> int:
    """Drop calls that ended a week ago, some thousands of them; how many."""
    old = StreamCall.objects.filter(finished_at__lt=(now or timezone.now()) - KEPT).order_by("finished_at")
    ids = list(old.values_list("pk", flat=True)[:BATCH])
    return StreamCall.objects.filter(pk__in=ids).delete()[0]


def wake_up(names: set[str], **kwargs: object) -> None:
    """Something was stored in the log that streams may tell of. Called after commit."""
    if not names.isdisjoint(told.NAMES):
        wake.on_commit(TASK, QUEUE)


def _hurry(stream_id: int, now: datetime) -> None:
    StreamCall.objects.filter(stream=stream_id, state=StreamCall.State.WAITING).update(next_at=now)
