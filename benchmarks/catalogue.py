"""Products and places: keeping who cares for what, finding and telling them, storing products, following people.

Finding those who care for one product is measured beside the query one would write first, on the event log itself.
BENCH_VIEWS says how many views there are (400,000 unless set), by a quarter as many people.
"""

import json
import os
import tempfile
import time
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path

from benchmarks.product import product
from benchmarks.table import Row, row

VIEWS = int(os.environ.get("BENCH_VIEWS", "400000"))
PRODUCTS = 2_000
CHANGED = 200
LOOKED_UP = 20  # products asked for one by one
PLACES = 1_000
LOCATIONS = min(50_000, VIEWS // 4)
IN_A_LOOP = 300  # products stored by the peer


def rows() -> list[Row]:
    """Measure in a process with the product's settings."""
    with tempfile.TemporaryDirectory(prefix="nudge-bench-") as folder, product(Path(folder)) as served:
        figures = served.figures("benchmarks.catalogue")
    return [
        row("interest, views read", figures["read"], "events/s", "reading the log alone", figures["log"]),
        row(
            f"who cares for a product, of {VIEWS:,} views",
            figures["found"],
            "products/s",
            "asking the event log",
            figures["asked"],
        ),
        row(
            f"told of {CHANGED} cheaper products",
            figures["told"],
            "events/s",
            "appending as many events alone",
            figures["append"],
        ),
        row(
            "products stored, new",
            figures["new"],
            "products/s",
            "update_or_create in a loop",
            figures["loop"],
        ),
        row("products stored, unchanged", figures["same"], "products/s", "new ones", figures["new"]),
        row(
            f"locations followed, {PLACES:,} places",
            figures["followed"],
            "locations/s",
            "reading the log alone",
            figures["log"],
        ),
    ]


def main() -> None:
    """Print the figures as one JSON object."""
    import django

    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "config.settings")
    django.setup()
    from django.db import connection

    from crm import interest, places

    figures = _products()
    _fill()
    with connection.cursor() as cursor:
        cursor.execute("ANALYZE")
    figures["log"] = VIEWS / _timed(lambda: _drain(_plain_read))
    figures["read"] = VIEWS / _timed(lambda: _drain(lambda: interest.read()[1]))
    with connection.cursor() as cursor:
        cursor.execute("VACUUM ANALYZE crm_productinterest")
    figures |= _lookups() | _told()
    _locate()
    figures["followed"] = LOCATIONS / _timed(lambda: _drain(lambda: places.read()[1]))
    print(json.dumps(figures))


def _timed(work: Callable[[], object]) -> float:
    began = time.perf_counter()
    work()
    return time.perf_counter() - began


def _drain(read: Callable[[], bool]) -> None:
    while read():
        pass


def _plain_read() -> bool:
    from crm import log

    with log.read("bench", names={"product_viewed"}) as batch:
        return batch.full


def _products() -> dict[str, float]:
    from crm import catalogue
    from crm.models import Product

    batch = [
        catalogue.patch(
            {"sku": f"P{number}", "name": f"Product {number}", "price": 10, "currency": "EUR", "stock": 3}
        )
        for number in range(PRODUCTS)
    ]

    def store() -> None:
        for start in range(0, PRODUCTS, 1000):
            catalogue.upsert(batch[start : start + 1000], "bench")

    def loop() -> None:
        for number in range(IN_A_LOOP):
            Product.objects.update_or_create(
                sku=f"L{number}", defaults={"name": "Product", "price": 10, "stock": 3}
            )

    return {
        "new": PRODUCTS / _timed(store),
        "same": PRODUCTS / _timed(store),
        "loop": IN_A_LOOP / _timed(loop),
    }


