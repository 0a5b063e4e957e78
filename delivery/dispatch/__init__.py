"""The sending stage: claim what is due, send it outside any transaction, record what became of it.

Any number of these run at once. What a killed one left behind is taken over when its lease runs out.
"""

import logging
from collections import Counter
from collections.abc import Callable, Sequence
from datetime import datetime

import msgspec
from django.utils import timezone

from delivery import channels
from delivery.channels.base import Parcel
from delivery.dispatch.claim import claim
from delivery.dispatch.lease import Lease
from delivery.dispatch.recording import Recorder
from delivery.dispatch.recovery import recover
from delivery.models import Delivery

logger = logging.getLogger(__name__)
State = Delivery.State

__all__ = ["DispatchResult", "run"]


class DispatchResult(msgspec.Struct, frozen=True):
    """What one run did, in deliveries. `idle` tells that nothing was due."""

    recovered: int
    claimed: int
    sent: int
    deferred: int
    suppressed: int
    failed: int
    expired: int

    @property
    def idle(self) -> bool:
        return not (self.recovered or self.claimed)


def run(now: datetime | None = None, limit: int = 1000) -> DispatchResult:
    """Handle up to `limit` due deliveries from claim to record."""

    def clock() -> datetime:
        return now or timezone.now()

    recovered = recover(clock(), limit)
    claimed = claim(clock(), limit)
    states = Counter(claimed.states)
    for kind, parcels in claimed.parcels.items():
        states += _send(kind, parcels, clock)
    return DispatchResult(
        recovered,
        claimed.looked_at,
        *(
            states[state]
            for state in (State.SENT, State.DEFERRED, State.SUPPRESSED, State.FAILED, State.EXPIRED)
        ),
    )


def _send(kind: str, parcels: Sequence[Parcel], clock: Callable[[], datetime]) -> Counter[str]:
    """Send one channel's part of a batch and record it; return the states reached."""
    channel = channels.get(kind)
    lease = Lease(parcels)
    recorder = Recorder(channel, parcels, lease, clock)
    results = channel.send(lease.parcels(), clock())
    while True:
        try:
            result = next(results, None)
        except Exception:  # a channel's fault must not cost the results we have, nor stop the other channels
            logger.exception("The channel %s failed", kind)
            break
        if result is None:
            break
        recorder.add(result)
    recorder.finish()
    return recorder.states
