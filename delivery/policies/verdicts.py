"""What a policy can say about a delivery, and what policies may look at."""

from collections.abc import Callable, Mapping
from datetime import datetime
from typing import Any

import msgspec

from crm.preferences import Wishes
from delivery.channels.base import Address
from delivery.models import Delivery


class Verdict(msgspec.Struct, frozen=True):
    """A delivery's next state other than being sent. `until` is when a deferred one is looked at again.

    `limit` tells that only the hour or the number of messages is against it: some are rather dropped than late.
    """

    state: Delivery.State
    reason: str
    until: datetime | None = None
    limit: bool = False


def suppress(reason: str) -> Verdict:
    """It must not go out."""
    return Verdict(Delivery.State.SUPPRESSED, reason)


def defer(until: datetime, reason: str) -> Verdict:
    """Not now; look again at `until`, or when it expires if that is sooner."""
    return Verdict(Delivery.State.DEFERRED, reason, until)


def limited(until: datetime, reason: str) -> Verdict:
    """It has met quiet hours, a cap or a send window, and fits again at `until`."""
    return Verdict(Delivery.State.DEFERRED, reason, until, limit=True)


def settled(verdict: Verdict, delivery: Delivery) -> Verdict:
    """What a verdict means for a delivery: one that is not to be late is dropped where a limit puts it off."""
    skips = verdict.limit and delivery.when_limited == Delivery.WhenLimited.SKIP
    return suppress(verdict.reason) if skips else verdict


def expire(reason: str = "expired") -> Verdict:
    """It is too late, or will be before it may go out."""
    return Verdict(Delivery.State.EXPIRED, reason)


def fail(reason: str) -> Verdict:
    """It can't be sent."""
    return Verdict(Delivery.State.FAILED, reason)


class Facts(msgspec.Struct):
    """Facts about a batch, fetched once; policies may narrow `addresses`.

    `addresses` holds per delivery id where its person can be reached by its channel, `wishes` per profile id how
    people want to be written to (None before anybody asked), `people` per profile id what `policies.people` knows,
    `rules` per message id what `policies.rules` found.
    """

    addresses: dict[int, list[Address]]
    wishes: dict[int, Wishes] | None = None
    people: dict[int, Any] = {}
    rules: dict[int, Any] = {}


Policy = Callable[[list[Delivery], Facts, datetime], Mapping[int, Verdict]]
"""Returns verdicts by delivery id; deliveries it has nothing against are left out."""
