"""A run in our hands, and writing down what became of it and why."""

from collections.abc import Sequence
from datetime import datetime
from typing import Any

import msgspec
from django.db import connection

from crm import log


class Run(msgspec.Struct, gc=False):
    """An enrollment that is being handled."""

    id: int
    flow_id: int
    flow: str
    version_id: int
    profile_id: int
    step: str | None
    step_state: dict[str, Any]
    context: dict[str, Any]
    entered_at: datetime
    was_due: datetime | None = None  # when it was taken up
    failing: bool = False  # the flow's error is not empty
    state: str = "active"
    due_at: datetime | None = None
    reason: str = ""
    told: bool = False  # a step has added to the context
    cleared: bool = False  # does not meet the exit rule, and nothing was changed since


class DecisionRow(msgspec.Struct, gc=False):
    """A row of campaigns.Decision to be."""

    enrollment_id: int | None
    flow_id: int
    profile_id: int
    step: str
    kind: str
    detail: dict[str, Any]
    at: datetime


class _Row(msgspec.Struct, gc=False):
    """What is written of a run. A context of None stays as it is."""

    id: int
    state: str
    step: str
    due_at: datetime | None
    step_state: dict[str, Any]
    reason: str
    context: dict[str, Any] | None


def write_runs(runs: Sequence[Run], now: datetime) -> None:
    """Store where these runs are, in one statement."""
    rows = [
        _Row(
            run.id,
            run.state,
            run.step or "",
            run.due_at,
            run.step_state,
            run.reason,
            run.context if run.told else None,
        )
        for run in runs
    ]
    with connection.cursor() as cursor:
        cursor.execute(
            """
            UPDATE campaigns_enrollment e SET state = r.state, step = r.step, due_at = r.due_at,
                step_state = r.step_state, reason = r.reason, context = coalesce(r.context, e.context),
                ended_at = CASE WHEN r.state = 'active' THEN NULL ELSE %s END
            FROM jsonb_to_recordset(%s::jsonb) AS r(id bigint, state text, step text, due_at timestamptz,
                step_state jsonb, reason text, context jsonb)
            WHERE e.id = r.id
            """,
            [now, msgspec.json.encode(rows).decode()],
        )


def write_decisions(decisions: Sequence[DecisionRow]) -> None:
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


def log_ends(runs: Sequence[Run], now: datetime) -> None:
    """Tell the log which of these runs are over."""
    log.append([event(run.state, run, now) for run in runs if run.state != "active"])


def event(what: str, run: Run, at: datetime) -> log.NewEvent:
    """The log's entry that `run` entered, completed or exited its flow."""
    properties = {"flow": run.flow, "enrollment": run.id, **({"reason": run.reason} if run.reason else {})}
    return log.NewEvent(
        log.event_id("flow", run.id, what), run.profile_id, f"flow_{what}", at, properties, "nudge"
    )
