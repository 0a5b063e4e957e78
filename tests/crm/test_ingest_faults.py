"""Faults while events come in: a killed process, a broker that is down, a month without a partition."""

import json
import os
import random
import signal
import uuid

import pytest
from django.db import connection
from django.test import Client

from crm import api_keys, event_files, identity, ingest, partitions, pg, privacy, wake
from crm.models import Event, Profile
from tests.crm.test_ingest import NOW, event

pytestmark = pytest.mark.django_db(transaction=True)
SIZE = 20


def body(number):
    rows = [
        event(
            id=str(uuid.uuid4()),
            occurred_at="2026-10-31T10:00:00Z",
            profile={"external_id": f"p{(number * 7 + index) % 30}"},
            patch={"attributes": {"n": number}} if number % 3 == 0 else None,
        )
        for index in range(SIZE)
    ]
    return json.dumps({"events": rows}).encode()


def take_until_killed(bodies, after):
    """Take bodies in a process of its own, which is killed while it takes the one after `after` answered ones."""
    reading, writing = os.pipe()
    child = os.fork()
    if not child:
        try:
            connection.connection = None  # the parent's; psycopg knows that it is not ours to close
            for each in bodies:
                ingest.ingest(each, "test", NOW)
                os.write(writing, b".")
        finally:
            os._exit(0)
    os.close(writing)
    for _ in range(after):
        assert os.read(reading, 1)
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    answered = after + len(os.read(reading, 1000))
    os.close(reading)
    return answered


def test_a_killed_process_leaves_whole_requests_and_what_it_answered():
    chance = random.Random(4)
    bodies = [body(number) for number in range(60)]
    done = 0
    for _ in range(3):
        done += take_until_killed(bodies[done:], chance.randrange(3, 15))
        stored = Event.objects.count()
        assert stored % SIZE == 0
        assert done * SIZE <= stored <= (done + 1) * SIZE
    again = [ingest.ingest(each, "test", NOW) for each in bodies]
    assert stored + sum(result.accepted for result in again) == Event.objects.count() == len(bodies) * SIZE
    assert Profile.objects.count() == 30
    assert not Event.objects.exclude(profile__in=Profile.objects.all()).exists()


def test_a_broker_that_is_down_costs_nothing(monkeypatch):
    def down(*task, **options):
        raise ConnectionError

    monkeypatch.setattr(wake.current_app, "send_task", down)
    assert ingest.ingest(body(1), "test", NOW).accepted == SIZE


def test_a_month_without_a_partition_gets_one():
    with connection.cursor() as cursor:
        cursor.execute("DROP TABLE IF EXISTS crm_event_y2026m10")
    partitions.forget()
    assert ingest.ingest(body(1), "test", NOW).accepted == SIZE
    assert Event.objects.filter(occurred_at__year=2026, occurred_at__month=10).count() == SIZE


def test_people_who_are_erased_meanwhile_take_nobody_with_them(monkeypatch):
    """Of three known people one is erased before the request, one while it is answered."""
    rows = [event(profile={"external_id": f"p{n}"}) for n in range(3)]
    send = json.dumps({"events": rows}).encode()
    ingest.ingest(send, "api", NOW)
    first, second, _third = Profile.objects.order_by("pk").values_list("pk", flat=True)
    privacy.erase([first], "request", NOW)
    real = identity.resolve

    def resolve(*args):
        try:
            return real(*args)
        finally:
            privacy.erase([second], "request", NOW)

    monkeypatch.setattr(identity, "resolve", resolve)
    result = ingest.ingest(send, "api", NOW)
    assert result.accepted == 1
    assert [(row.index, row.code) for row in result.rejected] == [(0, "erased"), (1, "erased")]


def test_where_too_many_change_the_same_a_client_is_told_to_repeat_and_a_file_waits(monkeypatch):
    def contended(*args, **more):
        raise pg.Contention("Too many.")

    monkeypatch.setattr(ingest, "_write", contended)
    text = api_keys.create("server", ["write"])[1]
    headers = {"Authorization": f"Bearer {text}"}
    answer = Client().post("/api/v1/events/", body(1), content_type="application/json", headers=headers)
    assert (answer.status_code, answer["Retry-After"]) == (503, "1")
    assert answer.json()["error"]["code"] == "busy"
    rows = [b"event,email,time\n", b"seen,a@example.com,2026-10-31T10:00:00Z\n"]
    file = event_files.keep("events.csv", rows)
    event_files.start(file)
    with pytest.raises(pg.Contention):
        event_files.work()
    monkeypatch.undo()
    event_files.work()
    file.refresh_from_db()
    assert (file.state, file.stored) == ("done", 1)
