"""Which calls from a CRM start a look at once."""

import json

import pytest

from crm.models import SyncHint


@pytest.fixture
def woken(monkeypatch):
    tasks = []
    monkeypatch.setattr("crm.wake.on_commit", lambda task, queue: tasks.append(task))
    return tasks


def call(client, record_id):
    body = json.dumps([{"object": "people", "record_id": record_id, "kind": "changed"}])
    reply = client.post(
        "/hooks/crm/crm/", body, content_type="application/json", headers={"x-secret": "s3cret"}
    )
    assert reply.status_code == 200


def test_a_storm_of_calls_wakes_once(client, connection, woken):
    for number in range(5):
        call(client, f"{number}")
    assert woken == ["crm.tasks.sync_due"]


def test_the_next_call_after_a_look_wakes_again(client, connection, woken):
    call(client, "1")
    SyncHint.objects.all().delete()
    call(client, "1")
    assert len(woken) == 2


def test_a_deletion_that_waits_for_an_answer_lets_calls_wake(client, connection, woken):
    call(client, "1")
    SyncHint.objects.update(kind="held")
    call(client, "2")
    assert len(woken) == 2
