"""An event that is sent again is stored once, whatever the clocks said, and however its neighbours are ordered."""

import json
import time
import uuid
from datetime import UTC, datetime, timedelta

import pytest

from crm import ingest, log
from crm.models import Event, UndatedEvent
from crm.pg import Contention
from crm.tasks import forget_undated_events
from tests.crm.concurrently import run

NOW = datetime(2026, 11, 1, 12, tzinfo=UTC)


def row(number, at=None, **more):
    fields = {"id": str(number), "name": "looked", "profile": {"email": "a@x.com"}, **more}
    return fields | ({"occurred_at": at.isoformat()} if at else {})


def send(*rows, now=NOW):
    return ingest.ingest(json.dumps({"events": rows}).encode(), "test", now)


@pytest.mark.django_db
class TestClocks:
    def test_a_clock_that_is_ahead_does_not_double_what_is_sent_again_later(self):
        number = uuid.uuid4()
        ahead = NOW + timedelta(minutes=10)
        assert send(row(number, ahead)).accepted == 1
        later = send(row(number, ahead), now=NOW + timedelta(minutes=20))
        assert (later.accepted, later.duplicates) == (0, 1)
        assert Event.objects.get().occurred_at == NOW

    def test_first_without_a_time_and_then_with_one_is_once(self):
        number = uuid.uuid4()
        send(row(number))
        assert send(row(number, NOW - timedelta(hours=1))).duplicates == 1
        assert Event.objects.count() == 1

    def test_a_refused_event_may_come_again_corrected(self):
        number = uuid.uuid4()
        huge = f'{{"events": [{json.dumps(row(number))[:-1]}, "properties": {{"x": 1e200000}}}}]}}'
        assert len(ingest.ingest(huge.encode(), "test", NOW).rejected) == 1
        assert send(row(number, properties={"x": 1})).accepted == 1


def insist(*rows):
    """Send as clients do: what collides with other writers, time and again, is sent once more a moment later."""
    for _ in range(20):
        try:
            return send(*rows)
        except Contention:
            time.sleep(0.05)
    return send(*rows)


@pytest.mark.django_db(transaction=True)
def test_the_same_events_in_opposite_order_at_once_are_all_stored_once():
    rows = [row(uuid.uuid4(), NOW - timedelta(seconds=n)) for n in range(400)]
    for _ in range(4):
        Event.objects.all().delete()
        results = run(*[lambda part=part: insist(*part) for part in (rows, rows[::-1]) * 2])
        assert sum(result.accepted for result in results) == Event.objects.count() == 400


@pytest.mark.django_db
def test_ids_are_remembered_longer_than_anybody_retries_and_not_for_good():
    old, young = uuid.uuid4(), uuid.uuid4()
    log.first_time([old], NOW - timedelta(days=91))
    log.first_time([young], NOW - timedelta(days=60))
    log.forget_undated(NOW)
    assert [row.pk for row in UndatedEvent.objects.all()] == [young]
    assert forget_undated_events.name == "crm.tasks.forget_undated_events"


@pytest.mark.django_db
def test_a_profile_that_goes_between_looking_and_locking_costs_only_its_own_event(monkeypatch):
    looks = []

    def existing(ids):
        looks.append(ids)
        return set(ids) if len(looks) == 1 else set()

    monkeypatch.setattr(ingest.identity, "existing_ids", existing)
    result = send(row(uuid.uuid4(), NOW), row(uuid.uuid4(), NOW, profile={"id": 10**12}))
    assert (result.accepted, [refused.code for refused in result.rejected]) == (1, ["unknown_profile"])
