"""Messages that programs ask for: once per key, by the usual policies, each row judged alone."""

import pytest
from django.contrib.auth.models import User
from django.db import connection
from django.test.utils import CaptureQueriesContext

from crm import api_keys, suppressions
from crm.models import Profile
from delivery import channels, dispatch
from delivery.models import Delivery, MessageContent
from delivery.policies import approval
from tests.delivery import world

pytestmark = pytest.mark.django_db
ADA = {"email": "ada@example.com", "first_name": "Ada"}


@pytest.fixture(autouse=True)
def _memory():
    channels.get("memory").reset()
    yield
    channels.get("memory").reset()


@pytest.fixture
def ask(client):
    """Post to the API by a key that may send."""
    key = api_keys.create("sender", ["send"])[1]

    def post(path, body, key=key):
        return client.post(
            f"/api/v1/{path}",
            body,
            content_type="application/json",
            headers={"Authorization": f"Bearer {key}"},
        )

    return post


@pytest.fixture
def status(client):
    """Read one delivery by a key with these scopes."""

    def get(number, scopes=("send",)):
        key = api_keys.create(f"reader {'-'.join(scopes)} {number}", list(scopes))[1]
        return client.get(f"/api/v1/deliveries/{number}/", headers={"Authorization": f"Bearer {key}"})

    return get


def receipt(approved=True, **fields):
    """A message with data of the request, by default approved as part of the service."""
    content = {"text": "{{ profile.first_name }}: {{ data.order.number }}"}
    message = world.message("receipt", content=content, **{"transactional": True, **fields})
    approve(message, approved)
    return message


def approve(message, approved=True):
    """What is written afterwards takes it back."""
    if approved and message.transactional:
        boss, _new = User.objects.get_or_create(username="boss", is_superuser=True)
        approval.approve(boss, message.pk)


def test_it_is_sent_once_however_often_it_is_asked_for(ask, status):
    receipt()
    body = {"profile": ADA, "data": {"order": {"number": "A-1"}}, "idempotency_key": "A-1"}
    first, second = ask("messages/receipt/send/", body), ask("messages/receipt/send/", body)
    assert (first.status_code, second.status_code) == (202, 202)
    assert first.json() | {"repeated": True} == second.json()
    assert not first.json()["repeated"]
    dispatch.run()
    assert [parcel.payload for parcel in channels.get("memory").sent] == ["Ada: A-1"]
    again = ask("messages/receipt/send/", body).json()
    assert (again["id"], again["state"]) == (first.json()["id"], "sent")
    found = status(again["id"]).json()
    assert (found["state"], [each["outcome"] for each in found["attempts"]]) == ("sent", ["accepted"])


def test_a_key_that_comes_with_another_request_is_refused(ask):
    receipt()
    body = {"profile": ADA, "data": {"order": {"number": "A-1"}}, "idempotency_key": "k"}
    assert ask("messages/receipt/send/", body).status_code == 202
    answer = ask("messages/receipt/send/", {**body, "data": {"order": {"number": "A-2"}}})
    assert (answer.status_code, answer.json()["error"]["code"]) == (422, "idempotency_mismatch")
    other = api_keys.create("another program", ["send"])[1]
    assert ask("messages/receipt/send/", {**body, "data": {}}, other).status_code == 202, (
        "keys are each asker's own"
    )
    assert Delivery.objects.count() == 2


def test_without_a_key_each_request_is_one_message(ask):
    receipt()
    for _ in range(2):
        assert ask("messages/receipt/send/", {"address": "ada@example.com"}).status_code == 202
    assert Delivery.objects.count() == 2
    assert Profile.objects.count() == 1


@pytest.mark.parametrize(
    ("fields", "reason"),
    [({}, ""), ({"approved": False}, "no consent"), ({"transactional": False}, "no consent")],
)
def test_only_what_is_approved_goes_to_those_who_never_agreed(ask, fields, reason):
    receipt(**fields)
    ask("messages/receipt/send/", {"profile": ADA})
    dispatch.run()
    delivery = Delivery.objects.get()
    assert (delivery.state, delivery.reason) == (("suppressed", reason) if reason else ("sent", ""))


