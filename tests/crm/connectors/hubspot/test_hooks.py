"""HubSpot's webhooks: only signed and fresh calls count, and they only say what to look at."""

import json
import time
from datetime import UTC, datetime, timedelta

import pytest
from hubspot.exceptions import InvalidSignatureTimestampError
from hubspot.utils.signature import Signature

from crm.connectors.base import Hint, HookRefused, HookRequest
from crm.connectors.hubspot import HubSpot
from crm.connectors.hubspot_values import DEALS, PRODUCTS
from crm.sandbox import hubspot_webhooks
from tests.crm.connectors.hubspot.sandbox import CONTACTS

SECRET = "app-secret"
URL = "https://nudge.example/hooks/crm/shop/?for=hubspot"


def connector(**config):
    return HubSpot(config, {"access_token": "x", "client_secret": SECRET})


def call(events, url=URL, secret=SECRET, seconds_ago=0, signed_url=None, **headers):
    """A call as HubSpot makes it, signed by HubSpot's own library."""
    body = events if isinstance(events, bytes) else json.dumps(events).encode()
    now = datetime.now(UTC)
    stamp = str(int((now.timestamp() - seconds_ago) * 1000))
    signature = Signature.get_signature(secret, body.decode(), "v3", signed_url or url, "POST", stamp)
    sent = {"x-hubspot-signature-v3": signature, "x-hubspot-request-timestamp": stamp}
    return HookRequest("POST", url, {**sent, **headers}, body, now)


def event(kind, object_id=5, **more):
    return hubspot_webhooks.event(kind, object_id, 0, **more)


def hints(*events, **config):
    return connector(**config).hook(call(list(events))).hints


class TestSignature:
    def test_hubspot_s_own_library_signs_as_we_check(self):
        assert connector().hook(call([event("contact.creation")])).hints == [Hint(CONTACTS, "5")]

    def test_the_sandbox_signs_as_we_check(self):
        body = json.dumps([event("contact.creation")]).encode()
        headers = hubspot_webhooks.signed_headers(SECRET, URL, body, int(time.time() * 1000))
        lower = {name.lower(): value for name, value in headers.items()}
        assert connector().hook(HookRequest("POST", URL, lower, body, datetime.now(UTC))).hints

    def test_the_address_is_signed_with_some_characters_plain(self):
        plain = "https://nudge.example/hooks/crm/shop/?a=:/?@!$'()*,;&b=%20%26"
        encoded = "https://nudge.example/hooks/crm/shop/?a=%3A%2f%3F%40%21%24%27%28%29%2A%2C%3B&b=%20%26"
        assert connector().hook(call([event("contact.creation")], encoded, signed_url=plain)).hints
        with pytest.raises(HookRefused):
            connector().hook(call([event("contact.creation")], encoded, signed_url=encoded))

    @pytest.mark.parametrize("seconds", [-290, 0, 290])
    def test_five_minutes_early_or_late_are_taken(self, seconds):
        request = call([event("contact.creation")], seconds_ago=seconds)
        assert connector().hook(request).hints
        if seconds >= 0:
            assert Signature.is_valid(
                request.headers["x-hubspot-signature-v3"],
                SECRET,
                request.body.decode(),
                URL,
                "POST",
                "v3",
                request.headers["x-hubspot-request-timestamp"],
            )

    @pytest.mark.parametrize("seconds", [-301, 301, 360, 10**6])
    def test_older_or_later_ones_are_not(self, seconds):
        request = call([event("contact.creation")], seconds_ago=seconds)
        with pytest.raises(HookRefused):
            connector().hook(request)
        if seconds > 0:
            stamp = request.headers["x-hubspot-request-timestamp"]
            with pytest.raises(InvalidSignatureTimestampError):
                Signature.is_valid("x", SECRET, "", URL, "POST", "v3", stamp)

    @pytest.mark.parametrize(
        "change",
        [
            {"method": "PUT"},
            {"url": URL + "&more=1"},
            {"url": URL.replace("https", "http")},
            {"body": b"[]"},
            {"body": b"[] "},
        ],
    )
    def test_every_part_is_signed(self, change):
        request = call([event("contact.creation")])
        for name, value in change.items():
            setattr(request, name, value)
        with pytest.raises(HookRefused):
            connector().hook(request)

    @pytest.mark.parametrize(
        "headers",
        [
            {"x-hubspot-signature-v3": ""},
            {"x-hubspot-signature-v3": "ünïcode"},
            {"x-hubspot-request-timestamp": ""},
            {"x-hubspot-request-timestamp": "soon"},
            {"x-hubspot-request-timestamp": "9" * 400},
            {"x-hubspot-request-timestamp": "9" * 15},
            {"x-hubspot-request-timestamp": "-1"},
            {"x-hubspot-request-timestamp": "١٢٣"},
        ],
    )
    def test_broken_headers_are_refused(self, headers):
        with pytest.raises(HookRefused):
            connector().hook(call([event("contact.creation")], **headers))

    def test_another_secret_or_none_is_refused(self):
        with pytest.raises(HookRefused):
            connector().hook(call([event("contact.creation")], secret="guess"))
        with pytest.raises(HookRefused):
            HubSpot({}, {"access_token": "x"}).hook(call([event("contact.creation")], secret=""))

    def test_the_older_signatures_do_not_count(self):
        request = call([event("contact.creation")])
        old = Signature.get_signature(SECRET, request.body.decode(), "v1")
        request.headers = {"x-hubspot-signature": old, "x-hubspot-signature-version": "v1"}
        with pytest.raises(HookRefused):
            connector().hook(request)


