"""Facts made from a part of the log by SQL alone: the same as `seen` and `keeping` make of it event by event.

Of one delivery the order of the log matters only where something was taken back; all else is the first or the last of
what was told, whoever tells it when. What the facts say already is not written again.
"""

from collections.abc import Collection

from django.db import connection

from analytics.rollups import keeping, seen
from crm.log import Position

_WITHIN = (
    "(e.txid, e.seq) > (%(after_txid)s, %(after_seq)s) AND (e.txid, e.seq) <= (%(upto_txid)s, %(upto_seq)s)"
)
_NUMBER = """
    CASE jsonb_typeof(e.properties -> 'delivery') WHEN 'number' THEN (e.properties -> 'delivery')::numeric END
"""
# Texts whose first or last is that of a moment, of those at the same moment by the rest.
_MOMENT = "to_char(e.occurred_at AT TIME ZONE 'UTC', 'YYYYMMDDHH24MISSUS')"
_MOMENT_LENGTH = 20  # characters
_AFTER_ALL = "~" * _MOMENT_LENGTH
_STATE_LENGTH = 10


def _text(name: str) -> str:
    return f"nullif(left(e.properties ->> '{name}', {seen.MAX_TEXT}), '')"


def _of(names: Collection[str], value: str) -> str:
    """A value of events with one of these names; NULL of others, whose properties need not be looked at."""
    quoted = ", ".join(f"'{name}'" for name in sorted(names))
    return f"CASE WHEN e.name IN ({quoted}) THEN {value} END"


def _taken() -> str:
    """Where in the log each thing was last taken back, of deliveries of which something was."""
    last = ", ".join(
        f"max(ARRAY[txid, seq]) FILTER (WHERE names ? '{name}') AS {column}"
        for name, column in seen.FIRSTS.items()
        if column in seen.TAKEN
    )
    return f"""
        SELECT number, {last} FROM (
            SELECT {_NUMBER} AS number, e.txid, e.seq, e.properties -> 'names' AS names
            FROM crm_event e WHERE e.name = '{seen.WITHDRAWN}' AND {_WITHIN}
        ) each WHERE jsonb_typeof(names) = 'array' GROUP BY number
    """


def _logged() -> str:
    """The events that may tell something about a delivery."""
    told = "e.properties ->> 'state'"
    state = f"CASE WHEN {told} IN ('suppressed', 'expired') THEN {told} ELSE 'failed' END"
    state = f"CASE e.name WHEN 'message_suppressed' THEN 'suppressed' ELSE {state} END"
    ending = f"{_MOMENT} || rpad({state}, {_STATE_LENGTH}) || coalesce(e.properties ->> 'reason', '')"
    used = f"CASE e.name WHEN '{seen.SENT}' THEN '{_AFTER_ALL}' ELSE {_MOMENT} END || {_text('device')}"
    columns = [
        *(f"{_of([seen.SENT], _text(name))} AS {name}" for name in seen.TRAITS),
        f"{_of(seen.ENDED, ending)} AS ending",
        f"{_of(seen.DEVICES, used)} AS used",
    ]
    return f"""
        SELECT {_NUMBER} AS number, e.txid, e.seq, e.name, e.occurred_at AS at, {", ".join(columns)}
        FROM crm_event e WHERE e.name = ANY(%(names)s::text[]) AND {_WITHIN}
            AND (e.name <> '{seen.CONSENT}' OR e.properties ->> 'state' = 'unsubscribed')
        OFFSET 0 -- else each property is looked up wherever it is used
    """


