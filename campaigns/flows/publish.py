"""Making a draft live, and pausing, resuming and stopping what is."""

from datetime import datetime

from django.db import transaction
from django.db.models import F, Max
from django.utils import timezone
from django.utils.translation import gettext as _

from campaigns.flows.definition import DefinitionError, check, parse
from campaigns.flows.reading import CURSOR, forget
from campaigns.models import Enrollment, Flow, FlowVersion
from crm import log


class StateError(ValueError):
    """The flow is not in a state in which this can be done; the text says which."""


@transaction.atomic
def publish(flow_id: int, user=None, now: datetime | None = None) -> FlowVersion:
    """Freeze the draft as a new version and make it live. Whoever is inside finishes the version they entered.

    Only what happens from now on starts runs; a live flow that keeps its trigger listens on without a gap.
    What is live already stays as it is.

    Raises:
        DefinitionError: the draft can't run; it names every problem.
    """
    now = now or timezone.now()
    log.hold(CURSOR)
    flow = Flow.objects.select_for_update().get(pk=flow_id)
    definition = parse(flow.draft)
    problems = check(definition)
    if problems:
        raise DefinitionError(problems)
    if flow.live_version and flow.state == Flow.State.LIVE and not has_unpublished_changes(flow):
        return flow.live_version  # a second click
    last = flow.versions.aggregate(last=Max("number"))["last"] or 0
    version = FlowVersion.objects.create(
        flow=flow, number=last + 1, definition=flow.draft, published_by=user, published_at=now
    )
    before = flow.live_version.definition.get("trigger") if flow.live_version else None
    if flow.state != Flow.State.LIVE or before != flow.draft.get("trigger"):
        flow.listening_since = now
    flow.live_version, flow.state, flow.published_at = version, Flow.State.LIVE, now
    flow.save(update_fields=["live_version", "state", "published_at", "listening_since", "updated_at"])
    return version


@transaction.atomic
def pause(flow_id: int) -> None:
    """Let nobody in and move nobody on; people hold their place, and messages wait until they expire."""
    _change(flow_id, (Flow.State.LIVE,), Flow.State.PAUSED, _("Only a live flow can be paused."))


@transaction.atomic
def resume(flow_id: int, now: datetime | None = None) -> None:
    """Go on after a pause. Events of the pause start nobody; waits that ended meanwhile end now."""
    _change(flow_id, (Flow.State.PAUSED,), Flow.State.LIVE, _("Only a paused flow can be resumed."))
    Flow.objects.filter(pk=flow_id).update(listening_since=now or timezone.now())


@transaction.atomic
def stop(flow_id: int, now: datetime | None = None) -> int:
    """Let nobody in and end all runs; return how many were ended. Messages that still wait are not sent."""
    _change(
        flow_id,
        (Flow.State.LIVE, Flow.State.PAUSED),
        Flow.State.STOPPED,
        _("Only a live or paused flow can be stopped."),
    )
    forget(flow_id)
    return Enrollment.objects.filter(flow_id=flow_id, state=Enrollment.State.ACTIVE).update(
        state=Enrollment.State.EXITED, ended_at=now or timezone.now(), due_at=None, reason="flow stopped"
    )


def has_unpublished_changes(flow: Flow) -> bool:
    """Whether the draft differs from what is live."""
    return flow.live_version is None or flow.live_version.definition != flow.draft


def _change(flow_id: int, expected: tuple[str, ...], to: str, otherwise: str) -> None:
    log.hold(CURSOR)  # nobody enters by a batch that began while the flow was live
    changed = Flow.objects.filter(pk=flow_id, state__in=expected).update(state=to, updated_at=F("updated_at"))
    if not changed:
        raise StateError(otherwise)
