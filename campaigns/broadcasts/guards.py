"""Asked by the dispatcher at the moment of sending: may a broadcast's message go out, and is it its turn?

A broadcast at a limited pace gives each message a slot, a moment of its own. Who comes without one, because the slot
passed while nothing was sent, or is due by their own clock, takes the next free one (the virtual scheduling algorithm
of ITU-T I.371, known as GCRA).
"""

from collections import defaultdict
from collections.abc import Sequence
from datetime import datetime, timedelta

from campaigns.broadcasts import holding, timing
from campaigns.models import Broadcast
from delivery.models import Delivery
from delivery.policies import Verdict, defer, suppress

PAUSED = "broadcast paused"
RESUMED = "broadcast resumed"  # has no slot any more
CANCELLED = "cancelled"
PACED = "waits for its turn in a broadcast at a limited pace"
PUNCTUAL = timedelta(seconds=15)  # a slot may be used so late; a look at what is due comes every few seconds

State = Broadcast.State


def hold_back(deliveries: Sequence[Delivery], now: datetime) -> dict[int, Verdict]:
    """Let messages of paused broadcasts wait, drop those of cancelled ones, and keep to the pace.

    Two queries, and two for each broadcast of which some come without a slot. What waits for the end of a pause is not
    looked at again before: resuming calls it back.
    """
    by_broadcast: dict[int, list[Delivery]] = defaultdict(list)
    for delivery in deliveries:
        if delivery.origin_type == Delivery.Origin.BROADCAST and delivery.origin_id is not None:
            by_broadcast[delivery.origin_id].append(delivery)
    if not by_broadcast:
        return {}
    holding.share(by_broadcast)
    found = Broadcast.objects.in_bulk(by_broadcast)
    verdicts: dict[int, Verdict] = {}
    for broadcast_id in sorted(found):
        broadcast, mine = found[broadcast_id], by_broadcast[broadcast_id]
        if broadcast.state == State.CANCELLED:
            verdicts |= {each.pk: suppress(CANCELLED) for each in mine}
        elif broadcast.state == State.PAUSED:
            verdicts |= {each.pk: defer(each.expires_at, PAUSED) for each in mine}
        elif broadcast.per_minute:
            verdicts |= _in_turn(broadcast, mine, now)
    return verdicts


def _in_turn(broadcast: Broadcast, deliveries: Sequence[Delivery], now: datetime) -> dict[int, Verdict]:
    without = [each for each in deliveries if not _has_slot(broadcast, each, now)]
    if not without or not broadcast.per_minute:
        return {}
    row = Broadcast.objects.filter(pk=broadcast.pk)
    free = row.select_for_update(no_key=True).values_list("next_slot", flat=True).get()
    if free is None and not timing.spread(broadcast) and broadcast.started_at is not None:
        free = broadcast.started_at + timing.slot(broadcast.per_minute, broadcast.audience or 0)
    at = max(free or now, now)
    step = timing.slot(broadcast.per_minute, 1)
    verdicts = {}
    for delivery in sorted(without, key=lambda each: (each.due_at, each.pk)):
        if at > now:
            verdicts[delivery.pk] = defer(at, PACED)
        at += step
    row.update(next_slot=at)
    return verdicts


def _has_slot(broadcast: Broadcast, delivery: Delivery, now: datetime) -> bool:
    given = (
        delivery.reason == PACED
        if delivery.state == Delivery.State.DEFERRED
        else not timing.spread(broadcast)
    )
    return given and now - delivery.due_at <= PUNCTUAL
