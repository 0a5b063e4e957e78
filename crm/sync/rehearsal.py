"""A dry run: everything a sync would do with real records, counted, and nothing kept."""

from datetime import datetime
from typing import Any

import msgspec
from django.db import transaction
from django.utils import timezone

from crm import connectors
from crm.models import Connection, SyncReject, SyncRun
from crm.sync import engine
from crm.sync import mapping as mappings
from crm.sync.apply import Counts, apply
from crm.sync.pages import batches

RECORDS = 5_000  # looked at; somebody waits for the answer, and the log's readers for the transaction
REJECTS = 50  # shown


class Rejected(msgspec.Struct):
    """A record that would not be taken."""

    record_id: str
    field: str
    detail: str
    raw: dict[str, Any]


class Rehearsal(msgspec.Struct):
    """What would become of one object's records. `whole`: all of them were looked at."""

    object: str
    counts: Counts
    rejected: list[Rejected]
    whole: bool


def rehearse(connection: Connection, now: datetime | None = None) -> list[Rehearsal]:
    """Take the first RECORDS records of each chosen object as a full sync would, and undo it.

    Raises:
        ConnectorError: the CRM can't be read.
        MappingError: the field mapping can't be used.
        KeyError: there is no such connector in this version.
        AlreadyRunningError: a real sync is at it.
    """
    with engine.alone(connection):
        return _rehearse(connection, now or timezone.now())


def _rehearse(connection: Connection, now: datetime) -> list[Rehearsal]:
    connector = connectors.connector(connection)
    chosen = mappings.parse_all(connection.mapping, type(connector))
    # The CRM is asked before the transaction begins, so that it lasts no longer than the storing.
    read = []
    for name, mapping in chosen.items():
        mapping = mapping.only({field.name for field in connector.fields(name)})
        groups, count, whole = [], 0, True
        for pages in batches(connector.pages(name, {}, "full", mapping.names())):
            groups.append(pages)
            count += sum(len(page.records) for page in pages)
            if count >= RECORDS:
                whole = False
                break
        read.append((name, mapping, groups, whole))
    cursor = connection.cursor
    try:
        with transaction.atomic():
            told = [_one(connection, connector, *part, now) for part in read]
            transaction.set_rollback(True)
            return told
    finally:
        connection.cursor = cursor


def _one(
    connection: Connection,
    connector: connectors.Connector,
    name: str,
    mapping: mappings.Mapping,
    groups: list[Any],
    whole: bool,
    now: datetime,
) -> Rehearsal:
    # Only one run of a connection may be running; the lock is ours, so another one that seems to be is dead.
    running = SyncRun.objects.filter(connection=connection, state=SyncRun.State.RUNNING)
    running.update(state=SyncRun.State.FAILED)
    run = SyncRun.objects.create(connection=connection, state=SyncRun.State.RUNNING, queued_at=now)
    run.connection = connection
    role = connector.object_type(name).role
    total = Counts()
    for pages in groups:
        counts = apply(run, pages, mapping, role, now)
        for field, number in msgspec.structs.asdict(counts).items():
            setattr(total, field, getattr(total, field) + number)
    rejects = SyncReject.objects.filter(run=run, resolved_at=None).order_by("pk")[:REJECTS]
    shown = [Rejected(each.record_id, each.field, each.detail, each.raw) for each in rejects]
    return Rehearsal(name, total, shown, whole)
