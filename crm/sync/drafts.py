"""Connections that are being set up: kept with their secrets encrypted, and never synced before they are started."""

from datetime import datetime, timedelta
from typing import Any

from django.db import transaction
from django.utils import timezone

from crm import connectors
from crm.models import Connection, SyncRun
from crm.sync import schedule, setup

KEPT = timedelta(days=7)


def begin(kind: str, name: str, slug: str, config: dict[str, Any], credentials: dict[str, Any]) -> Connection:
    """Keep what was entered so far. Whether the CRM takes it is for the caller to try."""
    draft = Connection(kind=kind, name=name, slug=slug, config=config, state=Connection.State.DRAFT)
    setup.set_credentials(draft, credentials)
    draft.save()
    return draft


@transaction.atomic
def start(draft: Connection, by: str = "") -> None:
    """Make a draft a connection and queue its first run; one that was started already stays as it is.

    One that has no schedule, such as a file, is paused but for the runs that are asked for.
    """
    held = Connection.objects.select_for_update().get(pk=draft.pk)
    if held.state != Connection.State.DRAFT:
        return
    scheduled = connectors.kinds()[draft.kind].scheduled
    draft.state = Connection.State.ACTIVE if scheduled else Connection.State.PAUSED
    draft.save(update_fields=["state"])
    schedule.request_sync(draft, SyncRun.Mode.FULL, by)


def forget_stale(now: datetime | None = None) -> int:
    """Delete drafts that were begun more than KEPT ago; return how many."""
    now = now or timezone.now()
    stale = Connection.objects.filter(state=Connection.State.DRAFT, created_at__lte=now - KEPT)
    drafts = list(stale)
    for draft in drafts:
        setup.remove(draft)
    return len(drafts)
