"""What the log tells that simulated runs are heading for: the events that will end them, wake them or be their goal.

Each question is one statement for a batch of runs, and finds the first event of each run by the log's index.
"""

from collections.abc import Collection, Mapping, Sequence
from datetime import datetime
from typing import Any, Protocol
from uuid import UUID

import msgspec
from django.db import connection

from crm.rules.sql import TRUE, Sql, joined, sql
from crm.rules.where import Where, check_where, properties


class Asking(Protocol):
    """A run about which is asked; `event_id` is the event that started it, `run_key` what its events bear."""

    @property
    def number(self) -> int: ...
    @property
    def profile_id(self) -> int: ...
    @property
    def event_id(self) -> UUID | None: ...
    @property
    def run_key(self) -> str: ...


class Ahead(msgspec.Struct, frozen=True):
    """An event that a run will meet; `value` is what was asked for among its properties."""

    at: datetime
    name: str
    event_id: UUID
    value: Any = None


def first(
    runs: Sequence[Asking],
    name: str,
    where: Sequence[Mapping[str, Any]],
    between: Mapping[int, tuple[datetime, datetime]],
    *,
    key: str | None = None,
    value: str = "",
    strictly: bool = False,
) -> dict[int, Ahead]:
    """The first event called `name` of each run's person between two moments, by the run's number.

    What started the run does not count, nor does what bears the key of another run.

    Args:
        where: conditions on its properties.
        between: from and to by the run's number, both included.
        key: a path below the event's properties that tells runs apart.
        value: a path to the property that is wanted.
        strictly: only after the first of the two moments.
    """
    asked = [run for run in runs if between[run.number][0] <= between[run.number][1]]
    if not asked:
        return {}
    told = _told("v.properties", key) if key else Sql("NULL")
    query = sql(
        "SELECT a.number, f.occurred_at, f.id, f.value::text FROM unnest({}::bigint[], {}::bigint[], {}::timestamptz[],"
        " {}::timestamptz[], {}::uuid[], {}::text[]) AS a(number, profile_id, since, until, event_id, run_key)"
        " CROSS JOIN LATERAL (SELECT v.occurred_at, v.id, {} AS value FROM crm_event v"
        " WHERE v.profile_id = a.profile_id AND v.name = {} AND v.occurred_at {} a.since AND v.occurred_at <= a.until"
        " AND v.id IS DISTINCT FROM a.event_id AND {} AND coalesce({} = a.run_key, true)"
        " ORDER BY v.occurred_at, v.txid, v.seq LIMIT 1) f",
        [run.number for run in asked],
        [run.profile_id for run in asked],
        [between[run.number][0] for run in asked],
        [between[run.number][1] for run in asked],
        [run.event_id for run in asked],
        [run.run_key for run in asked],
        sql("v.properties #> {}::text[]", value.split(".")) if value else Sql("NULL::jsonb"),
        name,
        Sql(">" if strictly else ">="),
        _narrowed(where, max(since for since, _until in between.values())),
        told,
    )
    with connection.cursor() as cursor:
        cursor.execute(query.text, query.params)
        return {
            number: Ahead(at, name, event_id, msgspec.json.decode(found) if found else None)
            for number, at, event_id, found in cursor.fetchall()
        }


def earliest(*found: Mapping[int, Ahead]) -> dict[int, Ahead]:
    """Of several answers the earlier for each run; of the same moment that of the answer that is given first."""
    best: dict[int, Ahead] = {}
    for answers in found:
        for number, ahead in answers.items():
            if number not in best or ahead.at < best[number].at:
                best[number] = ahead
    return best


def wakings(
    runs: Sequence[Asking], names: Collection[str], between: Mapping[int, tuple[datetime, datetime]]
) -> dict[int, datetime]:
    """When the first event with one of the names comes, by the run's number: later than the first moment."""
    found = earliest(*(first(runs, name, (), between, strictly=True) for name in sorted(names)))
    return {number: ahead.at for number, ahead in found.items()}


def _told(column: str, key: str) -> Sql:
    """The run key that an event bears, as campaigns.flows.exits.run_key makes it; NULL if it bears none."""
    path = key.removeprefix("properties.").split(".")
    found = sql("({} #> {}::text[])", Sql(column), path)
    return sql(
        "CASE jsonb_typeof({}) WHEN 'string' THEN left('key:' || ({} #>> '{{}}'), 500)"
        " WHEN 'number' THEN left('key:' || ({} #>> '{{}}'), 500)"
        " WHEN 'boolean' THEN 'key:' || initcap({} #>> '{{}}') END",
        found,
        found,
        found,
        found,
    )


def _narrowed(where: Sequence[Mapping[str, Any]], now: datetime) -> Sql:
    checked = check_where([msgspec.convert(dict(item), Where) for item in where], "where")
    return joined(" AND ", properties(checked, "v.properties", now)) if checked else TRUE