class TestHints:
    @pytest.mark.parametrize(
        ("kind", "name", "what"),
        [
            ("contact.creation", CONTACTS, "changed"),
            ("contact.propertyChange", CONTACTS, "changed"),
            ("contact.restore", CONTACTS, "changed"),
            ("contact.deletion", CONTACTS, "deleted"),
            ("contact.privacyDeletion", CONTACTS, "erased"),
            ("deal.propertyChange", DEALS, "changed"),
            ("deal.deletion", DEALS, "deleted"),
            ("product.creation", PRODUCTS, "changed"),
        ],
    )
    def test_events_name_records(self, kind, name, what):
        assert hints(event(kind)) == [Hint(name, "5", what)]

    def test_newer_apps_name_objects_by_number(self):
        assert hints(event("object.deletion", objectTypeId="0-3")) == [Hint(DEALS, "5", "deleted")]
        assert hints(event("object.creation", objectTypeId="2-777")) == []

    def test_a_merge_names_all_that_took_part(self):
        merge = event("contact.merge", primaryObjectId=5, mergedObjectIds=[6, 7], newObjectId=8)
        assert sorted(one.record_id for one in hints(merge)) == ["5", "6", "7", "8"]
        assert {one.kind for one in hints(merge)} == {"changed"}

    def test_whom_a_deal_belongs_to_is_looked_up_with_the_deal(self):
        ends = {"fromObjectId": 3, "toObjectId": 4, "associationRemoved": False}
        mine = event("deal.associationChange", associationType="DEAL_TO_CONTACT", **ends)
        theirs = event("contact.associationChange", associationType="CONTACT_TO_DEAL", **ends)
        other = event("contact.associationChange", associationType="CONTACT_TO_COMPANY", **ends)
        assert hints(mine, theirs, other) == [Hint(DEALS, "3"), Hint(DEALS, "4")]

    def test_the_gravest_word_counts_in_whatever_order(self):
        events = [event("contact.deletion"), event("contact.privacyDeletion"), event("contact.creation")]
        for order in (events, events[::-1], events * 30):
            assert hints(*order) == [Hint(CONTACTS, "5", "erased")]

    def test_strange_events_are_passed_over(self):
        strange = [
            event("conversation.creation"),
            event("contact.somethingNew"),
            event("contact"),
            event("contact.creation", object_id="../5"),
            event("contact.creation", object_id=None),
            {"subscriptionType": 5},
            {},
            None,
            "text",
            [],
        ]
        assert hints(*strange, event("contact.creation", 9)) == [Hint(CONTACTS, "9")]

    def test_another_account_s_events_are_passed_over(self):
        assert hints(event("contact.creation"), portal_id="99") == []
        assert hints(event("contact.creation"), portal_id=str(hubspot_webhooks.PORTAL_ID))

    @pytest.mark.parametrize("body", [b"", b"{}", b"[", b"null", b"<xml/>"])
    def test_a_signed_call_that_makes_no_sense_is_refused(self, body):
        with pytest.raises(HookRefused):
            connector().hook(call(body))

    def test_a_hundred_events_are_the_most(self):
        assert len(hints(*(event("contact.creation", number) for number in range(1, 101)))) == 100
        with pytest.raises(HookRefused):
            hints(*(event("contact.creation", number) for number in range(1, 102)))

    def test_a_clock_that_differs_is_measured_from_when_the_call_came(self):
        request = call([event("contact.creation")])
        request.received_at += timedelta(minutes=6)
        with pytest.raises(HookRefused):
            connector().hook(request)
