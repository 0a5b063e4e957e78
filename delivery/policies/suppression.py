"""Is the address on the list of those nobody may write to?"""

from datetime import datetime

from crm.models import Suppression
from delivery.models import Delivery
from delivery.policies.verdicts import Facts, Verdict, suppress

SUPPRESSED = "address suppressed"


def judge(deliveries: list[Delivery], facts: Facts, now: datetime) -> dict[int, Verdict]:
    """Take suppressed addresses away; suppress the delivery when it had no other."""
    values = {address.value for delivery in deliveries for address in facts.addresses.get(delivery.pk, ())}
    listed = set(
        Suppression.objects.filter(
            channel__in={delivery.channel for delivery in deliveries}, address__in=values
        ).values_list("channel", "address")
    )
    verdicts = {}
    for delivery in deliveries:
        addresses = facts.addresses.get(delivery.pk, [])
        left = [address for address in addresses if (delivery.channel, address.value) not in listed]
        if addresses and not left:
            verdicts[delivery.pk] = suppress(SUPPRESSED)
        facts.addresses[delivery.pk] = left
    return verdicts
