"""People and events for the segments benchmark: a year of 20 names by power laws, with JSON properties.

Rows are written by SQL alone, in the order of time as the log has them, by two connections and before the indexes.
"""

import os
import sys
import threading
import time
from datetime import datetime, timedelta

from django.db import connection, connections

from crm import partitions

PROFILES = int(os.environ.get("NUDGE_BENCH_PROFILES", "1000000"))
EVENTS = int(os.environ.get("NUDGE_BENCH_EVENTS", "10000000"))
DAYS = 365
NAMES = [
    *("page_viewed", "product_viewed", "message_sent", "session_started", "message_opened", "cart_updated"),
    *(
        "searched",
        "wishlist_added",
        "message_clicked",
        "coupon_used",
        "review_read",
        "video_played",
        "shared",
    ),
    *("purchased", "store_visited", "support_asked", "app_opened", "form_sent", "invited", "refund_asked"),
]

# A third are anonymous visitors; numbers are spread so that no two fields of a person go together.
_PEOPLE = """
    INSERT INTO crm_profile (external_id, email, first_name, language, timezone, country, city, lifecycle_stage,
        latitude, longitude, birthday, attributes, first_seen, last_seen)
    SELECT CASE WHEN n %% 3 > 0 THEN 'c' || n END, CASE WHEN n %% 3 > 0 THEN 'person' || n || '@example.com' END,
        CASE WHEN n %% 3 > 0 THEN (ARRAY['Anna', 'Omar', 'Jan', 'Layla', 'Piotr'])[1 + n %% 5] END,
        (ARRAY['pl', 'ar', 'en', 'de'])[1 + (a * 4)::int %% 4],
        (ARRAY['Europe/Warsaw', 'Asia/Riyadh', 'Europe/Berlin', 'UTC'])[1 + (a * 4)::int %% 4],
        (ARRAY['PL', 'SA', 'DE', 'US', 'GB', 'AE', 'FR', 'EG'])[1 + floor(8 * a * a)::int],
        'City ' || floor(500 * b * b), (ARRAY['lead', 'customer', 'regular', 'vip'])[1 + floor(4 * b)::int],
        CASE WHEN n %% 3 > 0 THEN 20 + 35 * c END, CASE WHEN n %% 3 > 0 THEN 60 * d END,
        CASE WHEN n %% 3 > 0 THEN date '1950-01-01' + floor(20000 * c)::int END,
        jsonb_build_object('plan', (ARRAY['free', 'basic', 'gold', 'platinum'])[1 + floor(4 * d * d)::int],
            'points', floor(1000 * c)::int, 'newsletter', b < 0.4, 'tags', jsonb_build_array('t' || floor(20 * c))),
        %(now)s - c * interval '365 days', %(now)s - c * d * interval '365 days'
    FROM (SELECT n, random() AS a, random() AS b, random() AS c, random() AS d FROM generate_series(1, %(most)s) AS n)
"""
# 7919 is prime to the sizes, so that the busiest people lie everywhere in the table.
_EVENTS = """
    INSERT INTO crm_event (id, profile_id, name, occurred_at, properties, source)
    SELECT lpad(to_hex(n), 32, '0')::uuid,
        %(first)s + (floor(%(people)s * power(random(), 2))::bigint * 7919) %% %(people)s,
        (%(names)s::text[])[1 + floor(20 * power(random(), 1.6))::int],
        %(now)s - interval '365 days' * (1 - n::float8 / %(events)s) - random() * interval '5 minutes',
        jsonb_build_object('category', 'c' || floor(20 * power(random(), 2))::int,
            'amount', round((random() * 120)::numeric, 2), 'product', 'p' || floor(random() * 1000)::int,
            'message', 'm' || floor(random() * 30)::int, 'channel', 'webpush'), 'bench'
    FROM generate_series(%(low)s, %(high)s) AS n
"""


def tell(text: str) -> None:
    """A line about how far it is."""
    print(f"  {text}", file=sys.stderr, flush=True)


def fill(now: datetime) -> None:
    """People and events up to `now`, unless they are there already."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT EXISTS (SELECT FROM crm_profile)")
        if cursor.fetchone()[0]:
            return
        began = time.perf_counter()
        cursor.execute("SET session_replication_role = replica")  # nobody follows what is only filled in
        partitions.ensure(now - timedelta(days=day) for day in range(0, DAYS + 2, 15))
        indexes = _without_indexes(cursor, "crm_profile")
        cursor.execute(_PEOPLE, {"most": PROFILES, "now": now})
        _with_indexes(cursor, indexes)
        cursor.execute("VACUUM (ANALYZE) crm_profile")
        tell(f"{PROFILES:,} people in {time.perf_counter() - began:.0f} s")
        began = time.perf_counter()
        indexes = _without_indexes(cursor, "crm_event")
        cursor.execute("SELECT min(id) FROM crm_profile")
        [first] = cursor.fetchone()
    half = EVENTS // 2
    threads = [
        threading.Thread(target=_events, args=(now, first, low, high))
        for low, high in ((1, half), (half + 1, EVENTS))
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    with connection.cursor() as cursor:
        tell(f"{EVENTS:,} events in {time.perf_counter() - began:.0f} s")
        _with_indexes(cursor, indexes)
        cursor.execute("VACUUM (ANALYZE) crm_event")
        cursor.execute("SET session_replication_role = origin")
        tell(f"with their indexes in {time.perf_counter() - began:.0f} s")


def _events(now: datetime, first: int, low: int, high: int) -> None:
    step = max((high - low) // 10, 1)
    try:
        with connection.cursor() as cursor:
            cursor.execute("SET session_replication_role = replica")
            for start in range(low, high + 1, step):
                values = {"now": now, "first": first, "people": PROFILES, "names": NAMES, "events": EVENTS}
                cursor.execute(_EVENTS, {**values, "low": start, "high": min(start + step - 1, high)})
    finally:
        connections.close_all()


def _without_indexes(cursor, table: str) -> list[str]:
    """Drop the table's indexes that hold no rule; how to make them again."""
    cursor.execute(
        "SELECT indexrelid::regclass::text, pg_get_indexdef(indexrelid) FROM pg_index"
        " WHERE indrelid = %s::regclass AND NOT indisunique",
        [table],
    )
    found = cursor.fetchall()
    for name, _definition in found:
        cursor.execute(f"DROP INDEX {name}")
    return [definition for _name, definition in found]


def _with_indexes(cursor, definitions: list[str]) -> None:
    for definition in definitions:
        cursor.execute(definition.replace(" ON ONLY ", " ON "))
