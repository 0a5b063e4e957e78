"""A flow over a stretch of the past, in memory: what would it have done, had it been live?

Whoever the trigger would have started is led through the steps in batches, each at its own time. Rules and steps see
the log as it stood at that moment (campaigns.flows.hindsight); what people are, what they agreed to and their
addresses are those of today, for there is no history of them. Nothing is written: not a row, not even by mistake.
"""

import itertools
import logging
from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from datetime import datetime, timedelta
from typing import Any

from django.db import transaction

from campaigns.flows import deciding, entries, exits, foresight, hindsight, program, shares, steps, triggers
from campaigns.flows.definition import Definition
from campaigns.flows.entries import held_out
from campaigns.flows.foresight import Ahead
from campaigns.flows.guards import NOT_ENTITLED
from campaigns.flows.simulated_counts import Example, Note, Result, Tally, different, told
from campaigns.flows.simulated_runs import Run, Timeline, begun, foresee, refusal
from campaigns.flows.simulated_sending import Letter, Post
from campaigns.flows.steps.base import Outcome, Person
from campaigns.flows.triggers import Start
from campaigns.segments import evaluate, grammar
from delivery import channels
from delivery.policies import Verdict, suppress

logger = logging.getLogger(__name__)

BATCH = 5_000
MOST_STARTS = 50_000  # about two minutes of work
SALT = "backtest"
FOLLOWED = 400  # runs whose way is kept, to choose examples from
A_MOMENT = timedelta(seconds=1)
LONGEST_PATIENCE = timedelta(hours=6)


