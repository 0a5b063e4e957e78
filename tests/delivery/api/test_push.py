"""Subscriptions and push configuration over HTTP."""

import base64

import pytest

from crm import api_keys, identity, privacy
from crm.models import Device, Profile
from tests.crm.api.conftest import Caller
from tests.crm.keys import subscription

SHOP = "https://shop.example.com"


@pytest.fixture
def browser(db):
    return Caller(api_keys.create("browser", ["browser"], [SHOP])[1], HTTP_ORIGIN=SHOP)


def body(**more):
    return {"profile": {"anonymous_id": "v"}, "subscription": subscription()} | more


class TestSubscribe:
    def test_new_then_known(self, browser):
        response = browser.post(
            "subscriptions/",
            body(language="pl-PL", timezone="Europe/Warsaw", topics=["offers", "offers"], wording="May we?"),
            HTTP_USER_AGENT="Firefox/140",
        )
        device = Device.objects.get()
        assert (response.status_code, response.json()) == (201, {"id": device.pk, "state": "active"})
        assert (device.origin, device.user_agent, device.profile.language) == (SHOP, "Firefox/140", "pl-PL")
        key = browser.get("push/config/").json()["public_key"]
        assert device.application_key == key
        assert set(device.profile.consents.values_list("key", flat=True)) == {"webpush", "offers"}
        assert browser.post("subscriptions/", body()).status_code == 200

    def test_unknown_parts_of_the_subscription_are_ignored(self, browser):
        sent = body()
        sent["subscription"] |= {"expirationTime": 5, "options": {}}
        assert browser.post("subscriptions/", sent).status_code == 201

    @pytest.mark.parametrize(
        ("change", "code", "field"),
        [
            (
                {"subscription": subscription("https://127.0.0.1/x")},
                "invalid_subscription",
                "subscription.endpoint",
            ),
            (
                {"subscription": subscription("http://fcm.googleapis.com/x")},
                "invalid_subscription",
                "subscription.endpoint",
            ),
            ({"subscription": {"endpoint": "x"}}, "missing_field", "subscription.keys"),
            ({"subscription": None}, "invalid_value", "subscription"),
            ({"profile": {}}, "missing_field", "profile"),
            ({"profile": {"email": "x"}}, "invalid_email", "profile.email"),
            ({"profile": {"id": 1}}, "not_allowed", "profile.id"),
            ({"topics": ["x" * 101]}, "too_long", "topics[0]"),
            ({"topics": ["x"] * 51}, "too_long", "topics"),
            ({"topics": ["\x00"]}, "nul_character", "topics[0]"),
            ({"topics": "offers"}, "invalid_value", "topics"),
            ({"wording": "\x00"}, "nul_character", "wording"),
            ({"language": 5}, "invalid_value", "language"),
        ],
    )
    def test_what_is_wrong_is_named(self, browser, change, code, field):
        response = browser.post("subscriptions/", body(**change))
        error = response.json()["error"]
        assert (response.status_code, error["code"], error.get("field")) == (400, code, field)
        assert not Profile.objects.exists()

    def test_servers_may_name_profiles_by_number(self, db):
        writer = Caller(api_keys.create("w", ["write"])[1])
        [ann] = identity.resolve([identity.Reference(email="ann@example.com")])
        assert writer.post("subscriptions/", body(profile={"id": ann})).status_code == 201
        assert Device.objects.get().profile_id == ann
        response = writer.post("subscriptions/", body(profile={"id": ann + 1}))
        assert (response.status_code, response.json()["error"]["code"]) == (400, "unknown_profile")

    def test_a_server_does_not_bring_back_who_was_erased(self, browser):
        server = Caller(api_keys.create("w", ["write"])[1])
        [ann] = identity.resolve([identity.Reference(email="ann@example.com")])
        privacy.erase([ann], "request")
        sent = body(profile={"email": "ann@example.com"})
        response = server.post("subscriptions/", sent)
        assert (response.status_code, response.json()["error"]["code"]) == (409, "erased")
        assert not Device.objects.exists()
        assert browser.post("subscriptions/", sent).status_code == 201  # as one who comes back


class TestUnsubscribe:
    def test_once_and_again(self, browser):
        browser.post("subscriptions/", body())
        for _ in range(2):
            response = browser.send("DELETE", "subscriptions/", {"endpoint": subscription()["endpoint"]})
            assert (response.status_code, response.content) == (204, b"")
            assert response["Access-Control-Allow-Origin"] == SHOP
        assert Device.objects.get().state == "gone"

    @pytest.mark.parametrize("sent", [{}, {"endpoint": 5}, []])
    def test_no_endpoint(self, browser, sent):
        assert browser.send("DELETE", "subscriptions/", sent).status_code == 400

    def test_odd_endpoints_are_nobodys(self, browser):
        for endpoint in ("", "\x00", "x" * 100_000):
            assert browser.send("DELETE", "subscriptions/", {"endpoint": endpoint}).status_code == 204


class TestConfig:
    def test_the_key_is_a_point_and_stays(self, browser):
        key = browser.get("push/config/").json()["public_key"]
        assert len(base64.urlsafe_b64decode(key + "=")) == 65
        assert browser.get("push/config/").json()["public_key"] == key
