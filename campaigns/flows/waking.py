"""Asks steps again that wait for something, as soon as it happens."""

from collections.abc import Mapping, Sequence
from datetime import datetime

import msgspec
from django.db import connection

from campaigns.flows import steps
from campaigns.flows.program import Program
from crm import log

# Whom the engine is moving just now is waited for: they may come to the step that we look for. Locked first and
# compared then, as the step and the time that a plain UPDATE looks at are those before.
_WAKE = """
    WITH held AS MATERIALIZED (
        SELECT e.id, e.step, e.due_at, r.steps
        FROM jsonb_to_recordset(%s::jsonb) AS r(version_id bigint, profile_id bigint, steps jsonb)
        JOIN campaigns_enrollment e ON e.version_id = r.version_id AND e.profile_id = r.profile_id
        WHERE e.state = 'active'
        ORDER BY e.id FOR NO KEY UPDATE OF e
    )
    UPDATE campaigns_enrollment e SET due_at = %s FROM held
    WHERE e.id = held.id AND held.due_at > %s AND held.steps ? held.step
"""


def listening(program: Program) -> dict[str, set[str]]:
    """By the name of an event, the keys of the steps whose wait it may end.

    Raises:
        Exception: a step's settings can't be read.
    """
    found: dict[str, set[str]] = {}
    for key, node in program.nodes.items():
        for name in steps.registry[node.step.kind].wakes(node.step):
            found.setdefault(name, set()).add(key)
    return found


def wake(
    listening_by_version: Mapping[int, Mapping[str, set[str]]],
    by_name: Mapping[str, Sequence[log.LoggedEvent]],
    now: datetime,
) -> None:
    """Make due whoever is held at a step that one of these events concerns, in one statement for all flows."""
    wanted: dict[tuple[int, int], set[str]] = {}
    for version_id, keys_by_name in listening_by_version.items():
        for name, keys in keys_by_name.items():
            for event in by_name.get(name, ()):
                wanted.setdefault((version_id, event.profile_id), set()).update(keys)
    if not wanted:
        return
    rows = [
        {"version_id": version_id, "profile_id": profile_id, "steps": sorted(keys)}
        for (version_id, profile_id), keys in wanted.items()
    ]
    with connection.cursor() as cursor:
        cursor.execute(_WAKE, [msgspec.json.encode(rows).decode(), now, now])
