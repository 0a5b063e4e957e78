"""Who may start a run by an event, and starting it."""

from collections.abc import Sequence
from datetime import datetime, timedelta

import msgspec
from django.db import connection

from campaigns.flows import exits, goals
from campaigns.flows.definition import Definition
from campaigns.flows.records import DecisionRow, Run, event, write_decisions
from campaigns.segments import evaluate, grammar
from crm import log

_ENROLL = """
    INSERT INTO campaigns_enrollment
        (flow_id, version_id, profile_id, run_key, state, step, due_at, context, entered_at)
    SELECT %s, %s, r.profile_id, r.run_key, 'active', %s, %s, r.context, %s
    FROM jsonb_to_recordset(%s::jsonb) AS r(profile_id bigint, run_key text, context jsonb)
    ON CONFLICT DO NOTHING RETURNING id, profile_id, run_key
"""


def entitled(
    flow_id: int, definition: Definition, events: Sequence[log.LoggedEvent], now: datetime
) -> list[log.LoggedEvent]:
    """The events of people who meet the entry rule; that the others do not is recorded."""
    if not events or definition.entry is None:
        return list(events)
    rule = grammar.parse(definition.entry)
    allowed = evaluate.matching(rule, sorted({event_.profile_id for event_ in events}), now, live=True)
    write_decisions(
        [
            DecisionRow(
                None,
                flow_id,
                event_.profile_id,
                "",
                "not_entered",
                {"reason": "entry rule not met", "event": event_.name, "event_id": str(event_.id)},
                now,
            )
            for event_ in events
            if event_.profile_id not in allowed
        ]
    )
    return [event_ for event_ in events if event_.profile_id in allowed]


def start(
    flow_id: int,
    flow: str,
    version_id: int,
    first: str,
    definition: Definition,
    events: Sequence[log.LoggedEvent],
    now: datetime,
) -> None:
    """Start a run at step `first` for each event that may start one.

    A second event of the same run, or of somebody who may not enter again yet, starts nothing.
    """
    if definition.key is None:
        events = _free_to_enter(flow_id, definition, events, now)
    wanted: dict[tuple[int, str], log.LoggedEvent] = {}
    for candidate in events:
        run_key = _run_key(definition, candidate)
        if run_key is not None:
            wanted.setdefault((candidate.profile_id, run_key), candidate)
    if not wanted:
        return
    rows = [
        {"profile_id": profile_id, "run_key": run_key, "context": {"event": _context(trigger)}}
        for (profile_id, run_key), trigger in wanted.items()
    ]
    with connection.cursor() as cursor:
        cursor.execute(_ENROLL, [flow_id, version_id, first, now, now, msgspec.json.encode(rows).decode()])
        entered = cursor.fetchall()
    runs = [
        Run(run_id, flow_id, flow, version_id, profile_id, first, {}, {}, now)
        for run_id, profile_id, _key in entered
    ]
    triggers = [wanted[profile_id, run_key] for _id, profile_id, run_key in entered]
    write_decisions(
        [
            DecisionRow(
                run.id,
                run.flow_id,
                run.profile_id,
                "",
                "entered",
                {"event": trigger.name, "event_id": str(trigger.id)},
                now,
            )
            for run, trigger in zip(runs, triggers, strict=True)
        ]
    )
    log.append([event("entered", run, now) for run in runs])
    goals.reached_before(runs, triggers, definition, now)
    if runs and definition.exit_on:
        exits.end_late(runs, triggers, definition, now)


def _context(trigger: log.LoggedEvent) -> dict:
    return {
        "id": str(trigger.id),
        "name": trigger.name,
        "occurred_at": trigger.occurred_at.isoformat(),
        "properties": trigger.properties,
    }


def _free_to_enter(flow_id: int, definition: Definition, events, now: datetime) -> list[log.LoggedEvent]:
    """Drop people who are inside or may not come again yet; of each other person keep the first event."""
    reentry = definition.reentry
    with connection.cursor() as cursor:
        cursor.execute(
            """
            SELECT DISTINCT profile_id FROM campaigns_enrollment
            WHERE flow_id = %s AND profile_id = ANY(%s) AND (state = 'active' OR %s OR entered_at > %s)
            """,
            [
                flow_id,
                [event_.profile_id for event_ in events],
                reentry.mode == "never",
                now - timedelta(days=reentry.days or 0) if reentry.mode == "after" else None,
            ],
        )
        out = {row[0] for row in cursor.fetchall()}
    first: dict[int, log.LoggedEvent] = {}
    for event_ in events:
        if event_.profile_id not in out:
            first.setdefault(event_.profile_id, event_)
    return list(first.values())


def _run_key(definition: Definition, event_: log.LoggedEvent) -> str | None:
    """What tells this run apart; None if the event lacks the property that would."""
    if definition.key is not None:
        return exits.run_key(definition, event_.properties)
    return "once" if definition.reentry.mode == "never" else f"event:{event_.id}"
