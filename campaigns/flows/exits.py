"""What ends runs early: exit events and the exit rule.

Exit events are read from the log, and asked for when a message is about to go out; the rule is asked before each step
and each message.
"""

from collections.abc import Collection, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any, NamedTuple

import msgspec
from django.db import connection

from campaigns.flows.definition import Definition, EventTrigger, Goal
from campaigns.flows.records import DecisionRow, Run, event, write_decisions
from campaigns.segments import evaluate, grammar
from crm import log
from crm.rules.sql import TRUE, Sql, joined, sql
from crm.rules.where import Where, check_where, properties

MAX_KEY = 500  # characters
RULE = "exit rule"  # the reason of who left by it
GOAL = "goal"  # of those whose goal was reached

_END = """
    UPDATE campaigns_enrollment e
    SET state = 'exited', ended_at = %s, due_at = NULL, reason = hit.name
    FROM (
        SELECT DISTINCT ON (x.id) x.id, r.name
        FROM jsonb_to_recordset(%s::jsonb)
            AS r(place int, profile_id bigint, run_key text, name text, at timestamptz, event_id text)
        JOIN campaigns_enrollment x ON x.profile_id = r.profile_id
        WHERE x.version_id = %s AND x.state = 'active' AND (r.run_key IS NULL OR x.run_key = r.run_key)
          AND coalesce((x.context -> 'event' ->> 'occurred_at')::timestamptz, x.entered_at) <= r.at
          AND x.context -> 'event' ->> 'id' IS DISTINCT FROM r.event_id
        ORDER BY x.id, r.place
    ) hit
    WHERE e.id = hit.id AND e.state = 'active'
    RETURNING e.id, e.profile_id, e.step, e.reason
"""


class Ender(NamedTuple):
    """An event that ends runs, the reason that they get, and for how long after entering it does (None: always)."""

    trigger: EventTrigger | Goal
    reason: str
    within: timedelta | None = None


def enders(definition: Definition) -> list[Ender]:
    """What ends a flow's runs when it happens, the goal first."""
    goal = definition.goal
    ours = [Ender(goal, GOAL, timedelta(days=goal.within_days))] if goal is not None and goal.exit else []
    return ours + [Ender(trigger, trigger.name) for trigger in definition.exit_on]


def run_key(definition: Definition, facts: Mapping[str, Any]) -> str | None:
    """The key that an event with these properties gives a run; None if it lacks the property, or runs have none."""
    if definition.key is None:
        return None
    value: object = facts
    for part in definition.key.removeprefix("properties.").split("."):
        value = value.get(part) if isinstance(value, Mapping) else None
    return f"key:{value}"[:MAX_KEY] if isinstance(value, str | int | float) else None


def matching(
    trigger: EventTrigger | Goal, events: Sequence[log.LoggedEvent], now: datetime
) -> list[log.LoggedEvent]:
    """Those of `events` that a trigger means, in their order."""
    named = [event_ for event_ in events if event_.name == trigger.name]
    if not named or not trigger.where:
        return named
    # Asked of PostgreSQL, so that a trigger and a segment mean the same by the same words.
    times = [event_.occurred_at for event_ in named]
    query = sql(
        "SELECT e.id FROM crm_event e WHERE e.id = ANY({}) AND e.occurred_at BETWEEN {} AND {} AND {}",
        [event_.id for event_ in named],
        min(times),
        max(times),
        _narrowed(trigger, "e.properties", now),
    )
    with connection.cursor() as cursor:
        cursor.execute(query.text, query.params)
        ids = {row[0] for row in cursor.fetchall()}
    return [event_ for event_ in named if event_.id in ids]


def end(
    flow_id: int,
    flow: str,
    version_id: int,
    definition: Definition,
    events: Sequence[log.LoggedEvent],
    now: datetime,
) -> None:
    """End the runs of a version that these exit events end: those started before, by another event.

    A keyed run is ended by an event of its own key, or by one that bears no key at all.
    """
    rows = [
        {
            "place": place,
            "profile_id": event_.profile_id,
            "run_key": run_key(definition, event_.properties),
            "name": event_.name,
            "at": event_.occurred_at,
            "event_id": str(event_.id),
        }
        for place, event_ in enumerate(events)
    ]
    if not rows:
        return
    with connection.cursor() as cursor:
        cursor.execute(_END, [now, msgspec.json.encode(rows).decode(), version_id])
        ended = cursor.fetchall()
    record(
        [
            Run(pk, flow_id, flow, version_id, profile_id, step, {}, {}, now, state="exited", reason=reason)
            for pk, profile_id, step, reason in ended
        ],
        now,
    )


