"""The runs of a simulation: whose turn is next, what each is heading for, and who may begin one."""

import heapq
import itertools
from collections.abc import Callable, Iterator, Sequence
from datetime import datetime, timedelta
from typing import Any, NamedTuple
from uuid import UUID

import msgspec
from django.conf import settings

from campaigns.flows import entries, exits, foresight
from campaigns.flows.definition import Definition
from campaigns.flows.foresight import Ahead
from campaigns.flows.simulated_counts import Note
from campaigns.flows.simulated_sending import Letter
from campaigns.flows.triggers import Start


class Run(msgspec.Struct):
    """A simulated run. `number` is negative: no enrollment has it.

    `exit` is the event that will end it, with the reason that it then has; `goal` the one that reaches its goal.
    """

    number: int
    profile_id: int
    run_key: str
    event_id: UUID | None
    started_at: datetime
    entered_at: datetime
    context: dict[str, Any]
    step: str | None
    due_at: datetime
    arrived_at: datetime | None = None
    step_state: dict[str, Any] = {}
    state: str = "active"
    reason: str = ""
    held_out: bool = False
    exit: Ahead | None = None
    goal: Ahead | None = None
    path: list[Note] | None = None


class Item(NamedTuple):
    """What has its turn at a moment; `order` keeps those of one moment apart."""

    due: datetime
    order: int
    what: Start | Run | Letter


class Timeline:
    """What is still to come until a moment, and who is next."""

    def __init__(self, until: datetime):
        self.until = until
        self._heap: list[Item] = []
        self._order = itertools.count()

    def __len__(self) -> int:
        return len(self._heap)

    def push(self, due: datetime, what: Start | Run | Letter) -> None:
        """Give something its turn, unless the end comes before."""
        if due <= self.until:
            heapq.heappush(self._heap, Item(due, next(self._order), what))

    def keep(self, wanted: Callable[[int], bool]) -> None:
        """Drop what is of people whose profile id is not wanted."""
        self._heap = [item for item in self._heap if wanted(item.what.profile_id)]
        heapq.heapify(self._heap)

    def take(self, slot: timedelta, most: int) -> list[Item]:
        """What is next, up to `slot` later; of each person one thing only, so that nothing overtakes."""
        upto = self._heap[0].due + slot
        batch: list[Item] = []
        later: list[Item] = []
        people: set[int] = set()
        while self._heap and self._heap[0].due <= upto and len(batch) < most and len(later) < most:
            item = heapq.heappop(self._heap)
            if isinstance(item.what, Run) and (item.what.state != "active" or item.what.due_at != item.due):
                continue  # it has ended, or has another time, since
            if item.what.profile_id in people:
                later.append(item)
            else:
                people.add(item.what.profile_id)
                batch.append(item)
        for item in later:
            heapq.heappush(self._heap, item)
        return batch


def begun(number: int, definition: Definition, start: Start, first: str | None, held_out: bool) -> Run:
    """The run that a start begins, at its gate or its first step."""
    event = start.context.get("event", {})
    told_at = event.get("occurred_at") if isinstance(event, dict) else None
    return Run(
        number,
        start.profile_id,
        entries.run_key(definition, start) or "",
        start.event_id,
        datetime.fromisoformat(told_at) if told_at else start.at,
        start.at,
        start.context,
        entries.GATE if start.until is not None and start.until > start.at else first,
        max(start.until or start.at, start.at),
        held_out=held_out,
        state="completed" if held_out else "active",
        reason=entries.HELD_OUT if held_out else "",
    )


def refusal(definition: Definition, runs: Sequence[Run], start: Start) -> str:
    """Why a start begins no run beside those that the person has had; empty if it does. As entering.start decides."""
    key = entries.run_key(definition, start)
    if definition.key is None:
        if any(run.state == "active" for run in runs):
            return entries.INSIDE
        reentry = definition.reentry
        since = start.at - timedelta(days=reentry.days or 0)
        if reentry.mode == "after" and any(run.entered_at > since for run in runs):
            return entries.TOO_SOON
        if reentry.mode == "never" and runs:
            return entries.ONCE
    if key is None:
        return entries.NO_KEY
    if any(run.run_key == key for run in runs):
        return entries.ONCE
    lately = sum(run.entered_at > start.at - entries.AN_HOUR for run in runs)
    return entries.TOO_OFTEN if lately >= settings.NUDGE_FLOW_ENTRIES_PER_HOUR else ""


def foresee(definition: Definition, runs: Sequence[Run], until: datetime) -> None:
    """Find out which event ends each run, and which reaches its goal."""
    goal, key = definition.goal, definition.key

    def span(within: timedelta | None) -> dict[int, tuple[datetime, datetime]]:
        return {
            run.number: (run.started_at, until if within is None else min(run.entered_at + within, until))
            for run in runs
        }

    def ends() -> Iterator[dict[int, Ahead]]:
        for ender in exits.enders(definition):
            trigger = ender.trigger
            found = foresight.first(runs, trigger.name, trigger.where, span(ender.within), key=key)
            yield {
                number: msgspec.structs.replace(ahead, name=ender.reason) for number, ahead in found.items()
            }

    ending = foresight.earliest(*ends())
    reached = {}
    if goal is not None:
        between = span(timedelta(days=goal.within_days))
        reached = foresight.first(runs, goal.name, goal.where, between, key=key, value=goal.value)
    for run in runs:
        run.exit, run.goal = ending.get(run.number), reached.get(run.number)
