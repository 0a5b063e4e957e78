"""What one step decides for people who are at it, whoever asks: the engine, a dry run or a test walk."""

from collections.abc import Sequence
from datetime import datetime

import msgspec

from campaigns.flows import steps
from campaigns.flows.program import Node
from campaigns.flows.steps.base import Outcome, Person, skip
from campaigns.segments import evaluate, grammar

NOT_MET = "condition not met"


def decide(node: Node, people: Sequence[Person], now: datetime, rehearse: bool = False) -> dict[int, Outcome]:
    """Let the step at `node` decide for everybody in `people`, by enrollment id.

    Who does not meet the step's condition on arrival skips it; whom the step holds already is not asked again.

    Args:
        rehearse: change nothing, only tell what would be decided.

    Raises:
        Exception: the step can't handle somebody, left somebody out, or named a branch that is not there.
    """
    skipped = _skipped(node, people, now)
    asked = [person for person in people if person.enrollment_id not in skipped] if skipped else people
    answers = skipped
    if asked:
        kind = steps.registry[node.step.kind]
        outcomes = (kind.rehearse if rehearse else kind.run)(node.step, asked, now)
        answers |= {person.enrollment_id: outcomes[person.enrollment_id] for person in asked}
    for outcome in answers.values():
        if outcome.branch is not None:
            node.branches[outcome.branch]
    # Found out here, where it costs this step's people only.
    msgspec.json.encode([(outcome.facts, outcome.context) for outcome in answers.values()])
    return answers


def after(node: Node, outcome: Outcome) -> str | None:
    """The key of the step that follows a decision to go on; None: the flow is over."""
    return node.next if outcome.branch is None else node.branches[outcome.branch]


def arrived(state: dict) -> bool:
    """Whether a run with this state has just come to its step: the step has not held it yet."""
    return not state or state.keys() == {"error"}


def _skipped(node: Node, people: Sequence[Person], now: datetime) -> dict[int, Outcome]:
    condition = node.step.condition
    if condition is None:
        return {}
    new = [person for person in people if arrived(person.state)]
    if not new:
        return {}
    met = evaluate.matching(
        grammar.parse(condition), sorted({person.profile_id for person in new}), now, live=True
    )
    return {person.enrollment_id: skip(NOT_MET) for person in new if person.profile_id not in met}
