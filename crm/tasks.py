"""Waking the CRM layer's background work."""

from celery import shared_task
from django.utils import timezone

from crm import log, partitions, uploads
from crm.sync import drafts, erasures, queue, schedule


@shared_task
def sync_due():
    """Start a task for each connection that is due, so that none waits for another."""
    schedule.end_dead()
    for connection_id in schedule.due():
        run_sync.apply_async([connection_id], queue="sync")


@shared_task
def run_sync(connection_id: int):
    """Sync one connection, if it is still due."""
    schedule.run_due(connection_id)


@shared_task
def erase_in_crms():
    """Have CRMs erase the records of people who were erased here."""
    for connection_id in erasures.due():
        erase_in_crm.apply_async([connection_id], queue="sync")


@shared_task
def erase_in_crm(connection_id: int):
    """Send what is due of one connection."""
    erasures.run(connection_id)


@shared_task
def ensure_partitions():
    """Create the event log's next months."""
    partitions.ensure_ahead(timezone.now())


@shared_task
def forget_undated_events():
    """Keep the memory of ids without a time of their own from growing for good."""
    log.forget_undated(timezone.now())


@shared_task
def tidy_sync():
    """Keep reports of runs, files, and connections that nobody went on to set up from piling up for good."""
    queue.forget_runs(timezone.now())
    queue.forget_settled(timezone.now())
    drafts.forget_stale(timezone.now())
    uploads.forget_unused(timezone.now())
