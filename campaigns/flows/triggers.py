"""Reads the event log for what starts and ends runs."""

from collections import defaultdict
from collections.abc import Sequence
from datetime import datetime, timedelta

import msgspec
from django.db import connection
from django.utils import timezone

from campaigns.flows import program
from campaigns.flows.definition import Definition, EventTrigger
from campaigns.flows.engine import DecisionRow, Run, event, write_decisions
from campaigns.models import Flow
from campaigns.segments import evaluate, grammar
from campaigns.segments.conditions.event import Where, check_where, properties
from campaigns.segments.sql import joined, sql
from crm import log

CURSOR = "flows"


class Listener(msgspec.Struct):
    """A live flow and what it listens for."""

    flow_id: int
    slug: str
    version_id: int
    published_at: datetime
    definition: Definition
    first: str | None


def read(now: datetime | None = None, limit: int = 5000) -> tuple[int, bool]:
    """Handle the next events of the log: start runs and end those whose exit event came.

    Returns the number of events that mattered and whether more may be waiting. Everything happens in the
    transaction that moves the log cursor, so an event starts a run once or, after a crash, anew.
    """
    now = now or timezone.now()
    listeners = _listeners()
    names = {trigger.name for listener in listeners for trigger in _triggers(listener.definition)}
    with log.read(CURSOR, limit, names) as batch:
        for listener in listeners:
            # What came in late or by an import, but happened before the flow was live, starts nobody.
            fresh = [event for event in batch.events if event.occurred_at >= listener.published_at]
            if fresh:
                _start(listener, fresh, now)
            if batch.events:
                _end(listener, batch.events, now)
    return len(batch.events), batch.full


def _listeners() -> list[Listener]:
    found = []
    for flow in Flow.objects.filter(state=Flow.State.LIVE):
        if flow.live_version_id is not None and flow.published_at is not None:
            compiled = program.of_version(flow.live_version_id)
            found.append(
                Listener(
                    flow.pk,
                    flow.slug,
                    flow.live_version_id,
                    flow.published_at,
                    compiled.definition,
                    compiled.first,
                )
            )
    return found


def _triggers(definition: Definition) -> list[EventTrigger]:
    return [*([definition.trigger] if definition.trigger else []), *definition.exit_on]


def _matching(
    trigger: EventTrigger, events: Sequence[log.LoggedEvent], now: datetime
) -> list[log.LoggedEvent]:
    named = [event for event in events if event.name == trigger.name]
    if not named or not trigger.where:
        return named
    # Asked of PostgreSQL, so that a trigger and a segment mean the same by the same words.
    where = check_where([msgspec.convert(item, Where) for item in trigger.where], "where")
    times = [event.occurred_at for event in named]
    query = sql(
        "SELECT e.id FROM crm_event e WHERE e.id = ANY({}) AND e.occurred_at BETWEEN {} AND {} AND {}",
        [event.id for event in named],
        min(times),
        max(times),
        joined(" AND ", properties(where, "e.properties", now)),
    )
    with connection.cursor() as cursor:
        cursor.execute(query.text, query.params)
        ids = {row[0] for row in cursor.fetchall()}
    return [event for event in named if event.id in ids]


def _start(listener: Listener, events: Sequence[log.LoggedEvent], now: datetime) -> None:
    definition = listener.definition
    if definition.trigger is None or listener.first is None:
        return
    events = _matching(definition.trigger, events, now)
    if events and definition.entry is not None:
        events = _entitled(listener, events, now)
    if events and definition.key is None and definition.reentry.mode != "never":
        events = _not_again_yet(listener, events, now)
    wanted: dict[tuple[int, str], log.LoggedEvent] = {}
    for candidate in events:
        run_key = _run_key(definition, candidate)
        if run_key is not None:
            wanted.setdefault((candidate.profile_id, run_key), candidate)
    if wanted:
        _enroll(listener, wanted, now)


def _entitled(listener: Listener, events, now: datetime):
    rule = grammar.parse(listener.definition.entry)
    allowed = evaluate.matching(rule, sorted({event.profile_id for event in events}), now)
    write_decisions(
        [
            DecisionRow(
                None,
                listener.flow_id,
                event.profile_id,
                "",
                "not_entered",
                {"reason": "entry rule not met", "event": event.name, "event_id": str(event.id)},
                now,
            )
            for event in events
            if event.profile_id not in allowed
        ]
    )
    return [event for event in events if event.profile_id in allowed]


