"""Moves people through flows, a batch at a time.

One transaction claims a batch of due runs, lets each step decide for everybody who is at it, and writes the
new places, the decisions and the outbox rows together: after a crash the batch simply was not done.
"""

import logging
from collections import defaultdict
from datetime import datetime, timedelta
from typing import Any

import msgspec
from django.db import connection, transaction
from django.utils import timezone

from campaigns.flows import program, steps
from campaigns.flows.steps.base import Outcome, Person
from campaigns.models import Flow
from crm import alerts, log

logger = logging.getLogger(__name__)

BATCH = 1000
RETRY_AFTER = timedelta(minutes=5)


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
    failing: bool = False
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
    """Take up to `limit` runs that are due and move each as far as it goes; return how many were taken.

    Runs that another worker holds are left to it. A step that fails keeps its people where they are and is
    tried again in a few minutes; the rest of the batch goes on.
    """
    now = now or timezone.now()
    with transaction.atomic():
        runs = _claim(now, limit)
        decisions: list[DecisionRow] = []
        moving = runs
        while moving:
            moving = _one_step(moving, decisions, now)
        if runs:
            _write(runs, now)
            write_decisions(decisions)
            _log_ends(runs, now)
    return len(runs)


def _claim(now: datetime, limit: int) -> list[Run]:
    with connection.cursor() as cursor:
        cursor.execute(
            """
            SELECT e.id, e.flow_id, f.slug, e.version_id, e.profile_id, e.step, e.step_state::text,
                   e.context::text, e.entered_at, f.error <> ''
            FROM campaigns_enrollment e JOIN campaigns_flow f ON f.id = e.flow_id AND f.state = 'live'
            WHERE e.state = 'active' AND e.due_at <= %s
            ORDER BY e.due_at LIMIT %s FOR UPDATE OF e SKIP LOCKED
            """,
            [now, limit],
        )
        return [_run(*row) for row in cursor.fetchall()]


def _run(
    run_id, flow_id, flow, version_id, profile_id, step, step_state, context, entered_at, failing
) -> Run:
    state, facts = msgspec.json.decode(step_state), msgspec.json.decode(context)
    return Run(run_id, flow_id, flow, version_id, profile_id, step, state, facts, entered_at, failing)


def _one_step(runs: list[Run], decisions: list[DecisionRow], now: datetime) -> list[Run]:
    """Let each run's present step decide; return the runs that may take another step right away."""
    moving = []
    groups: dict[tuple[int, str | None], list[Run]] = defaultdict(list)
    for run in runs:
        groups[run.version_id, run.step].append(run)
    for (version_id, key), group in groups.items():
        node = program.of_version(version_id).nodes.get(key or "")
        if node is None:
            for run in group:
                _end(run, "completed", "")
            continue
        outcomes = _ask(node.step, group, now)
        for run in group:
            outcome = outcomes.get(run.id) or Outcome("wait", {"error": True}, until=now + RETRY_AFTER)
            if not (outcome.kind == "wait" and run.step_state):
                decisions.append(
                    DecisionRow(
                        run.id,
                        run.flow_id,
                        run.profile_id,
                        node.step.key,
                        _decision_kind(node.step, outcome),
                        outcome.facts,
                        now,
                    )
                )
            if outcome.kind == "wait":
                run.due_at, run.step_state = outcome.until, outcome.facts
            elif outcome.kind == "leave":
                _end(run, "completed", outcome.facts.get("reason", ""))
            else:
                run.step = node.next if outcome.branch is None else node.branches[outcome.branch]
                run.step_state = {}
                if run.step is None:
                    _end(run, "completed", "")
                else:
                    moving.append(run)
    return moving


def _decision_kind(step, outcome: Outcome) -> str:
    return "error" if outcome.facts.get("error") else f"{step.kind}:{outcome.kind}"


def _ask(step, group: list[Run], now: datetime) -> dict[int, Outcome]:
    people = [
        Person(run.id, run.profile_id, run.flow_id, run.entered_at, run.context, run.step_state)
        for run in group
    ]
    try:
        with transaction.atomic():
            outcomes = dict(steps.registry[step.kind].run(step, people, now))
        if group[0].failing:
            alerts.resolve(_alert_key(group[0], step))
            Flow.objects.filter(pk=group[0].flow_id, error__startswith=f"{step.key}: ").update(error="")
        return outcomes
    except Exception as error:
        logger.exception("Step %s of flow %s failed", step.key, group[0].flow)
        Flow.objects.filter(pk=group[0].flow_id).update(error=f"{step.key}: {error}"[:500])
        alerts.raise_alert(
            _alert_key(group[0], step),
            f"A step of the flow “{group[0].flow}” fails",
            f"People wait at the step “{step.key}” and are tried again every few minutes. The reason: {error}",
        )
        return {}


def _alert_key(run: Run, step) -> str:
    return f"flow:{run.flow_id}:{step.key}"


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
