"""Anybody may post to the addresses for devices: whatever comes, the answer says what is wrong with it."""

import json

import pytest

pytestmark = pytest.mark.django_db


@pytest.mark.parametrize("address", ["/t/push/", "/t/push/changed/"])
@pytest.mark.parametrize(
    "body", ["[" * 8000, '{"token": ' + "[" * 8000, '{"x": ' + "[" * 4000 + "]" * 4000 + "}"]
)
def test_nesting_beyond_reason(client, address, body):
    assert client.post(address, body, content_type="application/json").status_code == 400


def test_an_endpoint_that_no_database_can_hold_is_nobodys(client):
    body = json.dumps({"old_endpoint": "https://push.example/\x00", "subscription": None})
    assert client.post("/t/push/changed/", body, content_type="application/json").status_code == 204


@pytest.mark.parametrize(
    "at", ["0001-01-01T00:00:00+23:59", "9999-12-31T23:59:59-23:59", "2026-01-01T00:00:00"]
)
def test_times_at_the_end_of_the_calendar(client, at):
    body = json.dumps({"token": "x", "kind": "shown", "at": at})
    assert client.post("/t/push/", body, content_type="application/json").status_code == 400
