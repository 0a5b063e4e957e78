"""Moves people through flows, a batch at a time.

One transaction claims a batch of due runs, lets each step decide for everybody who is at it, and writes the
new places, the decisions and the outbox rows together: after a crash the batch simply was not done.
"""

import logging
import time
from collections import defaultdict, deque
from collections.abc import Sequence
from datetime import datetime, timedelta

from django.db import transaction
from django.utils import timezone

from campaigns.experiments import assigning
from campaigns.flows import claiming, exits, isolating, program, records, steps
from campaigns.flows.deciding import after, arrived, decide
from campaigns.flows.program import Node, Program
from campaigns.flows.records import DecisionRow, Run
from campaigns.flows.steps.base import Outcome, Person
from campaigns.flows.troubles import Troubles

logger = logging.getLogger(__name__)

TASK, QUEUE = "campaigns.tasks.run_engine", "engine"
BATCH = 1000
RETRY_AFTER = timedelta(minutes=5)
ISOLATING_TRIES = 64  # parts of a batch in search of the people a step can't handle
HOPELESS_TRIES = 15  # until four levels of halves have all failed
ISOLATING_SECONDS = 2.0


def advance(now: datetime | None = None, limit: int = BATCH) -> int:
    """Take up to about `limit` runs that are due and move each as far as it goes; return how many were taken.

    Flows that have somebody due share the batch evenly. Runs that another worker holds are left to it. A step
    that fails keeps its people where they are and is tried again in a few minutes; the rest of the batch goes on.
    Nor does somebody whose run can't be read or stored hold up others, see `isolating`.
    """
    moment = now or timezone.now()
    try:
        return _advance(moment, limit)
    except isolating.DATABASE_ERRORS:
        raise
    except Exception:
        logger.exception("A batch can't be handled; its flows are taken one at a time")
        return isolating.one_by_one(_advance, moment, limit, RETRY_AFTER)


def _advance(
    now: datetime, limit: int, versions: Sequence[int] | None = None, only: Sequence[int] | None = None
) -> int:
    batch = _Batch(now)
    with transaction.atomic():
        taken = claiming.claim(now, limit, versions, only)
        moving = taken
        while moving:
            moving = batch.take_step(moving)
        if taken:
            records.write_runs(taken, now)
            records.write_decisions(batch.decisions)
            records.log_ends(taken, now)
            assigning.branches(batch.divided, now)
    batch.troubles.report()
    return len(taken)


