"""The life of a flow: making a draft live, pausing, resuming, letting people finish, and stopping.

```
draft ─publish─> live ─pause─> paused ─resume─> live
                  │ └─────────────┴─finish─> finishing ─(nobody is inside)─> stopped
                  └─stop─> stopped                     publish makes any of them live again
```

Each change holds the flows' place in the log first and then the flow itself (see `holding`), so that nobody enters or
leaves by a batch that began in the state before.
"""

from collections.abc import Mapping
from datetime import datetime
from typing import Any, Literal

from django.db import transaction
from django.db.models import Exists, Max, OuterRef
from django.utils import timezone
from django.utils.translation import gettext as _

from campaigns.flows import approval, catching_up, clock, ending, jobs, moving, program
from campaigns.flows.definition import DefinitionError, check, parse
from campaigns.flows.editing import StaleDraftError
from campaigns.flows.reading import CURSOR, forget
from campaigns.flows.steps.start_flow import loops
from campaigns.models import Enrollment, Flow, FlowJob, FlowVersion
from crm import audit, log
from delivery.models import Delivery

AT_ONCE_SECONDS = 2.0  # of a long change, before the rest is left to the workers
State = Flow.State


class StateError(ValueError):
    """The flow is not in a state in which this can be done; the text says which."""


def publish(
    flow_id: int,
    user: Any = None,
    now: datetime | None = None,
    people: Literal["finish", "move"] = "finish",
    catch_up: int | None = None,
    step_map: Mapping[str, str | None] | None = None,
    revision: int | None = None,
) -> FlowVersion:
    """Freeze the draft as a new version and make it live.

    Only what happens from now on starts runs; a live flow that keeps its trigger listens on without a gap.
    What is live already stays as it is.

    Args:
        user: whoever publishes (a user, a request, an API key), for the version and the audit log.
        people: whoever is inside finishes the version they entered, or moves to this one (see `moving`).
        catch_up: also let in those who qualify by the last so many days; None: only new people.
        step_map: where people go from steps that the new version lacks; None as a value: they leave. What it does
            not name goes to the next step that is still there.
        revision: which draft is meant.

    Raises:
        DefinitionError: the draft can't run; it names every problem.
        StaleDraftError: the draft has another revision by now.
        StateError: people of the version before are still leaving.
        ApprovalError: another person has to approve this draft first.
        ValueError: the map names a step that is not there.
    """
    now = now or timezone.now()
    with transaction.atomic():
        flow = _held(flow_id)
        if revision is not None and flow.revision != revision:
            raise StaleDraftError(StaleDraftError.__doc__)
        definition = parse(flow.draft)
        problems = check(definition) + loops(flow.slug, definition)
        if problems:
            raise DefinitionError(problems)
        if flow.live_version and flow.state == State.LIVE and not has_unpublished_changes(flow):
            return flow.live_version  # a second click
        unended = flow.jobs.filter(kind=FlowJob.Kind.END)
        if unended.filter(state=FlowJob.State.RUNNING).exists():
            raise StateError(_("People are still being taken out of this flow. Try again in a moment."))
        if unended.filter(state=FlowJob.State.FAILED).exists():
            raise StateError(
                _(
                    "Not all people could be taken out of this flow. Try that again on the page of the people inside."
                )
            )
        approval.check(flow)
        checked = moving.checked(step_map or {}, program.link(definition))
        version = _made_live(flow, user, now)
        clock.watch(definition)
        job = moving.start(flow, version, checked, user) if people == "move" else None
        if catch_up is not None:
            catching_up.start(flow.pk, catch_up, jobs.person(user))
        audit.record(
            user,
            "flow.published",
            flow,
            version=version.number,
            revision=flow.revision,
            people=people,
            inside=_inside(flow),
            **({} if catch_up is None else {"catch_up_days": catch_up}),
        )
    if job is not None:
        jobs.work(AT_ONCE_SECONDS, now, only=job.pk)
    return version


def _made_live(flow: Flow, user: Any, now: datetime) -> FlowVersion:
    last = flow.versions.aggregate(last=Max("number"))["last"] or 0
    version = FlowVersion.objects.create(
        flow=flow, number=last + 1, definition=flow.draft, published_by=jobs.person(user), published_at=now
    )
    before = flow.live_version.definition.get("trigger") if flow.live_version else None
    if flow.state != State.LIVE or before != flow.draft.get("trigger"):
        flow.listening_since = now
    flow.live_version, flow.state, flow.published_at = version, State.LIVE, now
    flow.save(update_fields=["live_version", "state", "published_at", "listening_since", "updated_at"])
    return version


