"""A draft made ready to draw: cards in sequences, with what is wrong and how many people are where."""

import msgspec
from django.utils.translation import gettext as _

from campaigns.admin.flows.words import TRIGGER_PARTS, notes, rule_sentence
from campaigns.flows import people, steps, triggers
from campaigns.flows.definition import Branch, Definition, DefinitionError, Step, check, parse, walk
from campaigns.models import Flow
from crm.rules.errors import Problem


class Card(msgspec.Struct):
    """One step as drawn. `unreachable`: the steps before it take everybody out of the flow."""

    key: str
    kind: str
    label: str
    icon: str
    summary: str
    index: int
    place: str
    problems: list[str]
    reached: int
    here: int
    ends: bool = False
    unreachable: bool = False
    movable_up: bool = False
    movable_down: bool = False
    left: int = 0
    note: str = ""
    condition: str = ""
    size: int = 1
    branches: "list[BranchView]" = []

    @property
    def inside(self) -> int:
        """How many steps its branches hold."""
        return self.size - 1


class BranchView(msgspec.Struct):
    """One way out of a split; `rule` in words, empty for “everybody else”; `percent`: its share of a random split.

    `taken`: how many took it, which is `share` percent of all who took any.
    """

    name: str
    rule: str
    taken: int
    sequence: "Sequence"
    percent: str = ""
    share: int | None = None
    tone: int = 0
    join: "Join | None" = None


class Join(msgspec.Struct):
    """The part below one branch of the line that brings the branches of a split together again.

    `start` and `end`: how much of the branch's width it leaves free there, in percent. `corner`: the side on
    which the branch's own line bends into it; `tick`: the branch's own line comes straight down.
    """

    start: int
    end: int
    corner: str = ""
    tick: bool = False


class Sequence(msgspec.Struct):
    """Cards in order. `place` names the sequence as `editing.insert` does; `open_end`: a step may be added last."""

    place: str
    cards: list[Card]
    ends: bool

    @property
    def open_end(self) -> bool:
        return not self.ends


class Tree(msgspec.Struct):
    """The whole drawing, with all problems: those of cards, of the trigger and of the flow itself."""

    definition: Definition
    trunk: Sequence
    trigger: str
    trigger_icon: str
    trigger_notes: list[str]
    trigger_problems: list[str]
    problems: list[Problem]
    totals: people.Totals
    counts: dict[str, people.StepCount]

    @property
    def unreachable(self) -> list[Card]:
        """Cards that nobody gets to."""

        def search(sequence: Sequence):
            for card in sequence.cards:
                if card.unreachable:
                    yield card
                for branch in card.branches:
                    yield from search(branch.sequence)

        return list(search(self.trunk))

    @property
    def by_step(self) -> list[tuple[str, str, str]]:
        """Each problem as (target, what it is about, sentence); the target is a step key or “trigger”."""
        labels = {
            step.key: f"{steps.registry[step.kind].label}: {steps.registry[step.kind].summary(step)}"
            for step, _depth in walk(self.definition.steps)
            if step.kind in steps.registry
        }
        rows = []
        for path, message in self.problems:
            key = _key_of(path)
            if key in labels:
                rows.append((key, labels[key], message))
            else:
                rows.append(("trigger" if key in TRIGGER_PARTS else "", _("The flow"), message))
        return rows


def build(flow: Flow) -> Tree:
    """Draw the draft of `flow`. The number of queries does not depend on the number of people."""
    definition, problems = _read(flow)
    counts = people.step_counts(flow)
    found: dict[str, list[str]] = {}
    for path, message in problems:
        found.setdefault(_key_of(path), []).append(message)
    return Tree(
        definition=definition,
        trunk=_sequence(definition.steps, "", counts, found, False),
        trigger=trigger_words(definition),
        trigger_icon=trigger_icon(definition),
        trigger_notes=notes(definition),
        trigger_problems=[text for part in TRIGGER_PARTS for text in found.get(part, [])],
        problems=problems,
        totals=people.totals(flow),
        counts=counts,
    )


