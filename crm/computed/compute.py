"""Computing an attribute for some people and storing what changed."""

from datetime import datetime

from django.db import connection

from crm.computed.kinds import Kind
from crm.computed.kinds.base import Ask, Scope
from crm.rules.sql import Sql, sql

_COLUMNS = "number, text, at, due_at, zone"

_STORE = """
    WITH found AS MATERIALIZED ({rows}), gone AS (
        DELETE FROM crm_computedvalue v WHERE v.attribute_id = {attribute} AND {scope}
            AND NOT EXISTS (SELECT FROM found f WHERE f.profile_id = v.profile_id)
    )
    INSERT INTO crm_computedvalue AS v (profile_id, attribute_id, {columns})
    SELECT profile_id, {attribute}, {columns} FROM found ORDER BY profile_id
    ON CONFLICT (profile_id, attribute_id) DO UPDATE SET
        number = excluded.number, text = excluded.text, at = excluded.at, due_at = excluded.due_at,
        zone = excluded.zone
    WHERE (v.number, v.text, v.at, v.due_at, v.zone)
        IS DISTINCT FROM (excluded.number, excluded.text, excluded.at, excluded.due_at, excluded.zone)
"""

# For kinds whose value can be made of the old one and that of new events: no one loses theirs by new events.
_ADVANCE = """
    INSERT INTO crm_computedvalue AS v (profile_id, attribute_id, {columns})
    SELECT profile_id, {attribute}, {columns} FROM ({rows}) AS found ORDER BY profile_id
    ON CONFLICT (profile_id, attribute_id) DO UPDATE SET
        number = {function}(v.number, excluded.number), at = {function}(v.at, excluded.at)
    WHERE v.number IS DISTINCT FROM {function}(v.number, excluded.number)
        OR v.at IS DISTINCT FROM {function}(v.at, excluded.at)
"""


def found(kind: Kind, ask: Ask) -> Sql:
    """A SELECT of profile_id, number, text, at, due_at and zone, without those who have nothing of it."""
    return sql(
        "SELECT * FROM ({}) AS computed WHERE num_nonnulls(number, text, at, due_at) > 0", kind.rows(ask)
    )


def store(attribute_id: int, kind: Kind, scope: Scope, now: datetime) -> None:
    """Compute the attribute for the people in scope and write the differences, in the caller's transaction."""
    ask = Ask(now, scope)
    rows, limit = found(kind, ask), scope.limit("v.profile_id")
    statement = _STORE.format(rows=rows.text, scope=limit.text, attribute="%s", columns=_COLUMNS)
    with connection.cursor() as cursor:
        cursor.execute(statement, [*rows.params, attribute_id, *limit.params, attribute_id])


def advance(attribute_id: int, kind: Kind, scope: Scope, since: datetime, now: datetime) -> None:
    """As `store`, for kinds with `advances_by` and people about whom all that is new happened at `since` or later."""
    rows = found(kind, Ask(now, scope, since))
    statement = _ADVANCE.format(rows=rows.text, attribute="%s", columns=_COLUMNS, function=kind.advances_by)
    with connection.cursor() as cursor:
        cursor.execute(statement, [attribute_id, *rows.params])
