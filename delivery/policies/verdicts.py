"""What a policy can say about a delivery, and what policies may look at."""

from collections.abc import Callable, Mapping
from datetime import datetime

import msgspec

from crm.preferences import Wishes
from delivery.channels.base import Address
from delivery.models import Delivery


class Verdict(msgspec.Struct, frozen=True):
    """A delivery's next state other than being sent. `until` is when a deferred one is looked at again."""

    state: Delivery.State
    reason: str
    until: datetime | None = None


def suppress(reason: str) -> Verdict:
    """It must not go out."""
    return Verdict(Delivery.State.SUPPRESSED, reason)


def defer(until: datetime, reason: str) -> Verdict:
    """Not now; look again at `until`, or when it expires if that is sooner."""
    return Verdict(Delivery.State.DEFERRED, reason, until)


def expire() -> Verdict:
    """It is too late."""
    return Verdict(Delivery.State.EXPIRED, "expired")


def fail(reason: str) -> Verdict:
    """It can't be sent."""
    return Verdict(Delivery.State.FAILED, reason)


class Facts(msgspec.Struct):
    """Facts about a batch, fetched once; policies may narrow `addresses`.

    `addresses` holds per delivery id where its person can be reached by its channel, `wishes` per profile id how
    people want to be written to.
    """

    addresses: dict[int, list[Address]]
    wishes: dict[int, Wishes] = {}


Policy = Callable[[list[Delivery], Facts, datetime], Mapping[int, Verdict]]
"""Returns verdicts by delivery id; deliveries it has nothing against are left out."""
