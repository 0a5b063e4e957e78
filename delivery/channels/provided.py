"""A channel whose messages a provider carries: which one, and with what settings, an account says."""

from collections.abc import Callable, Iterable, Iterator
from datetime import datetime
from functools import partial
from itertools import groupby
from typing import Any, ClassVar

import msgspec

from delivery.channels.base import Channel, Parcel, Result


class ProvidedChannel(Channel):
    """A channel that knows content, addresses and consent, and leaves the sending to the account's provider.

    `compose` returns a `Payload`, which every provider of the channel understands. Whether a parcel may be sent a
    second time is the provider's to say (`Provider.idempotent`), unless the device replaces what it shows.
    """

    Payload: ClassVar[type[msgspec.Struct]]
    mock: ClassVar[str] = ""  # the template that shows a Payload as `payload`, as the phone or mailbox would
    provided: ClassVar[bool] = True

    def carrier(self, account_id: int | None) -> Callable[[Iterable[Parcel], datetime], Iterator[Result]]:
        """Return what sends by one account.

        Raises:
            ProviderError: the account can't be used as it is set up.
        """
        from delivery import accounts

        account = accounts.get(account_id)
        return partial(accounts.provider(account).send, accounts.sender(account))

    def send(self, parcels: Iterable[Parcel], now: datetime) -> Iterator[Result]:
        """Send each run of parcels of one account by its provider."""
        for account_id, group in groupby(parcels, key=_account):
            yield from self.carrier(account_id)(group, now)

    def repeats(self, account_id: int | None) -> bool:
        """Tell whether an attempt by this account with unknown outcome may be made again."""
        from delivery import accounts

        return self.repeatable or bool(accounts.idempotent([account_id] if account_id else []))


def _account(parcel: Parcel) -> Any:
    return parcel.account_id
