"""Which account carries to which kind of phone: Google's to its devices, Apple's to its own.

A channel's messages go by one account, that is how they are claimed, paced and held. Where that one does not carry to
somebody's phone, another account of the channel does, with a pace and a circuit breaker of its own.
"""

from collections.abc import Iterable, Iterator, Sequence
from datetime import datetime, timedelta
from itertools import islice

import msgspec
from django.db import transaction
from django.utils import timezone

from crm import alerts
from crm.models import Device
from delivery import accounts
from delivery.breaker import Breaker, tell
from delivery.channels.base import Outcome, Parcel, Result
from delivery.dispatch import gate
from delivery.models import Account
from delivery.providers.base import ProviderError

NOBODY = 0  # as a Result's account
WAITS = "the account for this kind of phone takes no more just now"
# Parcels that are read before the first is sent, where there is more than one account: all of them at once.
TURN = 100


class Routes:
    """The accounts of one batch: `usual` is the one that it was claimed for."""

    def __init__(self, account_id: int | None):
        """Raises:
        ProviderError: the account can't be used as it is set up.
        """
        self.usual = accounts.get(account_id)
        self._provider = accounts.provider(self.usual)
        self._sender = accounts.sender(self.usual)
        self._others: list[Account] = []
        if _devices(self.usual):  # else it takes everything, and nothing leaves the house
            fitting = Account.objects.filter(
                channel=self.usual.channel,
                state=Account.State.ACTIVE,
                purpose__in={Account.Purpose.ANY, self.usual.purpose},
            )
            self._others = list(fitting.exclude(pk=self.usual.pk).order_by("-usual", "pk"))

    def send(self, parcels: Iterable[Parcel], now: datetime) -> Iterator[Result]:
        """Send to each phone by the account that carries to it, and yield one Result for each parcel."""
        if not _devices(self.usual):
            yield from self._provider.send(self._sender, parcels, now)
            return
        coming = iter(parcels)
        while turn := list(islice(coming, TURN)):
            yield from self._turn(turn, now)

    def _turn(self, parcels: Sequence[Parcel], now: datetime) -> Iterator[Result]:
        by_account: dict[int, list[Parcel]] = {}
        for parcel in parcels:
            account = self._account(parcel.address.device)
            by_account.setdefault(account.pk if account else NOBODY, []).append(parcel)
        if mine := by_account.get(self.usual.pk):
            yield from self._provider.send(self._sender, iter(mine), now)
        for account in self._others:
            if account.pk in by_account:
                yield from _beside(account, by_account[account.pk], now)
        nowhere = by_account.get(NOBODY, [])
        for kind in sorted({parcel.address.device.kind for parcel in nowhere if parcel.address.device}):
            alerts.raise_alert(
                f"{accounts.missing_key(self.usual.channel)}:{kind}",
                f"No sending account for {kind} devices",
                "Pushes to them wait until there is an active account that carries to them, or until they expire.",
            )
        for parcel in nowhere:
            kind = parcel.address.device.kind if parcel.address.device else ""
            detail = f"no account carries to {kind} devices"
            yield Result(parcel.number, Outcome.CONFIGURATION, None, detail, group=kind, account_id=NOBODY)

    def _account(self, device: Device | None) -> Account | None:
        if device is None:  # a tester's address
            return self.usual
        fitting = [
            account
            for account in (self.usual, *self._others)
            if device.kind in (_devices(account) or (accounts.SANDBOX,))
        ]
        # Several apps each have an account; one that names no app is for all others.
        named = [account for account in fitting if account.config.get("app") == device.app != ""]
        general = [account for account in fitting if not account.config.get("app")]
        return next(iter([*named, *general, *fitting]), None)


def _devices(account: Account) -> Sequence[str]:
    """The kinds of devices that an account carries to; empty for one that takes everything."""
    try:
        return getattr(accounts.provider(account), "devices", ())
    except ProviderError:
        return (account.provider,)


def _beside(account: Account, parcels: Sequence[Parcel], now: datetime) -> Iterator[Result]:
    """Send by an account that the parcels were not claimed for, as far as its pace and its breaker allow."""
    with transaction.atomic():
        account, allowed, wait = gate.open_for(account, now, len(parcels))
        gate.take(account, allowed, now)
    breaker = Breaker(account, timezone.now)
    handed: set[int] = set()

    def coming() -> Iterator[Parcel]:
        for parcel in parcels[:allowed]:
            if breaker.open:
                return
            handed.add(parcel.number)
            yield parcel

    try:
        for result in accounts.provider(account).send(accounts.sender(account), coming(), now):
            breaker.note(result)
            if result.outcome == Outcome.CONFIGURATION and result.status_code is not None:
                tell(account, f"It refused our account: {result.status_code} {result.detail[:200]}.")
            yield msgspec.structs.replace(result, account_id=account.pk)
        left = Result(0, Outcome.RETRY, None, WAITS, timedelta(seconds=max(wait or 1, 1)))
    except ProviderError as error:  # nothing was begun: it could not be set up
        left = Result(0, Outcome.CONFIGURATION, None, str(error), group=account.name)
        tell(account, str(error))
    breaker.finish()
    for parcel in parcels:
        if parcel.number not in handed:
            yield msgspec.structs.replace(left, number=parcel.number, account_id=account.pk)
