"""Repeating a POST whose answer got lost."""

import threading
from datetime import timedelta

import pytest
from django.db import connection, connections
from django.utils import timezone

from crm import api_keys
from crm.api import idempotency
from crm.models import IdempotentAnswer, Profile
from tests.crm.api.conftest import Caller

ADA, BO = {"email": "ada@example.com"}, {"email": "bo@example.com"}


def post(caller, body, key="k-1", path="profiles/"):
    return caller.post(path, body, HTTP_IDEMPOTENCY_KEY=key)


def test_the_same_again_is_the_same_answer(server):
    first = post(server, ADA)
    Profile.objects.update(city="Turin")
    again = post(server, ADA)
    assert (again.status_code, again.content) == (201, first.content)
    assert (again["Idempotent-Replayed"], "Idempotent-Replayed" in first) == ("true", False)
    assert again["Content-Type"] == "application/json"


def test_each_caller_path_and_key_is_another_request(server, db):
    other = Caller(api_keys.create("other", ["read", "write"])[1])
    post(server, ADA)
    answers = [
        post(server, ADA, "k-2"),
        post(other, ADA),
        post(server, {"profiles": [ADA]}, path="profiles/bulk/"),
        server.post("profiles/", ADA),
    ]
    assert not any("Idempotent-Replayed" in answer for answer in answers)


def test_another_body_is_refused(server):
    post(server, ADA)
    answer = post(server, BO)
    assert (answer.status_code, answer.json()["error"]["code"]) == (422, "idempotency_mismatch")
    assert not Profile.objects.filter(**BO).exists()


def test_what_was_refused_may_be_sent_anew(server):
    assert post(server, {"email": "bad"}).status_code == 400
    assert post(server, ADA).status_code == 201


@pytest.mark.parametrize("key", ["", " ", "x" * 256, "ż", "a\tb"])
def test_odd_keys(server, key):
    assert post(server, ADA, key).json()["error"]["field"] == "Idempotency-Key"


def test_events_have_ids_of_their_own(server):
    body = {"events": [{"name": "looked", "profile": ADA}]}
    assert [post(server, body, path="events/").json()["accepted"] for _ in range(2)] == [1, 1]
    assert not IdempotentAnswer.objects.exists()


def test_a_failure_leaves_neither_effect_nor_answer(server, monkeypatch):
    monkeypatch.setattr("crm.api.profiles.encoded", lambda *_args, **_more: 1 / 0)
    assert post(server, ADA).status_code == 500
    assert not Profile.objects.exists()
    monkeypatch.undo()
    assert post(server, ADA).status_code == 201


def test_answers_are_unreadable_in_the_database_and_go_after_two_days(server):
    post(server, ADA)
    with connection.cursor() as cursor:
        cursor.execute("SELECT row_to_json(a)::text FROM crm_idempotentanswer a")
        assert "ada" not in cursor.fetchone()[0]
    now = timezone.now()
    assert idempotency.forget(now + timedelta(hours=47)) == 0
    assert idempotency.forget(now + timedelta(hours=49)) == 1
    assert post(server, ADA).status_code == 200


@pytest.mark.django_db(transaction=True)
def test_while_the_first_is_under_way_a_second_is_told_so(monkeypatch):
    server = Caller(api_keys.create("server", ["write"])[1])
    under_way, go_on, answers = threading.Event(), threading.Event(), []
    upsert = idempotency._keep

    def slow(*args):
        under_way.set()
        assert go_on.wait(20)
        upsert(*args)

    def first():
        answers.append(post(server, ADA))
        connections.close_all()

    monkeypatch.setattr(idempotency, "_keep", slow)
    thread = threading.Thread(target=first)
    thread.start()
    assert under_way.wait(20)
    second = post(server, ADA)
    go_on.set()
    thread.join(20)
    assert (second.status_code, second.json()["error"]["code"]) == (409, "idempotency_in_progress")
    assert answers[0].status_code == 201
    assert post(server, ADA)["Idempotent-Replayed"] == "true"