class _Batch:
    """What is decided about the runs of one batch before it is written."""

    def __init__(self, now: datetime):
        self.now = now
        self.decisions: list[DecisionRow] = []
        self.divided: list[assigning.Taken] = []
        self.troubles = Troubles()

    def take_step(self, moving: Sequence[Run]) -> list[Run]:
        """Let each run's present step decide; return the runs that may take another step right away."""
        groups: dict[tuple[int, str | None], list[Run]] = defaultdict(list)
        for run in moving:
            groups[run.version_id, run.step].append(run)
        return [run for key, group in groups.items() for run in self._of_group(*key, group)]

    def _of_group(self, version_id: int, key: str | None, group: list[Run]) -> list[Run]:
        try:
            linked = program.of_version(version_id)
            node = linked.nodes.get(key or "")
            group = self._without_exits(linked, group)
        except Exception as error:
            logger.exception("Version %d of flow %s can't be read or left", version_id, group[0].flow)
            self.troubles.failed(group[0], error)
            for run in group:
                self._hold(run)
            return []
        if node is None:
            return self._from_gate(linked, group)
        outcomes = self._ask(linked, node, group) if group else {}
        moving = []
        for run in group:
            if run.id not in outcomes:
                self._hold(run)
            elif self._take(run, outcomes[run.id], node):
                moving.append(run)
        return moving

    def _without_exits(self, linked: Program, group: list[Run]) -> list[Run]:
        """End the runs of those who meet the exit rule; return the others."""
        if linked.definition.exit_rule is None:
            return group
        new = [run for run in group if not run.cleared]
        with transaction.atomic():
            leaving = exits.by_rule(linked.definition, {run.profile_id for run in new}, self.now)
        for run in new:
            if run.profile_id in leaving:
                self._decided(run, "exited", {"reason": exits.RULE})
                _end(run, "exited", exits.RULE)
            else:
                run.cleared = True
        return [run for run in group if run.cleared]

    def _from_gate(self, linked: Program, group: list[Run]) -> list[Run]:
        """Let those in who were held before the first step. Where nothing is to be done the run is over."""
        moving = []
        for run in group:
            if run.step or linked.first is None:
                _end(run, "completed", "")
            else:
                self._decided(run, "gate:go_on", {})
                run.step, run.step_state = linked.first, {}
                moving.append(run)
        return moving

    def _take(self, run: Run, outcome: Outcome, node: Node) -> bool:
        """Do what the step decided for one run; return whether it is at another step now."""
        if outcome.kind != "wait" or arrived(run.step_state):
            self._decided(run, f"{node.step.kind}:{outcome.kind}", outcome.facts)
        if node.step.kind == "random" and outcome.branch is not None:
            branch = node.step.branches[outcome.branch].name
            self.divided.append(assigning.Taken(run.flow_id, node.step.key, run.profile_id, branch))
        if outcome.context:
            run.context, run.told = {**run.context, **outcome.context}, True
        if outcome.kind == "wait" and outcome.until is not None:
            # Not before the next second: a step that names the past must not make the engine spin.
            run.due_at = max(outcome.until, self.now + timedelta(seconds=1))
            run.step_state = outcome.facts
            return False
        if outcome.kind == "leave":
            _end(run, "completed", outcome.facts.get("reason", ""))
            return False
        run.cleared = run.cleared and steps.registry[node.step.kind].pure
        run.step, run.step_state = after(node, outcome), {}
        if run.step is None:
            _end(run, "completed", "")
            return False
        return True

    def _hold(self, run: Run) -> None:
        """Keep a run where it is, with what its step had noted, because the step failed."""
        until = self.now + RETRY_AFTER
        if not run.step_state.get("error"):
            self._decided(run, "error", {"error": True, "until": until.isoformat()})
        run.due_at, run.step_state = until, {**run.step_state, "error": True}

    def _decided(self, run: Run, kind: str, facts: dict) -> None:
        self.decisions.append(
            DecisionRow(run.id, run.flow_id, run.profile_id, run.step or "", kind, facts, self.now)
        )

    def _ask(self, linked: Program, node: Node, group: list[Run]) -> dict[int, Outcome]:
        """Outcomes by run. When the step fails, halves are tried, so that one person does not hold up the others.

        A step that fails for everybody is found out soon, so that it costs the other flows no time.
        """
        outcomes: dict[int, Outcome] = {}
        parts, tries, ends = deque([group]), 0, time.monotonic() + ISOLATING_SECONDS
        failure: Exception | None = None
        while parts and (outcomes or tries < HOPELESS_TRIES):
            part = parts.popleft()
            tries += 1
            try:
                with transaction.atomic():
                    outcomes |= decide(node, _people(linked, part), self.now)
            except Exception as error:
                if failure is None:
                    failure = error
                    logger.exception("Step %s of flow %s failed", node.step.key, group[0].flow)
                if len(part) > 1 and tries < ISOLATING_TRIES and time.monotonic() < ends:
                    middle = len(part) // 2
                    parts += [part[:middle], part[middle:]]
        if failure is not None:
            self.troubles.failed(group[0], failure)
        elif group[0].failing:
            self.troubles.went_well(group[0])
        return outcomes


def _people(linked: Program, group: Sequence[Run]) -> list[Person]:
    priority, when_limited = linked.definition.priority, linked.definition.when_limited
    return [
        Person(
            run.id,
            run.profile_id,
            run.flow_id,
            run.entered_at,
            run.context,
            run.step_state,
            run.flow,
            priority,
            when_limited,
            run.was_due,
        )
        for run in group
    ]


def _end(run: Run, state: str, reason: str) -> None:
    run.state, run.reason, run.due_at = state, reason, None
