"""The part of the storm that knows the product: `python -m benchmarks.storm_work prepare|judge|mend` (see storm.py).

`prepare` makes people, flows and their message, `mend` brings back what one flow's step lacks and lets its people go
on, and `judge` prints as JSON what became of everything.
"""

import json
import os
import sys
from collections import Counter
from typing import Any

import django

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "config.settings")
django.setup()

from django.db import connection  # noqa: E402
from django.utils import timezone  # noqa: E402

from benchmarks import storm  # noqa: E402
from campaigns.flows import publish, troubles  # noqa: E402
from campaigns.models import Enrollment, Flow, Segment  # noqa: E402
from crm import identity  # noqa: E402
from crm.models import Alert  # noqa: E402
from delivery.models import Delivery, Message, MessageContent  # noqa: E402

CHUNK = 1000
SAY = {"key": "m", "kind": "message", "config": {"message": "hello", "channel": "inapp"}}
GOLD = {"kind": "segment", "slug": "gold"}
FAILING = {
    "key": "s",
    "kind": "split",
    "config": {},
    "branches": [{"name": "gold", "rule": GOLD, "steps": []}, {"name": "else", "steps": []}],
}


def prepare() -> None:
    """Everybody, a message, the flows of the storm of which the first can't do its step, and the two others."""
    for start in range(0, storm.PEOPLE, CHUNK):
        identity.resolve(
            [
                identity.Reference(external_id=f"p{number}", anonymous_id=f"visitor-{number:032d}")
                for number in range(start, min(storm.PEOPLE, start + CHUNK))
            ],
            timezone.now(),
        )
    message = Message.objects.create(slug="hello", name="Hello")
    MessageContent.objects.create(message=message, channel="inapp", content={"title": "Hello"})
    Segment.objects.create(slug="gold", name="Gold", rule={"all": []})
    for number in range(storm.FLOWS):
        _live(storm.name(number), [FAILING, SAY] if number == storm.BROKEN else [SAY])
    _live("asked", [SAY])
    _live("urgent", [SAY], priority=1)
    Segment.objects.filter(slug="gold").update(slug="gone")
    with connection.cursor() as cursor:
        cursor.execute("ANALYZE")


def _live(slug: str, steps: list[dict[str, Any]], **parts: Any) -> None:
    draft = {"trigger": {"kind": "event", "name": slug}, "reentry": {"mode": "always"}, "steps": steps}
    flow = Flow.objects.create(slug=slug, name=slug, draft={**draft, **parts})
    publish.publish(flow.pk)


def mend() -> None:
    """Give the failing step what it lacks, and let those whom it holds try again."""
    Segment.objects.filter(slug="gone").update(slug="gold")
    troubles.retry(Flow.objects.get(slug=storm.name(storm.BROKEN)).pk)


def judge() -> dict[str, Any]:
    """Messages by flow and state, waits of the flows beside the storm in ms, and how the failing one is shown."""
    slugs = dict(Flow.objects.values_list("pk", "slug"))
    messages: Counter[str] = Counter()
    for flow_id, state in Delivery.objects.values_list("origin_id", "state").iterator():
        messages[f"{slugs[flow_id]} {state}"] += 1
    broken = Flow.objects.get(slug=storm.name(storm.BROKEN))
    return {
        "messages": messages,
        "waits": {slug: _waits(slug) for slug in ("asked", "urgent")},
        "sent": [
            at.timestamp()
            for at in Delivery.objects.filter(sent_at__isnull=False).values_list("sent_at", flat=True)
        ],
        "held": Enrollment.objects.filter(flow=broken, state="active", step_state__error=True).count(),
        "failing": Flow.objects.exclude(error="").count(),
        "shown": Alert.objects.filter(resolved_at=None, key__startswith=f"flow:{broken.pk}:").count(),
    }


def _waits(slug: str) -> dict[str, list[float]]:
    """Milliseconds from an event to its message in the outbox, and until it was sent."""
    found: dict[str, list[float]] = {"queued": [], "sent": []}
    rows = Delivery.objects.filter(origin_id=Flow.objects.get(slug=slug).pk, sent_at__isnull=False)
    for context, queued_at, sent_at in rows.values_list("context", "queued_at", "sent_at"):
        happened = timezone.datetime.fromisoformat(context["event"]["occurred_at"])
        found["queued"].append((queued_at - happened).total_seconds() * 1000)
        found["sent"].append((sent_at - happened).total_seconds() * 1000)
    return found


if __name__ == "__main__":
    result = {"prepare": prepare, "mend": mend, "judge": judge}[sys.argv[1]]()
    if result is not None:
        print(json.dumps(result))
