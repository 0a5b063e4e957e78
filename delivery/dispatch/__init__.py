"""The sending stage: claim what is due, send it outside any transaction, record what became of it.

Any number of these run at once. What a killed one left behind is taken over when its lease runs out.
"""

import logging
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from datetime import datetime

import msgspec
from django.utils import timezone

from crm import alerts
from delivery import channels
from delivery.channels.base import Channel, Parcel, Result
from delivery.dispatch.claim import alert_key, channel_failed, claim
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
    for (kind, account_id), parcels in claimed.parcels.items():
        states += _send(kind, account_id, parcels, claimed.leased_at, clock)
    return DispatchResult(
        recovered,
        claimed.looked_at,
        *(
            states[state]
            for state in (State.SENT, State.DEFERRED, State.SUPPRESSED, State.FAILED, State.EXPIRED)
        ),
    )


def _send(
    kind: str,
    account_id: int | None,
    parcels: Sequence[Parcel],
    leased_at: float,
    clock: Callable[[], datetime],
) -> Counter[str]:
    """Send one account's part of a batch and record it; return the states reached."""
    channel = channels.get(kind)
    lease = Lease(parcels, leased_at)
    recorder = Recorder(channel, account_id, parcels, lease, clock)
    failure = None
    results = _results(channel, account_id, lease, clock())
    while True:
        try:
            result = next(results, None)
        except Exception as error:  # a channel's fault must not cost the results we have, nor stop the others
            logger.exception("The channel %s failed", kind)
            failure = error
            break
        if result is None:
            break
        recorder.add(result)
    if failure is not None:
        channel_failed(kind, failure)
    else:
        alerts.resolve(alert_key(kind))
    recorder.finish(failure)
    return recorder.states


def _results(channel: Channel, account_id: int | None, lease: Lease, now: datetime) -> Iterator[Result]:
    yield from channel.carrier(account_id)(lease.parcels(), now)
