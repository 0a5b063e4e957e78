"""Measures computed attributes in the database of NUDGE_DATA; see benchmarks/computed.py. Prints JSON."""

import json
import os
import random
import resource
import sys
import time
import uuid
from datetime import UTC, datetime, timedelta

import django

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "config.settings")
django.setup()

from django.db import connection, transaction  # noqa: E402

from benchmarks.computed_by_hand import BY_HAND, CREATE, STORE  # noqa: E402
from crm import log, partitions  # noqa: E402
from crm.computed import backfill, definitions, keeping  # noqa: E402
from crm.models import ComputedValue  # noqa: E402

PROFILES = int(os.environ.get("NUDGE_BENCH_PROFILES", "1000000"))
EVENTS = int(os.environ.get("NUDGE_BENCH_EVENTS", "10000000"))
NEW = 10_000
DAYS = 365
NAMES = ["visit", "view", "cart", "purchase", *(f"other{number}" for number in range(16))]

# The power laws of facts about shops: few people and few names make up most events.
_PEOPLE = """
    INSERT INTO crm_profile (external_id, timezone, country, attributes)
    SELECT 'bench-' || n, (ARRAY['Europe/Warsaw', 'Asia/Riyadh', 'UTC', NULL])[1 + n %% 4],
        (ARRAY['PL', 'SA', 'DE', 'US'])[1 + n %% 4], '{}'
    FROM generate_series(1, %s) AS n
"""
_EVENTS = """
    INSERT INTO crm_event (id, profile_id, name, occurred_at, properties, source)
    SELECT gen_random_uuid(), 1 + floor(%(profiles)s * power(random(), 2))::bigint,
        (%(names)s::text[])[1 + floor(20 * power(random(), 2))::int], %(now)s - random() * interval '365 days',
        jsonb_build_object('category', 'c' || floor(10 * power(random(), 2))::int,
            'amount', round((random() * 200)::numeric, 2), 'product', 'p' || floor(random() * 1000)::int), 'bench'
    FROM generate_series(1, %(events)s)
"""


def _memory_mb() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def _tell(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


def _fill(now: datetime) -> None:
    """People and events; the indexes are built afterwards, which is faster."""
    partitions.ensure(now - timedelta(days=day) for day in range(0, DAYS + 2, 15))
    with connection.cursor() as cursor:
        cursor.execute(_PEOPLE, [PROFILES])
        cursor.execute(
            "SELECT indexrelid::regclass::text, pg_get_indexdef(indexrelid) FROM pg_index"
            " WHERE indrelid = 'crm_event'::regclass AND NOT indisunique"
        )
        indexes = cursor.fetchall()
        for name, _definition in indexes:
            cursor.execute(f"DROP INDEX {name}")
        for part in range(10):
            cursor.execute(
                _EVENTS, {"profiles": PROFILES, "names": NAMES, "now": now, "events": EVENTS // 10}
            )
            _tell(f"  {(part + 1) * EVENTS // 10:,} events")
        for _name, definition in indexes:
            cursor.execute(definition.replace(" ON ONLY ", " ON "))
        cursor.execute("VACUUM (ANALYZE) crm_event")
        cursor.execute("VACUUM (ANALYZE) crm_profile")


def _by_hand(touched: dict[str, list[int]] | None = None) -> float:
    """Seconds for all attributes by hand, for everybody or for those whom events of each name touch."""
    began = time.perf_counter()
    for number, (select, config) in enumerate(zip(BY_HAND, DEFINITIONS, strict=True)):
        step = time.perf_counter()
        with transaction.atomic(), connection.cursor() as cursor:
            cursor.execute("SET LOCAL work_mem = '64MB'; SET LOCAL jit = off")
            scope = "" if touched is None else "AND e.profile_id = ANY(%(ids)s::bigint[])"
            cursor.execute(
                STORE.format(number=number, select=select.format(scope=scope)),
                {"ids": (touched or {}).get(config["event"], [])},
            )
        _tell(f"    {config['kind']} by hand {time.perf_counter() - step:.1f} s")
    return time.perf_counter() - began


def main() -> None:
    """Fill, measure, print."""
    now = datetime.now(UTC)
    start_mb = _memory_mb()
    _fill(now)
    with connection.cursor() as cursor:
        cursor.execute(CREATE)
    _tell("  by hand …")
    by_hand = _by_hand()
    _tell(f"  by hand {by_hand:.1f} s")
    began = time.perf_counter()
    for number, config in enumerate(DEFINITIONS):
        step = time.perf_counter()
        definitions.create(f"Attribute {number}", f"a{number}", config)
        while backfill.run(5):
            pass
        _tell(f"    {config['kind']} {time.perf_counter() - step:.1f} s")
    full = time.perf_counter() - began
    values = ComputedValue.objects.count()
    _tell(f"  ours {full:.1f} s for {values:,} values")
    with connection.cursor() as cursor:
        cursor.execute("VACUUM (ANALYZE) crm_computedvalue")
        cursor.execute("VACUUM (ANALYZE) by_hand")
    keeping.read()
    touched: dict[str, set[int]] = {}
    chance = random.Random(5)
    for _ in range(2):
        batch = [
            log.NewEvent(
                uuid.uuid4(),
                1 + int(PROFILES * chance.random() ** 2),
                NAMES[int(20 * chance.random() ** 2)],
                datetime.now(UTC),
                {"category": "c1", "amount": 9.5, "product": "p1"},
                "bench",
            )
            for _event in range(NEW // 2)
        ]
        log.append(batch)
        for event in batch:
            touched.setdefault(event.name, set()).add(event.profile_id)
    began = time.perf_counter()
    read, full_batch = keeping.read()
    while full_batch:
        more, full_batch = keeping.read()
        read += more
    incremental = time.perf_counter() - began
    print(
        json.dumps(
            {
                "profiles": PROFILES,
                "events": EVENTS,
                "values": values,
                "new": NEW,
                "taken": read,
                "backfill": full,
                "backfill_by_hand": by_hand,
                "incremental": incremental,
                "incremental_by_hand": _by_hand({name: sorted(ids) for name, ids in touched.items()}),
                "memory_mb": _memory_mb(),
                "start_mb": start_mb,
            }
        )
    )


DEFINITIONS = [
    {"kind": "count", "event": "purchase", "last_days": 90},
    {"kind": "sum", "event": "purchase", "property": "amount"},
    {"kind": "average", "event": "purchase", "property": "amount"},
    {"kind": "max", "event": "cart", "property": "amount"},
    {"kind": "most_frequent", "event": "view", "property": "category", "last_days": 180},
    {"kind": "last", "event": "view", "property": "product"},
    {"kind": "days_since", "event": "visit"},
    {"kind": "usual", "event": "visit", "of": "hour", "last_days": 90},
    {"kind": "streak", "event": "visit"},
    {"kind": "distinct", "event": "view", "property": "category", "last_days": 90},
]

if __name__ == "__main__":
    main()
