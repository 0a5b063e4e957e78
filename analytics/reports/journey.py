"""Where one person is: the flows they are in and what comes next there, what waits to be sent, their segments."""

from collections.abc import Iterator, Sequence
from datetime import datetime
from typing import Any

import msgspec
from django.utils.translation import gettext as _

from campaigns.flows import steps
from campaigns.flows.definition import Definition, DefinitionError, Step, parse, walk
from campaigns.models import Enrollment, SegmentMembership
from campaigns.segments import telling
from delivery.models import Delivery, Message

RUNS = 20  # shown
ENDED = 5  # of runs that are over
WAITING = 10  # messages on their way


class Stop(msgspec.Struct):
    """One step in words."""

    icon: str
    title: str


class Run(msgspec.Struct):
    """One run through a flow. `here` and `next` are None where the flow's version can't tell."""

    flow_id: int
    flow: str
    state: str
    entered_at: datetime
    started_by: str
    here: Stop | None = None
    due_at: datetime | None = None
    next: Stop | None = None
    ended_at: datetime | None = None
    reason: str = ""


class Journey(msgspec.Struct):
    """`inside` and `ended` runs, the latest first; `waiting` deliveries with their messages, the next one first."""

    inside: list[Run]
    ended: list[Run]
    waiting: list[Delivery]


def journey(profile_id: int) -> Journey:
    """Where the person is in flows and what waits for them, in a fixed number of queries."""
    runs = Enrollment.objects.filter(profile_id=profile_id).select_related("flow")
    active = list(
        runs.filter(state=Enrollment.State.ACTIVE)
        .select_related("version")
        .order_by("-entered_at", "-pk")[:RUNS]
    )
    over = runs.exclude(state=Enrollment.State.ACTIVE).order_by("-ended_at", "-pk")[:ENDED]
    definitions = {run.version_id: _definition(run.version.definition) for run in active}
    messages = _message_names(definitions.values())
    waiting = Delivery.objects.filter(profile_id=profile_id, state__in=Delivery.WAITING)
    return Journey(
        [_inside(run, definitions[run.version_id], messages) for run in active],
        [_run(run) for run in over],
        list(waiting.select_related("message").order_by("due_at", "pk")[:WAITING]),
    )


def segments(profile_id: int) -> list[SegmentMembership]:
    """The segments the person is in, by name; none that would tell contact data to a reader who may see none."""
    found = SegmentMembership.objects.filter(profile_id=profile_id).select_related("segment")
    found = found.exclude(segment__slug__in=telling.hidden_slugs())
    return list(found.order_by("segment__name"))


def after(sequence: Sequence[Step], key: str) -> tuple[Step | None, Step | None]:
    """The step called `key` in a flow's steps, and the one that comes after it: at the end of a branch that is the
    one after the split. (None, None) if there is no such step; nothing comes after a step that ends the run.
    """
    for step, following in _with_next(sequence, None):
        if step.key == key:
            kind = steps.registry.get(step.kind)
            return step, None if kind is not None and kind.ends else following
    return None, None


def _with_next(sequence: Sequence[Step], rejoin: Step | None) -> Iterator[tuple[Step, Step | None]]:
    for place, step in enumerate(sequence):
        following = sequence[place + 1] if place + 1 < len(sequence) else rejoin
        yield step, following
        for branch in step.branches:
            yield from _with_next(branch.steps, following)


def _definition(data: dict[str, Any]) -> Definition | None:
    try:
        return parse(data)
    except DefinitionError:
        return None


def _message_names(definitions: Any) -> dict[str, str]:
    slugs = {
        str(step.config.get("message"))
        for definition in definitions
        if definition
        for step, _depth in walk(definition.steps)
        if step.kind == "message"
    }
    return dict(Message.objects.filter(slug__in=slugs).values_list("slug", "name")) if slugs else {}


def _inside(run: Enrollment, definition: Definition | None, messages: dict[str, str]) -> Run:
    shown = _run(run)
    here, following = after(definition.steps, run.step) if definition else (None, None)
    shown.due_at = run.due_at
    if here is not None:
        shown.here = _stop(here, messages)
        shown.next = _stop(following, messages) if following else Stop("flag", _("End of the flow"))
        if here.branches:
            shown.next = None  # the split decides
    return shown


def _run(run: Enrollment) -> Run:
    event = run.context.get("event")
    return Run(
        run.flow_id,
        run.flow.name,
        run.get_state_display(),
        run.entered_at,
        str(event.get("name", "")) if isinstance(event, dict) else "",
        ended_at=run.ended_at,
        reason=run.reason,
    )


def _stop(step: Step, messages: dict[str, str]) -> Stop:
    kind = steps.registry.get(step.kind)
    if kind is None:
        return Stop("help", step.kind)
    if step.kind == "message":
        slug = str(step.config.get("message"))
        return Stop(kind.icon, _("Message: %s") % messages.get(slug, slug))
    summary = kind.summary(step)
    label = str(kind.label)
    return Stop(kind.icon, label if summary in ("", label) else f"{label}: {summary}")
