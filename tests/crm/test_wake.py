import threading
from itertools import pairwise
from unittest.mock import Mock

import pytest
from django.db import transaction

from crm import wake

pytestmark = pytest.mark.django_db(transaction=True)


class Broker:
    """Stands in for Celery's; tells when it was called."""

    def __init__(self, error: Exception | None = None):
        self.calls: list[tuple[str, str]] = []
        self.called = threading.Semaphore(0)
        self.error = error

    def send_task(self, task, queue, **options):
        self.calls.append((task, queue))
        self.called.release()
        if self.error:
            raise self.error

    def waits_for(self, calls: int) -> bool:
        return all(self.called.acquire(timeout=60) for _ in range(calls))


def calls_made():
    """Wait for the calls that are planned, those of tests before this one too."""
    for thread in threading.enumerate():
        if isinstance(thread, threading.Timer):
            thread.join(60)


@pytest.fixture
def broker(monkeypatch):
    calls_made()
    broker = Broker()
    monkeypatch.setattr(wake, "current_app", broker)
    monkeypatch.setattr(wake, "_paces", {})
    return broker


def test_nothing_is_woken_before_the_commit_nor_after_a_rollback(broker):
    with transaction.atomic():
        wake.on_commit("a.task", "engine")
        transaction.set_rollback(True)
    with transaction.atomic():
        wake.on_commit("b.task", "engine")
        assert not broker.calls
    assert broker.waits_for(1)
    assert broker.calls == [("b.task", "engine")]


def test_a_burst_makes_one_call_now_and_one_after_it(broker, monkeypatch):
    monkeypatch.setattr(wake, "QUIET_SECONDS", 0.3)
    for _ in range(20):
        wake.on_commit("a.task", "engine")
    wake.on_commit("other.task", "reports")
    assert broker.waits_for(3)
    assert sorted(broker.calls) == [("a.task", "engine"), ("a.task", "engine"), ("other.task", "reports")]


def test_calls_that_go_on_become_rarer(broker, monkeypatch):
    clock = [100.0]
    planned = []
    monkeypatch.setattr(wake.time, "monotonic", lambda: clock[0])
    monkeypatch.setattr(
        wake.threading, "Timer", lambda after, *call: planned.append(clock[0] + after) or Mock()
    )
    for _ in range(3000):  # one commit in every millisecond, then a pause
        wake.on_commit("a.task", "engine")
        clock[0] += 0.001
    gaps = [after - before for before, after in pairwise(planned)]
    assert gaps[:4] == pytest.approx([0.1, 0.2, 0.4, 0.8])
    assert max(gaps) == pytest.approx(wake.LONGEST_QUIET_SECONDS)
    clock[0] += 5
    wake.on_commit("a.task", "engine")
    assert planned[-1] == clock[0]


def test_a_broker_that_is_down_is_only_logged(monkeypatch, caplog):
    broker = Broker(ConnectionError("down"))
    monkeypatch.setattr(wake, "current_app", broker)
    monkeypatch.setattr(wake, "_paces", {})
    with transaction.atomic():
        wake.on_commit("a.task", "engine")
    assert broker.waits_for(1)
    calls_made()
    assert "the next sweep will do its work" in caplog.text


def test_a_task_does_not_start_itself_by_what_it_stores(broker):
    with wake.looking("a.task"):
        wake.on_commit("a.task", "engine")
        wake.on_commit("other.task", "reports")
    wake.on_commit("a.task", "engine")
    assert broker.waits_for(2)
    assert sorted(broker.calls) == [("a.task", "engine"), ("other.task", "reports")]
