"""Did they agree, and do they still?"""

from datetime import datetime

from crm import consent
from delivery.models import Delivery
from delivery.policies.verdicts import Facts, Verdict, suppress

NO_CONSENT = "no consent"


def judge(deliveries: list[Delivery], facts: Facts, now: datetime) -> dict[int, Verdict]:
    """Let through only those who are subscribed to the channel and have not left the topic."""
    groups: dict[tuple[str, str], list[Delivery]] = {}
    for delivery in deliveries:
        groups.setdefault((delivery.channel, delivery.message.topic), []).append(delivery)
    verdicts: dict[int, Verdict] = {}
    for (channel, topic), group in groups.items():
        agreed = consent.subscribed({delivery.profile_id for delivery in group}, channel, topic)
        verdicts |= {d.pk: suppress(NO_CONSENT) for d in group if d.profile_id not in agreed}
    return verdicts
