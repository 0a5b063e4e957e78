"""Connecting a CRM."""

from typing import Any

import msgspec
from django.db import transaction
from django.utils.translation import gettext as _

from crm import alerts, connectors
from crm.connectors.base import Connector
from crm.models import (
    AccessToken,
    Connection,
    CrmPurchase,
    Identifier,
    SourceRecord,
    SyncHint,
    SyncReject,
    SyncRun,
)
from crm.sync import queue, writeback


class OtherAccountError(ValueError):
    """The settings name another account of the CRM; the message says what to do instead."""


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
        queue.request_sync(connection, SyncRun.Mode.FULL, by)
    return connection


def suggested(connector: Connector, object_name: str) -> dict[str, Any]:
    """The mapping JSON that the connector proposes for one object.

    Raises:
        ConnectorError: the CRM can't be read.
    """
    proposal = msgspec.to_builtins(connector.suggest(object_name, connector.fields(object_name)))
    return {name: part for name, part in proposal.items() if part}


@transaction.atomic
def change_settings(
    connection: Connection, config: dict[str, Any], credentials: dict[str, Any] | None = None
) -> None:
    """Give a stored connection other settings, and with `credentials` a new way in.

    Record ids mean something only within one account. So settings that name another one are taken only while
    nothing was read yet; then everything that the old account told is forgotten.

    Raises:
        ConnectorError: the settings do not fit the connector; nothing was stored.
        OtherAccountError: records of the present account are here; nothing was stored.
    """
    held = Connection.objects.select_for_update().get(pk=connection.pk)
    kind = connectors.kinds()[held.kind]
    present: Any = held.credentials
    before = _with_defaults(kind, held.config)
    wanted = present if credentials is None else credentials
    after = msgspec.to_builtins(kind(config, wanted).config)
    other = any(before.get(name) != after.get(name) for name in kind.identity_fields)
    if other and SourceRecord.objects.filter(connection=held).exists():
        raise OtherAccountError(
            _(
                "These settings name another account of the CRM, whose records are not those that are here. "
                "Connect it as a new connection, and remove this one if it is no longer needed."
            )
        )
    connection.config = config
    changed = ["config"]
    if credentials is not None:
        set_credentials(connection, credentials)
        changed.append("credentials")
    if other:
        connection.cursor, connection.schema, connection.watch = {}, {}, {}
        changed += ["cursor", "schema", "watch"]
        SyncReject.objects.filter(connection=held).delete()
        SyncHint.objects.filter(connection=held).delete()
    if other or credentials is not None:
        AccessToken.objects.filter(connection=held).delete()
    connection.save(update_fields=changed)


def _with_defaults(kind: type[Connector], config: dict[str, Any]) -> dict[str, Any]:
    """Stored settings with what was never entered; as they are, if they fit no more."""
    try:
        return msgspec.to_builtins(msgspec.convert(config, kind.Config))
    except msgspec.ValidationError:
        return config


@transaction.atomic
def remove(connection: Connection) -> None:
    """Disconnect a CRM: its records, runs and record ids are forgotten, the profiles stay."""
    # First its runs: one that goes on at this moment can store nothing more without its row.
    _delete(SyncRun, connection)
    Identifier.objects.filter(kind__startswith=f"{connection.slug}:").delete()
    writeback.forget(connection)
    alerts.resolve_all(f"sync:{connection.slug}")
    for model in (SourceRecord, SyncReject, SyncHint, CrmPurchase):
        _delete(model, connection)
    connection.delete()


def _delete(model: Any, connection: Connection) -> None:
    """At once in SQL; the ORM would load every record to look for what depends on it."""
    rows = model.objects.filter(connection=connection)
    rows._raw_delete(rows.db)
