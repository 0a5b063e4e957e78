"""Empties the test database after a test that committed, faster than Django's flush.

Flush truncates every table and then makes permissions and roles anew. Here only tables that have had rows are emptied,
and what a migrated database holds is left alone as long as it is as it was.
"""

from django.core.management import call_command
from django.db import connection
from django.test import TransactionTestCase

# What is there when the migrations and their signals are through.
KEPT = ("django_content_type", "auth_permission", "auth_group", "auth_group_permissions", "crm_role")
BLOATED = 64 * 8192  # bytes; larger tables are truncated, lest reading all of one goes on taking long


def install() -> None:
    """Let tests with transactions of their own end with `empty`. The database is as after the migrations now."""
    migrated = _kept()

    def teardown(_case: TransactionTestCase) -> None:
        nonlocal migrated
        if _kept() == migrated:
            empty()
        else:
            call_command("flush", verbosity=0, interactive=False)
            empty()  # the event log, which Django does not manage
            migrated = _kept()

    TransactionTestCase._fixture_teardown = teardown


def empty() -> None:
    """Delete all rows but those of the migrated database, after what others are still writing."""
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT quote_ident(relname), pg_relation_size(oid) FROM pg_class"
            " WHERE relkind = 'r' AND relnamespace = 'public'::regnamespace"
            " AND pg_relation_size(oid) > 0 AND relname <> ALL(%s)",
            [[*KEPT, "django_migrations"]],
        )
        sizes = dict(cursor.fetchall())
        if not sizes:
            return
        bloated = [table for table, size in sizes.items() if size > BLOATED]
        truncation = f"TRUNCATE {', '.join(bloated)} CASCADE;" if bloated else ""
        deletions = "; ".join(f"DELETE FROM {table}" for table in sizes if table not in bloated)
        cursor.execute(
            # Without triggers: neither references nor the rules of ledgers matter when everything goes.
            "BEGIN; SET LOCAL session_replication_role = replica;"
            f" LOCK TABLE {', '.join(sizes)} IN EXCLUSIVE MODE; {truncation} {deletions}; COMMIT"
        )


def _kept() -> list[tuple]:
    """A digest of each table's rows."""
    digests = " UNION ALL ".join(
        f"SELECT '{table}', md5(string_agg(row::text, ' ' ORDER BY row::text)) FROM {table} row"
        for table in KEPT
    )
    with connection.cursor() as cursor:
        cursor.execute(digests)
        return cursor.fetchall()
