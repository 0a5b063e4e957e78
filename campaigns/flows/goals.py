"""What a flow is for: marks the runs whose goal was reached, and ends them if the flow says so."""

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any

import msgspec
from django.db import connection

from campaigns.flows import exits
from campaigns.flows.definition import Definition
from campaigns.flows.records import DecisionRow, Run, event, write_decisions
from campaigns.flows.triggers.base import Start
from crm import log

LARGEST = 10**12  # of what an event may add to the revenue

# A run counts whatever became of it, so that what was held out can be compared. The first event counts. Locked first
# and looked at then: the engine may end a run at this instant, and it ends once.
_MARK = """
    WITH given AS MATERIALIZED (
        SELECT * FROM jsonb_to_recordset(%(events)s::jsonb) AS r(place int, profile_id bigint, run_key text,
            at timestamptz, event_id text, value numeric)
    ), x AS MATERIALIZED (
        SELECT id, profile_id, run_key, state, context, entered_at FROM campaigns_enrollment
        WHERE version_id = %(version)s AND converted_at IS NULL
          AND profile_id = ANY(ARRAY(SELECT DISTINCT profile_id FROM given))
        ORDER BY id FOR NO KEY UPDATE
    ), hit AS (
        SELECT DISTINCT ON (x.id) x.id, x.state = 'active' AND %(exit)s AS ends, r.*
        FROM given r JOIN x ON x.profile_id = r.profile_id
        WHERE (r.run_key IS NULL OR x.run_key = r.run_key)
          AND coalesce((x.context -> 'event' ->> 'occurred_at')::timestamptz, x.entered_at) <= r.at
          AND r.at <= x.entered_at + %(within)s
          AND x.context -> 'event' ->> 'id' IS DISTINCT FROM r.event_id
        ORDER BY x.id, r.place
    )
    UPDATE campaigns_enrollment e SET converted_at = hit.at, goal_value = hit.value,
        state = CASE WHEN hit.ends THEN 'exited' ELSE e.state END,
        ended_at = CASE WHEN hit.ends THEN %(now)s ELSE e.ended_at END,
        due_at = CASE WHEN hit.ends THEN NULL ELSE e.due_at END,
        reason = CASE WHEN hit.ends THEN %(reason)s ELSE e.reason END
    FROM hit WHERE e.id = hit.id
    RETURNING e.id, e.profile_id, e.step, hit.ends, hit.event_id, hit.value
"""

_BEFORE = """
    SELECT DISTINCT v.id, v.seq, v.txid, v.profile_id, v.name, v.occurred_at, v.received_at, v.properties::text
    FROM unnest(%s::bigint[], %s::bigint[], %s::bigint[]) AS a(profile_id, txid, seq)
    JOIN crm_event v ON v.profile_id = a.profile_id AND v.name = %s AND v.occurred_at >= %s
        AND (v.txid, v.seq) < (a.txid, a.seq)
    ORDER BY v.txid, v.seq
"""


def matching(
    definition: Definition, events: Sequence[log.LoggedEvent], now: datetime
) -> list[log.LoggedEvent]:
    """Those of `events` that reach the goal, in their order."""
    return exits.matching(definition.goal, events, now) if definition.goal else []


def reached(
    flow_id: int,
    flow: str,
    version_id: int,
    definition: Definition,
    events: Sequence[log.LoggedEvent],
    now: datetime,
) -> None:
    """Mark the runs of a version whose goal these events reach, each by the first of them.

    A keyed run's goal is reached by an event of its own key, or by one that bears no key at all.
    """
    goal = definition.goal
    if goal is None or not events:
        return
    rows = [
        {
            "place": place,
            "profile_id": each.profile_id,
            "run_key": exits.run_key(definition, each.properties),
            "at": each.occurred_at,
            "event_id": str(each.id),
            "value": value(goal.value, each.properties),
        }
        for place, each in enumerate(events)
    ]
    values: dict[str, Any] = {
        "events": msgspec.json.encode(rows).decode(),
        "version": version_id,
        "within": timedelta(days=goal.within_days),
        "exit": goal.exit,
        "now": now,
        "reason": exits.GOAL,
    }
    with connection.cursor() as cursor:
        cursor.execute(_MARK, values)
        marked = cursor.fetchall()
    decisions, ended = [], []
    for run_id, profile_id, step, ends, event_id, amount in marked:
        run = Run(run_id, flow_id, flow, version_id, profile_id, step, {}, {}, now)
        facts = {
            "event": goal.name,
            "event_id": event_id,
            **({} if amount is None else {"value": float(amount)}),
        }
        decisions.append(DecisionRow(run_id, flow_id, profile_id, step, "converted", facts, now))
        if ends:
            run.state, run.reason = "exited", exits.GOAL
            decisions.append(
                DecisionRow(run_id, flow_id, profile_id, step, "exited", {"reason": exits.GOAL}, now)
            )
            ended.append(run)
    write_decisions(decisions)
    log.append([event("exited", run, now) for run in ended])


def reached_before(
    runs: Sequence[Run], starts: Sequence[Start], definition: Definition, now: datetime
) -> None:
    """Mark runs, just started by `starts`, whose goal had been read before: what started them came late."""
    if definition.goal is None or not runs:
        return
    with connection.cursor() as cursor:
        cursor.execute(
            _BEFORE,
            [
                [start.profile_id for start in starts],
                [start.place.txid if start.place else 2**62 for start in starts],
                [start.place.seq if start.place else 0 for start in starts],
                definition.goal.name,
                min(start.at for start in starts),
            ],
        )
        found = [
            log.LoggedEvent(
                pk, seq, txid, profile_id, name, at, received_at, msgspec.json.decode(facts), source=""
            )
            for pk, seq, txid, profile_id, name, at, received_at, facts in cursor.fetchall()
        ]
    first = runs[0]
    reached(first.flow_id, first.flow, first.version_id, definition, matching(definition, found, now), now)


def value(path: str, properties: dict[str, Any]) -> float | int | None:
    """What an event adds to the revenue by the property at `path`; None if that is no number."""
    found: Any = properties
    for part in path.split(".") if path else ():
        found = found.get(part) if isinstance(found, dict) else None
    if not path or isinstance(found, bool) or not isinstance(found, int | float):
        return None
    return found if abs(found) < LARGEST else None
