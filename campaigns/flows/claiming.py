"""Taking due runs into hand, fairly between flows."""

from collections import Counter
from collections.abc import Sequence
from datetime import datetime
from typing import Any

import msgspec
from django.db import connection

from campaigns.flows.records import Run

AT_ONCE = 100  # versions in a batch: each costs queries of its own, however few people it moves

# By version, so that the due people of a paused flow are not even looked at. A person who is just being merged is
# left for the next time: the merge waits for our enrollments and we would wait for its profile.
# As JSON, which costs a third of what reading each column does.
_BUSY = """
    WITH busy AS MATERIALIZED (
        SELECT v.id, f.slug, f.error <> '' AS failing
        FROM campaigns_flow f JOIN campaigns_flowversion v ON v.flow_id = f.id
        WHERE f.state IN ('live', 'finishing') AND (%(versions)s::bigint[] IS NULL OR v.id = ANY(%(versions)s))
          AND (SELECT e.due_at FROM campaigns_enrollment e WHERE e.version_id = v.id AND e.state = 'active'
            ORDER BY e.due_at LIMIT 1) <= %(now)s
        ORDER BY random() LIMIT %(at_once)s
    )
"""
_CLAIM = f"""
    {_BUSY}
    SELECT json_agg(mine)::text, max(mine.share)
    FROM busy CROSS JOIN LATERAL (
        SELECT e.id, e.flow_id, busy.slug AS flow, e.version_id, e.profile_id, e.step, e.step_state, e.context,
            e.entered_at, e.due_at AS was_due, busy.failing,
            greatest(1, %(limit)s / (SELECT count(*) FROM busy)) AS share
        FROM campaigns_enrollment e JOIN crm_profile p ON p.id = e.profile_id
        WHERE e.version_id = busy.id AND e.state = 'active' AND e.due_at <= %(now)s AND e.id <> ALL(%(taken)s)
            AND (%(only)s::bigint[] IS NULL OR e.id = ANY(%(only)s))
        ORDER BY e.due_at LIMIT greatest(1, %(limit)s / (SELECT count(*) FROM busy))
        FOR UPDATE OF e SKIP LOCKED FOR KEY SHARE OF p SKIP LOCKED
    ) AS mine
"""


def claim(
    now: datetime, limit: int, versions: Sequence[int] | None = None, only: Sequence[int] | None = None
) -> list[Run]:
    """Lock up to about `limit` due runs in the caller's transaction; runs that others hold are left to them.

    Some flows that have somebody due, chosen by lot, share the batch evenly. What those with few people leave goes
    to those with more.

    Args:
        versions, only: take those of these versions, or these runs.
    """
    runs, full = _take(now, limit, versions, [], only)
    if full and only is None and len(runs) <= limit / 2:
        runs += _take(now, limit - len(runs), full, [run.id for run in runs])[0]
    return runs


def due_versions(now: datetime) -> list[int]:
    """Versions that somebody is due in, chosen by lot."""
    with connection.cursor() as cursor:
        cursor.execute(f"{_BUSY} SELECT id FROM busy", {"now": now, "versions": None, "at_once": AT_ONCE})
        return [row[0] for row in cursor.fetchall()]


def due_runs(now: datetime, version_id: int, limit: int) -> list[int]:
    """The runs of a version that are due, the longest waiting first; nobody is held."""
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT id FROM campaigns_enrollment WHERE version_id = %s AND state = 'active' AND due_at <= %s"
            " ORDER BY due_at LIMIT %s",
            [version_id, now, limit],
        )
        return [row[0] for row in cursor.fetchall()]


def _take(
    now: datetime,
    limit: int,
    versions: Sequence[int] | None,
    taken: list[int],
    only: Sequence[int] | None = None,
) -> tuple[list[Run], list[int]]:
    """The runs, and the versions that have used their share up."""
    values: dict[str, Any] = {
        "now": now,
        "limit": limit,
        "versions": None if versions is None else list(versions),
        "taken": taken,
        "only": None if only is None else list(only),
        "at_once": AT_ONCE,
    }
    with connection.cursor() as cursor:
        cursor.execute(_CLAIM, values)
        [(found, share)] = cursor.fetchall()
    runs = msgspec.json.decode(found or "[]", type=list[Run])
    counts = Counter(run.version_id for run in runs)
    return runs, [version_id for version_id, number in counts.items() if number >= share]
