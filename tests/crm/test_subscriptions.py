"""Push subscriptions: whose browser it is, and the consent that goes with it."""

from datetime import UTC, datetime, timedelta

import msgspec
import pytest

from crm import consent, subscriptions
from crm.identity import Reference
from crm.models import ConsentChange, Device, Event, Profile
from crm.subscriptions import Details, PushSubscription, SubscriptionError
from tests.crm.concurrently import run
from tests.crm.keys import b64url, subscription

NOW = datetime(2026, 11, 1, 12, tzinfo=UTC)
FIREFOX = "https://updates.push.services.mozilla.com/wpush/v2/"
ANN, BOB = Reference(email="ann@example.com"), Reference(email="bob@example.com")


def allowed(endpoint):
    return endpoint.startswith(FIREFOX)


def made(number=1, **keys):
    data = subscription(f"{FIREFOX}{number}")
    data["keys"] |= keys
    return msgspec.convert(data, PushSubscription)


def subscribe(reference=ANN, number=1, minutes=0, **details):
    at = NOW + timedelta(minutes=minutes)
    return subscriptions.subscribe(reference, made(number), Details(**details), "sdk", allowed, at)


def may_be_pushed():
    ids = list(Profile.objects.values_list("pk", flat=True))
    agreed = consent.subscribed(ids, "webpush")
    return set(Profile.objects.filter(pk__in=agreed).values_list("email", flat=True))


def names():
    return sorted(Event.objects.exclude(name="consent_changed").values_list("name", flat=True))


@pytest.mark.django_db
class TestSubscribe:
    def test_a_new_browser(self):
        device, created = subscribe(
            origin="https://shop.example", user_agent="Firefox", language="pl-PL", wording="May we?"
        )
        assert created
        device.refresh_from_db()
        assert (device.profile.email, device.state, device.origin) == (
            "ann@example.com",
            "active",
            "https://shop.example",
        )
        assert may_be_pushed() == {"ann@example.com"}
        assert (ConsentChange.objects.get().wording, names()) == ("May we?", ["push_subscribed"])

    def test_the_same_again_changes_keys_but_tells_nothing_new(self):
        first, _ = subscribe()
        again, created = subscribe(minutes=1)
        assert (again.pk, created) == (first.pk, False)
        assert again.auth != first.auth
        assert (names(), ConsentChange.objects.count()) == (["push_subscribed"], 1)

    def test_a_shared_browser_belongs_to_whom_it_was_subscribed_last(self):
        device, _ = subscribe(ANN)
        subscribe(BOB, minutes=1)
        device.refresh_from_db()
        assert device.profile.email == "bob@example.com"
        assert names() == ["push_subscribed", "push_subscribed"]
        assert not Device.objects.filter(profile__email="ann@example.com").exists()

    def test_a_visitors_browser_follows_when_they_log_in(self):
        device, _ = subscribe(Reference(anonymous_id="v"))
        subscribe(Reference(email="ann@example.com", anonymous_id="v"), minutes=1)
        device.refresh_from_db()
        assert device.profile.email == "ann@example.com"
        assert Profile.objects.count() == 1

    def test_topics_and_gaps(self):
        Profile.objects.create(email="bob@example.com", language="ar").identifiers.create(
            kind="email", value="bob@example.com"
        )
        for person in (ANN, BOB):
            subscribe(person, number=person.email, language="pl", timezone="Europe/Warsaw", topics=["offers"])
        ann, bob = Profile.objects.order_by("email")
        assert (ann.language, ann.timezone, bob.language, bob.timezone) == (
            "pl",
            "Europe/Warsaw",
            "ar",
            "Europe/Warsaw",
        )
        assert set(ann.consents.values_list("kind", "key")) == {("channel", "webpush"), ("topic", "offers")}

    def test_nonsense_about_the_browser_is_left_out(self):
        device, _ = subscribe(language="x" * 900, timezone="Mars/Base")
        device.refresh_from_db()
        assert (len(device.language), device.profile.language, device.profile.timezone) == (500, None, None)

    @pytest.mark.parametrize(
        ("bad", "field"),
        [
            ({"p256dh": b64url(b"\x04" + bytes(64))}, "subscription.keys.p256dh"),
            ({"p256dh": b64url(b"\x02" * 33)}, "subscription.keys.p256dh"),
            ({"p256dh": ""}, "subscription.keys.p256dh"),
            ({"auth": b64url(bytes(15))}, "subscription.keys.auth"),
            ({"auth": b64url(bytes(16)) + "!!!!"}, "subscription.keys.auth"),
            ({"auth": "ż"}, "subscription.keys.auth"),
        ],
    )
    def test_keys_that_can_not_be_used(self, bad, field):
        with pytest.raises(SubscriptionError) as error:
            subscriptions.subscribe(ANN, made(**bad), Details(), "sdk", allowed)
        assert error.value.field == field
        assert not Profile.objects.exists()

    @pytest.mark.parametrize("endpoint", ["https://evil.example/1", FIREFOX + "x" * 2000])
    def test_endpoints_that_may_not_be_called(self, endpoint):
        with pytest.raises(SubscriptionError) as error:
            subscriptions.check(msgspec.convert(subscription(endpoint), PushSubscription), allowed)
        assert error.value.field == "subscription.endpoint"


