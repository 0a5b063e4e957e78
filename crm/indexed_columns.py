"""The columns and indexes behind indexed attributes, and the trigger that keeps them; see crm/indexed_attributes.py."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from django.db import connection, transaction
from psycopg import sql as ddl

from crm.models import IndexedAttribute

PATIENCE_MS = 2_000  # of whoever wants the table for himself, for everybody waits behind him
TRIGGER, FUNCTION = "keep_indexed_attributes", "crm_keep_indexed_attributes"


def add(attribute: IndexedAttribute) -> bool:
    """Make the empty column, filled from now on for whoever is written; False when it was there already.

    Raises:
        OperationalError: others have been using the table for longer than PATIENCE_MS.
    """
    with _alone() as cursor:
        new = attribute.column not in _columns(cursor)
        if new:
            cursor.execute(f"ALTER TABLE crm_profile ADD COLUMN {attribute.column} jsonb")
        _keep(cursor)
    return new


def fill(attribute: IndexedAttribute, after: int, upto: int) -> None:
    """Store the values of the people with these ids, in the caller's transaction."""
    path = attribute.path.split(".")
    value = f"crm_index_value(p.attributes{' -> %s::text' * len(path)})"
    with connection.cursor() as cursor:
        cursor.execute(
            f"UPDATE crm_profile p SET {attribute.column} = {value} WHERE id > %s AND id <= %s"
            f" AND {attribute.column} IS DISTINCT FROM {value}",
            [*path, after, upto, *path],
        )


def index(attribute: IndexedAttribute) -> None:
    """Make the index while everybody goes on writing; one that was left half made is made anew."""
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT indisvalid FROM pg_index WHERE indexrelid = to_regclass(%s)", [attribute.index]
        )
        there = cursor.fetchone()
        if there == (False,):
            cursor.execute(f"DROP INDEX CONCURRENTLY {attribute.index}")
        if there != (True,):
            cursor.execute(
                f"CREATE INDEX CONCURRENTLY {attribute.index} ON crm_profile ({attribute.column}, country)"
                " INCLUDE (id)"
            )
        cursor.execute(
            "VACUUM (ANALYZE) crm_profile"
        )  # or each row is looked up to see whether it is still there


def drop(attribute: IndexedAttribute) -> None:
    """Remove the column with its index, and the attribute itself. Raises OperationalError as `add`."""
    with _alone() as cursor:
        column = attribute.column
        attribute.delete()
        _keep(cursor)
        cursor.execute(f"ALTER TABLE crm_profile DROP COLUMN IF EXISTS {column}")


def size(attribute: IndexedAttribute) -> int:
    """Bytes of the index."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT coalesce(pg_relation_size(to_regclass(%s)), 0)", [attribute.index])
        return cursor.fetchone()[0]


@contextmanager
def _alone() -> Iterator[Any]:
    """A transaction that has the table for itself, or else gives up soon."""
    with transaction.atomic(), connection.cursor() as cursor:
        cursor.execute("SELECT set_config('lock_timeout', %s, true)", [str(PATIENCE_MS)])
        cursor.execute("LOCK TABLE crm_profile IN ACCESS EXCLUSIVE MODE")
        yield cursor


def _columns(cursor: Any) -> set[str]:
    cursor.execute(
        "SELECT attname FROM pg_attribute WHERE attrelid = 'crm_profile'::regclass AND NOT attisdropped"
    )
    return {name for (name,) in cursor.fetchall()}


def _keep(cursor: Any) -> None:
    """Have the trigger fill every column that there is. Keys are people's words: they become literals."""
    there = _columns(cursor)
    kept = [attribute for attribute in IndexedAttribute.objects.all() if attribute.column in there]
    cursor.execute(f"DROP TRIGGER IF EXISTS {TRIGGER} ON crm_profile")
    if not kept:
        cursor.execute(f"DROP FUNCTION IF EXISTS {FUNCTION}()")
        return
    lines = [
        ddl.SQL("NEW.{} := crm_index_value(NEW.attributes{});").format(
            ddl.Identifier(attribute.column),
            ddl.SQL("").join(ddl.SQL(" -> ") + ddl.Literal(key) for key in attribute.path.split(".")),
        )
        for attribute in kept
    ]
    body = ddl.SQL("BEGIN {} RETURN NEW; END").format(ddl.SQL(" ").join(lines))
    raw = connection.connection
    function = ddl.SQL(
        "CREATE OR REPLACE FUNCTION {}() RETURNS trigger LANGUAGE plpgsql SET search_path FROM CURRENT AS {}"
    ).format(ddl.Identifier(FUNCTION), ddl.Literal(body.as_string(raw)))
    cursor.execute(function.as_string(raw))
    cursor.execute(
        f"CREATE TRIGGER {TRIGGER} BEFORE INSERT OR UPDATE OF attributes ON crm_profile"
        f" FOR EACH ROW EXECUTE FUNCTION {FUNCTION}()"
    )
