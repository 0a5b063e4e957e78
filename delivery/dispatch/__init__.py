"""The sending stage: claim what is due, send it outside any transaction, record what became of it.

Any number of these run at once. What a killed one left behind is taken over when its lease runs out.
"""

import logging
from collections import Counter
from collections.abc import Callable, Iterator
from datetime import datetime
from time import monotonic, sleep

import msgspec
from django.db import InterfaceError, OperationalError
from django.utils import timezone

from crm import alerts
from delivery import channels
from delivery.accounts import setup_key
from delivery.breaker import Breaker
from delivery.channels.base import Channel, Result
from delivery.dispatch import arrivals, lanes
from delivery.dispatch.claim import Claim, claim, set_aside
from delivery.dispatch.lanes import Lane
from delivery.dispatch.lasting import spared
from delivery.dispatch.lease import Lease
from delivery.dispatch.recording import Recorder
from delivery.dispatch.recovery import recover
from delivery.models import Account, Delivery
from delivery.providers.base import ProviderError

logger = logging.getLogger(__name__)
State = Delivery.State

__all__ = ["DispatchResult", "Lane", "drain", "recover", "run", "run_lane"]


class DispatchResult(msgspec.Struct, frozen=True):
    """What one run did, in deliveries. `idle` tells that nothing could be done.

    `wait` tells in how many seconds a lane's account may send again.
    """

    recovered: int = 0
    claimed: int = 0
    sent: int = 0
    deferred: int = 0
    suppressed: int = 0
    failed: int = 0
    expired: int = 0
    wait: float | None = None

    @property
    def idle(self) -> bool:
        return not (self.recovered or self.claimed)

    def __add__(self, other: "DispatchResult") -> "DispatchResult":
        waits = [wait for wait in (self.wait, other.wait) if wait is not None]
        return DispatchResult(
            recovered=self.recovered + other.recovered,
            claimed=self.claimed + other.claimed,
            sent=self.sent + other.sent,
            deferred=self.deferred + other.deferred,
            suppressed=self.suppressed + other.suppressed,
            failed=self.failed + other.failed,
            expired=self.expired + other.expired,
            wait=min(waits, default=None),
        )


def run(now: datetime | None = None, limit: int = 1000) -> DispatchResult:
    """Handle up to `limit` due deliveries of every lane from claim to record, one lane after the other."""
    at = now or timezone.now()
    total = DispatchResult(recovered=recover(at, limit))
    for lane in lanes.due(at):
        total += run_lane(lane, now, limit)
    return total


def run_lane(lane: Lane, now: datetime | None = None, limit: int = 1000) -> DispatchResult:
    """Handle up to `limit` due deliveries of one lane from claim to record."""

    def clock() -> datetime:
        return now or timezone.now()

    claimed = _claim(lane, clock(), limit)
    states = Counter(claimed.states)
    if claimed.parcels:
        states += _send(lane.channel, claimed, clock)
    return DispatchResult(
        claimed=claimed.looked_at,
        sent=states[State.SENT],
        deferred=states[State.DEFERRED],
        suppressed=states[State.SUPPRESSED],
        failed=states[State.FAILED],
        expired=states[State.EXPIRED],
        wait=claimed.wait,
    )


def _claim(lane: Lane, now: datetime, limit: int) -> Claim:
    """Claim, whatever a single row does: half as many each time it fails, and one that fails alone is put off."""
    failed: Exception | None = None
    while True:
        try:
            claimed = claim(lane, now, limit)
        except (OperationalError, InterfaceError):  # the database's fault, not the rows'
            raise
        except Exception as error:
            logger.exception("Up to %d deliveries of %s can't be prepared", limit, lane)
            failed = error
            if limit == 1:
                claimed = set_aside(lane, now, error)
                break
            limit //= 2
            continue
        break
    if failed is not None:
        alerts.raise_alert(
            f"delivery:lane:{lane.channel}",
            f"Messages by {lane.channel} can't be prepared",
            f"Preparing them failed with {type(failed).__name__}; the log has the details. Those concerned are tried "
            "again until they expire, the others go out.",
        )
    return claimed


def drain(lane: Lane, budget: float) -> None:
    """Work on a lane until nothing is due, for at most `budget` seconds, if one of its places is free."""
    end = monotonic() + budget
    while monotonic() < end:
        with lanes.place(lane) as mine:
            if not mine:
                return
            while not (result := run_lane(lane)).idle or result.wait is not None:
                left = end - monotonic()
                if left <= 0 or (result.wait or 0) > left:
                    return
                if result.wait:
                    sleep(result.wait)
        # What was committed since the last look, its wake-up found the places taken.
        if lane not in lanes.due(timezone.now()):
            return


def _send(kind: str, claimed: Claim, clock: Callable[[], datetime]) -> Counter[str]:
    """Send a batch and record it; return the states reached."""
    channel = channels.get(kind)
    account = claimed.account
    account_id = account.pk if account else None
    lease = Lease(claimed.parcels, claimed.leased_at, claimed.marked)
    breaker = Breaker(account, clock) if account else None
    recorder = Recorder(channel, account, claimed.parcels, lease, clock)
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
        if breaker and result.account_id is None:
            with spared():
                breaker.note(result)
            if breaker.open:
                lease.stop()
        recorder.add(result)
    recorder.finish(failure)
    with spared():
        _tell(kind, account, failure)
        if breaker:
            breaker.finish()
    return recorder.states


def _tell(kind: str, account: Account | None, failure: Exception | None) -> None:
    """Tell the operators what is broken besides single messages, or that it is not any more."""
    if isinstance(failure, ProviderError) and account:
        alerts.raise_alert(
            setup_key(account.pk),
            f"{account.name} can't be used",
            f"{failure} Its messages wait until they expire.",
        )
        return
    if failure is not None:
        arrivals.channel_failed(kind, failure)
        return
    alerts.resolve(arrivals.alert_key(kind))
    if account:
        alerts.resolve(setup_key(account.pk))


def _results(channel: Channel, account_id: int | None, lease: Lease, now: datetime) -> Iterator[Result]:
    yield from channel.carrier(account_id)(lease.parcels(), now)