@transaction.atomic
def pause(flow_id: int, user: Any = None) -> None:
    """Let nobody in and move nobody on; people hold their place, and messages wait until they expire.

    Raises:
        StateError: the flow is not live.
    """
    flow = _changed(flow_id, (State.LIVE,), State.PAUSED, _("Only a live flow can be paused."))
    audit.record(user, "flow.paused", flow, inside=_inside(flow))


@transaction.atomic
def resume(flow_id: int, now: datetime | None = None, user: Any = None) -> None:
    """Go on after a pause. Events of the pause start nobody; waits that ended meanwhile end now.

    Raises:
        StateError: the flow is not paused.
    """
    flow = _changed(flow_id, (State.PAUSED,), State.LIVE, _("Only a paused flow can be resumed."))
    Flow.objects.filter(pk=flow_id).update(listening_since=now or timezone.now())
    audit.record(user, "flow.resumed", flow, inside=_inside(flow))


@transaction.atomic
def finish(flow_id: int, now: datetime | None = None, user: Any = None) -> None:
    """Let nobody in; people inside go on to their end, and then the flow is stopped.

    Raises:
        StateError: the flow is neither live nor paused.
    """
    flow = _changed(
        flow_id,
        (State.LIVE, State.PAUSED),
        State.FINISHING,
        _("Only a live or paused flow can let people finish."),
    )
    audit.record(user, "flow.finishing", flow, inside=_inside(flow))
    close_finished(now)


@transaction.atomic
def close_finished(now: datetime | None = None) -> int:
    """Stop the finishing flows in which nobody is any more and no message waits; return how many."""
    inside = Enrollment.objects.filter(flow=OuterRef("pk"), state=Enrollment.State.ACTIVE)
    waiting = Delivery.objects.filter(
        origin_type=Delivery.Origin.FLOW,
        origin_id=OuterRef("pk"),
        state__in=[*Delivery.WAITING, Delivery.State.SENDING],
    )
    over = Flow.objects.filter(~Exists(inside), ~Exists(waiting), state=State.FINISHING)
    if not over.exists():
        return 0
    log.hold(CURSOR)
    closed = list(over.select_for_update(no_key=True).order_by("pk"))
    for flow in closed:
        Flow.objects.filter(pk=flow.pk).update(state=State.STOPPED)
        forget(flow.pk)
        audit.record("finishing", "flow.stopped", flow)
    return len(closed)


def stop(flow_id: int, now: datetime | None = None, user: Any = None) -> int:
    """Let nobody in and end all runs; return how many. Messages that still wait are not sent.

    Nobody moves on from the moment this commits. With very many people the last runs are ended by the workers.

    Raises:
        StateError: the flow is not live, paused or finishing.
    """
    now = now or timezone.now()
    with transaction.atomic():
        flow = _changed(
            flow_id,
            (State.LIVE, State.PAUSED, State.FINISHING),
            State.STOPPED,
            _("Only a live, paused or finishing flow can be stopped."),
        )
        forget(flow_id)
        job, number = ending.start(flow, user)
        audit.record(user, "flow.stopped", flow, inside=number)
    if job is not None:
        jobs.work(AT_ONCE_SECONDS, now, only=job.pk)
    return number


def has_unpublished_changes(flow: Flow) -> bool:
    """Whether the draft differs from what is live."""
    return flow.live_version is None or flow.live_version.definition != flow.draft


def _held(flow_id: int) -> Flow:
    log.hold(CURSOR)  # nobody enters by a batch that began before
    # Not FOR UPDATE: the engine's foreign keys to the flow are checked when it commits, while it holds its runs.
    return Flow.objects.select_for_update(of=("self",), no_key=True).get(pk=flow_id)


def _changed(flow_id: int, expected: tuple[str, ...], to: str, otherwise: str) -> Flow:
    flow = _held(flow_id)
    if flow.state not in expected:
        raise StateError(otherwise)
    Flow.objects.filter(pk=flow_id).update(state=to)
    flow.state = to
    return flow


def _inside(flow: Flow) -> int:
    return flow.enrollments.filter(state=Enrollment.State.ACTIVE).count()
