"""Connecting a CRM."""

from typing import Any

import msgspec
from django.db import transaction

from crm import connectors
from crm.models import Connection, SyncRun
from crm.sync import schedule


def create(
    kind: str, name: str, slug: str, config: dict[str, Any], credentials: dict[str, Any], by: str = ""
) -> Connection:
    """Store a connection with the mapping its connector suggests, and queue its first, full run.

    Raises:
        ConnectorError: the CRM can't be read with these settings; nothing was stored.
        KeyError: there is no such kind.
    """
    connector = connectors.kinds()[kind](config, credentials)
    mapping = msgspec.to_builtins(connector.suggest(connector.fields()))
    with transaction.atomic():
        connection = Connection.objects.create(
            kind=kind, name=name, slug=slug, config=config, credentials=credentials, mapping=mapping
        )
        schedule.request_sync(connection, SyncRun.Mode.FULL, by)
    return connection