def end_late(
    runs: Sequence[Run],
    starts: Sequence[log.Position],
    definition: Definition,
    now: datetime,
) -> None:
    """End runs, just started by `starts`, whose exit event had been read before: what started them came late."""
    places = {run.id: log.Position(start.txid, start.seq) for run, start in zip(runs, starts, strict=True)}
    reasons = found(definition, places.keys(), now, places)
    ended = [run for run in runs if run.id in reasons]
    if not ended:
        return
    for run in ended:
        run.state, run.reason = "exited", reasons[run.id]
    with connection.cursor() as cursor:
        cursor.execute(
            """
            UPDATE campaigns_enrollment e SET state = 'exited', ended_at = %s, due_at = NULL, reason = r.reason
            FROM unnest(%s::bigint[], %s::text[]) AS r(id, reason) WHERE e.id = r.id
            """,
            [now, [run.id for run in ended], [run.reason for run in ended]],
        )
    record(ended, now)


def record(ended: Sequence[Run], now: datetime) -> None:
    """Write down that these runs left early, each for its `reason`."""
    write_decisions(
        [
            DecisionRow(
                run.id, run.flow_id, run.profile_id, run.step or "", "exited", {"event": run.reason}, now
            )
            for run in ended
        ]
    )
    log.append([event("exited", run, now) for run in ended])


def found(
    definition: Definition,
    run_ids: Collection[int],
    now: datetime,
    before: Mapping[int, log.Position] | None = None,
) -> dict[int, str]:
    """Which of a version's runs something in the log ends, and the reason. One query for each of `enders`.

    Args:
        before: by run, only events that stand earlier in the log than this.
    """
    reasons: dict[int, str] = {}
    for trigger, reason, within in enders(definition):
        asked = [run_id for run_id in run_ids if run_id not in reasons]
        if not asked:
            break
        places = [before[run_id] if before else log.Position(2**62, 0) for run_id in asked]
        query = sql(
            "SELECT e.id, e.run_key, {} FROM unnest({}::bigint[], {}::bigint[], {}::bigint[]) AS a(id, txid, seq)"
            " JOIN campaigns_enrollment e ON e.id = a.id"
            " JOIN crm_event v ON v.profile_id = e.profile_id AND v.name = {}"
            " AND v.occurred_at >= coalesce((e.context -> 'event' ->> 'occurred_at')::timestamptz, e.entered_at)"
            " AND ({}::interval IS NULL OR v.occurred_at <= e.entered_at + {}::interval)"
            " AND v.id::text IS DISTINCT FROM e.context -> 'event' ->> 'id' AND (v.txid, v.seq) < (a.txid, a.seq)"
            " WHERE {} GROUP BY 1, 2, 3",
            Sql("v.properties::text" if definition.key else "''"),
            asked,
            [place.txid for place in places],
            [place.seq for place in places],
            trigger.name,
            within,
            within,
            _narrowed(trigger, "v.properties", now),
        )
        with connection.cursor() as cursor:
            cursor.execute(query.text, query.params)
            for run_id, key, facts in cursor.fetchall():
                told = run_key(definition, msgspec.json.decode(facts)) if definition.key else None
                if told is None or told == key:
                    reasons[run_id] = reason
    return reasons


def by_rule(definition: Definition, profile_ids: Collection[int], now: datetime) -> set[int]:
    """Those of the people who meet the exit rule. Raises RuleError."""
    if definition.exit_rule is None or not profile_ids:
        return set()
    return evaluate.matching(grammar.parse(definition.exit_rule), sorted(profile_ids), now, live=True)


def _narrowed(trigger: EventTrigger | Goal, column: str, now: datetime) -> Sql:
    where = check_where([msgspec.convert(item, Where) for item in trigger.where], "where")
    return joined(" AND ", properties(where, column, now)) if where else TRUE