def _told() -> str:
    """One row of each delivery: what `seen.Seen` says of it, and what makes its series."""
    firsts = []
    for name, column in {seen.SENT: "sent_at", **seen.FIRSTS, seen.CONSENT: "unsubscribed_at"}.items():
        counts = f"e.name = '{name}'"
        if column in seen.TAKEN:
            counts += f" AND (w.{column} IS NULL OR ARRAY[e.txid, e.seq] > w.{column})"
        firsts.append(f"min(e.at) FILTER (WHERE {counts}) AS {column}")
    bits = " + ".join(
        f"CASE WHEN w.{column} IS NULL THEN 0 ELSE {bit} END" for column, bit in seen.TAKEN.items()
    )
    known = {"zone": " FILTER (WHERE e.zone = ANY(%(zones)s::text[]))"}
    traits = [f'min(e.{name} COLLATE "C"){known.get(name, "")} AS {name}' for name in seen.TRAITS]
    return f"""
        CREATE TEMPORARY TABLE analytics_told ON COMMIT DROP AS
        WITH taken AS MATERIALIZED ({_taken()}), logged AS ({_logged()}), told AS (
            SELECT e.number::bigint AS delivery, {", ".join(firsts)}, max({bits}) AS taken, {", ".join(traits)},
                max(e.at) FILTER (WHERE e.ending IS NOT NULL) AS ended_at, max(e.ending COLLATE "C") AS ending,
                min(e.at) FILTER (WHERE e.used IS NOT NULL AND e.name <> '{seen.SENT}') AS device_at,
                min(e.used COLLATE "C") AS used
            FROM logged e LEFT JOIN taken w ON w.number = e.number
            GROUP BY e.number HAVING e.number > 0 AND e.number < {seen.LARGEST} AND e.number = trunc(e.number)
        )
        SELECT t.delivery, t.taken, {", ".join(f"t.{name}" for name in seen.TIMES)}, t.ended_at, t.device_at,
            coalesce(rtrim(substr(t.ending, {_MOMENT_LENGTH + 1}, {_STATE_LENGTH})), '') AS ended,
            coalesce(substr(t.ending, {_MOMENT_LENGTH + _STATE_LENGTH + 1}), '') AS reason,
            {", ".join(f"coalesce(t.{name}, '') AS {name}" for name in seen.TRAITS)},
            coalesce(substr(t.used, {_MOMENT_LENGTH + 1}), '') AS device,
            d.message_id, d.channel, d.variant, d.origin_type, coalesce(d.origin_id, 0) AS origin_id, d.origin_step,
            coalesce(b.known, false) AS known
        FROM told t
        CROSS JOIN LATERAL (SELECT * FROM delivery_delivery d WHERE d.id = t.delivery OFFSET 0) d
        LEFT JOIN LATERAL (
            SELECT true AS known FROM analytics_engagement b WHERE b.delivery_id = t.delivery OFFSET 0
        ) b ON true
    """


_SAME = " AND ".join(f"s.{name} = n.{name}" for name in keeping.SERIES.split(", "))
_SERIES = f"""
    INSERT INTO analytics_series ({keeping.SERIES})
    SELECT DISTINCT {keeping.SERIES} FROM analytics_told n
    WHERE n.origin_type <> 'test' AND NOT EXISTS (SELECT FROM analytics_series s WHERE {_SAME})
    ORDER BY 1, 2, 3, 4, 5, 6 ON CONFLICT DO NOTHING
"""
_NEWS = f"(SELECT n.*, s.id AS series_id FROM analytics_told n LEFT JOIN analytics_series s ON {_SAME}) n"
_INSERT = f"""
    INSERT INTO analytics_engagement (delivery_id, {", ".join(keeping.FACTS)})
    SELECT n.delivery, {", ".join(f"n.{name}" for name in keeping.FACTS)} FROM {_NEWS} WHERE NOT n.known
    ORDER BY n.delivery
"""


def _update() -> str:
    merged = keeping.merged("b", "n", {name: f"n.taken & {bit} <> 0" for name, bit in seen.TAKEN.items()})
    values = ", ".join(merged.values())
    return f"""
        INSERT INTO analytics_engagement (delivery_id, {", ".join(merged)})
        SELECT n.delivery, {values} FROM {_NEWS}
        CROSS JOIN LATERAL (SELECT * FROM analytics_engagement b WHERE b.delivery_id = n.delivery OFFSET 0) b
        WHERE n.known AND ({values}) IS DISTINCT FROM ({", ".join(f"b.{name}" for name in merged)})
        ORDER BY n.delivery
        ON CONFLICT (delivery_id) DO UPDATE SET {", ".join(f"{name} = excluded.{name}" for name in merged)}
    """


_TOLD, _UPDATE = _told(), _update()


_EDGE = f"SELECT e.txid, e.seq FROM crm_event e WHERE {_WITHIN} ORDER BY 1, 2 OFFSET %(limit)s - 1 LIMIT 1"


def store(after: Position, upto: Position, limit: int) -> Position:
    """Add to the facts what the log says after one position up to another, of at most so many events.

    To be called in the transaction that holds the cursor, which has read up to there. Figures are not changed: this
    is for where all facts are going to be counted anew. The number of queries does not depend on the number of
    events, nor does it matter what of them the facts have already.

    Returns:
        The position that was reached: `upto` when there is nothing left.
    """
    values = {"after_txid": after.txid, "after_seq": after.seq, "upto_txid": upto.txid, "upto_seq": upto.seq}
    with connection.cursor() as cursor:
        cursor.execute(_EDGE, values | {"limit": limit})
        reached = Position(*(cursor.fetchone() or (upto.txid, upto.seq)))
        values |= {"upto_txid": reached.txid, "upto_seq": reached.seq}
        cursor.execute("SET LOCAL work_mem = '64MB'")
        cursor.execute(_TOLD, values | {"names": sorted(seen.NAMES), "zones": sorted(keeping.zones())})
        count = cursor.rowcount
        cursor.execute(_SERIES)
        cursor.execute(_INSERT)
        if cursor.rowcount < count:
            cursor.execute(_UPDATE)
        cursor.execute("DROP TABLE analytics_told")
    return reached
