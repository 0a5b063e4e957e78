"""Workers that are killed, and many at once: nobody is left out and nobody sees a push twice."""

import json
import os
import signal
import subprocess
import sys
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from pathlib import Path

import pytest
from django.db import connection, connections
from django.utils import timezone

from delivery import dispatch
from delivery.dispatch import lease as lease_module
from delivery.dispatch.lease import LEASE
from delivery.models import Attempt, Delivery
from tests.delivery import world
from tests.push import client
from tests.push.faults import Fault
from tests.push.service import PushService

pytestmark = pytest.mark.django_db(transaction=True)
ROOT = Path(__file__).resolve().parents[2]
State = Delivery.State


def start_worker(push: PushService, **options: object) -> subprocess.Popen[str]:
    """Start a dispatcher on this test's database."""
    process = subprocess.Popen(
        [sys.executable, "-m", "tests.delivery.worker"],
        cwd=ROOT,
        env=os.environ | {"NUDGE_LOG_LEVEL": "WARNING"},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdin
    process.stdin.write(
        json.dumps({"database": connection.settings_dict["NAME"], "push_hosts": [push.host], **options})
    )
    process.stdin.close()
    return process


def kill(process: subprocess.Popen[str]) -> None:
    process.send_signal(signal.SIGKILL)
    process.wait(30)
    assert process.stdout
    process.stdout.close()


def crowd(push: PushService, size: int, **more: object) -> list[Delivery]:
    """Queue a push for `size` people, each with a browser."""
    people = [world.person(number) for number in range(size)]
    for profile, subscription in zip(people, client.subscribe_many(push, size), strict=True):
        world.browser(profile, subscription)
    return world.queue(world.message(channel="webpush"), people, "webpush", now=timezone.now(), **more)


def shown(push: PushService) -> Counter[tuple[str, str]]:
    """How often each (endpoint, tag) was accepted: a device shows the last one of a tag only."""
    return Counter((entry.endpoint, entry.json["tag"]) for entry in push.journal if entry.accepted)


def test_killed_between_claim_and_send(push: PushService) -> None:
    deliveries = crowd(push, 5)
    worker = start_worker(push, stop_after_claim=True)
    assert worker.stdout
    assert json.loads(worker.stdout.readline()) == {"claimed": 5}
    kill(worker)
    assert world.states() == {State.SENDING: 5}
    assert len(push.journal) == 0

    assert dispatch.run().idle, "its lease still holds"
    result = dispatch.run(timezone.now() + LEASE + timedelta(seconds=1))

    assert (result.recovered, result.sent) == (5, 5)
    assert world.states() == {State.SENT: 5}
    assert set(shown(push).values()) == {1}
    assert Attempt.objects.filter(delivery__in=deliveries, outcome="started").count() == 5, (
        "outcome never known"
    )


def test_killed_after_send_before_record(push: PushService) -> None:
    crowd(push, 5)
    for delivery in Delivery.objects.select_related("profile"):
        push.fail_next(delivery.profile.devices.get().endpoint, Fault.held())
    worker = start_worker(push)
    push.journal.wait_for_count(5, lambda entry: entry.accepted)  # shown already; the answers are held back
    kill(worker)
    push.release()
    assert world.states() == {State.SENDING: 5}

    result = dispatch.run(timezone.now() + LEASE + timedelta(seconds=1))

    assert (result.recovered, result.sent) == (5, 5)
    assert world.states() == {State.SENT: 5}
    # Each went out twice, with the same tag and topic: the device replaces the first by the second.
    assert len(shown(push)) == 5
    assert set(shown(push).values()) == {2}
    topics = Counter(entry.headers["topic"] for entry in push.journal)
    assert sorted(topics.values()) == [2] * 5
    assert len(world.events("message_sent")) == 5


def test_killed_in_the_middle_what_was_recorded_is_not_sent_again(push: PushService, monkeypatch) -> None:
    """Half of the batch is recorded, the other half is in flight when the worker dies."""
    from delivery.dispatch import recording

    crowd(push, recording.CHUNK + 20)
    last = Delivery.objects.order_by("-pk")[:20]
    for delivery in last:
        push.fail_next(delivery.profile.devices.get().endpoint, Fault.held())
    worker = start_worker(push)
    push.journal.wait_for_count(recording.CHUNK + 20, lambda entry: entry.accepted)
    # The chunk's commit follows the last answer of the chunk; the service saw all pushes, the worker waits for 20.
    wait_for_state(State.SENT, recording.CHUNK)
    kill(worker)
    push.release()

    result = dispatch.run(timezone.now() + LEASE + timedelta(seconds=1))

    assert (result.recovered, result.sent) == (20, 20)
    assert Counter(shown(push).values()) == {1: recording.CHUNK, 2: 20}
    assert world.states() == {State.SENT: recording.CHUNK + 20}


def wait_for_state(state: str, count: int) -> None:
    """Wait until `count` deliveries are in `state`: the log's NOTIFY would be another way, this is a test."""
    end = time.monotonic() + 60
    while Delivery.objects.filter(state=state).count() < count:
        assert time.monotonic() < end, world.states()
        time.sleep(0.2)


def test_a_device_that_accepted_before_is_not_sent_to_again(push: PushService) -> None:
    ann = world.person()
    phone, laptop = (world.browser(ann, client.subscribe(push)) for _ in range(2))
    [delivery] = world.queue(world.message(channel="webpush"), [ann], "webpush", now=timezone.now())
    Delivery.objects.update(attempts=1)
    Attempt.objects.create(delivery=delivery, device=phone, outcome="accepted")
    assert dispatch.run().sent == 1
    assert [entry.endpoint for entry in push.journal] == [laptop.endpoint]

    Delivery.objects.update(state=State.QUEUED)
    assert dispatch.run().claimed == 1, "both have it: nothing is left to send"
    delivery.refresh_from_db()
    assert (delivery.state, len(push.journal)) == (State.SENT, 1)


def test_a_worker_that_runs_out_of_time_leaves_the_rest_to_the_next(push: PushService, monkeypatch) -> None:
    """Its lease ends between a person's two browsers: only the second one is left to send to."""
    ann = world.person()
    for _ in range(2):
        world.browser(ann, client.subscribe(push))
    world.queue(world.message(channel="webpush"), [ann], "webpush", now=timezone.now())
    began = time.monotonic()
    clock = iter([began])
    with monkeypatch.context() as patch:
        patch.setattr(lease_module, "monotonic", lambda: next(clock, began + 1000))
        dispatch.run()
    assert world.states() == {State.QUEUED: 1}
    assert list(Attempt.objects.values_list("outcome", flat=True)) == ["accepted"]

    assert dispatch.run().sent == 1

    assert world.states() == {State.SENT: 1}
    assert set(shown(push).values()) == {1}
    assert len(shown(push)) == 2


def test_many_dispatchers_at_once_send_everything_once(push: PushService) -> None:
    size = 400
    crowd(push, size)

    def drain(_number: int) -> int:
        total = 0
        try:
            while not (result := dispatch.run(limit=25)).idle:
                total += result.sent
        finally:
            connections.close_all()
        return total

    with ThreadPoolExecutor(4) as pool:
        totals = list(pool.map(drain, range(4)))

    assert sum(totals) == size
    assert set(shown(push).values()) == {1}
    assert len(shown(push)) == size
    assert Attempt.objects.count() == size
    assert sum(total > 0 for total in totals) > 1, "more than one took part"
