"""How long a worker may work on what it claimed, and what of it was begun.

What is sent by a channel that can't repeat is marked in the attempts before it is handed out, some at a time: when the
worker dies, what has no mark was certainly not sent, and goes to somebody else.
"""

from collections.abc import Iterator, Sequence
from datetime import datetime, timedelta
from time import monotonic

from django.db import connection

from delivery.channels.base import Parcel
from delivery.dispatch.lasting import spared
from delivery.models import Delivery
from delivery.policies.emergency import Watch

LEASE = timedelta(seconds=120)
# Seconds before its end after which nothing is begun: longer than any single call to a provider.
MARGIN = 45.0
# Seconds after which what the policies said is not acted on any more: who leaves must not get what a slow provider
# has not begun yet.
FRESH = 60.0
# Parcels marked at once: of so many nobody knows what became of them when a worker dies. A channel that sends more than
# that in `BEAT` seconds gets twice as many, up to `MOST_AHEAD`, and half as many when it takes longer.
AHEAD, MOST_AHEAD = 8, 256
BEAT = 0.25
NOT_BEGUN = "not begun"  # the detail of an attempt that is not marked

# Whoever takes over deletes what is not marked: one of the two comes first.
_BEGIN = """
    UPDATE delivery_attempt SET detail = ''
    WHERE id = ANY(%s) AND outcome = 'started' AND detail = %s RETURNING id
"""


class Lease:
    """The claim on a batch. Nothing is handed out for sending once it may have passed to somebody else."""

    def __init__(self, parcels: Sequence[Parcel], since: float, marked: bool = False):
        """Args:
        since: when the lease began, by the monotonic clock; other channels may have been sent first.
        marked: what is handed out is marked before.
        """
        self._parcels = parcels
        self._marked = marked
        self.ends = since + LEASE.total_seconds()
        self._stale = since + FRESH
        self._lost: set[int] = set()
        self._over = False
        self._watches: dict[str, Watch] = {}
        self.begun: set[int] = set()

    def parcels(self) -> Iterator[Parcel]:
        """Yield the parcels to send; `begun` holds the numbers of those that were taken."""
        for part in self._parts():
            if self._marked and not self._ended:
                self._mark(part)
            for parcel in part:
                if self._ended:
                    return
                if parcel.delivery.pk not in self._lost and not self._stopped(parcel.delivery.channel):
                    self.begun.add(parcel.number)
                    yield parcel

    def _parts(self) -> Iterator[Sequence[Parcel]]:
        """Yield the parcels in parts, as many at once as are sent in a moment; unmarked ones together."""
        if not self._marked:
            yield self._parcels
            return
        start, size = 0, AHEAD
        while start < len(self._parcels):
            began = monotonic()
            yield self._parcels[start : start + size]
            start += size
            quick = monotonic() - began < BEAT
            size = min(2 * size, MOST_AHEAD) if quick else max(size // 2, 1)

    @property
    def _ended(self) -> bool:
        return self._over or monotonic() > min(self.ends - MARGIN, self._stale)

    def _mark(self, parcels: Sequence[Parcel]) -> None:
        """Say that these are begun now; those that somebody else took over are not ours to send."""
        mine: set[int] = set()
        self._over = True  # if the database can't be reached
        with spared(), connection.cursor() as cursor:
            cursor.execute(_BEGIN, [[parcel.number for parcel in parcels], NOT_BEGUN])
            mine = {row[0] for row in cursor.fetchall()}
            self._over = False
        self._lost |= {parcel.delivery.pk for parcel in parcels if parcel.number not in mine}

    def _stopped(self, channel: str) -> bool:
        """Whether the emergency stop was pressed since, or nobody can say."""
        watch = self._watches.get(channel)
        if watch is None:
            watch = self._watches[channel] = Watch(channel)
        if not watch.asks:
            return watch.held
        with spared():
            return watch()
        self._over = True
        return True

    def stop(self) -> None:
        """Hand out nothing more."""
        self._over = True

    def renew(self, open_deliveries: Sequence[Delivery], now: datetime) -> None:
        """Extend the lease of what is still open when half of it has passed."""
        if not open_deliveries or monotonic() < self.ends - LEASE.total_seconds() / 2:
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
        self.ends = monotonic() + LEASE.total_seconds()