def test_no_approval_reaches_a_suppressed_address(ask):
    receipt()
    suppressions.add([suppressions.entry("all", "ada@example.com")], "test")
    ask("messages/receipt/send/", {"profile": ADA})
    dispatch.run()
    assert Delivery.objects.get().reason == "address suppressed"


def test_rows_are_judged_alone_and_in_a_fixed_number_of_queries(ask):
    receipt()

    def rows(prefix, count):
        return [
            {"address": f"{prefix}{n}@example.com", "idempotency_key": f"{prefix}{n}"} for n in range(count)
        ]

    bad = [
        {"address": "bo"},
        {"profile": ADA, "address": "x@example.com"},
        {"profile": ADA, "channel": "pigeon"},
        7,
    ]
    answer = ask("messages/receipt/send/bulk/", {"sends": [*rows("a", 2), *bad, rows("a", 1)[0]]}).json()
    assert [(row["index"], row["repeated"]) for row in answer["queued"]] == [
        (0, False),
        (1, False),
        (6, True),
    ]
    assert [(row["index"], row["field"]) for row in answer["rejected"]] == [
        (2, "address"),
        (3, "profile"),
        (4, "channel"),
        (5, ""),
    ]
    counts = []
    for prefix, size in (("b", 5), ("c", 50)):
        with CaptureQueriesContext(
            connection,
        ) as queries:
            assert (
                len(ask("messages/receipt/send/bulk/", {"sends": rows(prefix, size)}).json()["queued"])
                == size
            )
        counts.append(len(queries))
    assert counts[0] == counts[1]


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({}, "profile"),
        ({"address": "ada@example.com", "send_at": "2026-01-01T00:00:00"}, "send_at"),
        ({"address": "ada@example.com", "send_at": "2999-01-01T00:00:00Z"}, "send_at"),
        ({"address": "ada@example.com", "expires_at": "2001-01-01T00:00:00Z"}, "expires_at"),
        ({"address": "ada@example.com", "data": {"a": "x" * 70_000}}, "data"),
        ({"address": "ada@example.com", "data": {"a": "\x00"}}, "data"),
        ({"address": "ada@example.com", "idempotency_key": ""}, "idempotency_key"),
        ({"profile": {"email": "no"}}, "profile.email"),
    ],
)
def test_what_is_wrong_is_named(ask, body, field):
    receipt()
    answer = ask("messages/receipt/send/", body)
    assert (answer.status_code, answer.json()["error"]["field"]) == (400, field)
    assert not Delivery.objects.exists()


def test_rights(ask, status, client):
    receipt()
    number = ask("messages/receipt/send/", {"profile": ADA}).json()["id"]
    flows = world.queue(Delivery.objects.get().message, [Profile.objects.get()])[0].pk
    assert [status(number).status_code, status(flows).status_code] == [200, 404]
    assert [status(flows, ["read"]).status_code, status(number, ["write"]).status_code] == [200, 403]
    assert ask("messages/nothing/send/", {"profile": ADA}).status_code == 404
    for scopes in (["write", "read", "publish"], ["browser"]):
        key = api_keys.create(f"no {scopes}", scopes)[1]
        assert ask("messages/receipt/send/", {"profile": ADA}, key).status_code == 403


def test_the_first_channel_that_reaches_the_person_is_taken(ask):
    message = receipt()
    MessageContent.objects.create(message=message, channel="sms", content={"text": "Hello"})
    approve(message)
    ask("messages/receipt/send/", {"address": "+48601234567"})
    ask("messages/receipt/send/", {"address": "ada@example.com"})
    assert list(Delivery.objects.order_by("pk").values_list("channel", flat=True)) == ["sms", "memory"]
    assert (
        ask("messages/receipt/send/", {"address": "+48601234567", "channel": "memory"}).json()["channel"]
        == "memory"
    )
