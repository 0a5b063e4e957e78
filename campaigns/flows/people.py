"""How many people are where in a flow, and what a flow decided about one of them."""

import msgspec
from django.db.models import Count, Q

from campaigns.flows import steps
from campaigns.models import Decision, Enrollment, Flow


class Totals(msgspec.Struct):
    """entered = inside + completed + exited, at any instant."""

    entered: int
    inside: int
    completed: int
    exited: int


class StepCount(msgspec.Struct):
    """`reached`: runs that ever came to the step; `here`: runs that are at it now; `left`: runs that ended there."""

    reached: int = 0
    here: int = 0
    left: int = 0
    branches: dict[str, int] = {}


def totals(flow: Flow) -> Totals:
    """Count the runs of all versions of `flow`."""
    states = dict(flow.enrollments.values_list("state").annotate(n=Count("pk")).order_by())
    active, completed, exited = (states.get(state, 0) for state in Enrollment.State.values)
    return Totals(active + completed + exited, active, completed, exited)


def reached(flow: Flow) -> dict[str, int]:
    """By step key, how many runs ever came to it, in one query."""
    decided = (
        Decision.objects.filter(flow=flow, enrollment__isnull=False).exclude(step="").exclude(kind="exited")
    )
    return dict(decided.values_list("step").annotate(n=Count("enrollment_id", distinct=True)).order_by())


def step_counts(flow: Flow) -> dict[str, StepCount]:
    """Counts by step key, in three queries whatever the size of the flow."""
    counts: dict[str, StepCount] = {}
    for step, number in reached(flow).items():
        counts.setdefault(step, StepCount()).reached = number
    places = (
        flow.enrollments.filter(state__in=(Enrollment.State.ACTIVE, Enrollment.State.EXITED))
        .exclude(step="")
        .values_list("state", "step")
        .annotate(n=Count("pk"))
        .order_by()
    )
    for state, step, number in places:
        count = counts.setdefault(step, StepCount())
        if state == Enrollment.State.ACTIVE:
            count.here = number
        else:
            count.left = number
    splits = [f"{kind.kind}:go_on" for kind in steps.registry.values() if kind.branching]
    taken = (
        Decision.objects.filter(flow=flow, kind__in=splits)
        .values_list("step", "detail__branch_name")
        .annotate(n=Count("pk"))
        .order_by()
    )
    for step, branch, number in taken:
        counts.setdefault(step, StepCount()).branches[branch or ""] = number
    return counts


def decisions_of(profile_id: int, flow: Flow | None = None, limit: int = 200) -> list[Decision]:
    """What flows decided about one person, the latest first."""
    wanted = Q(profile_id=profile_id) & (Q(flow=flow) if flow else Q())
    return list(Decision.objects.filter(wanted).select_related("flow").order_by("-at", "-pk")[:limit])
