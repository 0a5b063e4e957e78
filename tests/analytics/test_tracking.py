"""Devices report what happened to a push."""

import json
from datetime import timedelta

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from analytics import tracking
from crm.models import Device, Event
from delivery import spool_drain, tokens
from delivery.links import tokens as link_tokens
from tests.analytics import world

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("spooled")]
URL = "/t/push/"


@pytest.fixture
def sent():
    return world.delivery(world.message(), world.person(), at=timezone.now() - timedelta(hours=1))


def post(client, body, content_type="application/json", url=URL, **headers):
    data = body if isinstance(body, str | bytes) else json.dumps(body)
    return client.post(url, data, content_type=content_type, **headers)


def names() -> list[str]:
    """What the log holds once everything is stored."""
    spool_drain.run()
    return sorted(Event.objects.filter(source="device").values_list("name", flat=True))


def test_what_is_shown_is_logged_with_whose_and_which(client, sent):
    response = post(client, {"token": tokens.make(sent.pk), "kind": "shown"})
    assert (response.status_code, response.content) == (204, b"")
    assert names() == ["message_delivered"]
    event = Event.objects.get(source="device")
    assert (event.name, event.profile_id, event.source) == ("message_delivered", sent.profile_id, "device")
    assert event.properties == {
        "message": "welcome",
        "delivery": sent.pk,
        "channel": "webpush",
        "variant": "a",
        "origin": {"type": "api", "id": None, "step": ""},
    }


def test_a_click_opens_too_and_counts_once_whatever_time_is_told(client, sent):
    token = tokens.make(sent.pk)
    for minutes in (1, 2):
        at = (timezone.now() - timedelta(minutes=minutes)).isoformat()
        assert post(client, {"token": token, "kind": "clicked", "at": at}).status_code == 204
    assert names() == ["message_clicked", "message_opened"]


@pytest.mark.parametrize("content_type", ["text/plain", "text/plain;charset=UTF-8", "application/json"])
def test_beacons_may_come_as_plain_text(client, sent, content_type):
    body = {"token": tokens.make(sent.pk), "kind": "dismissed"}
    assert post(client, body, content_type, HTTP_ORIGIN="https://shop.example.com").status_code == 204
    assert names() == ["message_dismissed"]


@pytest.mark.parametrize(
    "body",
    [
        "",
        "{",
        "[]",
        b"\xff",
        {"kind": "shown"},
        {"token": 5, "kind": "shown"},
        {"token": "x", "kind": "shown"},
        {"token": "5.abc", "kind": "shown"},
        {"token": "\u0000", "kind": "shown"},
        {"token": "TOKEN", "kind": "bought"},
        {"token": "TOKEN", "kind": "shown", "at": "yesterday"},
    ],
)
def test_what_is_not_a_report_is_refused(client, sent, body):
    if isinstance(body, dict) and body.get("token") == "TOKEN":
        body = {**body, "token": tokens.make(sent.pk)}
    response = post(client, body)
    assert response.status_code == 400
    assert response.json()["error"]["code"] == "bad_report"
    assert response["Access-Control-Allow-Origin"] == "*"
    assert names() == []


def test_a_token_can_not_be_made_for_another_delivery(client, sent):
    other = world.delivery(sent.message, world.person())
    mine, theirs = tokens.make(sent.pk), tokens.make(other.pk)
    forged = theirs.split(".")[0] + "." + mine.split(".")[1]
    assert post(client, {"token": forged, "kind": "shown"}).status_code == 400


def test_reports_about_deleted_deliveries_are_taken_and_forgotten(client, sent):
    assert post(client, {"token": tokens.make(sent.pk + 1000), "kind": "shown"}).status_code == 204
    assert names() == []


def test_large_bodies_are_not_read(client, sent):
    response = post(client, {"token": tokens.make(sent.pk), "kind": "shown", "x": "y" * 33_000})
    assert response.status_code == 413


