"""When which connection is synced."""

from datetime import datetime, timedelta

from django.db.models import Exists, F, OuterRef, Q, QuerySet, Subquery
from django.utils import timezone

from crm.models import Connection, SyncHint, SyncRun
from crm.sync import engine, hints
from crm.sync.engine import AlreadyRunningError, run
from crm.sync.queue import request_sync

__all__ = ["due", "end_dead", "request_sync", "run_due"]

# A run that shows no progress for this long may be dead: trying its lock tells.
QUIET = timedelta(minutes=1)
# How long calls from a CRM wait for more of them, so that a storm of calls is few runs.
GATHER = timedelta(seconds=5)


def due(now: datetime | None = None) -> list[int]:
    """Ids of the connections that somebody should sync now."""
    now = now or timezone.now()
    mine = SyncRun.objects.filter(connection=OuterRef("pk"))
    busy = mine.filter(state=SyncRun.State.RUNNING, beat_at__gt=now - QUIET)
    queued = mine.filter(state=SyncRun.State.QUEUED)
    return list(
        _with_last_run()
        .filter(Exists(queued) | _is_time(now) | _is_called(now), ~Exists(busy))
        .order_by("next_sync_at")
        .values_list("pk", flat=True)
    )


def run_due(connection_id: int, now: datetime | None = None) -> int:
    """Sync one connection until it is neither queued, due nor called about; return the number of runs."""
    runs = 0
    while (connection := Connection.objects.filter(pk=connection_id).first()) is not None:
        at = now or timezone.now()
        mine = _with_last_run().filter(pk=connection_id)
        queued = SyncRun.objects.filter(connection=connection, state=SyncRun.State.QUEUED).exists()
        regular = queued or mine.filter(_is_time(at)).exists()
        if not regular and not mine.filter(_is_called(at)).exists():
            break
        try:
            run(connection, now=now, hints_only=not regular)
        except AlreadyRunningError:
            break
        runs += 1
    return runs


def end_dead(now: datetime | None = None) -> int:
    """End the runs whose processes are dead, whatever their connection's state; return how many."""
    now = now or timezone.now()
    silent = Connection.objects.filter(
        Exists(
            SyncRun.objects.filter(connection=OuterRef("pk"), state=SyncRun.State.RUNNING).exclude(
                beat_at__gt=now - QUIET
            )
        )
    )
    return sum(engine.end_dead(connection, now) for connection in silent)


def _is_time(now: datetime) -> Q:
    return Q(state=Connection.State.ACTIVE) & (Q(next_sync_at=None) | Q(next_sync_at__lte=now))


def _with_last_run() -> QuerySet[Connection]:
    last = SyncRun.objects.filter(connection=OuterRef("pk"), finished_at__isnull=False).order_by("-pk")
    return Connection.objects.annotate(
        **{
            f"last_{name}": Subquery(last.values(name)[:1])
            for name in ("state", "finished_at", "budget_used", "budget_limit")
        }
    )


def _is_called(now: datetime) -> Q:
    """Whether the CRM has called about something that can be looked up now.

    Not shortly after a run, so that calls gather; nor while a failed or early-ended run's pause lasts.
    """
    waiting = SyncHint.objects.filter(hints.ready(now), connection=OuterRef("pk"))
    waiting = waiting.exclude(kind__in=hints.WAITING)
    within = Q(last_budget_limit=None) | Q(
        last_budget_used__lt=F("last_budget_limit") * engine.SCHEDULED_SHARE
    )
    return (
        Q(Exists(waiting))
        & Q(state=Connection.State.ACTIVE)
        & Q(last_state=SyncRun.State.SUCCEEDED, last_finished_at__lte=now - GATHER)
        & within
    )
