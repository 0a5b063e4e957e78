"""Of several answers to one question the person's latest counts, however it comes to us and in whatever order."""

from datetime import UTC, datetime, timedelta

import msgspec
import pytest

from crm import api_keys, consent, subscriptions
from crm.identity import Reference
from crm.models import Consent, ConsentChange, Device, Event, Profile
from crm.subscriptions import Details, PushSubscription
from tests.crm.api.conftest import Caller
from tests.crm.keys import subscription

NOW = datetime(2026, 11, 1, 12, tzinfo=UTC)
ANN, BOB = Reference(email="ann@example.com"), Reference(email="bob@example.com")

pytestmark = pytest.mark.django_db


def at(minutes):
    return NOW + timedelta(minutes=minutes)


def answer(profile_id, state, minutes, source="sdk", **more):
    return consent.Change(profile_id, "channel", "webpush", state, source, at(minutes), **more)


def made(endpoint="1"):
    return msgspec.convert(subscription(f"https://fcm.googleapis.com/{endpoint}"), PushSubscription)


def subscribe(reference=ANN, minutes=0, endpoint="1", **details):
    device, _ = subscriptions.subscribe(
        reference, made(endpoint), Details(**details), "sdk", lambda _endpoint: True, at(minutes)
    )
    return device


class TestRepeatedAnswers:
    def test_a_no_from_before_the_yes_was_repeated_does_not_count(self):
        ann = Profile.objects.create()
        consent.record([answer(ann.pk, "subscribed", 0)])
        consent.record([answer(ann.pk, "subscribed", 10)])
        assert consent.record([answer(ann.pk, "unsubscribed", 5, "crm")]) == 0
        assert Consent.objects.get().state == "subscribed"

    def test_a_persons_own_yes_takes_over_the_crms(self):
        ann = Profile.objects.create()
        consent.record([answer(ann.pk, "subscribed", 0, "crm")])
        assert consent.record([answer(ann.pk, "subscribed", 1, wording="May we?")]) == 0
        held = Consent.objects.get()
        assert (held.source, held.wording, held.changed_at) == ("sdk", "May we?", at(1))
        assert list(ConsentChange.objects.order_by("changed_at").values_list("source", "wording")) == [
            ("crm", ""),
            ("sdk", "May we?"),
        ]
        assert Event.objects.filter(name="consent_changed").count() == 1

    def test_a_repetition_without_words_keeps_the_proof(self):
        ann = Profile.objects.create()
        consent.record([answer(ann.pk, "subscribed", 0, wording="May we?")])
        consent.record([answer(ann.pk, "subscribed", 1)])
        assert (Consent.objects.get().wording, ConsentChange.objects.count()) == ("May we?", 1)


class TestBrowsersThatReportAgain:
    """A page tells of its subscription again when the person logs in, travels or clears the storage."""

    def test_is_no_new_yes_after_a_no(self):
        device = subscribe(minutes=0)
        consent.record([answer(device.profile_id, "unsubscribed", 5, "admin")])
        subscribe(minutes=10, language="pl", agreed_seconds_ago=600)
        assert consent.subscribed([device.profile_id], "webpush") == set()

    def test_a_new_click_is(self):
        device = subscribe(minutes=0)
        consent.record([answer(device.profile_id, "unsubscribed", 5, "admin")])
        subscribe(minutes=10, agreed_seconds_ago=2)
        assert consent.subscribed([device.profile_id], "webpush") == {device.profile_id}

    def test_over_http(self):
        browser = Caller(api_keys.create("b", ["browser"])[1])
        sent = {"profile": {"email": "ann@example.com"}, "subscription": subscription()}
        assert browser.post("subscriptions/", sent | {"agreed_seconds_ago": 3600}).status_code == 201
        assert datetime.now(UTC) - Consent.objects.get().changed_at > timedelta(minutes=59)
        for wrong in (-1, 1e12, "x"):
            response = browser.post("subscriptions/", sent | {"agreed_seconds_ago": wrong})
            assert (response.status_code, response.json()["error"]["field"]) == (400, "agreed_seconds_ago")

    def test_a_language_no_database_can_hold_is_refused(self):
        browser = Caller(api_keys.create("b", ["browser"])[1])
        sent = {"profile": {"email": "ann@example.com"}, "subscription": subscription(), "language": "\x00"}
        response = browser.post("subscriptions/", sent)
        assert (response.status_code, response.json()["error"]["field"]) == (400, "language")


def test_a_renewed_endpoint_stays_with_whom_the_page_said_it_is():
    subscribe(ANN, 0, "old")
    bobs = subscribe(BOB, 1, "new")
    assert subscriptions.replace("https://fcm.googleapis.com/old", made("new"), lambda _e: True, at(2))
    device = Device.objects.get(state="active")
    assert (device.pk, device.profile.email, device.endpoint) == (bobs.pk, "bob@example.com", bobs.endpoint)
