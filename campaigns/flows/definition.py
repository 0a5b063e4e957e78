"""What a flow is: its trigger, its rules and its tree of steps.

A sequence is a list of steps. A split holds named branches, each a sequence; what follows the split in its
own sequence is where the branches rejoin. Steps have stable keys, so that people keep their place.
"""

import re
from collections.abc import Iterator
from typing import Any, Literal

import msgspec
from django.utils.translation import gettext as _

from campaigns.flows import settings_check, triggers
from campaigns.flows import steps as kinds
from crm.rules import shapes
from crm.rules.errors import Problem, join

MAX_STEPS = 200
MAX_DEPTH = 5
GOAL_WITHIN = 7  # days
_KEY = re.compile(r"[\w.-]{1,100}")  # part of an index; the empty one means the place before the first step


class EventTrigger(msgspec.Struct, forbid_unknown_fields=True, omit_defaults=True):
    """An event by name, narrowed by its properties as in a segment's event condition."""

    name: str
    kind: Literal["event"] = "event"
    where: list[dict[str, Any]] = []


class Reentry(msgspec.Struct, forbid_unknown_fields=True, omit_defaults=True):
    """Whether somebody may run through again: never, always (once out), or `days` after the last entry."""

    mode: Literal["never", "always", "after"] = "never"
    days: int | None = None


class Goal(msgspec.Struct, forbid_unknown_fields=True, omit_defaults=True):
    """What the flow is for: an event within `within_days` after entering. `exit` ends the run when it comes.

    `value` is the property (a path below the properties) that adds up to the revenue.
    """

    name: str
    where: list[dict[str, Any]] = []
    within_days: int = GOAL_WITHIN
    value: str = ""
    exit: bool = True


class Window(
    msgspec.Struct, forbid_unknown_fields=True, omit_defaults=True, rename={"start": "from", "end": "to"}
):
    """When messages may go out, by the clock on the person's wall: weekdays 1 (Monday) to 7, "HH:MM" from and to."""

    start: str = "09:00"
    end: str = "21:00"
    days: list[int] = msgspec.field(default_factory=lambda: list(range(1, 8)))


class Branch(msgspec.Struct, forbid_unknown_fields=True, omit_defaults=True):
    """One way out of a split; a branch without a rule takes everybody who is left.

    `percent` is the share of a random split that goes this way.
    """

    name: str
    steps: "list[Step]" = []
    rule: dict[str, Any] | None = None
    percent: float | None = None


class Step(msgspec.Struct, forbid_unknown_fields=True, omit_defaults=True):
    """One step; its `config` has the shape its kind asks for. Who does not meet `condition` skips this step only.

    `note` is for whoever reads the flow.
    """

    key: str
    kind: str
    config: dict[str, Any] = {}
    branches: list[Branch] = []
    condition: dict[str, Any] | None = None
    note: str = ""


class Definition(msgspec.Struct, forbid_unknown_fields=True, omit_defaults=True):
    """A whole flow, as stored, published, sent over the API and written to files.

    Args:
        trigger: what starts it: its `kind` and the settings of that kind, see campaigns.flows.triggers.
        key: an event property path ("properties.cart_id") whose value tells runs apart.
        entry: a segment rule that people must meet to enter and, with `recheck_entry`, before each message.
        exit_on: events that end a run early.
        exit_rule: a segment rule that ends the run of whoever meets it, before the next step or message.
        window: messages wait until they fit into it.
        when_limited: what becomes of a message that meets quiet hours or a cap: "defer" (until it fits, the higher
            priority first) or "skip".
        priority: 1 (first) to 5.
        holdout_percent: share of those who would enter that gets nothing, for comparison.
        starts_at, ends_at: ISO times with zone; nobody enters before or after.
    """

    trigger: dict[str, Any] | None = None
    key: str | None = None
    entry: dict[str, Any] | None = None
    recheck_entry: bool = False
    reentry: Reentry = msgspec.field(default_factory=Reentry)
    exit_on: list[EventTrigger] = []
    exit_rule: dict[str, Any] | None = None
    goal: Goal | None = None
    window: Window | None = None
    when_limited: Literal["defer", "skip"] = "defer"
    priority: int = 3
    holdout_percent: float = 0
    starts_at: str | None = None
    ends_at: str | None = None
    steps: list[Step] = []


class DefinitionError(ValueError):
    """A definition that can't be published; `problems` are (path, sentence) pairs, paths by step key."""

    def __init__(self, problems: list[Problem]):
        self.problems = problems
        super().__init__("; ".join(f"{path}: {message}" if path else message for path, message in problems))


def parse(data: dict) -> Definition:
    """Read a definition's shape; whether it can run is `check`'s business.

    Raises:
        DefinitionError: a part is missing, unknown or of the wrong type.
    """
    try:
        return msgspec.convert(data, Definition)
    except msgspec.ValidationError as error:
        raise DefinitionError([shapes.problem(error, "")]) from error
    except RecursionError as error:
        raise DefinitionError([Problem("steps", _("Splits are nested too deep."))]) from error


def walk(steps: list[Step], depth: int = 1) -> Iterator[tuple[Step, int]]:
    """Every step of a sequence with its depth, in reading order."""
    for step in steps:
        yield step, depth
        for branch in step.branches:
            yield from walk(branch.steps, depth + 1)


def check(definition: Definition) -> list[Problem]:
    """Everything that keeps the flow from being published, each with the place and what to do."""
    problems = [Problem(join("trigger", path), text) for path, text in triggers.problems(definition)]
    problems += settings_check.problems(definition)
    if not definition.steps:
        problems.append(Problem("steps", _("Add at least one step.")))
    return problems + _step_problems(definition)


def _step_problems(definition: Definition) -> list[Problem]:
    problems, seen = [], set()
    for step, depth in walk(definition.steps):
        if not _KEY.fullmatch(step.key):
            problems.append(
                Problem("steps", _("“%s” is no key of a step: use letters, digits, _ and -.") % step.key[:40])
            )
        if step.key in seen:
            problems.append(Problem(step.key, _("Two steps have this key.")))
        seen.add(step.key)
        if depth > MAX_DEPTH:
            problems.append(Problem(step.key, _("Splits are nested too deep.")))
        if step.condition is not None:
            problems += settings_check.rule_problems(step.condition, f"{step.key}.condition")
        kind = kinds.registry.get(step.kind)
        if kind is None:
            problems.append(Problem(step.key, _("There is no step called “%s”.") % step.kind[:40]))
            continue
        problems += [
            Problem(f"{step.key}.{path}" if path else step.key, text) for path, text in kind.problems(step)
        ]
    if len(seen) > MAX_STEPS:
        problems.append(Problem("steps", _("A flow has at most %d steps.") % MAX_STEPS))
    return problems
