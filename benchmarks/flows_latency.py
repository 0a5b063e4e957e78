"""From an event to the row in the outbox, through a real worker: the database of NUDGE_DATA, Celery, the broker."""

import shlex
import statistics
import subprocess
import sys
import threading
import time
import uuid
from datetime import UTC, datetime

from django.db import connection, connections

from benchmarks.product import ROOT
from campaigns.flows import publish
from campaigns.models import Flow
from crm import log
from delivery.models import Message, MessageContent

RATE = 200  # events a second
SLOWLY = 4  # events a second that have the worker for themselves
SECONDS = 20
THREADS = 4
STARTING = 15.0  # seconds that a worker may take until it answers


def measured() -> dict[str, float]:
    """Milliseconds from before an event is stored until its message is seen in the outbox, and how many came."""
    Flow.objects.update(state=Flow.State.STOPPED)
    message = Message.objects.create(slug=f"now-{time.time_ns()}", name="Now")
    MessageContent.objects.create(message=message, channel="webpush", content={"title": "Now", "body": "Now"})
    flow = Flow.objects.create(
        slug=message.slug,
        name="Now",
        draft={
            "trigger": {"kind": "event", "name": "wanted"},
            "reentry": {"mode": "always"},
            "steps": [{"key": "m", "kind": "message", "config": {"message": message.slug}}],
        },
    )
    publish.publish(flow.pk)
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT array_agg(id) FROM (SELECT id FROM crm_profile ORDER BY id LIMIT %s) p",
            [RATE * SECONDS * 2],
        )
        [people] = cursor.fetchone()
    command = next(
        line.partition(": ")[2]
        for line in (ROOT / "Procfile").read_text().splitlines()
        if line.startswith("worker: ")
    )
    worker = subprocess.Popen(
        [sys.executable, "-m", *shlex.split(command)], cwd=ROOT, stderr=subprocess.DEVNULL
    )
    try:
        _round(flow.pk, people[:20], 1)
        time.sleep(STARTING)
        _round(flow.pk, people[20:40], 10)
        single = _round(flow.pk, people[40:100], SLOWLY)
        found = _round(flow.pk, people[100 : 100 + RATE * SECONDS], RATE)
    finally:
        worker.terminate()
        worker.wait()
    return {
        "latency_single": statistics.median(single),
        "latency_p50": statistics.median(found),
        "latency_p99": statistics.quantiles(found, n=100)[98],
        "latency_events": len(found),
    }


def _round(flow_id: int, people: list[int], rate: float) -> list[float]:
    """Store an event for each person at an even pace; milliseconds until each has a message, of those that came."""
    began: dict[int, float] = {}
    seen: dict[int, float] = {}
    stop = threading.Event()
    watcher = threading.Thread(target=_watch, args=(flow_id, seen, stop))
    watcher.start()
    start = time.perf_counter()

    def send(offset: int) -> None:
        for place in range(offset, len(people), THREADS):
            time.sleep(max(0.0, start + place / rate - time.perf_counter()))
            began[people[place]] = time.perf_counter()
            log.append([log.NewEvent(uuid.uuid4(), people[place], "wanted", datetime.now(UTC), {}, "bench")])
        connections.close_all()

    senders = [threading.Thread(target=send, args=(offset,)) for offset in range(THREADS)]
    for sender in senders:
        sender.start()
    for sender in senders:
        sender.join()
    deadline = time.perf_counter() + 20
    while not began.keys() <= seen.keys() and time.perf_counter() < deadline:
        time.sleep(0.05)
    stop.set()
    watcher.join()
    return [(seen[person] - at) * 1000 for person, at in began.items() if person in seen]


def _watch(flow_id: int, seen: dict[int, float], stop: threading.Event) -> None:
    """Note when each person's message can be seen."""
    last = 0
    with connection.cursor() as cursor:
        while not stop.is_set():
            cursor.execute(
                "SELECT id, profile_id FROM delivery_delivery WHERE id > %s AND origin_id = %s AND origin_type = 'flow'"
                " ORDER BY id",
                [last, flow_id],
            )
            at = time.perf_counter()
            for number, profile_id in cursor.fetchall():
                last = max(last, number - 500)  # a smaller one may be seen later
                seen.setdefault(profile_id, at)
            time.sleep(0.002)
    connections.close_all()
