"""How long a worker may work on what it claimed."""

from collections.abc import Iterator, Sequence
from datetime import datetime, timedelta
from time import monotonic

from django.db import connection

from delivery.channels.base import Parcel
from delivery.models import Delivery
from delivery.policies.emergency import Watch

LEASE = timedelta(seconds=120)
# Seconds before its end after which nothing is begun: longer than any single call to a provider.
MARGIN = 45.0
# Seconds after which what the policies said is not acted on any more: who leaves must not get what a slow provider
# has not begun yet.
FRESH = 60.0


class Lease:
    """The claim on a batch. Nothing is handed out for sending once it may have passed to somebody else."""

    def __init__(self, parcels: Sequence[Parcel], since: float):
        """Args: since: when the lease began, by the monotonic clock; other channels may have been sent first."""
        self._parcels = parcels
        self._ends = since + LEASE.total_seconds()
        self._stale = since + FRESH
        self._lost: set[int] = set()
        self._over = False
        self._watches: dict[str, Watch] = {}
        self.begun: set[int] = set()

    def parcels(self) -> Iterator[Parcel]:
        """Yield the parcels to send; `begun` holds the numbers of those that were taken."""
        for parcel in self._parcels:
            if self._over or monotonic() > min(self._ends - MARGIN, self._stale):
                return
            if parcel.delivery.pk not in self._lost and not self._stopped(parcel.delivery.channel):
                self.begun.add(parcel.number)
                yield parcel

    def _stopped(self, channel: str) -> bool:
        """Whether the emergency stop was pressed since."""
        return self._watches.setdefault(channel, Watch(channel))()

    def stop(self) -> None:
        """Hand out nothing more."""
        self._over = True

    def renew(self, open_deliveries: Sequence[Delivery], now: datetime) -> None:
        """Extend the lease of what is still open when half of it has passed."""
        if not open_deliveries or monotonic() < self._ends - LEASE.total_seconds() / 2:
            return
        with connection.cursor() as cursor:
            cursor.execute(
                """
                UPDATE delivery_delivery d SET lease_until = %s
                FROM unnest(%s::bigint[], %s::int[]) AS mine(id, attempts)
                WHERE d.id = mine.id AND d.state = 'sending' AND d.attempts = mine.attempts
                RETURNING d.id
                """,
                [
                    now + LEASE,
                    [delivery.pk for delivery in open_deliveries],
                    [delivery.attempts for delivery in open_deliveries],
                ],
            )
            kept = {row[0] for row in cursor.fetchall()}
        self._lost |= {delivery.pk for delivery in open_deliveries} - kept
        self._ends = monotonic() + LEASE.total_seconds()
