"""Taking due runs into hand, fairly between flows."""

from collections import Counter
from datetime import datetime
from typing import Any

import msgspec
from django.db import connection

from campaigns.flows.records import Run

AT_ONCE = 100  # versions in a batch: each costs queries of its own, however few people it moves

# By version, so that the due people of a paused flow are not even looked at. A person who is just being merged is
# left for the next time: the merge waits for our enrollments and we would wait for its profile.
# As JSON, which costs a third of what reading each column does.
_CLAIM = """
    WITH busy AS MATERIALIZED (
        SELECT v.id, f.slug, f.error <> '' AS failing
        FROM campaigns_flow f JOIN campaigns_flowversion v ON v.flow_id = f.id
        WHERE f.state IN ('live', 'finishing') AND (%(versions)s::bigint[] IS NULL OR v.id = ANY(%(versions)s))
          AND (SELECT e.due_at FROM campaigns_enrollment e WHERE e.version_id = v.id AND e.state = 'active'
            ORDER BY e.due_at LIMIT 1) <= %(now)s
        ORDER BY random() LIMIT %(at_once)s
    )
    SELECT json_agg(mine)::text, max(mine.share)
    FROM busy CROSS JOIN LATERAL (
        SELECT e.id, e.flow_id, busy.slug AS flow, e.version_id, e.profile_id, e.step, e.step_state, e.context,
            e.entered_at, e.due_at AS was_due, busy.failing,
            greatest(1, %(limit)s / (SELECT count(*) FROM busy)) AS share
        FROM campaigns_enrollment e JOIN crm_profile p ON p.id = e.profile_id
        WHERE e.version_id = busy.id AND e.state = 'active' AND e.due_at <= %(now)s AND e.id <> ALL(%(taken)s)
        ORDER BY e.due_at LIMIT greatest(1, %(limit)s / (SELECT count(*) FROM busy))
        FOR UPDATE OF e SKIP LOCKED FOR KEY SHARE OF p SKIP LOCKED
    ) AS mine
"""


def claim(now: datetime, limit: int) -> list[Run]:
    """Lock up to about `limit` due runs in the caller's transaction; runs that others hold are left to them.

    Some flows that have somebody due, chosen by lot, share the batch evenly. What those with few people leave goes
    to those with more.
    """
    runs, full = _take(now, limit, None, [])
    if full and len(runs) <= limit / 2:
        runs += _take(now, limit - len(runs), full, [run.id for run in runs])[0]
    return runs


def _take(
    now: datetime, limit: int, versions: list[int] | None, taken: list[int]
) -> tuple[list[Run], list[int]]:
    """The runs, and the versions that have used their share up."""
    values: dict[str, Any] = {
        "now": now,
        "limit": limit,
        "versions": versions,
        "taken": taken,
        "at_once": AT_ONCE,
    }
    with connection.cursor() as cursor:
        cursor.execute(_CLAIM, values)
        [(found, share)] = cursor.fetchall()
    runs = msgspec.json.decode(found or "[]", type=list[Run])
    counts = Counter(run.version_id for run in runs)
    return runs, [version_id for version_id, number in counts.items() if number >= share]