def _not_again_yet(listener: Listener, events, now: datetime):
    """Drop people who are inside, or were within the days set; of each other person keep the first event."""
    reentry = listener.definition.reentry
    since = now - timedelta(days=reentry.days or 0) if reentry.mode == "after" else None
    with connection.cursor() as cursor:
        cursor.execute(
            """
            SELECT DISTINCT profile_id FROM campaigns_enrollment
            WHERE flow_id = %s AND profile_id = ANY(%s) AND (state = 'active' OR entered_at > %s)
            """,
            [listener.flow_id, [event.profile_id for event in events], since],
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
        value = _property(event_.properties, definition.key)
        return None if value is None else f"key:{value}"[:500]
    return "once" if definition.reentry.mode == "never" else f"event:{event_.id}"


def _property(properties: dict, path: str) -> object | None:
    value: object = properties
    for part in path.removeprefix("properties.").split("."):
        value = value.get(part) if isinstance(value, dict) else None
    return value if isinstance(value, str | int | float) else None


def _enroll(listener: Listener, wanted: dict[tuple[int, str], log.LoggedEvent], now: datetime) -> None:
    rows = [
        {
            "profile_id": profile_id,
            "run_key": run_key,
            "context": {
                "event": {
                    "id": str(trigger.id),
                    "name": trigger.name,
                    "occurred_at": trigger.occurred_at.isoformat(),
                    "properties": trigger.properties,
                }
            },
        }
        for (profile_id, run_key), trigger in wanted.items()
    ]
    with connection.cursor() as cursor:
        cursor.execute(
            """
            INSERT INTO campaigns_enrollment
                (flow_id, version_id, profile_id, run_key, state, step, due_at, context, entered_at)
            SELECT %s, %s, r.profile_id, r.run_key, 'active', %s, %s, r.context, %s
            FROM jsonb_to_recordset(%s::jsonb) AS r(profile_id bigint, run_key text, context jsonb)
            JOIN crm_profile p ON p.id = r.profile_id
            ON CONFLICT DO NOTHING RETURNING id, profile_id, run_key
            """,
            [
                listener.flow_id,
                listener.version_id,
                listener.first,
                now,
                now,
                msgspec.json.encode(rows).decode(),
            ],
        )
        entered = cursor.fetchall()
    runs = [
        Run(
            run_id,
            listener.flow_id,
            listener.slug,
            listener.version_id,
            profile_id,
            listener.first,
            {},
            {},
            now,
        )
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


def _end(listener: Listener, events: Sequence[log.LoggedEvent], now: datetime) -> None:
    """End runs whose exit event happened after what started them; a keyed run by an event of its own key."""
    latest: dict[tuple[int, str | None, str], datetime] = defaultdict(
        lambda: datetime.min.replace(tzinfo=now.tzinfo)
    )
    for trigger in listener.definition.exit_on:
        for event_ in _matching(trigger, events, now):
            run_key = _run_key(listener.definition, event_) if listener.definition.key else None
            place = (event_.profile_id, run_key, event_.name)
            latest[place] = max(latest[place], event_.occurred_at)
    if not latest:
        return
    rows = [
        {"profile_id": profile_id, "run_key": run_key, "name": name, "at": at}
        for (profile_id, run_key, name), at in latest.items()
    ]
    with connection.cursor() as cursor:
        cursor.execute(
            """
            UPDATE campaigns_enrollment e
            SET state = 'exited', ended_at = %s, due_at = NULL, reason = r.name
            FROM jsonb_to_recordset(%s::jsonb) AS r(profile_id bigint, run_key text, name text, at timestamptz)
            WHERE e.flow_id = %s AND e.profile_id = r.profile_id AND e.state = 'active'
              AND (r.run_key IS NULL OR e.run_key = r.run_key)
              AND (e.context -> 'event' ->> 'occurred_at')::timestamptz <= r.at
            RETURNING e.id, e.version_id, e.profile_id, e.step, e.reason
            """,
            [now, msgspec.json.encode(rows).decode(), listener.flow_id],
        )
        ended = cursor.fetchall()
    runs = [
        Run(
            run_id,
            listener.flow_id,
            listener.slug,
            version_id,
            profile_id,
            step,
            {},
            {},
            now,
            False,
            "exited",
            None,
            reason,
        )
        for run_id, version_id, profile_id, step, reason in ended
    ]
    write_decisions(
        [
            DecisionRow(
                run.id, run.flow_id, run.profile_id, run.step or "", "exited", {"event": run.reason}, now
            )
            for run in runs
        ]
    )
    log.append([event("exited", run, now) for run in runs])
