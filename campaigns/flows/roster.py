"""Who is or was inside a flow, to be looked through."""

from collections.abc import Iterable
from typing import Any

import msgspec
from django.db.models import Count, QuerySet

from campaigns.flows import comparing, moving, program
from campaigns.models import Enrollment, Flow, FlowVersion

HELD_OUT = "held_out"


class Wanted(msgspec.Struct):
    """Which runs to show; an empty value leaves the choice open.

    Args:
        state: one of Enrollment.State, or `HELD_OUT`.
        people: numbers of profiles; None: all.
    """

    step: str = ""
    state: str = Enrollment.State.ACTIVE
    version: int | None = None
    people: Iterable[int] | QuerySet[Any] | None = None


def runs(flow: Flow, wanted: Wanted) -> QuerySet[Enrollment]:
    """The runs that fit, those that move next first and of those that are over the latest first."""
    found = flow.enrollments.select_related("profile", "version").defer("context")
    if wanted.state == HELD_OUT:
        found = found.filter(holdout=True)
    elif wanted.state:
        found = found.filter(state=wanted.state, holdout=False)
    if wanted.step:
        found = found.filter(step=wanted.step)
    if wanted.version is not None:
        found = found.filter(version__number=wanted.version)
    if wanted.people is not None:
        found = found.filter(profile__in=wanted.people)
    if wanted.state == Enrollment.State.ACTIVE:
        return found.order_by("due_at", "pk")
    return found.order_by("-pk")


def counts(flow: Flow) -> dict[str, int]:
    """How many runs there are of each state, and held out, in one query."""
    found: dict[str, int] = {}
    for state, holdout, number in (
        flow.enrollments.values_list("state", "holdout").annotate(n=Count("pk")).order_by()
    ):
        key = HELD_OUT if holdout else state
        found[key] = found.get(key, 0) + number
    return found


def step_words(flow: Flow) -> dict[str, str]:
    """The steps of the draft and of versions with people inside, in words by key, in reading order."""
    definitions = [program.link(comparing.read(flow.draft))]
    inside = Enrollment.objects.filter(flow=flow, state=Enrollment.State.ACTIVE)
    for pk in inside.values_list("version_id", flat=True).distinct().order_by("-version_id"):
        definitions.append(moving.before(pk))
    words: dict[str, str] = {}
    for each in definitions:
        for step in comparing.in_order(each.definition):
            words.setdefault(step.key, comparing.words(step))
    return words


def versions(flow: Flow) -> list[int]:
    """The numbers of its versions, the latest first."""
    found = FlowVersion.objects.filter(flow=flow).order_by("-number")
    return list(found.values_list("number", flat=True)[:50])
