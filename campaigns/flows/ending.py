"""Ending runs by hand: those of one person, or all of a flow that is stopped."""

from datetime import datetime
from typing import Any

from django.db import connection, transaction
from django.utils import timezone

from campaigns.flows import holding, jobs
from campaigns.flows.holding import Held
from campaigns.flows.moving import next_runs
from campaigns.flows.reading import CURSOR
from campaigns.models import Enrollment, Flow, FlowJob
from crm import audit, log

BY_HAND = "ended by hand"
STOPPED = "flow stopped"


@transaction.atomic
def end_run(run_id: int, by: Any, note: str = "", now: datetime | None = None) -> bool:
    """End one run that is inside; whether it was. Messages it asked for that still wait are not sent.

    Args:
        by: the request or user whose doing it is, for the audit log.
        note: why, kept with the decision.
    """
    now = now or timezone.now()
    log.hold(CURSOR)
    with connection.cursor() as cursor:  # the person before the run, as a merge does
        cursor.execute(
            "SELECT FROM crm_profile p JOIN campaigns_enrollment e ON e.profile_id = p.id WHERE e.id = %s"
            " FOR KEY SHARE OF p",
            [run_id],
        )
    run = (
        Enrollment.objects.select_for_update(of=("self",), no_key=True)
        .select_related("flow")
        .defer("run_key", "step_state", "context")
        .filter(pk=run_id, state=Enrollment.State.ACTIVE)
        .first()
    )
    if run is None:
        return False
    held = Held(
        *(run.pk, run.flow_id, run.version_id, run.profile_id, run.step, {}, run.entered_at, run.due_at, "")
    )
    holding.end([held], run.flow.slug, BY_HAND, now, {"note": note} if note else {})
    audit.record(by, "flow.run_ended", ("crm.profile", run.profile_id), flow=run.flow.slug, run=run.pk)
    return True


def start(flow: Flow, user: Any = None) -> tuple[FlowJob | None, int]:
    """Ask for all runs of a flow that is being stopped to be ended; return the job and how many they are."""
    FlowJob.objects.filter(flow=flow, state__in=[FlowJob.State.RUNNING, FlowJob.State.FAILED]).update(
        state=FlowJob.State.CANCELLED, ended_at=timezone.now(), details={}
    )
    total = flow.enrollments.filter(state=Enrollment.State.ACTIVE).count()
    if not total:
        return None, 0
    last = flow.versions.order_by("-number").values_list("number", flat=True).first() or 0
    return jobs.start(flow, FlowJob.Kind.END, {"before": last + 1}, total, user), total


def piece(job: FlowJob, memory: dict[Any, Any], now: datetime) -> jobs.Piece:
    """End the next runs; see campaigns.flows.jobs."""
    held, stuck = next_runs(job.flow, job.details["before"], memory)
    if not held:
        return jobs.Piece(more=stuck, stuck=stuck)
    holding.end(held, job.flow.slug, STOPPED, now)
    return jobs.Piece(len(held), {"left": len(held)}, more=True)


jobs.register(FlowJob.Kind.END, piece)
