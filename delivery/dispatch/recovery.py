"""Taking over from workers that fell silent."""

from collections.abc import Sequence
from datetime import datetime

from django.db import connection, transaction

from delivery import accounts, channels
from delivery.dispatch import arrivals, states
from delivery.dispatch.lease import NOT_BEGUN
from delivery.models import Attempt, Delivery

UNKNOWN = "unknown outcome"

_FORGET = """
    DELETE FROM delivery_attempt
    WHERE delivery_id = ANY(%s) AND outcome = 'started' AND detail = %s RETURNING delivery_id
"""


@transaction.atomic
def recover(now: datetime, limit: int) -> int:
    """Give up to `limit` deliveries whose lease ran out a next state; return how many.

    What is known to have arrived was sent, and what was not begun goes back into the queue (expiry is checked when it
    is claimed). Of the others nobody knows whether they went out. Where sending again shows nothing twice they are
    queued again, too; elsewhere they fail, so that nobody is written to twice.
    """
    silent = list(
        Delivery.objects.select_for_update(of=("self",), skip_locked=True)
        .select_related("message")
        .filter(state=Delivery.State.SENDING, lease_until__lte=now)
        .order_by("lease_until")[:limit]
    )
    changes = arrivals.settle(silent, now) or []
    arrived = {change.id for change in changes}
    left = [delivery for delivery in silent if delivery.pk not in arrived]
    repeated = _never_begun(left)
    repeated |= _repeatable([delivery for delivery in left if delivery.pk not in repeated])
    changes += [
        states.Change(id=delivery.pk, state=Delivery.State.QUEUED, due_at=min(now, delivery.expires_at))
        if delivery.pk in repeated
        else states.Change(id=delivery.pk, state=Delivery.State.FAILED, reason=UNKNOWN)
        for delivery in left
    ]
    return len(states.apply(changes, {delivery.pk: delivery for delivery in silent}, now))


def _never_begun(silent: Sequence[Delivery]) -> set[int]:
    """Return the ids of those that were certainly not sent, and forget their attempts: nobody begins them any more."""
    if not silent:
        return set()
    with connection.cursor() as cursor:
        cursor.execute(_FORGET, [[delivery.pk for delivery in silent], NOT_BEGUN])
        found = {row[0] for row in cursor.fetchall()}
    begun = Attempt.objects.filter(delivery_id__in=found, outcome=Attempt.Outcome.STARTED)
    return found - set(begun.values_list("delivery_id", flat=True))


def _repeatable(silent: Sequence[Delivery]) -> set[int]:
    """Return the ids of those that may go out once more: the device replaces them, or the provider that was called
    sends what it knows only once."""
    kinds = {kind for kind, channel in channels.everything().items() if channel.repeatable}
    found = {delivery.pk for delivery in silent if delivery.channel in kinds}
    asked: dict[int, set[int | None]] = {}
    for delivery_id, account_id in Attempt.objects.filter(
        delivery_id__in=[delivery.pk for delivery in silent if delivery.pk not in found],
        outcome=Attempt.Outcome.STARTED,
    ).values_list("delivery_id", "account_id"):
        asked.setdefault(delivery_id, set()).add(account_id)
    if asked:
        safe = accounts.idempotent({pk for called in asked.values() for pk in called if pk})
        found |= {pk for pk, called in asked.items() if called <= safe}
    return found
