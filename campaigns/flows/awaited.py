"""The first of some events that came for a run in a span of time, read from the log."""

from collections.abc import Sequence
from datetime import datetime
from typing import Any

import msgspec
from django.db import connection

from crm.rules.sql import Sql, joined, sql
from crm.rules.where import Where, check_name, check_where, properties


class AwaitedEvent(msgspec.Struct, forbid_unknown_fields=True, omit_defaults=True):
    """An event by name, narrowed by its properties as in a segment's event condition."""

    name: str
    where: list[Where] = []

    def check(self, path: str = "") -> None:
        """Raises RuleError."""
        check_name(self.name, f"{path}.name" if path else "name")
        check_where(self.where, f"{path}.where" if path else "where")


class Watch(msgspec.Struct, frozen=True):
    """One run's span: from `since` on, before `until`. `but` is the id of an event that does not count."""

    key: int
    profile_id: int
    since: datetime
    until: datetime
    but: str = ""


# The plain bounds let PostgreSQL leave out months that no run looks at.
_FIRST = (
    "SELECT a.key, v.id::text, v.name, v.occurred_at, v.properties::text"
    " FROM unnest({}::bigint[], {}::bigint[], {}::timestamptz[], {}::timestamptz[], {}::text[])"
    " AS a(key, profile_id, since, until, but)"
    " CROSS JOIN LATERAL (SELECT v.id, v.name, v.occurred_at, v.properties FROM crm_event v"
    " WHERE v.profile_id = a.profile_id AND v.name = ANY({}::text[]) AND v.occurred_at >= a.since"
    " AND v.occurred_at < a.until AND v.occurred_at >= {} AND v.occurred_at < {} AND v.id::text <> a.but AND ({})"
    " ORDER BY v.occurred_at, v.txid, v.seq LIMIT 1) v"
)


def first(
    events: Sequence[AwaitedEvent], watches: Sequence[Watch], now: datetime
) -> dict[int, dict[str, Any]]:
    """The first matching event of each watch, by its key, as a run's context holds events; in one query.

    Args:
        now: what comparisons such as “in the last days” count from.
    """
    if not watches or not events:
        return {}
    query = sql(
        _FIRST,
        [watch.key for watch in watches],
        [watch.profile_id for watch in watches],
        [watch.since for watch in watches],
        [watch.until for watch in watches],
        [watch.but for watch in watches],
        [event.name for event in events],
        min(watch.since for watch in watches),
        max(watch.until for watch in watches),
        joined(" OR ", [_means(event, now) for event in events]),
    )
    with connection.cursor() as cursor:
        cursor.execute(query.text, query.params)
        return {
            key: {
                "id": event_id,
                "name": name,
                "occurred_at": occurred_at.isoformat(),
                "properties": msgspec.json.decode(facts),
            }
            for key, event_id, name, occurred_at, facts in cursor.fetchall()
        }


def _means(event: AwaitedEvent, now: datetime) -> Sql:
    where = properties(check_where(event.where, "where"), "v.properties", now)
    return joined(" AND ", [sql("v.name = {}", event.name), *where])
