"""Moves people through flows, a batch at a time.

One transaction claims a batch of due runs, lets each step decide for everybody who is at it, and writes the
new places, the decisions and the outbox rows together: after a crash the batch simply was not done.
"""

import logging
import time
from collections import defaultdict
from datetime import datetime, timedelta
from typing import Any

import msgspec
from django.db import connection, transaction
from django.utils import timezone

from campaigns.flows import program, steps
from campaigns.flows.steps.base import Outcome, Person
from campaigns.flows.troubles import Troubles
from crm import log

logger = logging.getLogger(__name__)

BATCH = 1000
RETRY_AFTER = timedelta(minutes=5)
ISOLATING_TRIES = 64  # halvings of a batch in search of the people a step can't handle
ISOLATING_SECONDS = 2.0


class Run(msgspec.Struct):
    """An enrollment in the engine's hands."""

    id: int
    flow_id: int
    flow: str
    version_id: int
    profile_id: int
    step: str | None
    step_state: dict[str, Any]
    context: dict[str, Any]
    entered_at: datetime
    failing: bool = False  # the flow's error is not empty
    state: str = "active"
    due_at: datetime | None = None
    reason: str = ""


class DecisionRow(msgspec.Struct):
    """A row of campaigns.Decision to be."""

    enrollment_id: int | None
    flow_id: int
    profile_id: int
    step: str
    kind: str
    detail: dict[str, Any]
    at: datetime


def advance(now: datetime | None = None, limit: int = BATCH) -> int:
    """Take up to about `limit` runs that are due and move each as far as it goes; return how many were taken.

    Flows that have somebody due share the batch evenly. Runs that another worker holds are left to it. A step
    that fails keeps its people where they are and is tried again in a few minutes; the rest of the batch goes on.
    """
    now = now or timezone.now()
    troubles = Troubles()
    with transaction.atomic():
        runs = _claim(now, limit)
        decisions: list[DecisionRow] = []
        moving = runs
        while moving:
            moving = _one_step(moving, decisions, troubles, now)
        if runs:
            _write(runs, now)
            write_decisions(decisions)
            _log_ends(runs, now)
    troubles.report()
    return len(runs)


# By version, so that the due people of a paused flow are not even looked at. A person who is just being merged is
# left for the next time: the merge waits for our enrollments and we would wait for its profile.
_CLAIM = """
    WITH busy AS MATERIALIZED (
        SELECT v.id, f.slug, f.error <> '' AS failing
        FROM campaigns_flow f JOIN campaigns_flowversion v ON v.flow_id = f.id
        WHERE f.state IN ('live', 'finishing') AND EXISTS (
            SELECT FROM campaigns_enrollment e WHERE e.version_id = v.id AND e.state = 'active' AND e.due_at <= %(now)s)
    )
    SELECT mine.id, mine.flow_id, busy.slug, busy.id, mine.profile_id, mine.step, mine.step_state, mine.context,
        mine.entered_at, busy.failing
    FROM busy CROSS JOIN LATERAL (
        SELECT e.id, e.flow_id, e.profile_id, e.step, e.step_state::text, e.context::text, e.entered_at
        FROM campaigns_enrollment e JOIN crm_profile p ON p.id = e.profile_id
        WHERE e.version_id = busy.id AND e.state = 'active' AND e.due_at <= %(now)s
        ORDER BY e.due_at LIMIT greatest(1, %(limit)s / (SELECT count(*) FROM busy))
        FOR UPDATE OF e SKIP LOCKED FOR KEY SHARE OF p SKIP LOCKED
    ) AS mine
"""


def _claim(now: datetime, limit: int) -> list[Run]:
    with connection.cursor() as cursor:
        cursor.execute(_CLAIM, {"now": now, "limit": limit})
        return [_run(*row) for row in cursor.fetchall()]


def _run(
    run_id, flow_id, flow, version_id, profile_id, step, step_state, context, entered_at, failing
) -> Run:
    state, facts = msgspec.json.decode(step_state), msgspec.json.decode(context)
    return Run(run_id, flow_id, flow, version_id, profile_id, step, state, facts, entered_at, failing)


def _one_step(runs: list[Run], decisions: list[DecisionRow], troubles: Troubles, now: datetime) -> list[Run]:
    """Let each run's present step decide; return the runs that may take another step right away."""
    moving = []
    groups: dict[tuple[int, str | None], list[Run]] = defaultdict(list)
    for run in runs:
        groups[run.version_id, run.step].append(run)
    for (version_id, key), group in groups.items():
        try:
            node = program.of_version(version_id).nodes.get(key or "")
        except Exception as error:
            logger.exception("Version %d of flow %s can't be read", version_id, group[0].flow)
            troubles.failed(group[0], error)
            for run in group:
                _hold(run, decisions, now)
            continue
        if node is None:
            for run in group:
                _end(run, "completed", "")
            continue
        outcomes = _ask(node, group, troubles, now)
        for run in group:
            if run.id not in outcomes:
                _hold(run, decisions, now)
            elif _take(run, outcomes[run.id], node, decisions, now):
                moving.append(run)
    return moving


