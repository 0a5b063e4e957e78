"""Which objects of a connection are still to be read or compared completely, and whose they are.

Kept beside the objects' own cursors in `Connection.cursor`, so that what one run did not finish the next one does.
"""

from collections.abc import Sequence
from typing import Any

from crm.models import Connection

FULL, SWEEP = "_full", "_sweep"
READING = "_reading"  # a complete reading has begun and not come to its end
GAP = "_gap"  # the CRM could not tell all deletions, and no comparison was made since
ACCOUNT = (
    "_account"  # which account of the CRM was read, and with which settings and credentials that was seen
)
KEYS = (FULL, SWEEP, READING, GAP, ACCOUNT)


def objects(cursor: dict[str, Any]) -> dict[str, Any]:
    """The objects' own cursors."""
    return {name: place for name, place in cursor.items() if name not in KEYS}


def begin(connection: Connection, names: Sequence[str], full: bool, compare: bool, anew: bool) -> None:
    """Plan a run.

    Args:
        names: the chosen objects in their order.
        full: read all of them completely.
        compare: compare all ids of those that were read before.
        anew: even if an earlier comparison is not finished yet.
    """
    cursor = connection.cursor
    to_read, to_compare = set(cursor.get(FULL, ())), set(cursor.get(SWEEP, ()))
    if full:
        to_read |= set(names)
    if compare and (anew or not to_compare):
        to_compare |= {name for name in names if name in cursor}
    _set(connection, FULL, [name for name in names if name in to_read])
    _set(connection, SWEEP, [name for name in names if name in to_compare])
    save(connection)


def pending(connection: Connection, key: str, name: str) -> bool:
    """Whether the object is still to be read (FULL) or compared (SWEEP) completely; see the other KEYS."""
    return name in connection.cursor.get(key, ())


def add(connection: Connection, key: str, name: str) -> None:
    """Plan it for this object, in memory."""
    if not pending(connection, key, name):
        _set(connection, key, [*connection.cursor.get(key, ()), name])


def drop(connection: Connection, key: str, name: str) -> None:
    """It is begun, or done; in memory, to be stored with the next page or by `save`."""
    _set(connection, key, [other for other in connection.cursor.get(key, ()) if other != name])


def save(connection: Connection) -> None:
    """Store the plan."""
    Connection.objects.filter(pk=connection.pk).update(cursor=connection.cursor)


def _set(connection: Connection, key: str, names: list[str]) -> None:
    rest = {name: value for name, value in connection.cursor.items() if name != key}
    connection.cursor = {**rest, key: names} if names else rest
