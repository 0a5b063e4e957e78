"""What a connection remembers of its CRM's records: those it took, and those it had to reject.

Records that tell nothing new, which is nearly all of them in everyday life, are told apart inside the database:
ids, times and fingerprints go in, and only what is news comes out.
"""

import json
import math
from collections.abc import Iterator, Sequence
from functools import lru_cache
from typing import Any

import msgspec
from django.db import connection as database

from crm import normalise
from crm.connectors.base import Record
from crm.normalise import Rejection
from crm.pg import copy_columns, text_array
from crm.sync.roles import Batch, Item, Known, Outcome

HASH_BYTES = 16
RAW_LIMIT = 1_000  # characters of one value kept for a rejected record

# Each record by itself, through the index: OFFSET 0 keeps PostgreSQL from a join of its own choice, which without
# fresh statistics, as after a first import, reads the whole table for every record.
_HELD = """
    LATERAL (
        SELECT * FROM crm_sourcerecord
        WHERE connection_id = %(connection)s AND object = %(object)s AND record_id = r.id OFFSET 0
    ) AS held
"""
_NEWS = f"""
    SELECT r.n, held.modified_at, held.content_hash, held.state, held.empty, held.consent, held.merged_into, held.local
    FROM (
        SELECT n, id, at, substring(%(hashes)s::bytea FROM ((n - 1) * {HASH_BYTES} + 1)::int FOR {HASH_BYTES}) AS hash
        FROM unnest(%(ids)s::text[], %(times)s::timestamptz[]) WITH ORDINALITY AS u (id, at, n)
    ) AS r
    LEFT JOIN {_HELD} ON true
    WHERE held.id IS NULL OR held.state <> 'live' OR r.at > held.modified_at
        OR (r.at = held.modified_at AND r.hash <> held.content_hash)
    ORDER BY r.n
"""
_SAVE = f"""
    UPDATE crm_sourcerecord AS s SET modified_at = r.modified_at, content_hash = decode(r.content_hash, 'hex'),
        empty = array(SELECT jsonb_array_elements_text(r.empty)), consent = r.consent, local = r.local,
        merged_into = '', state = 'live', synced_at = %(now)s
    FROM jsonb_to_recordset(%(rows)s::jsonb) AS r (id text, modified_at timestamptz, content_hash text,
        empty jsonb, consent jsonb, local text)
    CROSS JOIN {_HELD}
    WHERE s.id = held.id
"""
_MOVE = f"""
    UPDATE crm_sourcerecord AS s SET modified_at = r.at, synced_at = %(now)s
    FROM unnest(%(ids)s::text[], %(times)s::timestamptz[]) AS r (id, at)
    CROSS JOIN {_HELD}
    WHERE s.id = held.id
"""
_REJECT = """
    INSERT INTO crm_syncreject AS s (connection_id, run_id, object, record_id, code, field, detail, raw,
        attempts, first_seen, last_seen)
    SELECT %(connection)s, %(run)s, %(object)s, r.record_id, r.code, r.field, r.detail, r.raw,
        1, %(now)s, %(now)s
    FROM jsonb_to_recordset(%(rows)s::jsonb)
        AS r(record_id text, code text, field text, detail text, raw jsonb)
    ON CONFLICT (connection_id, object, record_id) DO UPDATE SET run_id = excluded.run_id,
        code = excluded.code, field = excluded.field, detail = excluded.detail, raw = excluded.raw,
        attempts = s.attempts + 1, last_seen = excluded.last_seen, resolved_at = NULL
"""
_RESOLVE = """
    UPDATE crm_syncreject SET resolved_at = %(now)s
    WHERE connection_id = %(connection)s AND object = %(object)s AND resolved_at IS NULL
        AND record_id = ANY(%(ids)s::text[]) AND record_id <> ALL(%(rejected)s::text[])
"""
_COLUMNS = (
    "connection_id, object, record_id, modified_at, content_hash, empty, consent, local, state, synced_at"
)


def news(
    batch: Batch, records: Sequence[Record], hashes: Sequence[bytes]
) -> Iterator[tuple[Record, bytes, Known | None]]:
    """Those of the records that are not live here with the same content, or newer: each with what is known of it.

    A record that has only become newer comes too. A deleted one comes unless it was never seen or is known to
    be gone; its hash is empty.

    Args:
        hashes: HASH_BYTES for each record.
    """
    times = ["infinity" if record.deleted else record.modified_at for record in records]
    with database.cursor() as cursor:
        cursor.execute(
            _NEWS,
            {
                "ids": text_array([record.id for record in records]),
                "times": _time_array(times),
                "hashes": b"".join(hashes),
                "connection": batch.connection.pk,
                "object": batch.object,
            },
        )
        for place, at, content_hash, state, empty, answers, merged_into, local in cursor.fetchall():
            known = None
            if state is not None:
                known = Known(at, bytes(content_hash), state, empty, json.loads(answers), merged_into, local)
            yield records[place - 1], hashes[place - 1], known