@pytest.mark.parametrize("length", ["-1", "x", "1e9"])
def test_a_nonsense_length_is_no_server_error(client, sent, length):
    response = client.generic("POST", URL, b"{}", content_type="application/json", CONTENT_LENGTH=length)
    assert response.status_code == 413


def test_a_report_asks_the_database_nothing(client, sent, django_assert_num_queries):
    with django_assert_num_queries(0):
        assert post(client, {"token": tokens.make(sent.pk), "kind": "shown"}).status_code == 204
        assert client.get(f"/o/{link_tokens.make(sent.pk, kind='open')}.gif").status_code == 200


def test_reports_may_come_together_and_one_that_is_wrong_spoils_no_other(client, sent, tmp_path):
    token = tokens.make(sent.pk)
    good = [{"token": token, "kind": kind} for kind in ("shown", "dismissed")]
    assert post(client, good).status_code == 204
    response = post(client, [{"token": "x", "kind": "shown"}, {"token": token, "kind": "clicked"}])
    assert response.status_code == 400
    error = response.json()["error"]
    assert (error["accepted"], [one["index"] for one in error["rejected"]]) == (1, [0])
    assert names() == ["message_clicked", "message_delivered", "message_dismissed", "message_opened"]
    assert post(client, good * 51).status_code == 400


def test_any_site_may_report_without_cookies(client):
    response = client.options(
        URL, HTTP_ORIGIN="https://shop.example.com", HTTP_ACCESS_CONTROL_REQUEST_METHOD="POST"
    )
    assert response.status_code == 204
    assert response["Access-Control-Allow-Origin"] == "*"
    assert response["Access-Control-Allow-Methods"] == "POST"
    assert "Access-Control-Allow-Credentials" not in response
    assert client.get(URL).status_code == 405


def test_a_clock_that_can_not_be_right_is_replaced(sent):
    now = timezone.now()
    naive = now.replace(tzinfo=None)
    for number, at in enumerate([now + timedelta(days=1), sent.queued_at - timedelta(days=1), naive, None]):
        one = world.delivery(sent.message, world.person(), at=sent.queued_at)
        assert tracking.record(tokens.make(one.pk), "shown", at, now)
        assert Event.objects.get(source="device", properties__delivery=one.pk).occurred_at == now, number
    believable = now - timedelta(minutes=10)
    assert tracking.record(tokens.make(sent.pk), "shown", believable, now)
    assert Event.objects.get(source="device", properties__delivery=sent.pk).occurred_at == believable
    assert not tracking.record(tokens.make(sent.pk), "shown", believable, now)


def test_a_renewed_subscription_needs_the_old_endpoint(client, settings):
    settings.NUDGE_PUSH_HOSTS = ["push.example.com"]
    device = Device.objects.create(
        profile=world.person(), endpoint="https://push.example.com/old", p256dh="p", auth="a"
    )
    url = "/t/push/changed/"
    assert (
        post(
            client, {"old_endpoint": "https://push.example.com/guess", "subscription": None}, url=url
        ).status_code
        == 204
    )
    device.refresh_from_db()
    assert device.state == "active"
    assert post(client, {"old_endpoint": device.endpoint, "subscription": None}, url=url).status_code == 204
    device.refresh_from_db()
    assert device.state == "gone"
    assert post(client, {"subscription": None}, url=url).status_code == 400


def test_the_number_of_queries_does_not_grow_with_the_reports(client, sent):
    counts = []
    for number in (1, 3, 30):
        reports = []
        for _ in range(number):
            one = world.delivery(sent.message, world.person(), at=sent.queued_at, channel="inapp")
            reports += [{"token": tokens.make(one.pk), "kind": kind} for kind in ("shown", "clicked")]
        assert post(client, reports).status_code == 204
        with CaptureQueriesContext(connection) as queries:
            spool_drain.run()
        counts.append(len(queries))
    assert counts[1] == counts[2], "the first one makes room in the log"
    assert names().count("message_clicked") == 34