def _fill() -> None:
    from django.db import connection
    from django.utils import timezone

    from crm import partitions

    now = timezone.now()
    partitions.ensure([now - timedelta(days=each) for each in range(0, 95, 5)])
    with connection.cursor() as cursor:
        cursor.execute(
            "INSERT INTO crm_profile (created_at) SELECT now() FROM generate_series(1, %s)", [VIEWS // 4]
        )
        cursor.execute("SELECT min(id) FROM crm_profile")
        first = cursor.fetchone()[0]
        for start in range(0, VIEWS, 50_000):
            cursor.execute(
                """
                INSERT INTO crm_event (id, profile_id, name, occurred_at, properties, source)
                SELECT gen_random_uuid(), %s + (n * 7919) %% %s, 'product_viewed',
                    %s - make_interval(mins => ((n * 31) %% 120000)::int),
                    jsonb_build_object('product_id', 'P' || (n * 104729) %% %s, 'name', 'Product', 'price', 10), 'sdk'
                FROM generate_series(%s::bigint, %s::bigint) AS n
                """,
                [first, VIEWS // 4, now, PRODUCTS, start, min(start + 50_000, VIEWS) - 1],
            )


def _lookups() -> dict[str, float]:
    from django.db import connection
    from django.utils import timezone

    since = timezone.now() - timedelta(days=90)

    def ask(statement: str) -> float:
        with connection.cursor() as cursor:
            cursor.execute(statement, [since, "P0"])  # its plan and pages are there
            began = time.perf_counter()
            for number in range(LOOKED_UP):
                cursor.execute(statement, [since, f"P{number}"])
                cursor.fetchall()
            return LOOKED_UP / (time.perf_counter() - began)

    return {
        "asked": ask(
            "SELECT DISTINCT profile_id FROM crm_event WHERE name = 'product_viewed' AND occurred_at > %s "
            "AND properties ->> 'product_id' = %s"
        ),
        "found": ask("SELECT profile_id FROM crm_productinterest WHERE viewed_at > %s AND sku = %s"),
    }


def _told() -> dict[str, float]:
    """Events told of cheaper products, beside appending as many events alone."""
    import uuid

    from django.utils import timezone

    from crm import catalogue, log, restock
    from crm.models import Event

    now = timezone.now()
    catalogue.upsert(
        [catalogue.patch({"sku": f"P{number}", "price": 5}) for number in range(CHANGED)], "bench", now
    )
    seconds = _timed(restock.run)
    told = Event.objects.filter(name="price_dropped").count()
    profile_id = Event.objects.values_list("profile_id", flat=True)[:1][0]
    events = [
        log.NewEvent(uuid.uuid4(), profile_id, "price_dropped", now, {"sku": "P1", "price": 5}, "nudge")
        for _ in range(restock.PAGE * 5)
    ]

    def append() -> None:
        for start in range(0, len(events), restock.PAGE):
            log.append(events[start : start + restock.PAGE])

    return {"told": told / seconds, "append": len(events) / _timed(append)}


def _locate() -> None:
    from django.db import connection

    from crm.models import LogCursor, Place

    Place.objects.bulk_create(
        [
            Place(
                slug=f"p{number}",
                name="Store",
                latitude=48 + number % 40 / 10,
                longitude=10 + number // 40 / 5,
            )
            for number in range(PLACES)
        ]
    )
    with connection.cursor() as cursor:
        cursor.execute("SELECT txid, seq FROM crm_event ORDER BY txid DESC, seq DESC LIMIT 1")
        txid, seq = cursor.fetchone()
        LogCursor.objects.create(name="places", txid=txid, seq=seq)
        cursor.execute(
            """
            INSERT INTO crm_event (id, profile_id, name, occurred_at, properties, source)
            SELECT gen_random_uuid(), id, 'location', now(), jsonb_build_object('latitude',
                48 + (id %% 40) / 10.0 + (id %% 7) / 1000.0, 'longitude', 10 + (id %% 25) / 5.0), 'sdk'
            FROM crm_profile ORDER BY id LIMIT %s
            """,
            [LOCATIONS],
        )


if __name__ == "__main__":
    main()
