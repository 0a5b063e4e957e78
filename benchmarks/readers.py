"""Reading the event log: how fast one reader is, and that writers who commit late are not passed by.

The limit of a reader is PostgreSQL giving out the same rows in the same order to somebody who does nothing with
them. The writers each commit hundreds of small transactions after random delays while two readers follow: ours, and
one that remembers the highest number it saw, as one would write it first.
"""

import json
import os
import random
import tempfile
import threading
import time
import uuid
from datetime import UTC, datetime
from pathlib import Path

from benchmarks.product import product
from benchmarks.table import Row, row

EVENTS = 200_000
WRITERS = 8
COMMITS = 150  # of each writer
PER_COMMIT = 3
LONGEST_DELAY = 0.03  # seconds between writing and committing


def rows() -> list[Row]:
    """Measure in a process with the product's settings."""
    with tempfile.TemporaryDirectory(prefix="nudge-bench-") as folder, product(Path(folder)) as served:
        figures = served.figures("benchmarks.readers")
    late = f"events of {figures['written']:,} that a reader missed, {WRITERS} writers committing late"
    return [
        row(
            "one reader, every event",
            figures["all"],
            "events/s",
            "SELECT of the same rows",
            figures["select"],
        ),
        row("one reader, one name of three", figures["some"], "events/s", "every event", figures["all"]),
        row(late, figures["missed"], "events", "remembering the highest number", max(1, figures["naive"])),
        row("the same, read twice", figures["twice"], "events", "written", figures["written"]),
    ]


def main() -> None:
    """Print the figures as one JSON object."""
    import django

    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "config.settings")
    django.setup()
    _fill()
    figures = {"select": _select(), "all": _read("all"), "some": _read("some", ["purchase"])}
    print(json.dumps(figures | _late()))


def _fill() -> None:
    from django.db import connection

    names = ("product_viewed", "cart_updated", "purchase")
    properties = json.dumps({"product_id": "haraz", "price": 18.5, "currency": "EUR", "category": "coffee"})
    at = datetime.now(UTC).isoformat()
    with connection.cursor() as cursor:
        for start in range(0, EVENTS, 10_000):
            with cursor.copy(
                "COPY crm_event (id, profile_id, name, occurred_at, properties, source) FROM STDIN"
            ) as out:
                out.write(
                    "".join(
                        f"{uuid.uuid4()}\t{number % 5000}\t{names[number % 3]}\t{at}\t{properties}\tapi\n"
                        for number in range(start, start + 10_000)
                    )
                )
        cursor.execute("VACUUM ANALYZE crm_event")


def _select() -> float:
    """Rows per second of the plain query, in pieces of the readers' size."""
    from django.db import connection

    began, seen, position = time.perf_counter(), 0, (0, 0)
    with connection.cursor() as cursor:
        while True:
            cursor.execute(
                "SELECT txid, seq, id, profile_id, name, occurred_at, received_at, properties::text, source, clock"
                " FROM crm_event WHERE (txid, seq) > (%s, %s) ORDER BY txid, seq LIMIT 5000",
                position,
            )
            found = cursor.fetchall()
            if not found:
                return seen / (time.perf_counter() - began)
            seen += len(found)
            position = found[-1][:2]


def _read(cursor: str, names: list[str] | None = None) -> float:
    """Events per second that a reader comes past, those it does not want included."""
    from crm import log

    began, full = time.perf_counter(), True
    while full:
        with log.read(cursor, names=names) as batch:
            full = batch.full
    return EVENTS / (time.perf_counter() - began)


def _late() -> dict[str, int]:
    from django.db import connection, connections

    from crm import log
    from crm.models import Event

    log.start_at_end("late")
    with connection.cursor() as cursor:
        cursor.execute("SELECT max(seq) FROM crm_event")
        [before] = cursor.fetchone()
    over = threading.Event()
    ours: list[uuid.UUID] = []
    naive: list[uuid.UUID] = []

    def write(number: int) -> None:
        chance = random.Random(number)
        for _ in range(COMMITS):
            _write_late(chance)
        connections.close_all()

    def follow() -> None:
        while not over.is_set():
            with log.read("late") as batch:
                ours.extend(event.id for event in batch.events)
            time.sleep(0.002)
        connections.close_all()

    def follow_naively() -> None:
        highest = before
        while not over.is_set():
            for number, seq in Event.objects.filter(seq__gt=highest).order_by("seq").values_list("pk", "seq"):
                naive.append(number)
                highest = seq
            time.sleep(0.002)
        connections.close_all()

    writers = [threading.Thread(target=write, args=(number,)) for number in range(WRITERS)]
    readers = [threading.Thread(target=follow), threading.Thread(target=follow_naively)]
    for thread in [*writers, *readers]:
        thread.start()
    for thread in writers:
        thread.join()
    time.sleep(1)  # for the readers to come to the end
    over.set()
    for thread in readers:
        thread.join()
    written = set(Event.objects.filter(seq__gt=before).values_list("pk", flat=True))
    return {
        "written": len(written),
        "missed": len(written - set(ours)),
        "twice": len(ours) - len(set(ours)),
        "naive": len(written - set(naive)),
    }


def _write_late(chance: random.Random) -> None:
    """One transaction that holds its events back for a moment before it commits."""
    from django.db import transaction

    from crm import log

    with transaction.atomic():
        now = datetime.now(UTC)
        log.append([log.NewEvent(uuid.uuid4(), 1, "late", now, {}, "bench") for _ in range(PER_COMMIT)])
        time.sleep(chance.random() * LONGEST_DELAY)


if __name__ == "__main__":
    main()
