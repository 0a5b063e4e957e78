"""Connecting a CRM."""

from typing import Any

import msgspec
from django.db import transaction

from crm import connectors
from crm.connectors.base import Connector
from crm.models import (
    Connection,
    CrmPurchase,
    Identifier,
    SourceRecord,
    SyncHint,
    SyncReject,
    SyncRun,
    WrittenRecord,
)
from crm.sync import schedule


def set_credentials(connection: Connection, credentials: dict[str, Any]) -> None:
    """Put credentials on a connection that is yet to be saved; they are encrypted on the way out."""
    connection.credentials = credentials  # type: ignore[assignment]


def create(
    kind: str,
    name: str,
    slug: str,
    config: dict[str, Any],
    credentials: dict[str, Any],
    by: str = "",
    interval_minutes: int = 2,
) -> Connection:
    """Store a connection with the mapping its connector suggests, and queue its first, full run.

    Raises:
        ConnectorError: the CRM can't be read with these settings; nothing was stored.
        KeyError: there is no such kind.
    """
    connector = connectors.kinds()[kind](config, credentials)
    mapping = {found.name: suggested(connector, found.name) for found in connector.objects if found.chosen}
    with transaction.atomic():
        connection = Connection(
            kind=kind,
            name=name,
            slug=slug,
            config=config,
            mapping=mapping,
            interval_minutes=interval_minutes,
        )
        set_credentials(connection, credentials)
        connection.save()
        schedule.request_sync(connection, SyncRun.Mode.FULL, by)
    return connection


def suggested(connector: Connector, object_name: str) -> dict[str, Any]:
    """The mapping JSON that the connector proposes for one object.

    Raises:
        ConnectorError: the CRM can't be read.
    """
    proposal = msgspec.to_builtins(connector.suggest(object_name, connector.fields(object_name)))
    return {name: part for name, part in proposal.items() if part}


@transaction.atomic
def remove(connection: Connection) -> None:
    """Disconnect a CRM: its records, runs and record ids are forgotten, the profiles stay."""
    Identifier.objects.filter(kind__startswith=f"{connection.slug}:").delete()
    for model in (SourceRecord, SyncReject, SyncRun, SyncHint, WrittenRecord, CrmPurchase):
        # At once in SQL; the ORM would load every record to look for what depends on it.
        rows = model.objects.filter(connection=connection)
        rows._raw_delete(rows.db)
    connection.delete()
