"""Is there anywhere to send it?"""

from datetime import datetime

from delivery.models import Delivery
from delivery.policies.verdicts import Facts, Verdict, suppress

NO_DEVICE = "no active device"


def judge(deliveries: list[Delivery], facts: Facts, now: datetime) -> dict[int, Verdict]:
    """Suppress what has no address left."""
    return {
        delivery.pk: suppress(NO_DEVICE) for delivery in deliveries if not facts.addresses.get(delivery.pk)
    }
