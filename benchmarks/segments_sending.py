"""Web pushes per second while another process counts all segments for everybody, and while none does.

`python -m benchmarks.segments_sending` is that other process: it counts until it is ended.
"""

import os
import statistics
import subprocess
import sys
import time

from benchmarks.product import ROOT

ROUNDS = 4


def measured(origin: str) -> dict[str, float]:
    """Messages per second by the clock, taken in turns."""
    from django.db import connection

    from benchmarks import push_sender
    from benchmarks.segments_data import tell
    from crm.models import Device
    from delivery.models import Message

    if not Message.objects.filter(slug="bench").exists():
        push_sender._people(origin)
    with connection.cursor() as cursor:  # an earlier run's push service had another port
        cursor.execute("UPDATE crm_device SET endpoint = %s || '/push/' || profile_id", [origin])
    people = list(Device.objects.values_list("profile_id", flat=True))
    rates: dict[bool, list[float]] = {False: [], True: []}
    _round(people, -1)
    for number in range(ROUNDS):
        for busy in (False, True):
            other = _counting() if busy else None
            try:
                rates[busy].append(_round(people, number * 2 + busy))
            finally:
                if other:
                    other.kill()
                    other.wait()
    found = {"sending": statistics.median(rates[False]), "sending_meanwhile": statistics.median(rates[True])}
    tell(f"sending {found['sending']:.0f} msg/s, while counting {found['sending_meanwhile']:.0f} msg/s")
    return found


def _round(people: list[int], number: int) -> float:
    """Queue one message for each of the people, and drain the outbox; messages per second of the draining."""
    from delivery import dispatch, outbox
    from delivery.models import Message

    message = Message.objects.get(slug="bench")
    cause = f"bench:{time.time_ns()}:{number}"
    outbox.queue(
        [
            outbox.DeliveryRequest(
                cause=f"{cause}:{pk}",
                message_id=message.pk,
                profile_id=pk,
                channel="webpush",
                origin_type="broadcast",
            )
            for pk in people
        ]
    )
    began, sent = time.perf_counter(), 0
    while not (result := dispatch.run()).idle:
        sent += result.sent
    if sent != len(people):
        raise RuntimeError(f"{sent} of {len(people)} were sent")
    return sent / (time.perf_counter() - began)


def _counting() -> subprocess.Popen:
    """Another process, once it has begun to count."""
    other = subprocess.Popen(
        [sys.executable, "-m", "benchmarks.segments_sending"], cwd=ROOT, stdout=subprocess.PIPE, text=True
    )
    assert other.stdout
    other.stdout.readline()
    return other


def _count() -> None:
    import django

    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "config.settings")
    django.setup()

    from campaigns.segments import refresh

    print("counting", flush=True)
    while True:
        refresh.refresh_all(everything=True)


if __name__ == "__main__":
    _count()
