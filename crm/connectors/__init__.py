"""The CRMs we can read, one file each."""

import pkgutil
from functools import cache
from importlib import import_module
from typing import Any

from crm.connectors.base import Connector
from crm.connectors.tokens import StoredTokens
from crm.models import Connection

_kinds: dict[str, type[Connector]] = {}


def register(connector: type[Connector]) -> type[Connector]:
    """Class decorator: make a connector known under its `kind`."""
    _kinds[connector.kind] = connector
    return connector


@cache
def kinds() -> dict[str, type[Connector]]:
    """Every connector in this package by kind."""
    for module in pkgutil.iter_modules(__path__):
        import_module(f"{__name__}.{module.name}")
    return dict(sorted(_kinds.items()))


def connector(connection: Connection) -> Connector:
    """The connector of a stored connection.

    Raises:
        ConnectorError: its settings are incomplete.
        KeyError: no connector of its kind is installed.
    """
    credentials: Any = connection.credentials  # JSON, though its field is kept as text
    tokens = StoredTokens(connection.pk, [connection.config, credentials])
    return kinds()[connection.kind](connection.config, credentials, tokens)
