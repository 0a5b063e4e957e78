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


# Person by person and name by name, in the order of the only index that begins with people: compared as rows, no other
# can be used, whatever is known of the tables. The plain bounds let PostgreSQL leave out months that no run looks at.
_FIRST = (
    "SELECT DISTINCT ON (a.key) a.key, v.id::text, v.name, v.occurred_at, v.properties::text"
    " FROM unnest({}::bigint[], {}::bigint[], {}::timestamptz[], {}::timestamptz[], {}::text[])"
    " AS a(key, profile_id, since, until, but)"
    " CROSS JOIN unnest({}::text[]) AS n(name)"
    " CROSS JOIN LATERAL (SELECT v.id, v.name, v.occurred_at, v.properties, v.txid, v.seq FROM crm_event v"
    " WHERE (v.profile_id, v.name, v.occurred_at) >= (a.profile_id, n.name, a.since)"
    " AND (v.profile_id, v.name, v.occurred_at) < (a.profile_id, n.name, a.until)"
    " AND v.occurred_at >= {} AND v.occurred_at < {} AND v.id::text <> a.but AND ({})"
    " ORDER BY v.profile_id, v.name, v.occurred_at, v.txid, v.seq LIMIT 1) v"
    " ORDER BY a.key, v.occurred_at, v.txid, v.seq"
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
        sorted({event.name for event in events}),
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
    return joined(" AND ", [sql("n.name = {}", event.name), *where])