def _take(
    run: Run, outcome: Outcome, node: program.Node, decisions: list[DecisionRow], now: datetime
) -> bool:
    """Do what the step decided for one run; return whether it is at another step now."""
    held_before = bool(run.step_state) and not run.step_state.get("error")
    if not (outcome.kind == "wait" and held_before):
        kind = f"{node.step.kind}:{outcome.kind}"
        decisions.append(
            DecisionRow(run.id, run.flow_id, run.profile_id, node.step.key, kind, outcome.facts, now)
        )
    if outcome.kind == "wait" and outcome.until is not None:
        # Not before the next second: a step that names the past must not make the engine spin.
        run.due_at, run.step_state = max(outcome.until, now + timedelta(seconds=1)), outcome.facts
        return False
    if outcome.kind == "leave":
        _end(run, "completed", outcome.facts.get("reason", ""))
        return False
    run.step = node.next if outcome.branch is None else node.branches[outcome.branch]
    run.step_state = {}
    if run.step is None:
        _end(run, "completed", "")
        return False
    return True


def _hold(run: Run, decisions: list[DecisionRow], now: datetime) -> None:
    """Keep a run where it is, with what its step had noted, because the step failed."""
    if not run.step_state.get("error"):
        until = now + RETRY_AFTER
        facts = {"error": True, "until": until.isoformat()}
        decisions.append(
            DecisionRow(run.id, run.flow_id, run.profile_id, run.step or "", "error", facts, now)
        )
    run.due_at, run.step_state = now + RETRY_AFTER, {**run.step_state, "error": True}


def _ask(node: program.Node, group: list[Run], troubles: Troubles, now: datetime) -> dict[int, Outcome]:
    """Outcomes by run. When the step fails, halves are tried, so that one person does not hold up the others."""
    outcomes: dict[int, Outcome] = {}
    parts, tries, ends = [group], ISOLATING_TRIES, time.monotonic() + ISOLATING_SECONDS
    failure: Exception | None = None
    while parts:
        part = parts.pop()
        try:
            with transaction.atomic():
                outcomes |= _answers(node, part, now)
        except Exception as error:
            if failure is None:
                failure = error
                logger.exception("Step %s of flow %s failed", node.step.key, group[0].flow)
            if len(part) > 1 and tries > 0 and time.monotonic() < ends:
                tries -= 1
                middle = len(part) // 2
                parts += [part[middle:], part[:middle]]
    if failure is not None:
        troubles.failed(group[0], failure)
    elif group[0].failing:
        troubles.went_well(group[0])
    return outcomes


def _answers(node: program.Node, group: list[Run], now: datetime) -> dict[int, Outcome]:
    people = [
        Person(run.id, run.profile_id, run.flow_id, run.entered_at, run.context, run.step_state)
        for run in group
    ]
    outcomes = steps.registry[node.step.kind].run(node.step, people, now)
    answers = {run.id: outcomes[run.id] for run in group}
    for outcome in answers.values():
        if outcome.branch is not None:
            node.branches[outcome.branch]
    # Found out here, where it costs this step's people only.
    msgspec.json.encode([outcome.facts for outcome in answers.values()])
    return answers


def _end(run: Run, state: str, reason: str) -> None:
    run.state, run.reason, run.due_at = state, reason, None


def _write(runs: list[Run], now: datetime) -> None:
    with connection.cursor() as cursor:
        cursor.execute(
            """
            UPDATE campaigns_enrollment e SET state = r.state, step = coalesce(r.step, ''), due_at = r.due_at,
                step_state = r.step_state, reason = r.reason,
                ended_at = CASE WHEN r.state = 'active' THEN NULL ELSE %s END
            FROM jsonb_to_recordset(%s::jsonb) AS r(id bigint, state text, step text, due_at timestamptz,
                step_state jsonb, reason text)
            WHERE e.id = r.id
            """,
            [now, msgspec.json.encode(runs).decode()],
        )


def write_decisions(decisions: list[DecisionRow]) -> None:
    """Store decisions in one statement."""
    if not decisions:
        return
    with connection.cursor() as cursor:
        cursor.execute(
            """
            INSERT INTO campaigns_decision (enrollment_id, flow_id, profile_id, step, kind, detail, at)
            SELECT enrollment_id, flow_id, profile_id, step, kind, detail, at
            FROM jsonb_to_recordset(%s::jsonb) AS r(enrollment_id bigint, flow_id bigint, profile_id bigint,
                step text, kind text, detail jsonb, at timestamptz)
            """,
            [msgspec.json.encode(decisions).decode()],
        )


def _log_ends(runs: list[Run], now: datetime) -> None:
    log.append([event(run.state, run, now) for run in runs if run.state != "active"])


def event(what: str, run: Run, at: datetime) -> log.NewEvent:
    """The log's entry that `run` entered, completed or exited its flow."""
    properties = {"flow": run.flow, "enrollment": run.id, **({"reason": run.reason} if run.reason else {})}
    return log.NewEvent(
        log.event_id("flow", run.id, what), run.profile_id, f"flow_{what}", at, properties, "nudge"
    )