def _json_texts(values: Sequence[Any]) -> list[str]:
    """Plain values such as times in the text that they have in JSON."""
    return msgspec.json.encode(values).decode()[2:-2].split('","')


@lru_cache(maxsize=1024)
def _empty(targets: tuple[str, ...]) -> str:
    return text_array(targets)


@lru_cache(maxsize=1024)
def _answers(*items: tuple[str, bool]) -> str:
    return json.dumps(dict(items))


def _time_array(times: Sequence[Any]) -> str:
    """Aware datetimes, or "infinity", as the literal of a timestamptz[]."""
    return "{" + msgspec.json.encode(times).decode()[1:-1] + "}"


def save(batch: Batch, stored: Sequence[tuple[Item, Outcome]]) -> None:
    """Remember what was taken of these records."""
    new = [(item, outcome) for item, outcome in stored if item.known is None]
    if new:
        same = len(new)
        columns: list[Sequence[str | None]] = [
            [str(batch.connection.pk)] * same,
            [batch.object] * same,
            [item.record.id for item, _ in new],
            _json_texts([item.record.modified_at for item, _ in new]),
            ["\\x" + item.content_hash.hex() for item, _ in new],
            [_empty(tuple(outcome.empty)) for _, outcome in new],
            [_answers(*outcome.consent.items()) for _, outcome in new],
            [outcome.local for _, outcome in new],
            ["live"] * same,
            [batch.now.isoformat()] * same,
        ]
        with (
            database.cursor() as cursor,
            cursor.copy(f"COPY crm_sourcerecord ({_COLUMNS}) FROM STDIN") as copy,
        ):
            copy_columns(copy, columns)
    again = [
        {
            "id": item.record.id,
            "modified_at": item.record.modified_at,
            "content_hash": item.content_hash.hex(),
            "empty": outcome.empty,
            "consent": outcome.consent,
            "local": outcome.local,
        }
        for item, outcome in stored
        if item.known is not None
    ]
    if again:
        _execute(batch, _SAVE, rows=msgspec.json.encode(again).decode())


def move(batch: Batch, records: Sequence[Record]) -> None:
    """Remember that these records, which tell nothing new, are newer: an older state must not replace them."""
    if records:
        _execute(
            batch,
            _MOVE,
            ids=text_array([record.id for record in records]),
            times=_time_array([record.modified_at for record in records]),
        )


def reject(batch: Batch, rejected: Sequence[tuple[Record, Rejection]]) -> None:
    """Keep these records, with the reason, for people to see and later runs to try again."""
    rows = {
        record.id: {
            "record_id": record.id,
            "code": error.code,
            "field": error.field,
            "detail": error.detail,
            "raw": {name: _showable(value) for name, value in record.fields.items()},
        }
        for record, error in rejected
    }
    if rows:
        _execute(batch, _REJECT, rows=json.dumps(list(rows.values())))


def resolve(batch: Batch, record_ids: Sequence[str], rejected: Sequence[str]) -> None:
    """What was rejected before and is not among the `rejected` now is settled."""
    _execute(batch, _RESOLVE, ids=text_array(record_ids), rejected=text_array(rejected))


def _execute(batch: Batch, statement: str, **parameters: Any) -> None:
    with database.cursor() as cursor:
        cursor.execute(
            statement,
            {
                "connection": batch.connection.pk,
                "run": batch.run.pk,
                "object": batch.object,
                "now": batch.now,
                **parameters,
            },
        )


def _showable(value: Any) -> Any:
    """A value as jsonb can hold it, cut to what helps a person to see what is wrong."""
    match value:
        case str():
            text = value.encode("utf-8", "replace").decode().replace("\x00", "\N{REPLACEMENT CHARACTER}")
            return normalise.shortened(text, RAW_LIMIT)
        case float():
            return value if math.isfinite(value) else str(value)
        case list():
            return [_showable(item) for item in value]
        case dict():
            return {_showable(key): _showable(item) for key, item in value.items()}
    return value