def _read(flow: Flow) -> tuple[Definition, list[Problem]]:
    try:
        definition = parse(flow.draft or {})
    except DefinitionError as error:
        return Definition(), error.problems
    return definition, check(definition)


def _key_of(path: str) -> str:
    return path.partition(".")[0].partition("[")[0]


def _sequence(
    sequence: list[Step],
    place: str,
    counts: dict[str, people.StepCount],
    found: dict[str, list[str]],
    closed: bool,
) -> Sequence:
    cards = []
    for index, step in enumerate(sequence):
        card = _card(step, place, index, counts, found)
        card.unreachable, card.movable_up, card.movable_down = closed, index > 0, index < len(sequence) - 1
        card.branches = [
            _branch(step, number, branch, counts, found, closed)
            for number, branch in enumerate(step.branches)
        ]
        card.size = 1 + sum(1 for branch in step.branches for _step in walk(branch.steps))
        _join(card.branches)
        kind = steps.registry.get(step.kind)
        by_rule = kind is None or kind.branches_by == "rule"
        rest = bool(step.branches) and (not by_rule or any(branch.rule is None for branch in step.branches))
        card.ends = bool(kind and kind.ends) or (
            rest and all(branch.sequence.ends for branch in card.branches)
        )
        closed = closed or card.ends
        cards.append(card)
    return Sequence(place, cards, any(card.ends for card in cards))


def _branch(
    step: Step,
    number: int,
    branch: Branch,
    counts: dict[str, people.StepCount],
    found: dict[str, list[str]],
    closed: bool,
) -> BranchView:
    kind, taken = steps.registry.get(step.kind), counts.get(step.key, people.StepCount()).branches
    by_rule, all_taken = kind is None or kind.branches_by == "rule", sum(taken.values())
    mine = taken.get(branch.name, 0)
    return BranchView(
        branch.name,
        rule_words(branch) if by_rule else "",
        mine,
        _sequence(branch.steps, f"{step.key}:{number}", counts, found, closed),
        f"{branch.percent or 0:g}" if kind and kind.branches_by == "percent" else "",
        round(100 * mine / all_taken) if all_taken else None,
        number % 4 if branch.rule is not None or not by_rule else 4,
    )


def _join(branches: list[BranchView]) -> None:
    """Reach from every branch that goes on to the middle, where the flow does; all branches are equally wide."""
    middle = len(branches) / 2
    centres = [number + 0.5 for number, branch in enumerate(branches) if not branch.sequence.ends]
    low, high = min([middle, *centres]), max([middle, *centres])
    for number, branch in enumerate(branches):
        start, end = max(low, number), min(high, number + 1)
        centre, goes_on = number + 0.5, not branch.sequence.ends
        alone = goes_on and low == high  # the only one that goes on is in the middle: no line, only its own
        if start < end or alone:
            branch.join = Join(round((start - number) * 100), round((number + 1 - end) * 100))
            if goes_on and centre != middle and centre in (low, high):
                branch.join.corner = "start" if centre == low else "end"
            else:
                branch.join.tick = goes_on


def _card(step: Step, place: str, index: int, counts, found) -> Card:
    kind = steps.registry.get(step.kind)
    count = counts.get(step.key, people.StepCount())
    return Card(
        key=step.key,
        kind=step.kind,
        label=str(kind.label) if kind else step.kind,
        icon=kind.icon if kind else "help",
        summary=str(kind.summary(step)) if kind else _("This kind of step is not installed."),
        index=index,
        place=place,
        problems=found.get(step.key, []),
        reached=count.reached,
        here=count.here,
        left=count.left,
        note=step.note,
        condition="" if step.condition is None else rule_sentence(step.condition),
    )


def rule_words(branch: Branch) -> str:
    """The rule of a branch as a sentence; empty for everybody else."""
    return "" if branch.rule is None else rule_sentence(branch.rule)


def trigger_words(definition: Definition) -> str:
    """What starts the flow, in words; empty while nothing does."""
    return triggers.summary(definition)


def trigger_icon(definition: Definition) -> str:
    """The icon of what starts the flow."""
    kind = triggers.registry.get(str((definition.trigger or {}).get("kind", triggers.PLAIN)))
    return kind.icon if kind else "bolt"
