"""The change feed: of whom something has changed that somebody wants to hear of.

Triggers write a row for each person of whom something watched has changed (migration 0022), so no writer can forget
it; what a trigger can't see, such as events that a merge re-points, is told by `touch`. Nothing is kept that nobody
watches. There is one reader: it looks with `peek` and, in the transaction that stores what came of it, takes away
what it saw with `drop`. No place is remembered, so a row that is committed late just comes later.

Fields are columns of the profile, `consents`, `devices`, `identifiers` (of browsers), `computed` (of attributes in
use), `suppressed`, what callers of `touch` name (`event:purchase`: such events have gone), and CREATED, DELETED or
EVERYTHING.
"""

from collections.abc import Callable, Collection, Iterable
from typing import NamedTuple

from django.db import connection, transaction

CREATED, DELETED, EVERYTHING = "created", "deleted", "everything"
MERGED = "merged"  # besides EVERYTHING, by a merge or its undoing
ALWAYS = frozenset({CREATED, DELETED, EVERYTHING})  # concern whoever watches anything


class Row(NamedTuple):
    """One person of whom these fields have changed; without a person: anything may have changed about anybody."""

    id: int
    profile_id: int | None
    fields: frozenset[str]


def touch(profile_ids: Iterable[int], fields: Collection[str] = (EVERYTHING,)) -> None:
    """Say, in the caller's transaction, that something about these people has changed that no trigger sees.

    Args:
        fields: what has changed; default: anything may have.
    """
    ids = sorted(set(profile_ids))
    if ids:
        with connection.cursor() as cursor:
            cursor.execute(
                "INSERT INTO crm_change (profile_id, fields) SELECT unnest(%s::bigint[]), %s::text[]"
                " WHERE EXISTS (SELECT FROM crm_watch WHERE field = ANY(%s))",
                [ids, sorted(fields), sorted(fields)],
            )


def touch_everybody() -> None:
    """Say, in the caller's transaction, that anything may have changed about anybody."""
    with connection.cursor() as cursor:
        cursor.execute(
            "INSERT INTO crm_change (profile_id, fields) SELECT NULL, %s::text[]"
            " WHERE EXISTS (SELECT FROM crm_watch)",
            [[EVERYTHING]],
        )


def watch(fields: Collection[str]) -> None:
    """Have changes of these fields kept from now on, besides those of ALWAYS.

    To be committed before looking at the state from which the changes are to be followed. What transactions change
    that run right now may be missed: see `settled`.
    """
    with connection.cursor() as cursor:
        cursor.execute(
            "INSERT INTO crm_watch (field, txid) SELECT f, pg_current_xact_id()::text::bigint"
            " FROM unnest(%s::text[]) AS f WHERE NOT EXISTS (SELECT FROM crm_watch w WHERE w.field = f)"
            " ON CONFLICT DO NOTHING",
            [sorted({*fields, *ALWAYS})],
        )


def settled(fields: Collection[str]) -> bool:
    """Whether all transactions have ended that may have changed one of these fields before it was watched."""
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT coalesce(max(txid), 0) < pg_snapshot_xmin(pg_current_snapshot())::text::bigint"
            " FROM crm_watch WHERE field = ANY(%s)",
            [sorted({*fields, *ALWAYS})],
        )
        return cursor.fetchone()[0]


@transaction.atomic
def watch_only(fields: Callable[[], Collection[str]]) -> None:
    """Stop watching all but `fields()`, which is asked while nobody can add others; if it is empty, ALWAYS ends too."""
    with connection.cursor() as cursor:
        cursor.execute("LOCK TABLE crm_watch IN SHARE ROW EXCLUSIVE MODE")
        wanted = fields()
        cursor.execute(
            "DELETE FROM crm_watch WHERE NOT field = ANY(%s)", [sorted({*wanted, *ALWAYS}) if wanted else []]
        )


def watched() -> set[str]:
    """The fields that are watched."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT field FROM crm_watch")
        return {row[0] for row in cursor.fetchall()}


def peek(limit: int) -> list[Row]:
    """The oldest rows that are there, so many at most; a person may have several."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT id, profile_id, fields FROM crm_change ORDER BY id LIMIT %s", [limit])
        return [Row(pk, profile_id, frozenset(fields)) for pk, profile_id, fields in cursor.fetchall()]


def drop(ids: Collection[int]) -> None:
    """Take rows away, in the transaction that stores what came of them."""
    if ids:
        with connection.cursor() as cursor:
            cursor.execute("DELETE FROM crm_change WHERE id = ANY(%s)", [list(ids)])


def drop_some(limit: int) -> int:
    """Take the oldest rows away unseen; return how many. For a backlog so long that looking at everybody is quicker."""
    with connection.cursor() as cursor:
        cursor.execute(
            "DELETE FROM crm_change WHERE id IN (SELECT id FROM crm_change ORDER BY id LIMIT %s)", [limit]
        )
        return cursor.rowcount


def waiting(limit: int) -> int:
    """How many rows there are, counted up to `limit`."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT count(*) FROM (SELECT FROM crm_change LIMIT %s) AS found", [limit])
        return cursor.fetchone()[0]
