"""Whether a delivery may go out, decided at the moment of sending."""

from datetime import datetime

from delivery.models import Delivery
from delivery.policies import (
    ages,
    caps,
    collisions,
    consent,
    emergency,
    expiry,
    guards,
    holdouts,
    preferences,
    reachability,
    suppression,
    timing,
)
from delivery.policies.verdicts import Facts, Policy, Verdict, defer, expire, fail, limited, settled, suppress

__all__ = [
    "POLICIES",
    "Facts",
    "Policy",
    "Verdict",
    "applies",
    "decide",
    "defer",
    "emergency",
    "expire",
    "fail",
    "for_tester",
    "guards",
    "limited",
    "suppress",
]

# In this order; the first verdict counts. What counts a message as sent comes last: what refuses it after that only
# drops it, and what is dropped does not count.
POLICIES: tuple[Policy, ...] = (
    expiry.judge,
    consent.judge,
    suppression.judge,
    reachability.judge,
    guards.judge,
    ages.judge,
    preferences.judge,
    timing.judge,
    collisions.judge,
    holdouts.judge,
    caps.judge,
    consent.judge_last,
)
# Messages that are part of a service and approved as such are not asked about these.
MARKETING = frozenset({preferences.judge, timing.judge, collisions.judge, holdouts.judge, caps.judge})
# All that a test to the tester's own address is asked about: the person it is filled in for gets nothing.
TESTING = frozenset({expiry.judge, suppression.judge, reachability.judge})


def decide(deliveries: list[Delivery], facts: Facts, now: datetime) -> dict[int, Verdict]:
    """Return a verdict for each delivery that may not be sent now."""
    verdicts: dict[int, Verdict] = {}
    left = deliveries
    special = [d for d in deliveries if d.origin_type == Delivery.Origin.TEST or d.message.exempt]
    for policy in POLICIES:
        skipped = {d.pk for d in special if not applies(policy, d)}
        asked = [delivery for delivery in left if delivery.pk not in skipped] if skipped else left
        found = policy(asked, facts, now) if asked else {}
        if found:
            verdicts |= found
            left = [delivery for delivery in left if delivery.pk not in found]
    return {
        delivery.pk: settled(verdicts[delivery.pk], delivery)
        for delivery in deliveries
        if delivery.pk in verdicts
    }


def applies(policy: Policy, delivery: Delivery) -> bool:
    """Whether a delivery is a policy's business."""
    if for_tester(delivery):
        return policy in TESTING
    return policy not in MARKETING or not delivery.message.exempt


def for_tester(delivery: Delivery) -> bool:
    """Whether it goes to an address that a tester named, and not to the person it is filled in for."""
    if delivery.origin_type != Delivery.Origin.TEST:
        return False
    test = delivery.context.get("test")
    return isinstance(test, dict) and bool(test.get("address"))
