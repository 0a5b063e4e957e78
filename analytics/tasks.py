"""Background work of analytics; each task finds for itself what is due and may run twice or late."""

import time

from celery import shared_task

from analytics import projection
from crm import log

BUDGET_SECONDS = 20.0
PATIENCE_SECONDS = 1.0


@shared_task
def read_log() -> None:
    """Bring engagement and conversions up to the end of the log."""
    began = idle_since = time.monotonic()
    while time.monotonic() - began < BUDGET_SECONDS:
        handled, full = projection.read()
        if handled or full:
            idle_since = time.monotonic()
        elif time.monotonic() - idle_since > PATIENCE_SECONDS or not log.lag(projection.CURSOR):
            return
        else:
            time.sleep(0.02)  # an older transaction is still open: what it hides comes in a moment
