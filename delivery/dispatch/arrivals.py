"""What reached people although its sender died, or lost the database, before it was recorded."""

import logging
from collections.abc import Sequence
from datetime import datetime

from django.db import transaction

from crm import alerts
from delivery import channels
from delivery.dispatch import states
from delivery.models import Attempt, Delivery

logger = logging.getLogger(__name__)


def settle(deliveries: Sequence[Delivery], now: datetime) -> list[states.Change] | None:
    """Return the changes that make those of `deliveries` sent that are known to have arrived; None when a channel
    could not say.

    To be asked of locked rows before anything else is decided about them: what somebody has seen was sent, even if
    they have left since. Finishes the attempts that brought them. Nothing is asked where nothing was tried.
    """
    tried: dict[str, list[int]] = {}
    for delivery in deliveries:
        if delivery.attempts:
            tried.setdefault(delivery.channel, []).append(delivery.pk)
    arrived: set[int] = set()
    for kind, ids in tried.items():
        if kind not in channels.everything():
            continue
        try:
            with transaction.atomic():
                arrived |= channels.get(kind).arrived(ids)
        except Exception as error:  # one channel's fault must not hold up the others
            logger.exception("The channel %s can't tell what arrived", kind)
            channel_failed(kind, error)
            return None
    if arrived:
        Attempt.objects.filter(delivery_id__in=arrived, outcome=Attempt.Outcome.STARTED).update(
            outcome=Attempt.Outcome.ACCEPTED, detail="", finished_at=now
        )
    return [
        states.Change(id=delivery.pk, state=Delivery.State.SENT, sent_at=now)
        for delivery in deliveries
        if delivery.pk in arrived
    ]


def channel_failed(kind: str, error: Exception) -> None:
    """Tell the operators that a channel, not its provider, is broken."""
    alerts.raise_alert(
        alert_key(kind),
        f"The channel {kind} fails",
        f"Its messages wait and are tried again until they expire. It failed with {type(error).__name__}; the log "
        "has the details.",
    )


def alert_key(kind: str) -> str:
    """What alerts about a broken channel are kept under."""
    return f"delivery:channel:{kind}"
