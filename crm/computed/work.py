"""The background work of computed attributes, and what wakes it."""

import time
from datetime import timedelta
from typing import Any

from crm import log, signals, wake
from crm.computed import backfill, keeping
from crm.models import LogCursor

BUDGET_SECONDS = 5.0  # flows and sending share its workers
BACKFILL_SECONDS = 10.0  # segments and reports share its worker
PATIENCE_SECONDS = 1.0
FOLLOW_EVERY = timedelta(
    seconds=15
)  # looking for who moved is much work while an import changes many profiles


def connect() -> None:
    """Called once when Django is ready."""
    signals.events_recorded.connect(_wake, dispatch_uid="crm.computed")


def _wake(names: set[str], **kwargs: Any) -> None:
    """Something was stored in the log. Called after commit."""
    wake.on_commit("crm.tasks.keep_computed", "engine")


def keep() -> None:
    """Bring all values up to the end of the log and to this moment."""
    if not LogCursor.objects.filter(name=keeping.CURSOR).exists():
        return
    began = idle_since = time.monotonic()
    limit, followed = keeping.BATCH, False
    keeping.sweep_up()
    while time.monotonic() - began < BUDGET_SECONDS:
        try:
            if not followed:
                keeping.follow_moves(limit=limit, every=FOLLOW_EVERY)
                followed = True
            handled, full = keeping.read(limit=limit)
            due = keeping.recompute_due(limit=limit)
        except keeping.Failing as failing:
            # One attribute must not keep the others from being kept; it may only be too much at once.
            if failing.slow and limit > keeping.LEAST_BATCH:
                limit = max(limit // 10, keeping.LEAST_BATCH)
            else:
                keeping.fail(failing.attribute, failing.reason)
            began = idle_since = time.monotonic()
            continue
        if handled or full or due:
            idle_since = time.monotonic()
        elif time.monotonic() - idle_since > PATIENCE_SECONDS or not log.lag(keeping.CURSOR):
            return
        else:
            time.sleep(0.02)  # an older transaction is still open: what it hides comes in a moment
    wake.on_commit("crm.tasks.keep_computed", "engine")


def fill() -> None:
    """Go on computing attributes for everybody."""
    if backfill.run(BACKFILL_SECONDS):
        wake.on_commit("crm.tasks.backfill_attributes", "segments")
