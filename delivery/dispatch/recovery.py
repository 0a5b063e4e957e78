"""Taking over from workers that fell silent."""

from datetime import datetime

from django.db import transaction

from delivery import channels
from delivery.dispatch import states
from delivery.models import Delivery

UNKNOWN = "unknown outcome"


@transaction.atomic
def recover(now: datetime, limit: int) -> int:
    """Give up to `limit` deliveries whose lease ran out a next state; return how many.

    Nobody knows whether they went out. Where sending again shows nothing twice they are queued again (expiry is
    checked when they are claimed); elsewhere they fail, so that nobody is written to twice.
    """
    silent = list(
        Delivery.objects.select_for_update(of=("self",), skip_locked=True)
        .select_related("message")
        .filter(state=Delivery.State.SENDING, lease_until__lte=now)
        .order_by("lease_until")[:limit]
    )
    repeatable = {kind for kind, channel in channels.everything().items() if channel.repeatable}
    changes = [
        states.Change(id=delivery.pk, state=Delivery.State.QUEUED, due_at=min(now, delivery.expires_at))
        if delivery.channel in repeatable
        else states.Change(id=delivery.pk, state=Delivery.State.FAILED, reason=UNKNOWN)
        for delivery in silent
    ]
    return len(states.apply(changes, {delivery.pk: delivery for delivery in silent}, now))
