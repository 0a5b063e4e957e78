"""Taking runs of a flow in hand, many at a time, to change them beside the engine and the log reader.

Locks are taken in one order: the log cursor of flows (`log.hold`), then the flow's own row, then runs with their
people, of which those that somebody else holds are left for later. So nobody waits in a circle: the engine holds runs
only and waits for nobody, the reader holds the cursor first, and a merge holds the people first.
"""

from collections.abc import Sequence
from datetime import datetime
from typing import Any

import msgspec
from django.db import connection

from campaigns.flows.records import DecisionRow, Run, event, write_decisions
from crm import log

BATCH = 1000  # what holds the log for about half a second on a busy machine


class Held(msgspec.Struct):
    """A run that is ours until the transaction ends. `due_at` is None for nobody who is inside."""

    id: int
    flow_id: int
    version_id: int
    profile_id: int
    step: str
    step_state: dict[str, Any]
    entered_at: datetime
    due_at: datetime | None
    run_key: str


_CLAIM = """
    SELECT e.id, e.flow_id, e.version_id, e.profile_id, e.step, e.step_state::text, e.entered_at, e.due_at, e.run_key
    FROM campaigns_enrollment e JOIN crm_profile p ON p.id = e.profile_id
    WHERE e.version_id = %(version)s AND e.state = 'active'
      AND (%(since)s::timestamptz IS NULL OR e.due_at >= %(since)s)
    ORDER BY e.due_at LIMIT %(limit)s
    FOR UPDATE OF e SKIP LOCKED FOR KEY SHARE OF p SKIP LOCKED
"""


def claim(version_id: int, since: datetime | None = None, limit: int = BATCH) -> list[Held]:
    """Take the next runs inside a version, those due first, in the caller's transaction.

    Args:
        since: leave out those that are due before. Who calls again and again gives the last one's time, so that the
            places of those that were taken before need not be passed over each time.
    """
    with connection.cursor() as cursor:
        cursor.execute(_CLAIM, {"version": version_id, "since": since, "limit": limit})
        rows = cursor.fetchall()
    return [_held(*row) for row in rows]


def _held(pk, flow_id, version_id, profile_id, step, state, entered_at, due_at, run_key) -> Held:
    known = msgspec.json.decode(state)
    return Held(pk, flow_id, version_id, profile_id, step, known, entered_at, due_at, run_key)


def end(
    runs: Sequence[Held],
    slug: str,
    reason: str,
    now: datetime,
    details: dict[str, Any] | None = None,
    state: str = "exited",
) -> None:
    """End runs that are held, with a decision and an event for each.

    Args:
        slug: of the flow.
        reason: why, as it is kept and shown.
        details: facts for the decision besides the reason.
    """
    if not runs:
        return
    with connection.cursor() as cursor:
        cursor.execute(
            "UPDATE campaigns_enrollment SET state = %s, ended_at = %s, due_at = NULL, reason = %s WHERE id = ANY(%s)",
            [state, now, reason, [run.id for run in runs]],
        )
    write_decisions(
        [
            DecisionRow(
                run.id,
                run.flow_id,
                run.profile_id,
                run.step,
                state,
                {"reason": reason, **(details or {})},
                now,
            )
            for run in runs
        ]
    )
    log.append([event(state, _ended(run, slug, state, reason), now) for run in runs])


def _ended(run: Held, slug: str, state: str, reason: str) -> Run:
    return Run(
        *(run.id, run.flow_id, slug, run.version_id, run.profile_id, run.step, {}, {}, run.entered_at),
        state=state,
        reason=reason,
    )
