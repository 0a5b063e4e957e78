"""Whether a delivery may go out, decided at the moment of sending."""

from datetime import datetime

from delivery.models import Delivery
from delivery.policies import consent, expiry, guards, preferences, reachability, suppression
from delivery.policies.verdicts import Facts, Policy, Verdict, defer, expire, fail, limited, settled, suppress

__all__ = [
    "POLICIES",
    "Facts",
    "Policy",
    "Verdict",
    "decide",
    "defer",
    "expire",
    "fail",
    "guards",
    "limited",
    "suppress",
]

# In this order; the first verdict counts. What takes a place under a limit comes last: nothing after it may refuse.
POLICIES: tuple[Policy, ...] = (
    expiry.judge,
    consent.judge,
    suppression.judge,
    reachability.judge,
    guards.judge,
    preferences.judge,
    consent.judge_last,
    preferences.judge_last,
)


def decide(deliveries: list[Delivery], facts: Facts, now: datetime) -> dict[int, Verdict]:
    """Return a verdict for each delivery that may not be sent now."""
    verdicts: dict[int, Verdict] = {}
    for policy in POLICIES:
        left = [delivery for delivery in deliveries if delivery.pk not in verdicts]
        if left:
            verdicts |= policy(left, facts, now)
    return {
        delivery.pk: settled(verdicts[delivery.pk], delivery)
        for delivery in deliveries
        if delivery.pk in verdicts
    }
