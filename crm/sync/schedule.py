"""When which connection is synced."""

from datetime import datetime, timedelta

from django.db import transaction
from django.db.models import Exists, OuterRef, Q
from django.utils import timezone

from crm import wake
from crm.models import Connection, SyncRun
from crm.sync.engine import AlreadyRunningError, run

# A run that shows no progress for this long may be dead: trying its lock tells.
QUIET = timedelta(minutes=1)


@transaction.atomic
def request_sync(
    connection: Connection, mode: SyncRun.Mode = SyncRun.Mode.INCREMENTAL, by: str = ""
) -> SyncRun:
    """Queue a run and wake the worker; a run that waits already is taken, as a full one if either is.

    Args:
        by: who asked, shown in the report.
    """
    Connection.objects.select_for_update().get(pk=connection.pk)  # two clicks make one run
    waiting = SyncRun.objects.filter(connection=connection, state=SyncRun.State.QUEUED).first()
    if waiting is None:
        waiting = SyncRun.objects.create(connection=connection, mode=mode, requested_by=by)
    elif mode == SyncRun.Mode.FULL and waiting.mode != mode:
        waiting.mode, waiting.requested_by = mode, by
        waiting.save(update_fields=["mode", "requested_by"])
    wake.on_commit("crm.tasks.sync_due", "sync")
    return waiting


def due(now: datetime | None = None) -> list[int]:
    """Ids of the connections that somebody should sync now."""
    now = now or timezone.now()
    mine = SyncRun.objects.filter(connection=OuterRef("pk"))
    busy = mine.filter(state=SyncRun.State.RUNNING, beat_at__gt=now - QUIET)
    return list(
        Connection.objects.filter(
            Exists(mine.filter(state=SyncRun.State.QUEUED)) | _is_time(now), ~Exists(busy)
        )
        .order_by("next_sync_at")
        .values_list("pk", flat=True)
    )


def run_due(connection_id: int, now: datetime | None = None) -> int:
    """Sync one connection until it is neither queued nor due; return the number of runs."""
    runs = 0
    while (connection := Connection.objects.filter(pk=connection_id).first()) is not None:
        at = now or timezone.now()
        queued = SyncRun.objects.filter(connection=connection, state=SyncRun.State.QUEUED).exists()
        if not queued and not Connection.objects.filter(_is_time(at), pk=connection_id).exists():
            break
        try:
            run(connection, now=now)
        except AlreadyRunningError:
            break
        runs += 1
    return runs


def _is_time(now: datetime) -> Q:
    return Q(state=Connection.State.ACTIVE) & (Q(next_sync_at=None) | Q(next_sync_at__lte=now))
