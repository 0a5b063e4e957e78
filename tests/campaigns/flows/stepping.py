"""Asking one step about some people, without a flow around it."""

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

from campaigns.flows import steps
from campaigns.flows.definition import Branch, Step
from campaigns.flows.steps.base import Outcome, Person

MINUTE = timedelta(minutes=1)


def step_of(kind: str, config: dict[str, Any], branches: Sequence[str] = (), key: str = "s") -> Step:
    """A step of this kind; its branches are empty."""
    return Step(key=key, kind=kind, config=config, branches=[Branch(name=name) for name in branches])


def run_of(profile_id: int, number: int | None = None, **parts: Any) -> Person:
    """A run of this person that has just arrived; `number` is the enrollment's."""
    found = {
        "flow_id": 1,
        "entered_at": datetime(2026, 1, 1, tzinfo=UTC),
        "context": {},
        "state": {},
        **parts,
    }
    return Person(enrollment_id=number or profile_id, profile_id=profile_id, **found)


def ask(step: Step, people: Sequence[Person], now: datetime, rehearse: bool = False) -> dict[int, Outcome]:
    """What the step decides, by enrollment."""
    kind = steps.registry[step.kind]
    assert kind.problems(step) == []
    return dict((kind.rehearse if rehearse else kind.run)(step, people, now))


def held(person: Person, outcome: Outcome) -> Person:
    """The run as the engine hands it to the step again: with what the outcome left."""
    assert outcome.kind == "wait"
    return Person(
        **{name: getattr(person, name) for name in person.__struct_fields__} | {"state": outcome.facts}
    )


def first_minute(wall: datetime, zone: ZoneInfo) -> datetime:
    """The first minute at which the clocks of a zone show this time or a later one, found by looking at each."""
    at = wall.replace(tzinfo=UTC) - timedelta(hours=15)
    assert at.astimezone(zone).replace(tzinfo=None) < wall
    step = timedelta(hours=1)
    while at.astimezone(zone).replace(tzinfo=None) + step <= wall:
        at += MINUTE if _jumps(at, step, zone) else step
    while at.astimezone(zone).replace(tzinfo=None) < wall:
        at += MINUTE
    return at


def _jumps(at: datetime, step: timedelta, zone: ZoneInfo) -> bool:
    return at.astimezone(zone).utcoffset() != (at + step).astimezone(zone).utcoffset()
