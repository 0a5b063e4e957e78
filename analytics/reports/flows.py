"""How people get through a flow."""

import msgspec

from analytics.reports import messages
from campaigns.flows import definition, people
from campaigns.flows.steps import registry
from campaigns.models import Flow


class StepLine(msgspec.Struct):
    """One step of the funnel. `share` is of those who entered; `message` the figures of a message step."""

    key: str
    kind: str
    label: str
    summary: str
    depth: int
    reached: int
    here: int
    share: float | None
    branches: dict[str, int] = {}
    message: messages.Figures | None = None


class Funnel(msgspec.Struct):
    """A flow's people, by step of its live version (of its draft while it was never published)."""

    totals: people.Totals
    steps: list[StepLine]


def funnel(flow: Flow) -> Funnel:
    """Count who entered, where they are and what each message did."""
    data = flow.live_version.definition if flow.live_version else flow.draft
    totals, counts = people.totals(flow), people.step_counts(flow)
    lines = []
    for step, depth in definition.walk(definition.parse(data).steps):
        kind = registry[step.kind]
        count = counts.get(step.key, people.StepCount())
        lines.append(
            StepLine(
                key=step.key,
                kind=step.kind,
                label=str(kind.label),
                summary=str(kind.summary(step)),
                depth=depth,
                reached=count.reached,
                here=count.here,
                share=count.reached / totals.entered if totals.entered else None,
                branches=count.branches,
                message=messages.step_report(flow.pk, step.key) if step.kind == "message" else None,
            )
        )
    return Funnel(totals, lines)
