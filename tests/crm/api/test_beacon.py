"""Events over HTTP from pages: beacons, limits, and keys that are remembered for seconds."""

import json
from urllib.parse import urlencode

import pytest

from crm import api_keys, limits
from crm.models import ApiKey, Event

BODY = json.dumps({"events": [{"name": "page_left", "profile": {"anonymous_id": "v"}}]})
SHOP = "https://shop.example.com"


@pytest.fixture
def text(db):
    return api_keys.create("page", ["browser"], [SHOP])[1]


def beacon(client, key, body=BODY, content_type="text/plain;charset=UTF-8", **headers):
    headers.setdefault("HTTP_ORIGIN", SHOP)
    address = "/api/v1/events/beacon/" + (f"?key={key}" if key else "")
    return client.generic("POST", address, body, content_type=content_type, **headers)


@pytest.mark.parametrize(
    ("body", "content_type"),
    [
        (BODY, "text/plain;charset=UTF-8"),
        (BODY, "text/plain"),
        (urlencode({"data": BODY}), "application/x-www-form-urlencoded"),
    ],
)
def test_a_beacon_needs_no_header_of_ours(client, text, body, content_type):
    response = beacon(client, text, body, content_type)
    assert (response.status_code, response.json()["accepted"]) == (202, 1)
    assert response["Access-Control-Allow-Origin"] == SHOP
    assert Event.objects.values_list("name", "source").get() == ("page_left", "sdk")


def test_what_a_beacon_may_not(client, text, writer):
    server = api_keys.create("server", ["write"])[1]
    answers = [
        beacon(client, ""),
        beacon(client, "pk_unknown"),
        beacon(client, server),
        beacon(client, text, HTTP_ORIGIN="https://evil.example"),
        beacon(client, text, content_type="application/json"),
        beacon(client, text, "nonsense"),
        beacon(client, text, "a=b", "application/x-www-form-urlencoded"),
        beacon(client, text, CONTENT_LENGTH=str(6 * 1024 * 1024)),
    ]
    assert [answer.status_code for answer in answers] == [401, 401, 403, 403, 415, 400, 400, 413]
    assert all(set(answer.json()) == {"error"} for answer in answers)
    assert not Event.objects.exists()


class TestLimits:
    @pytest.fixture(autouse=True)
    def _low(self, settings):
        settings.NUDGE_RATE_LIMITS = {
            "default": {"address": (0.5, 3), "key": (100, 100)},
            "event rows": {"address": (1, 4), "key": (100, 100)},
        }
        limits.forget()
        yield
        limits.forget()

    def test_too_many_requests_are_told_when_to_come_again(self, browser, writer):
        answers = [browser.post("events/", BODY) for _ in range(4)]
        assert [answer.status_code for answer in answers] == [202, 202, 202, 429]
        assert answers[-1].json()["error"]["code"] == "too_many_requests"
        assert 1 <= int(answers[-1]["Retry-After"]) <= 2
        assert Event.objects.count() == 3
        assert all(writer.post("events/", BODY).status_code == 202 for _ in range(6))

    def test_too_many_events(self, browser):
        many = {"events": json.loads(BODY)["events"] * 3}
        assert [browser.post("events/", many).status_code for _ in range(2)] == [202, 429]
        assert Event.objects.count() == 3

    def test_addresses_are_apart(self, browser):
        for number in range(5):
            assert browser.post("events/", BODY, REMOTE_ADDR=f"192.0.2.{number}").status_code == 202


def test_a_key_is_remembered_for_seconds_only(browser, settings, monkeypatch, django_assert_num_queries):
    settings.NUDGE_KEY_CACHE_SECONDS = 5
    now = [1000.0]
    monkeypatch.setattr("crm.key_cache.time.monotonic", lambda: now[0])
    assert browser.post("events/", "x").status_code == 400
    with django_assert_num_queries(0):
        assert browser.post("events/", "x").status_code == 400
    ApiKey.objects.filter(name="browser").update(
        revoked_at="2026-01-01T00:00:00Z"
    )  # as another process would
    assert browser.post("events/", "x").status_code == 400
    now[0] += 5.1
    assert browser.post("events/", "x").status_code == 401


def test_a_key_revoked_here_ends_at_once(browser, settings):
    settings.NUDGE_KEY_CACHE_SECONDS = 5
    assert browser.post("events/", "x").status_code == 400
    key = ApiKey.objects.get(name="browser")
    key.revoked_at = key.created_at
    key.save()
    assert browser.post("events/", "x").status_code == 401
