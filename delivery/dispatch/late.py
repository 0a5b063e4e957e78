"""Ending what waits for too long where nothing is claimed: while sending is stopped, or an account rests or is slow."""

from datetime import datetime

from django.db import transaction

from delivery import accounts, channels
from delivery.dispatch import arrivals, lanes, states
from delivery.dispatch.lanes import Lane
from delivery.models import Delivery
from delivery.policies import emergency, expire


def end(now: datetime, limit: int = 1000) -> int:
    """Mark up to `limit` deliveries of each such lane as expired; return how many."""
    return sum(_end(lane, now, limit) for lane in lanes.due(now) if _held_up(lane))


def _held_up(lane: Lane) -> bool:
    if emergency.holds(lane.channel):
        return True
    known = channels.everything().get(lane.channel)
    account = accounts.route(lane.channel, lane.transactional) if known and known.provided else None
    return account is not None and bool(account.trips or account.per_second)


@transaction.atomic
def _end(lane: Lane, now: datetime, limit: int) -> int:
    late = {
        delivery.pk: delivery
        for delivery in Delivery.objects.select_for_update(of=("self",), skip_locked=True)
        .select_related("message")
        .filter(
            channel=lane.channel,
            transactional=lane.transactional,
            state__in=Delivery.WAITING,
            due_at__lte=now,
            expires_at__lte=now,
        )
        .order_by("due_at")[:limit]
    }
    verdict = expire()
    changes = arrivals.settle([*late.values()], now) or []
    arrived = {change.id for change in changes}
    changes += [
        states.Change(id=pk, state=verdict.state, reason=verdict.reason) for pk in late if pk not in arrived
    ]
    return len(states.apply(changes, late, now))
