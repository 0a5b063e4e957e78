"""How people get through a flow."""

import msgspec
from django.utils.translation import gettext_lazy as _

from analytics.reports import messages
from campaigns.flows import definition, people
from campaigns.flows.steps import registry
from campaigns.models import Flow

DEFINITIONS = {
    "entered": _("Runs through the flow, in all its versions: inside + completed + left early."),
    "inside": _("Runs that are at one of the steps now."),
    "completed": _("Runs that came to the end of the flow, or to an exit step."),
    "exited": _("Runs that ended before: an exit event happened, or the flow was stopped."),
    "reached": _("Runs that ever came to this step."),
    "here": _("Runs that are at this step now."),
    "share": _("Reached ÷ entered."),
    "elsewhere": _("Runs that are at a step of an earlier version, which the flow no longer has."),
}


class StepLine(msgspec.Struct):
    """One step of the funnel. `share` is of those who entered; `message` the figures of a message step."""

    key: str
    kind: str
    icon: str
    label: str
    summary: str
    depth: int
    reached: int
    here: int
    share: float | None
    branches: dict[str, int] = {}
    message: messages.Figures | None = None


class Funnel(msgspec.Struct):
    """A flow's people, by step of its live version (of its draft while it was never published).

    inside = the sum of the steps' `here` + `elsewhere`.
    """

    totals: people.Totals
    steps: list[StepLine]
    elsewhere: int = 0


def funnel(flow: Flow) -> Funnel:
    """Count who entered, where they are and what each message did; a draft that can't be read has no steps."""
    totals, counts = people.totals(flow), people.step_counts(flow)
    sent = messages.by_step(flow.pk)
    try:
        steps = definition.parse(flow.live_version.definition if flow.live_version else flow.draft).steps
    except definition.DefinitionError:
        steps = []
    lines = []
    for step, depth in definition.walk(steps):
        kind = registry.get(step.kind)
        if kind is None:
            continue
        count = counts.get(step.key, people.StepCount())
        lines.append(
            StepLine(
                key=step.key,
                kind=step.kind,
                icon=kind.icon,
                label=str(kind.label),
                summary=str(kind.summary(step)),
                depth=depth,
                reached=count.reached,
                here=count.here,
                share=count.reached / totals.entered if totals.entered else None,
                branches={branch.name: count.branches.get(branch.name, 0) for branch in step.branches},
                message=sent.get(step.key, messages.Figures()) if step.kind == "message" else None,
            )
        )
    # The counts were taken one after the other while the flow goes on.
    return Funnel(totals, lines, max(0, totals.inside - sum(line.here for line in lines)))
