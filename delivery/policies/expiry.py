"""Is it too late?"""

from datetime import datetime

from delivery.models import Delivery
from delivery.policies.verdicts import Facts, Verdict, expire


def judge(deliveries: list[Delivery], facts: Facts, now: datetime) -> dict[int, Verdict]:
    """Drop what could not go out in time."""
    return {delivery.pk: expire() for delivery in deliveries if delivery.expires_at <= now}
