"""How a segment stands: what was found out about it is stored, and who has to know is told."""

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from typing import Any

from django.db import connection
from django.utils.translation import gettext as _
from psycopg.errors import DeadlockDetected, LockNotAvailable

from campaigns.models import Segment
from campaigns.segments.limits import TooSlow, limits
from crm import alerts, masking
from crm.rules.errors import RuleError

logger = logging.getLogger(__name__)

LOCK_TIMEOUT_MS = 2_000


@contextmanager
def calmly(timeout_ms: int) -> Iterator[None]:
    """A transaction that only reads, on one core, so that sending keeps the others.

    Raises:
        TooSlow: a statement took longer than `timeout_ms`, or was stopped.
    """
    with limits(timeout_ms):
        with connection.cursor() as cursor:
            cursor.execute(
                "SELECT set_config('max_parallel_workers_per_gather', '0', true),"
                " set_config('lock_timeout', %s, true), set_config('cursor_tuple_fraction', '1', true)",
                [str(LOCK_TIMEOUT_MS)],
            )
        yield


def passing(error: Exception) -> bool:
    """Whether the database only was busy with something else: a lock was not to be had, or one had to give way."""
    return isinstance(error.__cause__, LockNotAvailable | DeadlockDetected)


def reason(error: Exception, timeout_ms: int) -> str:
    """Why a segment could not be evaluated, and what to do about it."""
    if isinstance(error, TooSlow):
        return _("Counting took longer than %d seconds. Narrow the time windows.") % (timeout_ms // 1000)
    if isinstance(error, RuleError):
        return str(error)
    # The database quotes the value that it stumbled over, which may be somebody's address.
    return _("The database could not answer: %s") % masking.text(str(error).splitlines()[0])


def store(segment: Segment, **values: Any) -> None:
    """Store what was found out, without marking the segment as edited."""
    Segment.objects.filter(pk=segment.pk).update(**values)
    for name, value in values.items():
        setattr(segment, name, value)


def fail(segment: Segment, why: str, now: datetime, state: str = Segment.State.FAILED) -> None:
    """Mark a segment whose rule can't be evaluated; its members stay as they are. One alert tells so until it can.

    Args:
        state: READY if the members are right all the same.
    """
    logger.warning("Segment %s: %s", segment.slug, why)
    new = (segment.state, segment.error) != (state, why)
    store(segment, state=state, error=why, evaluated_at=now, counting_since=None, stop_asked=False)
    if new:
        detail = f"Its members stay as they are, and it is tried again every few minutes. {why}"
        if state == Segment.State.READY:
            detail = f"Its members are kept by what changes, but could not be checked. {why}"
        alerts.raise_alert(alert_key(segment.pk), f"The segment “{segment.name}” can't be counted", detail)


def alert_key(segment_id: int) -> str:
    """What the alert about a segment is kept under."""
    return f"segment:{segment_id}"


def well(segment: Segment) -> None:
    """Take back what `fail` told."""
    if segment.error or segment.state == Segment.State.FAILED:
        alerts.resolve(alert_key(segment.pk))
