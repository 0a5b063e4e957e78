"""What ends runs early: exit events and the exit rule.

Exit events are read from the log, and asked for when a message is about to go out; the rule is asked before each step
and each message.
"""

from collections.abc import Collection, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any, NamedTuple

import msgspec
from django.db import connection

from campaigns.flows import asking
from campaigns.flows.definition import Definition, EventTrigger, Goal
from campaigns.flows.records import DecisionRow, Run, event, write_decisions
from campaigns.segments import evaluate, grammar
from crm import log
from crm.rules.sql import TRUE, sql

MAX_KEY = 500  # characters
RULE = "exit rule"  # the reason of who left by it
GOAL = "goal"  # of those whose goal was reached


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


def asks(trigger: EventTrigger | Goal, events: Sequence[log.LoggedEvent], now: datetime) -> asking.Question:
    """Which of `events` a trigger means. Raises RuleError."""
    named = [event_ for event_ in events if event_.name == trigger.name]
    return asking.Question(named, asking.narrowed(trigger.where, "e.properties", now) if named else TRUE)


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


def found(asked: Sequence[tuple[Definition, Collection[int]]], now: datetime) -> dict[int, str]:
    """Which of the runs of some versions something in the log ends, and the reason, in one query. Raises RuleError."""
    rows: list[tuple[int, int]] = []  # (run, number of what may end it)
    ending: list[tuple[Definition, Ender]] = []
    for definition, run_ids in asked:
        for ender in enders(definition):
            rows += [(run_id, len(ending)) for run_id in run_ids]
            ending.append((definition, ender))
    if not rows:
        return {}
    cases = [
        sql("WHEN {} THEN {}", number, asking.narrowed(ender.trigger.where, "v.properties", now))
        for number, (_definition, ender) in enumerate(ending)
        if ender.trigger.where
    ]
    # Person by person and name by name, so that no plan walks through what others did.
    query = sql(
        "SELECT DISTINCT e.id, a.number, e.run_key, CASE WHEN m.keyed THEN v.properties::text END"
        " FROM unnest({}::bigint[], {}::int[]) AS a(id, number)"
        " JOIN unnest({}::int[], {}::text[], {}::interval[], {}::bool[]) AS m(number, name, within, keyed)"
        " ON m.number = a.number"
        " JOIN campaigns_enrollment e ON e.id = a.id"
        " CROSS JOIN LATERAL (SELECT v.id, v.properties, v.occurred_at FROM crm_event v"
        " WHERE v.profile_id = e.profile_id AND v.name = m.name"
        " AND v.occurred_at >= coalesce((e.context -> 'event' ->> 'occurred_at')::timestamptz, e.entered_at)"
        " AND (m.within IS NULL OR v.occurred_at <= e.entered_at + m.within) OFFSET 0) v"
        " WHERE v.id::text IS DISTINCT FROM e.context -> 'event' ->> 'id' AND {}",
        [run_id for run_id, _number in rows],
        [number for _run_id, number in rows],
        list(range(len(ending))),
        [ender.trigger.name for _definition, ender in ending],
        [ender.within for _definition, ender in ending],
        [definition.key is not None for definition, _ender in ending],
        sql("CASE a.number {} ELSE true END", asking.side_by_side(" ", cases)) if cases else TRUE,
    )
    first: dict[int, int] = {}
    with connection.cursor() as cursor:
        cursor.execute(query.text, query.params)
        for run_id, number, key, facts in cursor.fetchall():
            told = run_key(ending[number][0], msgspec.json.decode(facts)) if facts is not None else None
            if told is None or told == key:
                first[run_id] = min(number, first.get(run_id, number))
    return {run_id: ending[number][1].reason for run_id, number in first.items()}


def by_rule(definition: Definition, profile_ids: Collection[int], now: datetime) -> set[int]:
    """Those of the people who meet the exit rule. Raises RuleError."""
    if definition.exit_rule is None or not profile_ids:
        return set()
    return evaluate.matching(grammar.parse(definition.exit_rule), sorted(profile_ids), now, live=True)
