"""The engine's task: how often it looks, and what it costs to look in vain."""

import threading
import time
from datetime import timedelta

import pytest
from django.db import connection, transaction

from campaigns import tasks
from campaigns.flows import engine, reading
from campaigns.models import Enrollment, Flow
from crm import log, wake
from tests.campaigns.flows.conftest import NOW
from tests.crm.concurrently import until_readable

WAIT = [{"key": "w", "kind": "wait", "config": {"amount": 2, "unit": "hours"}}]


@pytest.fixture
def planned(monkeypatch):
    """The tasks that would be started."""
    calls = []
    monkeypatch.setattr(wake, "_paces", {})
    monkeypatch.setattr(wake, "_send", lambda task, _queue: calls.append(task))
    return calls


def started(planned):
    """Those of now; a call is made by a thread of its own."""
    for thread in threading.enumerate():
        if isinstance(thread, threading.Timer):
            thread.join(60)
    return set(planned)


def test_one_turn_reads_moves_and_does_not_start_the_next(world, planned):
    world.flow([{"key": "m", "kind": "message", "config": {"message": "hello"}}])
    ann = world.person("ann")
    world.happens(ann, "signed_up")
    assert engine.TASK in started(planned)
    planned.clear()
    tasks.run_engine()

    assert Enrollment.objects.get().state == "completed"
    assert "delivery.tasks.dispatch" in started(planned)
    assert engine.TASK not in planned


def test_what_an_open_transaction_hides_is_taken_when_it_ends(world, planned):
    world.flow(WAIT)
    ann = world.person("ann")
    until_readable()
    holding, done = threading.Event(), threading.Event()

    def hold():
        with transaction.atomic(), connection.cursor() as cursor:
            cursor.execute("SELECT pg_current_xact_id()")
            holding.set()
            done.wait(60)
        connection.close()

    older = threading.Thread(target=hold)
    older.start()
    holding.wait(60)
    world.happens(ann, "signed_up")
    assert log.waiting(reading.CURSOR) is log.Waiting.HIDDEN
    threading.Timer(0.1, done.set).start()
    tasks.run_engine()
    older.join()

    assert Enrollment.objects.get().step == "w"


def test_nothing_is_waited_for_where_nothing_is_hidden(world, planned, monkeypatch):
    monkeypatch.setattr(time, "sleep", lambda _seconds: pytest.fail("nothing is to come"))
    world.flow(WAIT)
    until_readable()
    tasks.run_engine()
    assert log.waiting(reading.CURSOR) is log.Waiting.NOTHING
    world.happens(world.person("ann"), "looked")
    until_readable()
    assert log.waiting(reading.CURSOR) is log.Waiting.READY


def test_an_idle_turn_is_cheap_however_many_flows_there_are(world, django_assert_max_num_queries):
    for number in range(5):
        world.flow(WAIT, slug=f"flow{number}")
    world.run()
    with django_assert_max_num_queries(8):  # with those that begin and end transactions
        reading.read(world.now)
    with django_assert_max_num_queries(3):
        engine.advance(world.now)
    assert Flow.objects.count() == 5
    assert world.now - NOW < timedelta(seconds=1)
