"""The limit that event ingestion is measured against; prints one JSON object with rows per second."""

import json
import os
import time
import uuid
from datetime import UTC, datetime

import django

ROWS = 20_000


def main() -> None:
    """Measure on the database of the environment."""
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "config.settings")
    django.setup()
    from crm.models import Profile

    [first] = Profile.objects.filter(external_id="bench-0").values_list("pk", flat=True)
    print(json.dumps({"first_profile": first, "copy": copy(first)}))


def copy(first: int) -> float:
    """COPY prepared text into the event log itself, with its indexes and partitions, as one statement."""
    from django.db import connection

    properties = json.dumps({"product_id": "haraz", "price": 18.5, "currency": "EUR", "category": "coffee"})
    names = ("product_viewed", "cart_updated", "purchase")
    text = "".join(
        f"{uuid.uuid4()}\t{first + number % 5000}\t{names[number % 3]}\t{datetime.now(UTC).isoformat()}"
        f"\t{properties}\tapi\n"
        for number in range(ROWS)
    )
    with connection.cursor() as cursor:
        began = time.perf_counter()
        with cursor.copy(
            "COPY crm_event (id, profile_id, name, occurred_at, properties, source) FROM STDIN"
        ) as out:
            out.write(text)
        return ROWS / (time.perf_counter() - began)


if __name__ == "__main__":
    main()
