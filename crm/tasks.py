"""Waking the CRM layer's background work."""

import time

from celery import shared_task
from django.conf import settings
from django.utils import timezone

from crm import (
    audit,
    event_files,
    indexed_attributes,
    interest,
    list_imports,
    log,
    partitions,
    places,
    restock,
    retention,
    uploads,
    wake,
)
from crm.api import idempotency
from crm.computed import work as computed_work
from crm.sync import drafts, erasures, queue, schedule

BUDGET_SECONDS = 5.0  # sending shares these workers
PATIENCE_SECONDS = 1.0


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
def tell_of_products():
    """Keep who cares for which product, and tell them what became of it."""
    restock.run()


@shared_task
def follow_places():
    """Notice who came into which place."""
    began = idle_since = time.monotonic()
    while time.monotonic() - began < BUDGET_SECONDS:
        handled, full = places.read()
        if handled or full:
            idle_since = time.monotonic()
        elif time.monotonic() - idle_since > PATIENCE_SECONDS or not log.lag(places.CURSOR):
            return
        else:
            time.sleep(0.02)  # an older transaction is still open: what it hides comes in a moment
    wake.on_commit("crm.tasks.follow_places", "ingest")


@shared_task
def forget_interest():
    """Drop interest in products that lasts no longer."""
    interest.forget(timezone.now())


@shared_task
def keep_computed():
    """Recompute what people did something to, and what time has changed."""
    computed_work.keep()


@shared_task
def backfill_attributes():
    """Compute new attributes for everybody, a while at a time."""
    computed_work.fill()


@shared_task
def build_attribute_indexes():
    """Make columns and indexes for attributes that rules ask for often, and remove those no longer wanted."""
    if indexed_attributes.work():
        wake.on_commit(indexed_attributes.TASK, "segments")


@shared_task
def ensure_partitions():
    """Create the event log's next months."""
    partitions.ensure_ahead(timezone.now())


@shared_task
def apply_retention():
    """At night, remove events and audit entries that are over their time."""
    if retention.is_night(timezone.now()):
        retention.apply(timezone.now())
        audit.forget_old(settings.NUDGE_AUDIT_DAYS, timezone.now())


@shared_task
def forget_undated_events():
    """Keep the memory of ids without a time of their own from growing for good."""
    log.forget_undated(timezone.now())


@shared_task
def import_event_files():
    """Take in files of events for some seconds; others get their turn before it goes on."""
    if event_files.work():
        wake.on_commit("crm.tasks.import_event_files", "ingest")


@shared_task
def import_lists():
    """Read in files of consents and suppressed addresses."""
    list_imports.work()


@shared_task
def forget_answers():
    """Forget what repeated requests would be answered, and rows of files that were not taken."""
    idempotency.forget(timezone.now())
    event_files.forget(timezone.now())
    list_imports.forget(timezone.now())


@shared_task
def tidy_sync():
    """Keep reports of runs, files, and connections that nobody went on to set up from piling up for good."""
    queue.forget_runs(timezone.now())
    queue.forget_settled(timezone.now())
    drafts.forget_stale(timezone.now())
    uploads.forget_unused(timezone.now())
