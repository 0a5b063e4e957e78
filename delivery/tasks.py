"""What the workers run. Each may run twice, late or never."""

import time

from celery import shared_task

from delivery import coupons
from delivery import dispatch as dispatcher

QUEUE = "delivery"
BUDGET = 20.0  # seconds; then the next sweep goes on, so that a restart never waits long


@shared_task
def dispatch() -> None:
    """Send what is due until nothing is."""
    end = time.monotonic() + BUDGET
    while not dispatcher.run().idle and time.monotonic() < end:
        pass


@shared_task
def note_used_coupons() -> None:
    """Look in the log for coupon codes that were used."""
    end = time.monotonic() + BUDGET
    while coupons.read() and time.monotonic() < end:
        pass