class Simulation:
    """One definition over one stretch of time. `work` it until it is done, then read `result`.

    Args:
        slug: of the flow, by which shares of people are divided.
        since, until: the stretch; who would have started in it starts, and everything ends with it.
        slot: how far apart in time those may be who are decided about together. Zero: each at the exact moment.
        follow: keep everybody's way, not only that of some.
        most_starts: beyond it a stable share of people is looked at.
    """

    def __init__(
        self,
        flow_id: int,
        slug: str,
        definition: Definition,
        since: datetime,
        until: datetime,
        *,
        slot: timedelta = timedelta(0),
        follow: bool = False,
        most_starts: int = MOST_STARTS,
    ):
        self.flow_id, self.slug, self.definition = flow_id, slug, definition
        self.since, self.until, self.slot, self.follow = since, until, slot, follow
        self.program = program.link(definition)
        self.tally, self.post = Tally(since, until), Post(definition)
        self.now, self.share, self.most_starts = since, 100.0, most_starts
        self.runs: dict[int, list[Run]] = defaultdict(list)
        self._timeline = Timeline(until)
        self._numbers = itertools.count(1)
        self._followed_below = 100.0
        self._gathered = False

    @property
    def progress(self) -> float:
        """How far it is, from 0 to 1."""
        if self._gathered and not self._timeline:
            return 1.0
        return (self.now - self.since) / (self.until - self.since) if self._gathered else 0.0

    def run(self, between: Callable[[], bool] = lambda: True) -> bool:
        """Do all of it; `between` is asked after each batch, outside of any transaction, whether to go on.

        Returns whether it came to the end.
        """
        prepare(self.definition)
        with hindsight.looking_back():
            with hindsight.at(self.until):
                self.gather()
            while self._timeline:
                if not between():
                    return False
                self._turn()
        return True

    def gather(self) -> None:
        """Find out whom the trigger starts; beyond `most_starts` of a stable share of people only."""
        trigger = triggers.of(self.definition)
        if trigger is not None and self.program.first is not None:
            for start in trigger.kind.moments(trigger.config, self.since, self.until):
                if self._looked_at(start.profile_id):
                    self._timeline.push(start.at, start)
                    if len(self._timeline) > self.most_starts:
                        self.share /= 2
                        self._timeline.keep(self._looked_at)
        self.tally.result.starts = len(self._timeline)
        self.tally.result.share = self.share / 100
        self._followed_below = self.share * min(1.0, FOLLOWED / max(len(self._timeline), 1))
        self._gathered = True

    def result(self) -> Result:
        """The figures, once it is done."""
        for run in itertools.chain.from_iterable(self.runs.values()):
            if run.exit is not None and run.exit.at <= self.until and run.state == "active":
                self._exit(run, run.exit)
            if run.state == "active":
                self.tally.result.inside += 1
                if run.step:
                    self.tally.step(run.step).here += 1
        followed = [
            Example(
                run.profile_id,
                run.entered_at,
                run.state,
                run.reason,
                run.goal.at if run.goal else None,
                run.path,
            )
            for runs in self.runs.values()
            for run in runs
            if run.path is not None and not run.held_out
        ]
        self.tally.result.people = sum(any(not run.held_out for run in runs) for runs in self.runs.values())
        return self.tally.finish(different(followed))

    # --- Time ---------------------------------------------------------------------------------------------------

    def _turn(self) -> None:
        """Take those whose turn is next, of each person one thing only, and let them move as far as they go."""
        batch = self._timeline.take(self.slot, BATCH)
        if not batch:
            return
        self.now = now = batch[-1].due
        starts = [item.what for item in batch if isinstance(item.what, Start)]
        waiting = [item.what for item in batch if isinstance(item.what, Run)]
        letters = [item.what for item in batch if isinstance(item.what, Letter)]
        with hindsight.at(now):
            entered = self._enter(starts, now)
            self._advance([*entered, *waiting], now)
            self._deliver(letters, now)

    def _looked_at(self, profile_id: int) -> bool:
        return self.share >= 100 or shares.place(profile_id, SALT) < self.share

    # --- Entering -----------------------------------------------------------------------------------------------

    def _enter(self, starts: Sequence[Start], now: datetime) -> list[Run]:
        """Start the runs of those who may enter; each person has one start at most here. Returns who moves at once."""
        out = held_out(self.slug, self.definition, {start.profile_id for start in starts})
        runs = []
        for start in self._entitled(starts, now):
            run = begun(
                -next(self._numbers), self.definition, start, self.program.first, start.profile_id in out
            )
            if self.follow or shares.place(run.profile_id, SALT) < self._followed_below:
                run.path = []
                self._note(run, start.at, "", "held_out" if run.held_out else "entered", {})
            self.tally.enter(start.at, run.held_out)
            self.runs[run.profile_id].append(run)
            runs.append(run)
        self._foresee(runs, now)
        for run in runs:
            if run.goal is not None and run.held_out:
                self.tally.result.held_out_converted += 1
            elif run.goal is not None:
                self.tally.convert(run.goal.at, run.goal.value)
            if run.state == "active" and run.due_at > now:
                self._wait(run, run.due_at)
        return [run for run in runs if run.state == "active" and run.due_at <= now]

    def _entitled(self, starts: Sequence[Start], now: datetime) -> list[Start]:
        """Those who may enter, asked in the order of campaigns.flows.entries."""
        left = []
        for start in starts:
            reason = entries.outside(self.definition, start.at) or entries.too_late(start, start.at)
            if reason:
                self.tally.refuse(reason)
            else:
                left.append(start)
        if self.definition.entry is not None:
            allowed = self._holds(self.definition.entry, left, now)
            self.tally.refuse(entries.RULE, sum(start.profile_id not in allowed for start in left))
            left = [start for start in left if start.profile_id in allowed]
        free = []
        for start in left:
            runs = self.runs.get(start.profile_id, [])
            self._end_due(runs, start)
            if not self._moved(runs, start, now):
                reason = refusal(self.definition, runs, start)
                if reason:
                    self.tally.refuse(reason)
                else:
                    free.append(start)
        return free

    def _end_due(self, runs: Sequence[Run], start: Start) -> None:
        """End the runs whose exit event came before somebody starts anew."""
        for run in runs:
            ahead = run.exit
            # What ends a run starts no other: of one event, entering comes first.
            if run.state != "active" or ahead is None or ahead.event_id == start.event_id:
                continue
            if ahead.at <= start.at:
                self._exit(run, ahead)

    def _moved(self, runs: Sequence[Run], start: Start, now: datetime) -> bool:
        """Whether a run that waits at the gate waits for this start's date from now on."""
        key = entries.run_key(self.definition, start)
        if start.until is None or key is None:
            return False
        for run in runs:
            same = self.definition.key is None or run.run_key == key
            if run.state == "active" and run.step == entries.GATE and same:
                run.context, run.event_id, run.started_at = start.context, start.event_id, start.at
                self._foresee([run], now)
                self._note(run, now, "", "moved", {"until": start.until.isoformat()})
                self._wait(run, max(start.until, now))
                return True
        return False

    def _foresee(self, runs: Sequence[Run], now: datetime) -> None:
        if runs:
            hindsight.look(self.until)
            foresee(self.definition, runs, self.until)
            hindsight.look(now)

    # --- Moving -------------------------------------------------------------------------------------------------

    def _advance(self, runs: Iterable[Run], now: datetime) -> None:
        moving = []
        for run in runs:
            if run.state != "active":
                continue
            if run.exit is not None and run.exit.at <= run.due_at:
                self._exit(run, run.exit)
            else:
                moving.append(run)
        gone = exits.by_rule(self.definition, {run.profile_id for run in moving}, now)
        for run in moving:
            if run.profile_id in gone:
                self._end(run, now, "exited", exits.RULE)
        moving = [run for run in moving if run.state == "active"]
        for run in moving:
            if run.step == entries.GATE:
                self._note(run, now, entries.GATE, "gate:go_on", {})
                run.step = self.program.first
        while moving:
            groups: dict[str | None, list[Run]] = defaultdict(list)
            for run in moving:
                groups[run.step].append(run)
            moving = []
            for key, group in groups.items():
                moving += self._step(self.program.nodes[key or ""], group, now)

    def _step(self, node: program.Node, group: list[Run], now: datetime) -> list[Run]:
        """Let the step decide for everybody who is at it; return who moves on at once."""
        figures = self.tally.step(node.step.key)
        figures.reached += sum(deciding.arrived(run.step_state) for run in group)
        outcomes = self._ask(node, group, now)
        moving, held = [], []
        for run in group:
            outcome = outcomes.get(run.number)
            if outcome is None:
                continue  # the step fails: they stay there
            before = deciding.arrived(run.step_state)
            if outcome.kind != "wait" or before:
                self._note(run, now, node.step.key, f"{node.step.kind}:{outcome.kind}", outcome.facts)
            run.context = {**run.context, **outcome.context} if outcome.context else run.context
            self._queue(run, node, outcome, now)
            if outcome.kind == "wait" and outcome.until is not None:
                run.step_state = outcome.facts
                if before:
                    run.arrived_at = now
                run.due_at = max(outcome.until, now + self._patience(run, now))
                held.append(run)
            elif outcome.kind == "leave":
                figures.left += 1
                self._end(run, now, "completed", outcome.facts.get("reason", ""))
            else:
                if outcome.kind == "skipped":
                    figures.skipped += 1
                elif outcome.branch is not None:
                    self.tally.branch(node.step.key, node.step.branches[outcome.branch].name)
                run.step, run.step_state = deciding.after(node, outcome), {}
                if run.step is None:
                    self._end(run, now, "completed", "")
                else:
                    run.due_at = now
                    moving.append(run)
        self._hold(node, held, now)
        return moving

    def _ask(self, node: program.Node, group: list[Run], now: datetime) -> dict[int, Outcome]:
        people = [
            Person(
                run.number,
                run.profile_id,
                self.flow_id,
                run.entered_at,
                run.context,
                run.step_state,
                self.slug,
            )
            for run in group
        ]
        if not people:
            return {}
        try:
            with transaction.atomic():
                return deciding.decide(node, people, now, rehearse=True)
        except Exception as error:
            logger.warning("The step %s of %s can't be rehearsed", node.step.key, self.slug, exc_info=True)
            self.tally.step(node.step.key).failed = str(error)[:300] or type(error).__name__
            return {}

    def _hold(self, node: program.Node, runs: list[Run], now: datetime) -> None:
        """Have runs wait at a step, until their time or an event that wakes them."""
        if not runs:
            return
        names = steps.registry[node.step.kind].wakes(node.step)
        woken = {}
        if names:
            hindsight.look(self.until)
            woken = foresight.wakings(runs, names, {run.number: (now, run.due_at) for run in runs})
            hindsight.look(now)
        for run in runs:
            self._wait(run, min(run.due_at, woken.get(run.number, run.due_at)))

    def _patience(self, run: Run, now: datetime) -> timedelta:
        """How long to leave alone who is held: a step that looks again every few minutes is asked ever less often."""
        if not self.slot or run.arrived_at is None:
            return A_MOMENT
        return max(A_MOMENT, min((now - run.arrived_at) / 8, LONGEST_PATIENCE))

    def _wait(self, run: Run, until: datetime) -> None:
        run.due_at = until if run.exit is None else min(until, run.exit.at)
        self._timeline.push(run.due_at, run)

    def _exit(self, run: Run, ahead: Ahead) -> None:
        self._end(run, ahead.at, "exited", ahead.name)

    def _end(self, run: Run, at: datetime, state: str, reason: str) -> None:
        if state == "exited":
            self._note(run, at, run.step or "", "exited", {"reason": reason})
            if run.step:
                self.tally.step(run.step).left += 1
        run.state, run.reason = state, reason
        self.tally.end(state, reason)

    # --- Messages -----------------------------------------------------------------------------------------------

    def _queue(self, run: Run, node: program.Node, outcome: Outcome, now: datetime) -> None:
        """Put the message that a step queued on its way."""
        message, channel = outcome.facts.get("message"), outcome.facts.get("channel")
        if node.step.kind != "message" or not message or not channel:
            return
        letter = Letter(
            -next(self._numbers),
            run,
            run.profile_id,
            node.step.key,
            message,
            channel,
            now + self.post.lasts(message),
            now,
        )
        self.tally.channel(channel).queued += 1
        self.tally.channel(channel).waiting += 1
        self._timeline.push(now, letter)

    def _deliver(self, letters: Sequence[Letter], now: datetime) -> None:
        """Decide what becomes of messages whose turn it is."""
        verdicts = self.post.judge(letters, now, self._guarded(letters, now)) if letters else {}
        for letter in letters:
            verdict = verdicts.get(letter.number)
            if verdict is None:
                self.tally.channel(letter.channel).waiting -= 1
                self.tally.sent(letter.channel, now)
                self._note(
                    letter.run,
                    now,
                    letter.step,
                    "sent",
                    {"message": letter.message, "channel": letter.channel},
                )
            elif verdict.until is None:
                self._stop(letter, verdict.reason, now)
            else:
                self.tally.deferred(letter.channel, verdict.reason)
                letter.due_at = min(max(verdict.until, now + A_MOMENT), letter.expires_at)
                self._timeline.push(letter.due_at, letter)

    def _guarded(self, letters: Sequence[Letter], now: datetime) -> dict[int, Verdict]:
        """What the flow has against messages, as campaigns.flows.guards asks it; what counts most comes last."""
        people = {letter.profile_id for letter in letters}
        found: dict[int, Verdict] = {}
        if self.definition.recheck_entry and self.definition.entry is not None:
            still = self._holds(self.definition.entry, letters, now)
            found = {each.number: suppress(NOT_ENTITLED) for each in letters if each.profile_id not in still}
        gone = exits.by_rule(self.definition, people, now)
        found |= {each.number: suppress(f"exit: {exits.RULE}") for each in letters if each.profile_id in gone}
        for letter in letters:
            run: Run = letter.run
            if run.exit is not None and run.exit.at <= letter.due_at:
                found[letter.number] = suppress(f"exit: {run.exit.name}")
            elif run.state == "exited":
                found[letter.number] = suppress(f"exit: {run.reason}")
        return found

    def _stop(self, letter: Letter, reason: str, now: datetime) -> None:
        self.tally.channel(letter.channel).waiting -= 1
        self.tally.stopped(letter.channel, reason)
        facts = {"message": letter.message, "channel": letter.channel, "reason": reason}
        self._note(letter.run, now, letter.step, "stopped", facts)

    # --- Shared -------------------------------------------------------------------------------------------------

    def _holds(self, rule: dict[str, Any], whom: Sequence[Start | Run | Letter], now: datetime) -> set[int]:
        if not whom:
            return set()
        ids = sorted({each.profile_id for each in whom})
        return evaluate.matching(grammar.parse(rule), ids, now, live=True)

    def _note(self, run: Run, at: datetime, step: str, kind: str, facts: dict[str, Any]) -> None:
        if run.path is not None:
            run.path.append(Note(at, step, kind, told(facts)))


def prepare(definition: Definition) -> None:
    """Have everything made that is made when it is first needed, which can't be while nothing may be written."""
    for channel in channels.everything().values():
        channel.addresses([])
