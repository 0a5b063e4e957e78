"""Queueing a broadcast for many people, as a worker does it, beside a loop over people with Django's models.

Both ask the same segment and write the same rows into the same table with all its indexes, in one process each and one
after the other. The loop asks for each person whether they have it already and creates their row, in transactions of a
thousand; it is measured with the first BENCH_LOOP people (20,000 unless set). BENCH_PEOPLE says how many there are
(100,000 unless set; the goal is a million in a minute).
"""

import json
import os
import tempfile
import time
from pathlib import Path

from benchmarks.product import product
from benchmarks.table import Row, row

PEOPLE = int(os.environ.get("BENCH_PEOPLE", "100000"))
LOOP = min(PEOPLE, int(os.environ.get("BENCH_LOOP", "20000")))


def rows() -> list[Row]:
    """Measure in a process with the product's settings."""
    with tempfile.TemporaryDirectory(prefix="nudge-bench-") as folder, product(Path(folder)) as served:
        figures = served.figures("benchmarks.broadcasts")
    loop = f"a Django loop over {LOOP:,} people"
    return [
        row(f"broadcast queued, {PEOPLE:,} people", figures["ours"], "people/s", loop, figures["loop"]),
        row(
            f"broadcast queued by local times, {PEOPLE:,} people",
            figures["local"],
            "people/s",
            loop,
            figures["loop"],
        ),
        row(f"until all {PEOPLE:,} are queued", figures["seconds"], "s", "the goal for a million", 60),
        row("longest transaction", figures["longest_ms"], "ms", "a second", 1000),
        row("figures of the page", figures["figures_ms"], "ms", "a second", 1000),
    ]


def main() -> None:
    """Print the figures as one JSON object."""
    import django

    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "config.settings")
    django.setup()
    from django.db import connection
    from django.utils import timezone

    from campaigns import audience
    from campaigns.broadcasts import expanding, lifecycle
    from campaigns.models import Broadcast, Segment
    from delivery.models import Delivery, Message, MessageContent

    with connection.cursor() as cursor:
        cursor.execute(
            "INSERT INTO crm_profile (email, country, timezone, attributes)"
            " SELECT 'p' || n || '@example.com', (ARRAY['PL', 'AE', 'US'])[n %% 3 + 1],"
            " (ARRAY['Europe/Warsaw', 'Asia/Dubai', 'America/New_York'])[n %% 3 + 1], '{}'"
            " FROM generate_series(1, %s) AS n",
            [PEOPLE],
        )
        cursor.execute("VACUUM ANALYZE crm_profile")
    message = Message.objects.create(slug="bench", name="Bench")
    MessageContent.objects.create(message=message, channel="memory", content={"text": "Hello"})
    segment = Segment.objects.create(
        slug="bench",
        name="Bench",
        rule={"not": {"kind": "attribute", "field": "country", "op": "eq", "value": "DE"}},
    )
    longest = 0.0

    def ours(**fields) -> float:
        nonlocal longest
        broadcast = Broadcast.objects.create(
            name="Bench", message=message, segment=segment, channel="memory", **fields
        )
        began = time.perf_counter()
        planned = lifecycle.plan(broadcast.pk, undo_seconds=0)
        now = max(planned.starts_at, timezone.now())
        more, step = True, "freeze"
        while more:
            at = time.perf_counter()
            more = (
                expanding.freeze(broadcast.pk, now)
                if step == "freeze"
                else expanding.queue_piece(broadcast.pk, now)
            )
            longest, step = max(longest, time.perf_counter() - at if step == "queue" else 0), "queue"
        took = time.perf_counter() - began
        found = audience.figures([broadcast])[broadcast.pk]
        if (found.audience, found.waiting) != (PEOPLE, PEOPLE):
            raise RuntimeError(f"{found.waiting} of {found.audience} were queued")
        return took

    def loop() -> float:
        from datetime import timedelta

        from django.db import transaction

        from campaigns.segments import evaluate, grammar

        ids = evaluate.members(grammar.parse(segment.rule))[:LOOP]
        began = time.perf_counter()
        for start in range(0, len(ids), 1000):
            with transaction.atomic():
                for pk in ids[start : start + 1000]:
                    now = timezone.now()
                    cause = f"loop:{pk}"
                    if Delivery.objects.filter(cause=cause).exists():
                        continue
                    Delivery.objects.create(
                        cause=cause,
                        message=message,
                        profile_id=pk,
                        channel="memory",
                        due_at=now,
                        expires_at=now + timedelta(hours=message.expires_after_hours),
                        origin_type="broadcast",
                        origin_id=0,
                        queued_at=now,
                    )
        return time.perf_counter() - began

    seconds = ours()
    by_hand = loop()
    at = time.perf_counter()
    audience.figures(Broadcast.objects.all())
    figures_ms = (time.perf_counter() - at) * 1000
    day = timezone.now()
    local = ours(when="local", day=day.date(), time=day.time().replace(second=0, microsecond=0))
    print(
        json.dumps(
            {
                "ours": PEOPLE / seconds,
                "seconds": seconds,
                "local": PEOPLE / local,
                "loop": LOOP / by_hand,
                "longest_ms": longest * 1000,
                "figures_ms": figures_ms,
            }
        )
    )


if __name__ == "__main__":
    main()
