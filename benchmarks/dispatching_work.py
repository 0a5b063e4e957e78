"""The work of `benchmarks.dispatching`, in a process with the product's settings."""

import json
import os
import time
from pathlib import Path

from benchmarks.dispatching import DELIVERIES

BATCH = 1000
BY_HAND = 100  # deliveries sent one by one


def main() -> None:
    """Print the figures as one JSON object."""
    import django

    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "config.settings")
    django.setup()
    from django.db import connection
    from django.test.utils import CaptureQueriesContext

    from delivery import channels, dispatch
    from delivery.channels.memory import Memory
    from delivery.models import Delivery

    memory = channels.get("memory")
    assert isinstance(memory, Memory)
    _fill(DELIVERIES + BATCH + BY_HAND)
    with CaptureQueriesContext(connection) as queries:
        assert dispatch.run(limit=BATCH).sent == BATCH
    began = time.perf_counter()
    for _number in range(BY_HAND):
        assert dispatch.run(limit=1).sent == 1
    by_hand = BY_HAND / (time.perf_counter() - began)
    sent, early = 0, 0.0
    began = time.perf_counter()
    while not (result := dispatch.run(limit=BATCH)).idle:
        sent += result.sent
        memory.sent.clear()  # it remembers all that it was given
        if not early and sent >= DELIVERIES / 10:
            early = _megabytes()
    took = time.perf_counter() - began
    assert sent == DELIVERIES == Delivery.objects.filter(state="sent").count() - BATCH - BY_HAND
    print(
        json.dumps(
            {
                "batches": sent / took,
                "by_hand": by_hand,
                "queries": len(queries),
                "grown": max(0.0, _megabytes() - early),
            }
        )
    )


def _megabytes() -> float:
    """What this process holds, by Linux's own account."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 2**20


def _fill(count: int) -> None:
    """People who agreed, and a message for each."""
    from django.db import connection
    from django.utils import timezone

    from crm.models import Consent, Profile
    from delivery import outbox
    from delivery.models import Message, MessageContent

    now = timezone.now()
    message = Message.objects.create(slug="bench", name="Bench")
    MessageContent.objects.create(
        message=message, channel="memory", content={"text": "Hi {{ profile.email }}"}
    )
    for start in range(0, count, BATCH):
        people = Profile.objects.bulk_create(
            Profile(email=f"b{n}@example.com") for n in range(start, min(start + BATCH, count))
        )
        Consent.objects.bulk_create(
            Consent(
                profile=p, kind="channel", key="memory", state="subscribed", source="bench", changed_at=now
            )
            for p in people
        )
        outbox.queue(
            [
                outbox.DeliveryRequest(
                    cause=f"bench:{person.pk}",
                    message_id=message.pk,
                    profile_id=person.pk,
                    channel="memory",
                    origin_type="api",
                )
                for person in people
            ],
            now,
        )
    with connection.cursor() as cursor:
        cursor.execute("ANALYZE")


if __name__ == "__main__":
    main()
