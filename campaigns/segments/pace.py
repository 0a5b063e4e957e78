"""Counting gives way to sending: as long as messages wait to be sent, it works for a quarter of the time."""

import time

from django.db.models import Q
from django.utils import timezone

from delivery.models import Delivery

REST = 3  # seconds for each second of work
LONGEST = 20.0  # seconds
_WAITING = [Delivery.State.QUEUED, Delivery.State.DEFERRED]


class Pace:
    """Measures work, which begins now; `rested` are the seconds that were spent giving way."""

    def __init__(self) -> None:
        self.rested = 0.0
        self._began = time.monotonic()

    def give_way(self) -> None:
        """Rest for the work since the last time, if anything is being sent."""
        if sending():
            done = time.monotonic()
            time.sleep(min((done - self._began) * REST, LONGEST))
            self.rested += time.monotonic() - done
        self._began = time.monotonic()


def sending() -> bool:
    """Whether messages are being sent, or are due."""
    due = Q(state__in=_WAITING, due_at__lte=timezone.now())
    return (
        Delivery.objects.filter(state=Delivery.State.SENDING).exists()
        or Delivery.objects.filter(due).exists()
    )
