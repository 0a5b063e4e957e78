"""Apps tell their tokens over HTTP."""

import pytest

from crm import api_keys, consent
from crm.models import Consent, Device
from delivery import channels
from tests.crm.api.conftest import Caller

TOKEN, NEWER = "cRk9wAb:APA91bHun4MxP5egoKMwt2KZ", "cRk9wAb:APA91bNewer4MxP5egoKMwt2"
APPLE = "AB" * 32


@pytest.fixture
def app(db):
    return Caller(api_keys.create("app", ["browser"], [])[1])


def body(token=TOKEN, kind="fcm", **more):
    return {"profile": {"anonymous_id": "v"}, "device": {"kind": kind, "token": token, **more}}


def answers(profile):
    return dict(Consent.objects.filter(profile=profile, kind=consent.CHANNEL).values_list("key", "state"))


def test_a_token_is_kept_with_the_consent_and_reaches_the_person(app):
    sent = body(app="com.example.shop", platform="android") | {"language": "pl", "topics": ["offers"]}
    response = app.post("devices/", sent)
    device = Device.objects.get()
    assert (response.status_code, response.json()) == (201, {"id": device.pk, "state": "active"})
    assert (device.kind, device.app, device.platform) == ("fcm", "com.example.shop", "android")
    assert (device.profile.language, answers(device.profile)) == ("pl", {"push": "subscribed"})
    assert app.post("devices/", sent).status_code == 200
    [address] = channels.get("push").addresses([device.profile_id])[device.profile_id]
    assert address.value == TOKEN


def test_a_refreshed_token_takes_the_place_of_the_old_one(app):
    app.post("devices/", body())
    number = Device.objects.get().pk
    assert app.post("devices/", body(NEWER, replaces=TOKEN)).status_code == 200
    device = Device.objects.get()
    assert (device.pk, device.endpoint) == (number, NEWER)
    app.post("devices/", body(TOKEN))
    app.post("devices/", body(NEWER, replaces=TOKEN))
    assert dict(Device.objects.values_list("endpoint", "state")) == {NEWER: "active", TOKEN: "gone"}


def test_the_consent_ends_with_the_last_app(app):
    app.post("devices/", body())
    app.post("devices/", body(APPLE, "apns"))
    profile = Device.objects.first().profile
    assert app.send("DELETE", "devices/", {"token": TOKEN}).status_code == 204
    assert answers(profile) == {"push": "subscribed"}
    assert app.send("DELETE", "devices/", {"token": APPLE}).status_code == 204
    assert answers(profile) == {"push": "unsubscribed"}
    assert app.send("DELETE", "devices/", {"token": "unknown\x00"}).status_code == 204


@pytest.mark.parametrize(
    ("sent", "code", "field"),
    [
        (body("short"), "invalid_subscription", "device.token"),
        (body("x" * 64, "apns"), "invalid_subscription", "device.token"),
        (body("sandbox-" + "x" * 30, "sandbox"), "invalid_subscription", "device.kind"),
        (body(kind="webpush"), "invalid_subscription", "device.kind"),
        (body(app="a b"), "invalid_subscription", "device.app"),
        (body(platform="fridge"), "invalid_subscription", "device.platform"),
        (body() | {"profile": {"id": 1}}, "not_allowed", "profile.id"),
        ({"profile": {"anonymous_id": "v"}}, "missing_field", "device"),
    ],
)
def test_what_can_not_be_right_is_refused(app, sent, code, field):
    response = app.post("devices/", sent)
    error = response.json()["error"]
    assert (response.status_code, error["code"], error.get("field")) == (400, code, field)
    assert not Device.objects.exists()
