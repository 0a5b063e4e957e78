"""When a batch can't be read or stored: its flows are taken one at a time, then the people of one that fails.

Who can't be handled at all stays where they are, marked, shown with the reason, and tried again every few minutes.
"""

import logging
from collections import deque
from collections.abc import Callable, Sequence
from datetime import datetime, timedelta

import msgspec
from django.db import InterfaceError, OperationalError, connection, transaction
from django.db.transaction import TransactionManagementError

from campaigns.flows import claiming, records
from campaigns.flows.records import DecisionRow
from campaigns.flows.troubles import Troubles

logger = logging.getLogger(__name__)

# Nobody's data is at fault: a lost connection shows as any of these.
DATABASE_ERRORS = (OperationalError, InterfaceError, TransactionManagementError)
MOST = 200  # people of one flow that are looked at one by one in a turn
# What is no object is of no use to a step, and whoever mended it starts the step anew.
_SET_ASIDE = """
    UPDATE campaigns_enrollment e SET due_at = %(until)s, step_state =
        CASE jsonb_typeof(e.step_state) WHEN 'object' THEN e.step_state ELSE '{}' END || '{"error": true}'
    FROM campaigns_flow f
    WHERE f.id = e.flow_id AND e.id = %(run)s AND e.state = 'active' AND e.due_at <= %(now)s
    RETURNING e.flow_id, f.slug, e.profile_id, e.step
"""

# Moves up to so many due runs, of these versions or these runs only, and returns how many were taken.
Advance = Callable[[datetime, int, Sequence[int] | None, Sequence[int] | None], int]


class Aside(msgspec.Struct):
    """A run that was set aside; see `troubles.AtStep`."""

    flow_id: int
    flow: str
    profile_id: int
    step: str | None


def one_by_one(advance: Advance, now: datetime, limit: int, retry_after: timedelta) -> int:
    """Do a batch's work flow by flow; return how many runs were moved or set aside.

    Raises:
        OperationalError, InterfaceError, TransactionManagementError: the database is at fault, not somebody's data.
    """
    versions = claiming.due_versions(now)
    share = max(1, limit // max(1, len(versions)))
    done = 0
    for version_id in versions:
        try:
            done += advance(now, share, [version_id], None)
        except DATABASE_ERRORS:
            raise
        except Exception:
            logger.exception("A batch of version %d can't be handled; its people are taken apart", version_id)
            done += _apart(advance, version_id, now, min(share, MOST), retry_after)
    return done


def _apart(advance: Advance, version_id: int, now: datetime, limit: int, retry_after: timedelta) -> int:
    """Halve what fails until those who make it fail are found."""
    done = 0
    troubles = Troubles()
    parts = deque([claiming.due_runs(now, version_id, limit)])
    while parts:
        part = parts.popleft()
        if not part:
            continue
        try:
            done += advance(now, len(part), [version_id], part)
        except DATABASE_ERRORS:
            raise
        except Exception as error:
            if len(part) > 1:
                middle = len(part) // 2
                parts += [part[:middle], part[middle:]]
                continue
            logger.exception("The run %d can't be handled", part[0])
            done += _set_aside(part[0], error, now, now + retry_after, troubles)
    troubles.report()
    return done


@transaction.atomic
def _set_aside(run_id: int, error: Exception, now: datetime, until: datetime, troubles: Troubles) -> int:
    with connection.cursor() as cursor:
        cursor.execute(_SET_ASIDE, {"run": run_id, "now": now, "until": until})
        row = cursor.fetchone()
    if row is None:
        return 0
    aside = Aside(*row)
    facts = {"error": True, "until": until.isoformat()}
    records.write_decisions(
        [DecisionRow(run_id, aside.flow_id, aside.profile_id, aside.step or "", "error", facts, now)]
    )
    troubles.failed(aside, error)
    return 1
