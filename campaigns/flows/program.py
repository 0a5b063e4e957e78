"""A published definition made ready to run: where each step leads."""

from functools import lru_cache

import msgspec

from campaigns.flows.definition import Definition, Step, parse
from campaigns.models import FlowVersion


class Node(msgspec.Struct):
    """A step, the key of the one after it (None: the flow is over) and of the first one in each branch."""

    step: Step
    next: str | None
    branches: list[str | None]


class Program(msgspec.Struct):
    """All nodes by step key; `first` is where people start."""

    definition: Definition
    first: str | None
    nodes: dict[str, Node]


def link(definition: Definition) -> Program:
    """Link the steps of `definition`; the last step of a branch leads to what follows its split."""
    nodes: dict[str, Node] = {}

    def chain(steps: list[Step], after: str | None) -> str | None:
        following = after
        for step in reversed(steps):
            nodes[step.key] = Node(
                step, following, [chain(branch.steps, following) for branch in step.branches]
            )
            following = step.key
        return following

    return Program(definition, chain(definition.steps, None), nodes)


@lru_cache(maxsize=5000)  # of all that somebody is inside, or each look at the log reads them again
def of_version(version_id: int) -> Program:
    """The program of a published version, which never changes."""
    return link(parse(FlowVersion.objects.values_list("definition", flat=True).get(pk=version_id)))
