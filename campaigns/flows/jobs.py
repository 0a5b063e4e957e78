"""Changes of many runs of a flow, made piece by piece: what a piece changes and how far the job came commit together.

Each kind of job registers the function that makes one piece. A piece holds the flows' place in the log, so that no
event is read half before and half after it; that is why pieces are small.
"""

import logging
import time
from collections import Counter
from collections.abc import Callable
from datetime import datetime
from typing import Any

import msgspec
from django.contrib.auth.models import User
from django.db import InterfaceError, OperationalError, transaction
from django.utils import timezone

from campaigns.flows.reading import CURSOR
from campaigns.models import Flow, FlowJob
from crm import alerts, log, wake

logger = logging.getLogger(__name__)

TASK, QUEUE = "campaigns.tasks.change_runs", "ingest"
SECONDS = 10.0


class Piece(msgspec.Struct):
    """What one piece did. `more`: there is more to do; `stuck`: but others hold it at the moment.

    `outcome` counts people by what became of them. `after`: the number up to which the job's list was done.
    """

    done: int = 0
    outcome: dict[str, int] = {}
    more: bool = False
    stuck: bool = False
    after: int | None = None


# Makes the next piece of a job in the caller's transaction. The dict is the function's own memory, empty at first
# and after a restart.
Work = Callable[[FlowJob, dict[Any, Any], datetime], Piece]
_kinds: dict[str, Work] = {}


def register(kind: str, work: Work) -> None:
    """Let `work` make the pieces of jobs of this kind."""
    _kinds[kind] = work


def person(by: Any) -> User | None:
    """The user whose doing something is: a user, or that of a request; None for API keys and commands."""
    user = getattr(by, "user", by)
    return user if isinstance(user, User) else None


def start(flow: Flow, kind: str, details: dict[str, Any], total: int, by: Any = None) -> FlowJob:
    """Ask for a change, in the caller's transaction; the workers begin after it commits."""
    job = FlowJob.objects.create(flow=flow, kind=kind, details=details, total=total, started_by=person(by))
    wake.on_commit(TASK, QUEUE)
    return job


def cancel(job_id: int, now: datetime | None = None) -> bool:
    """End a job before its next piece; whether it was running. What was done stays."""
    found = FlowJob.objects.filter(pk=job_id, state=FlowJob.State.RUNNING)
    return bool(found.update(state=FlowJob.State.CANCELLED, ended_at=now or timezone.now(), details={}))


def again(job_id: int) -> bool:
    """Go on with a job that failed; whether it had."""
    found = FlowJob.objects.filter(pk=job_id, state=FlowJob.State.FAILED)
    done = bool(found.update(state=FlowJob.State.RUNNING, ended_at=None, problem=""))
    if done:
        wake.on_commit(TASK, QUEUE)
    return done


def work(seconds: float = SECONDS, now: datetime | None = None, only: int | None = None) -> bool:
    """Make pieces of the running jobs in turn, for about `seconds`; whether more is left to do right away.

    Args:
        only: the number of the one job to work on.
    """
    until = time.monotonic() + seconds
    memory: dict[int, dict[Any, Any]] = {}
    left = True
    while left:
        left = False
        running = FlowJob.objects.filter(state=FlowJob.State.RUNNING).order_by("pk")
        for job_id in list((running.filter(pk=only) if only else running).values_list("pk", flat=True)):
            left |= _piece(job_id, memory.setdefault(job_id, {}), now or timezone.now())
            if time.monotonic() >= until:
                return FlowJob.objects.filter(state=FlowJob.State.RUNNING).exists()
    return False


def _piece(job_id: int, memory: dict[Any, Any], now: datetime) -> bool:
    """Make one piece; return whether there is more that can be done at once."""
    try:
        with transaction.atomic():
            log.hold(CURSOR)
            job = (
                FlowJob.objects.select_for_update(skip_locked=True, of=("self",), no_key=True)
                .select_related("flow")
                .filter(pk=job_id, state=FlowJob.State.RUNNING)
                .first()
            )
            if job is None:
                return False
            piece = _kinds[job.kind](job, memory, now)
            job.done += piece.done
            job.outcome = dict(Counter(job.outcome) + Counter(piece.outcome))
            job.after = job.after if piece.after is None else piece.after
            if not piece.more:
                # What it was about may be people's numbers: not kept longer than needed.
                job.state, job.ended_at, job.details = FlowJob.State.DONE, now, {}
            job.save(update_fields=["done", "outcome", "after", "state", "ended_at", "details"])
        return piece.more and not piece.stuck
    except (OperationalError, InterfaceError):
        logger.exception("A piece of the change %d of runs was given up; it is tried again", job_id)
        return False
    except Exception as error:
        logger.exception("The change %d of runs failed", job_id)
        _fail(job_id, error, now)
        return False


def _fail(job_id: int, error: Exception, now: datetime) -> None:
    job = FlowJob.objects.select_related("flow").get(pk=job_id)
    FlowJob.objects.filter(pk=job_id).update(
        state=FlowJob.State.FAILED, problem=str(error)[:500], ended_at=now
    )
    alerts.raise_alert(
        f"flow:{job.flow_id}:change:{job.kind}",
        f"People in the flow “{job.flow.slug}” could not all be changed",
        f"{job.get_kind_display()} stopped after {job.done}. What was done stays; the rest can be tried again on the "
        f"page of the people inside. The reason: {error}",
    )
