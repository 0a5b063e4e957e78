"""Writing many events to the log that differ in little but the person."""

import secrets
import time
from collections.abc import Sequence
from datetime import datetime

from crm import log, partitions

_INSERT_ALIKE = """
    INSERT INTO crm_event (id, profile_id, name, occurred_at, properties, source, clock)
    SELECT e.id, e.profile_id, k.name, %s, k.properties, %s, ''
    FROM unnest(%s::uuid[], %s::bigint[], %s::int[]) AS e(id, profile_id, kind)
    JOIN unnest(%s::text[], %s::jsonb[]) WITH ORDINALITY AS k(name, properties, kind) ON k.kind = e.kind
"""


def append(rows: Sequence[tuple[int, str, str]], at: datetime, source: str) -> int:
    """As `log.append`, for many events of our own that differ in little but the person; half as dear.

    Args:
        rows: profile id, name, and JSON text of the properties.
        at: when all of them occurred; aware.
    """
    if not rows or partitions.ensure([at]):
        return 0
    kinds = {kind: number for number, kind in enumerate(dict.fromkeys(row[1:] for row in rows), 1)}
    columns = [_new_ids(len(rows)), [row[0] for row in rows], [kinds[row[1:]] for row in rows]]
    try:
        stored = log.insert(_INSERT_ALIKE, [at, source, *columns, *map(list, zip(*kinds, strict=True))])
    except log.MonthClosed:
        return append(rows, at, source)
    log.announce({row[1] for row in rows})
    return stored


def _new_ids(count: int) -> list[str]:
    """UUIDs of version 7 (RFC 9562, 5.7): ids made one after another lie side by side in the index."""
    start, random = f"{time.time_ns() // 1_000_000:012x}7", secrets.token_hex(9 * count)
    return [
        f"{start}{random[at : at + 3]}{'89ab'[int(random[at + 3], 16) % 4]}{random[at + 3 : at + 18]}"
        for at in range(0, 18 * count, 18)
    ]
