"""The service window: for a day after a person wrote to a number, it may write to them without a template.

https://developers.facebook.com/docs/whatsapp/cloud-api/guides/send-messages#customer-service-windows
"""

from collections.abc import Collection, Iterable, Iterator
from datetime import datetime, timedelta
from itertools import islice

from delivery.channels.base import Outcome, Parcel, Result
from delivery.models import InboundMessage

OPEN = timedelta(hours=24)
CLOSED = "outside the 24 hours after the person's last message, when only an approved template may be sent"
AHEAD = 50  # parcels that are looked at together


def open_for(account_id: int, addresses: Collection[str], now: datetime) -> set[str]:
    """Which of these people wrote to this account within the last day, in one query."""
    return set(
        InboundMessage.objects.filter(
            channel="whatsapp", account_id=account_id, address__in=addresses, at__gt=now - OPEN
        ).values_list("address", flat=True)
    )


def let_through(
    account_id: int, parcels: Iterable[Parcel], now: datetime, refused: list[Result]
) -> Iterator[Parcel]:
    """Yield the parcels that may go out; of others the results are appended to `refused`."""
    coming = iter(parcels)
    while chunk := list(islice(coming, AHEAD)):
        free = {parcel.address.value for parcel in chunk if not parcel.payload.template}
        may = open_for(account_id, free, now) if free else set()
        for parcel in chunk:
            if parcel.payload.template or parcel.address.value in may:
                yield parcel
            else:
                refused.append(Result(parcel.number, Outcome.REFUSED, None, CLOSED))
