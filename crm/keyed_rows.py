"""Tables of rows with a name of their own, such as products and places: read once, decided in memory row after row,
and written in bulk. The number of statements does not depend on how many rows there are."""

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import datetime
from decimal import Decimal
from typing import Any, TypeVar

from django.db import OperationalError, connection, models, transaction
from psycopg.errors import DeadlockDetected

from crm.pg import TRIES
from crm.profiles import CollisionError

Row = dict[str, Any]
Result = TypeVar("Result")


class Conflict(Exception):
    """Another transaction created a row between our reading and our writing."""


class Table:
    """A model's table.

    Args:
        key: the unique column that names a row.
        columns: the others that are read and written, with their types in PostgreSQL. The table also has `source`,
            `created_at` and `updated_at`.
    """

    def __init__(self, model: type[models.Model], key: str, columns: Mapping[str, str]):
        self.model = model
        self.key = key
        self.fields = tuple(columns)
        name, listed = model._meta.db_table, ", ".join([key, *columns])
        rows = "jsonb_to_recordset(%(rows)s::jsonb) AS r({})".format(
            ", ".join(f"{column} {kind}" for column, kind in {key: "text", **columns}.items())
        )
        self._insert = (
            f"INSERT INTO {name} ({listed}, source, created_at, updated_at)"
            f" SELECT {listed}, %(source)s, %(now)s, %(now)s FROM {rows} ON CONFLICT DO NOTHING"
        )
        self._update = (
            f"UPDATE {name} t SET {', '.join(f'{column} = r.{column}' for column in columns)},"
            f" source = %(source)s, updated_at = %(now)s FROM {rows} WHERE t.{key} = r.{key}"
        )

    def read(self, names: Iterable[str]) -> dict[str, Row]:
        """The rows of these names that there are, locked until the caller's transaction ends."""
        found = self.model._default_manager.select_for_update().filter(
            **{f"{self.key}__in": sorted(set(names))}
        )
        return {row[self.key]: row for row in found.order_by(self.key).values(self.key, *self.fields)}

    def write(
        self, stored: Mapping[str, Row], held: Mapping[str, Row], source: str, now: datetime
    ) -> list[Row]:
        """Make of the rows that were `stored` those that are now `held`; return the ones that were there and changed.

        Raises:
            Conflict: another transaction was faster.
        """
        # In one order for everybody, so that no two writers wait for each other.
        new = [held[name] for name in sorted(held) if name not in stored]
        changed = [row for name, row in held.items() if name in stored and row != stored[name]]
        with connection.cursor() as cursor:
            for statement, rows in ((self._insert, new), (self._update, changed)):
                if rows:
                    cursor.execute(statement, {"rows": as_json(rows), "source": source, "now": now})
                    if cursor.rowcount < len(rows):
                        raise Conflict
        return changed


def retried(work: Callable[[], Result], what: str) -> Result:
    """Do `work` in a transaction, again if other writers were faster.

    Raises:
        CollisionError: they keep being faster. `what` begins its sentence, as "Products from api".
    """
    for _attempt in range(TRIES):
        try:
            with transaction.atomic():
                return work()
        except Conflict:
            pass
        except OperationalError as error:
            if not isinstance(error.__cause__, DeadlockDetected):
                raise
    raise CollisionError(f"{what} keep colliding with other writers.")


def as_json(rows: Sequence[Mapping[str, Any]]) -> str:
    """The rows for jsonb_to_recordset."""
    return json.dumps(rows, default=_exact, ensure_ascii=False)


def _exact(value: Any) -> str:
    """A Decimal as text, which PostgreSQL casts without a double in between."""
    if isinstance(value, Decimal):
        return format(value, "f")
    raise TypeError(type(value).__name__)
