"""Runs that are asked for, and those that nobody needs any more."""

from datetime import datetime, timedelta

from django.db import transaction
from django.db.models import Q

from crm import wake
from crm.models import Connection, OutgoingActivity, SyncReject, SyncRun
from crm.sync import writeback

KEPT = timedelta(days=90)
IDLE_KEPT = timedelta(days=7)  # of runs that found nothing: most of them do


@transaction.atomic
def request_sync(
    connection: Connection,
    mode: SyncRun.Mode = SyncRun.Mode.INCREMENTAL,
    by: str = "",
    sweep: bool = False,
) -> SyncRun:
    """Queue a run and wake the worker; a run that waits already is taken, as a full one if either is.

    Args:
        by: who asked, shown in the report.
        sweep: compare all record ids with the CRM's as well; a full run of what was read before does it anyway.
    """
    Connection.objects.select_for_update().get(pk=connection.pk)  # two clicks make one run
    waiting = SyncRun.objects.filter(connection=connection, state=SyncRun.State.QUEUED).first()
    if waiting is None:
        waiting = SyncRun.objects.create(connection=connection, mode=mode, requested_by=by, sweep=sweep)
    elif (mode == SyncRun.Mode.FULL and waiting.mode != mode) or (sweep and not waiting.sweep):
        waiting.mode = mode if mode == SyncRun.Mode.FULL else waiting.mode
        waiting.requested_by, waiting.sweep = by, sweep or waiting.sweep
        waiting.save(update_fields=["mode", "requested_by", "sweep"])
    wake.on_commit("crm.tasks.sync_due", "sync")
    return waiting


def forget_runs(now: datetime) -> int:
    """Delete old reports; return how many. A connection's last ones stay, however old."""
    idle = Q(state=SyncRun.State.SUCCEEDED, created=0, updated=0, merged=0, deleted=0, held=0, written=0)
    old = SyncRun.objects.filter(
        Q(finished_at__lt=now - KEPT) | (idle & Q(finished_at__lt=now - IDLE_KEPT, notes=""))
    )
    last = SyncRun.objects.order_by("connection", "-pk").distinct("connection").values("pk")
    return old.exclude(pk__in=list(last.values_list("pk", flat=True))).delete()[0]


def forget_settled(now: datetime) -> int:
    """Delete old rejects that are settled, and old events that a CRM refused for good; return how many."""
    settled = SyncReject.objects.filter(resolved_at__lt=now - KEPT)
    refused = OutgoingActivity.objects.filter(attempts__gte=writeback.ATTEMPTS, occurred_at__lt=now - KEPT)
    return settled.delete()[0] + refused.delete()[0]
