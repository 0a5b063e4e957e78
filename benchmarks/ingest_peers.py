"""What event ingestion is measured against; prints one JSON object with rows per second."""

import json
import os
import time
import uuid

import django

ROWS = 15_000
NAIVE_ROWS = 400


def main() -> None:
    """Measure both peers on the database of the environment."""
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "config.settings")
    django.setup()
    print(json.dumps({"copy": copy(), "naive": naive()}))


def copy() -> float:
    """COPY into a table without indexes: nothing that stores these rows in PostgreSQL is faster."""
    from django.db import connection

    properties = json.dumps({"product_id": "haraz", "price": 18.5, "currency": "EUR", "category": "coffee"})
    with connection.cursor() as cursor:
        cursor.execute("DROP TABLE IF EXISTS bench_event")
        cursor.execute("CREATE TABLE bench_event (LIKE crm_event INCLUDING DEFAULTS)")
        began = time.perf_counter()
        with cursor.copy(
            "COPY bench_event (id, profile_id, name, occurred_at, properties, source) FROM STDIN"
        ) as out:
            for number in range(ROWS):
                out.write_row(
                    [uuid.uuid4(), number % 5000, "purchase", "2026-05-01T00:00:00Z", properties, "api"]
                )
        took = time.perf_counter() - began
        cursor.execute("DROP TABLE bench_event")
    return ROWS / took


def naive() -> float:
    """One row at a time through the ORM, as a first version would have it."""
    from django.utils import timezone

    from crm.models import Event, Profile

    began = time.perf_counter()
    for number in range(NAIVE_ROWS):
        profile, _created = Profile.objects.get_or_create(external_id=f"naive-{number % 100}")
        event = Event(
            profile=profile,
            name="purchase",
            occurred_at=timezone.now(),
            received_at=timezone.now(),
            properties={"price": 18.5},
            source="naive",
            seq=number,
            txid=1,
        )
        event.save(force_insert=True)
    return NAIVE_ROWS / (time.perf_counter() - began)


if __name__ == "__main__":
    main()
