"""What follows a broadcast's queueing: going on after a pause, taking back after a cancel, and the end."""

import time
from datetime import datetime
from typing import Any

from django.db import connection, transaction

from campaigns.broadcasts import guards, holding
from campaigns.models import Broadcast, BroadcastPiece
from delivery import outbox
from delivery.dispatch import arrivals, states
from delivery.models import Delivery

State = Broadcast.State
BATCH = 2_000
OPEN = (Delivery.State.QUEUED, Delivery.State.DEFERRED, Delivery.State.SENDING)

_RELEASE = """
    UPDATE delivery_delivery d SET state = 'deferred', reason = %(resumed)s, due_at = %(now)s
    FROM (
        SELECT id FROM delivery_delivery
        WHERE origin_type = 'broadcast' AND origin_id = %(broadcast)s AND state = 'deferred' AND reason = %(paused)s
        LIMIT %(limit)s FOR UPDATE SKIP LOCKED
    ) AS held WHERE d.id = held.id
"""


def settle(broadcast_id: int, now: datetime, until: float | None = None) -> bool:
    """Do what the broadcast's state asks for until it is done, or the monotonic clock shows `until`.

    Returns whether more is left that can be done at once.
    """
    while _step(broadcast_id, now):
        if until is not None and time.monotonic() >= until:
            return True
    if _may_close(Broadcast.objects.get(pk=broadcast_id)):
        close(broadcast_id, now)
    return False


@transaction.atomic
def _step(broadcast_id: int, now: datetime) -> bool:
    """One batch; whether there may be another."""
    holding.share([broadcast_id])
    broadcast = Broadcast.objects.get(pk=broadcast_id)
    if broadcast.state == State.CANCELLED and broadcast.finished_at is None:
        return bool(_take_back(broadcast, now))
    return broadcast.state in Broadcast.BUSY and broadcast.releasing and bool(_release(broadcast, now))


def _take_back(broadcast: Broadcast, now: datetime) -> int:
    waiting = (
        _deliveries(broadcast)
        .filter(state__in=Delivery.WAITING)
        .select_related("message")
        .select_for_update(of=("self",), skip_locked=True)
    )
    held = {delivery.pk: delivery for delivery in waiting[:BATCH]}
    changes = arrivals.settle([*held.values()], now) or []
    arrived = {change.id for change in changes}
    changes += [
        states.Change(id=pk, state=Delivery.State.SUPPRESSED, reason=guards.CANCELLED)
        for pk in held
        if pk not in arrived
    ]
    return len(states.apply(changes, held, now))


def _release(broadcast: Broadcast, now: datetime) -> int:
    values: dict[str, Any] = {
        "now": now,
        "broadcast": broadcast.pk,
        "paused": guards.PAUSED,
        "resumed": guards.RESUMED,
        "limit": BATCH,
    }
    with connection.cursor() as cursor:
        cursor.execute(_RELEASE, values)
        released = cursor.rowcount
    if released:
        outbox.wake_on_commit()
    return released


def _may_close(broadcast: Broadcast) -> bool:
    """Whether the state is likely to change; asked again when nobody else can change it."""
    if broadcast.state == State.EXPANDING:
        return broadcast.releasing or not _pieces_left(broadcast)
    over = broadcast.state == State.CANCELLED and broadcast.finished_at is None
    return (broadcast.state == State.SENDING or over) and (broadcast.releasing or not _open(broadcast))


@transaction.atomic
def close(broadcast_id: int, now: datetime) -> None:
    """Let the state tell that everything is queued, released or over, where that is so."""
    broadcast = holding.alone(broadcast_id)
    if broadcast.state in Broadcast.BUSY:
        held = _deliveries(broadcast).filter(state=Delivery.State.DEFERRED, reason=guards.PAUSED)
        if broadcast.releasing and not held.exists():
            broadcast.releasing = False
        if broadcast.state == State.EXPANDING and not _pieces_left(broadcast):
            broadcast.state = State.SENDING
        if broadcast.state == State.SENDING and not broadcast.releasing and not _open(broadcast):
            broadcast.state, broadcast.finished_at = State.FINISHED, now
    elif broadcast.state == State.CANCELLED and broadcast.finished_at is None and not _open(broadcast):
        broadcast.finished_at = now
    broadcast.save(update_fields=["state", "releasing", "finished_at"])


def _deliveries(broadcast: Broadcast):
    return Delivery.objects.filter(origin_type=Delivery.Origin.BROADCAST, origin_id=broadcast.pk)


def _open(broadcast: Broadcast) -> bool:
    return _deliveries(broadcast).filter(state__in=OPEN).exists()


def _pieces_left(broadcast: Broadcast) -> bool:
    return BroadcastPiece.objects.filter(broadcast=broadcast, state=BroadcastPiece.State.WAITING).exists()
