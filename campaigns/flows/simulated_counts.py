"""What came of a simulated flow, in figures and in the ways of a few people."""

from collections import Counter, defaultdict
from collections.abc import Iterable
from datetime import datetime
from typing import Any

import msgspec
from django.utils import timezone

EXAMPLES = 12
TOLD = (  # facts that name nobody
    *("branch_name", "until", "waited_until", "message", "channel", "because", "by", "reason"),
    *("timeout", "event", "occurred_at", "holds", "asked_at", "timed_out_at"),
)


class Note(msgspec.Struct, frozen=True):
    """One thing that a simulated flow decided about a run."""

    at: datetime
    step: str
    kind: str
    facts: dict[str, Any] = {}


class StepFigures(msgspec.Struct):
    """Runs by what became of them at one step; `here` are those that are still at it in the end.

    `left` are runs that ended at the step early, `failed` tells why the step could not decide, if so.
    """

    reached: int = 0
    skipped: int = 0
    left: int = 0
    here: int = 0
    branches: dict[str, int] = {}
    failed: str = ""


class Channel(msgspec.Struct):
    """Messages by what would have become of them: queued = sent + waiting + all that were stopped.

    `deferred` counts by reason how often one had to wait.
    """

    queued: int = 0
    sent: int = 0
    waiting: int = 0
    stopped: dict[str, int] = {}
    deferred: dict[str, int] = {}


class Day(msgspec.Struct):
    """One day of the account's calendar."""

    entered: int = 0
    sent: int = 0
    converted: int = 0


class Example(msgspec.Struct):
    """One run, as it would have gone."""

    profile_id: int
    entered_at: datetime
    state: str
    reason: str
    converted_at: datetime | None
    path: list[Note]


class Result(msgspec.Struct):
    """A simulation's figures, of the people who were looked at: `share` (0 to 1) of all whom the trigger would start.

    entered = completed + exited + inside, and held out people come on top of it.
    """

    since: datetime
    until: datetime
    share: float = 1.0
    starts: int = 0
    entered: int = 0
    people: int = 0
    held_out: int = 0
    refused: dict[str, int] = {}
    completed: int = 0
    exited: int = 0
    inside: int = 0
    reasons: dict[str, int] = {}
    steps: dict[str, StepFigures] = {}
    channels: dict[str, Channel] = {}
    converted: int = 0
    converted_people: int = 0
    value: float = 0.0
    held_out_converted: int = 0
    days: dict[str, Day] = {}
    examples: list[Example] = []


class Tally:
    """Counts as a simulation goes."""

    def __init__(self, since: datetime, until: datetime):
        self.result = Result(since, until)
        self._refused: Counter[str] = Counter()
        self._branches: dict[str, Counter[str]] = defaultdict(Counter)
        self._stopped: dict[str, Counter[str]] = defaultdict(Counter)
        self._deferred: dict[str, Counter[str]] = defaultdict(Counter)
        self._reasons: Counter[str] = Counter()

    def refuse(self, reason: str, number: int = 1) -> None:
        """So many may not enter."""
        self._refused[reason] += number

    def enter(self, at: datetime, held_out: bool) -> None:
        """One run begins."""
        if held_out:
            self.result.held_out += 1
        else:
            self.result.entered += 1
            self._day(at).entered += 1

    def step(self, key: str) -> StepFigures:
        """The figures of a step, to be added to."""
        return self.result.steps.setdefault(key, StepFigures())

    def branch(self, key: str, name: str) -> None:
        """One run takes a branch."""
        self._branches[key][name] += 1

    def end(self, state: str, reason: str) -> None:
        """One run ends."""
        if state == "completed":
            self.result.completed += 1
        else:
            self.result.exited += 1
        if reason:
            self._reasons[reason] += 1

    def channel(self, kind: str) -> Channel:
        """The figures of a channel, to be added to."""
        return self.result.channels.setdefault(kind, Channel())

    def sent(self, kind: str, at: datetime) -> None:
        """One message goes out."""
        self.channel(kind).sent += 1
        self._day(at).sent += 1

    def stopped(self, kind: str, reason: str) -> None:
        """One message does not go out, ever."""
        self._stopped[kind][reason] += 1

    def deferred(self, kind: str, reason: str) -> None:
        """One message has to wait."""
        self._deferred[kind][reason] += 1

    def convert(self, at: datetime, value: Any) -> None:
        """One run reaches the goal."""
        self.result.converted += 1
        self._day(at).converted += 1
        if isinstance(value, int | float) and not isinstance(value, bool):
            self.result.value += value

    def finish(self, examples: list[Example]) -> Result:
        """All figures together."""
        result = self.result
        result.refused, result.reasons = dict(self._refused.most_common()), dict(self._reasons.most_common())
        for key, counted in self._branches.items():
            self.step(key).branches = dict(counted)
        for kind, counted in self._stopped.items():
            self.channel(kind).stopped = dict(counted.most_common())
        for kind, counted in self._deferred.items():
            self.channel(kind).deferred = dict(counted.most_common())
        result.examples = examples
        return result

    def _day(self, at: datetime) -> Day:
        return self.result.days.setdefault(timezone.localtime(at).date().isoformat(), Day())


def different(examples: Iterable[Example], most: int = EXAMPLES) -> list[Example]:
    """A few runs that went as differently as possible: one of each way first, those with the longest way before."""
    ways: dict[tuple[Any, ...], list[Example]] = defaultdict(list)
    for example in sorted(examples, key=lambda each: (-len(each.path), each.entered_at)):
        way = (example.state, example.reason, bool(example.converted_at))
        ways[*way, tuple((note.step, note.kind) for note in example.path)].append(example)
    chosen: list[Example] = []
    while ways and len(chosen) < most:
        for way in list(ways):
            chosen.append(ways[way].pop(0))
            if not ways[way]:
                del ways[way]
    return chosen[:most]


def told(facts: dict[str, Any]) -> dict[str, Any]:
    """Of a step's facts those that may be kept: short words, and nothing about a person."""
    kept = {name: facts[name] for name in TOLD if facts.get(name) not in (None, "")}
    return {name: value if isinstance(value, bool) else str(value)[:200] for name, value in kept.items()}