@pytest.mark.django_db
class TestEnd:
    def test_consent_ends_with_the_last_browser(self):
        subscribe(number=1)
        subscribe(number=2)
        assert subscriptions.unsubscribe(f"{FIREFOX}1", "sdk", NOW + timedelta(minutes=1))
        assert may_be_pushed() == {"ann@example.com"}
        assert subscriptions.unsubscribe(f"{FIREFOX}2", "sdk", NOW + timedelta(minutes=2))
        assert may_be_pushed() == set()
        assert names().count("push_unsubscribed") == 2

    def test_unsubscribing_twice_or_what_was_never_there(self):
        subscribe()
        later = NOW + timedelta(minutes=1)
        assert subscriptions.unsubscribe(f"{FIREFOX}1", "sdk", later)
        assert not subscriptions.unsubscribe(f"{FIREFOX}1", "sdk", later)
        assert not subscriptions.unsubscribe(f"{FIREFOX}9", "sdk", later)

    def test_coming_back(self):
        device, _ = subscribe()
        subscriptions.unsubscribe(f"{FIREFOX}1", "sdk", NOW + timedelta(minutes=1))
        again, created = subscribe(minutes=2)
        assert (again.pk, again.state, created) == (device.pk, "active", False)
        assert may_be_pushed() == {"ann@example.com"}
        assert names().count("push_subscribed") == 2

    def test_a_push_service_says_that_it_is_gone(self):
        device, _ = subscribe()
        assert subscriptions.mark_gone([device.pk, device.pk + 1], "410", NOW) == 1
        assert subscriptions.mark_gone([device.pk], "410", NOW) == 0
        device.refresh_from_db()
        assert (device.state, device.gone_reason) == ("gone", "410")
        # The person said yes and has not taken it back: a new browser needs no new question.
        assert may_be_pushed() == {"ann@example.com"}


@pytest.mark.django_db
class TestReplace:
    def test_a_new_endpoint_for_the_same_browser(self):
        device, _ = subscribe()
        assert subscriptions.replace(f"{FIREFOX}1", made(2), allowed, NOW)
        device.refresh_from_db()
        assert (device.endpoint, device.state) == (f"{FIREFOX}2", "active")
        assert not subscriptions.replace(f"{FIREFOX}1", made(3), allowed, NOW)

    def test_the_page_was_faster(self):
        subscribe(number=1)
        subscribe(number=2)
        assert subscriptions.replace(f"{FIREFOX}1", made(2), allowed, NOW)
        assert Device.objects.get().endpoint == f"{FIREFOX}2"

    def test_lost(self):
        device, _ = subscribe()
        assert subscriptions.replace(f"{FIREFOX}1", None, allowed, NOW)
        device.refresh_from_db()
        assert device.state == "gone"

    def test_not_to_anywhere(self):
        subscribe()
        with pytest.raises(SubscriptionError):
            subscriptions.replace(f"{FIREFOX}1", made(2), lambda endpoint: False, NOW)
        assert Device.objects.get().endpoint == f"{FIREFOX}1"


@pytest.mark.django_db(transaction=True)
def test_one_browser_subscribed_from_two_tabs_at_once():
    devices = run(*[lambda: subscribe()[0].pk] * 6)
    assert len(set(devices)) == Device.objects.count() == Profile.objects.count() == 1
    assert names() == ["push_subscribed"]
