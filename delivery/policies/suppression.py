"""Is the address on the list of those nobody may write to?"""

from datetime import datetime

from crm import suppressions
from delivery.models import Delivery
from delivery.policies.verdicts import Facts, Verdict, suppress

SUPPRESSED = "address suppressed"


def judge(deliveries: list[Delivery], facts: Facts, now: datetime) -> dict[int, Verdict]:
    """Take suppressed addresses away; suppress the delivery when it had no other."""
    values = {address.value for delivery in deliveries for address in facts.addresses.get(delivery.pk, ())}
    listed = suppressions.listed({delivery.channel for delivery in deliveries}, values)
    if not listed:
        return {}
    verdicts = {}
    for delivery in deliveries:
        addresses = facts.addresses.get(delivery.pk, [])
        left = [
            address
            for address in addresses
            if listed.isdisjoint({(delivery.channel, address.value), (suppressions.ALL, address.value)})
        ]
        if addresses and not left:
            verdicts[delivery.pk] = suppress(SUPPRESSED)
        facts.addresses[delivery.pk] = left
    return verdicts
