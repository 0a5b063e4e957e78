"""Mobile push: the channel's promises, its content, and which account carries to which phone."""

import threading
from datetime import timedelta
from typing import Any

import certifi
import pytest
from django.template.loader import render_to_string

from crm import app_devices
from crm.admin.profile_page import browser_name
from crm.models import Device, Profile
from delivery import channels, dispatch, httpclient, push
from delivery.channels.base import Outcome
from delivery.models import Account, Attempt, Delivery, SandboxItem
from delivery.providers import google_auth
from tests.delivery import services, world
from tests.delivery.apps import apple, google
from tests.delivery.conformance import ChannelConformance
from tests.delivery.world import NOW

GOOD = {
    "title": "Hi {{ profile.first_name }}",
    "body": "Your cart waits",
    "app_url": "shop://cart",
    "url": "https://shop.example.com/cart",
    "badge": 0,
    "tag": "cart",
    "actions": [{"title": "Buy", "url": "shop://buy"}],
    "data": {"coupon": "A1"},
}


@pytest.fixture
def firebase(settings: Any, db: Any) -> Any:
    """FCM, with an account that is used by default."""
    google_auth._tokens.clear()
    service_ = google.Google()
    with services.serving(service_) as service:
        service_.root = service.url
        settings.NUDGE_PROVIDER_HOSTS_TRUSTED = [service.host]
        Account.objects.create(
            name="Firebase",
            slug="firebase",
            channel="push",
            provider="fcm",
            config={"base_url": service.url},
            credentials={"service_account": google.key_file(service.url)},
            cost_per_part="0.01",
        )
        yield service_


@pytest.fixture
def apple_service(firebase: Any, settings: Any, tmp_path: Any, monkeypatch: pytest.MonkeyPatch) -> Any:
    """APNs, with an account beside Firebase's."""
    pem = apple.certificate(tmp_path)
    monkeypatch.setattr(certifi, "where", lambda: str(pem))
    monkeypatch.setattr(httpclient, "_local", threading.local())
    with apple.Apple(pem).running() as service:
        settings.NUDGE_PROVIDER_HOSTS_TRUSTED = [*settings.NUDGE_PROVIDER_HOSTS_TRUSTED, service.host]
        Account.objects.create(
            name="Apple",
            slug="apple",
            channel="push",
            provider="apns",
            config={
                "team_id": apple.TEAM,
                "key_id": apple.KEY_ID,
                "app": apple.TOPIC,
                "base_url": f"https://{service.host}",
            },
            credentials={"private_key": apple.P8},
            usual=False,
        )
        yield service


def phone(profile: Profile, kind: str = "fcm") -> Device:
    """A phone of that kind."""
    token = f"{profile.pk:064x}" if kind == "apns" else f"cRk9wAb:APA91bH{profile.pk:020d}"
    return Device.objects.create(profile=profile, kind=kind, endpoint=token)


class TestMobilePush(ChannelConformance):
    kind, good, templated = "push", GOOD, "title"

    @pytest.fixture(autouse=True)
    def _provider(self, firebase: Any) -> None:
        self.firebase = firebase

    def reach(self, profile: Profile) -> None:
        phone(profile)

    def fail(self, profile: Profile, outcome: Outcome) -> None:
        word = {
            Outcome.GONE: "UNREGISTERED",
            Outcome.REFUSED: "INVALID_ARGUMENT",
            Outcome.RETRY: "UNAVAILABLE",
            Outcome.CONFIGURATION: 403,
        }
        self.firebase.troubles[profile.devices.get().endpoint] = word[outcome]

    def received(self) -> int:
        return len(self.firebase.taken)

    def test_a_phone_that_is_gone_is_not_written_to_again(self) -> None:
        [person] = self.people(1)
        self.queue([person])
        self.fail(person, Outcome.GONE)
        dispatch.run(NOW)
        assert person.devices.get().state == Device.State.GONE
        assert channels.get("push").addresses([person.pk]) == {}

    def test_a_push_that_was_cut_off_is_sent_again_under_the_same_tag(self) -> None:
        [person] = self.people(1)
        [delivery] = self.queue([person])
        token = person.devices.get().endpoint
        self.firebase.troubles[token] = services.CUT
        dispatch.run(NOW)
        delivery.refresh_from_db()
        assert delivery.state == Delivery.State.DEFERRED
        self.firebase.troubles.clear()
        assert dispatch.run(delivery.due_at).sent == 1
        assert list(self.firebase.taken) == [(token, "cart")]


@pytest.mark.django_db
class TestAccounts:
    def queue(self, people: list[Profile]) -> list[Delivery]:
        return world.queue(world.message(channel="push", content=GOOD), people, "push")

    def people(self, *kinds: str) -> list[Profile]:
        found = []
        for number, kind in enumerate(kinds):
            profile = world.person(number, channels=["push"])
            phone(profile, kind)
            found.append(profile)
        return found

    def test_each_phone_gets_it_by_the_account_that_carries_to_it(self, firebase, apple_service) -> None:
        people = self.people("fcm", "apns", "fcm")
        phone(people[0], "apns")
        deliveries = self.queue(people)
        assert dispatch.run(NOW).sent == 3
        assert (len(firebase.taken), len(apple_service.taken)) == (2, 2)
        used = Attempt.objects.values_list("device__kind", "account__slug", "cost").distinct()
        assert {(kind, slug, str(cost)) for kind, slug, cost in used} == {
            ("fcm", "firebase", "0.010000"),
            ("apns", "apple", "None"),
        }
        shown = apple_service.taken[people[1].devices.get().endpoint, "cart"]
        assert shown["aps"]["alert"]["title"] == f"Hi {people[1].first_name}"
        assert (shown["nudge_url"], shown["coupon"]) == ("shop://cart", "A1")
        assert {delivery.pk for delivery in deliveries} == set(
            Delivery.objects.filter(state="sent").values_list("pk", flat=True)
        )

    def test_a_service_that_fails_holds_up_only_its_own_phones(self, firebase, apple_service) -> None:
        apple_service.usual = (503, "ServiceUnavailable")
        self.queue(self.people(*["apns"] * 12, "fcm"))
        assert dispatch.run(NOW).sent == 1
        held = dict(Account.objects.values_list("slug", "trips"))
        assert held == {"firebase": 0, "apple": 1}
        asked = len(apple_service.requests)
        apple_service.usual = (200, "")
        dispatch.run(NOW + timedelta(seconds=1))
        assert len(apple_service.requests) == asked, "it is left alone"

    def test_phones_that_no_account_carries_to_wait(self, firebase) -> None:
        [delivery] = self.queue(self.people("apns"))
        dispatch.run(NOW)
        delivery.refresh_from_db()
        assert delivery.state == Delivery.State.DEFERRED
        assert "no account carries to apns devices" in delivery.reason
        assert Account.objects.get().failures == 0

    def test_the_sandbox_takes_every_phone_and_shows_it(self, db) -> None:
        Account.objects.create(name="Sandbox", slug="sandbox", channel="push", provider="sandbox")
        people = self.people("fcm", "apns")
        pretended = app_devices.add_sandbox(people[0].pk)
        assert browser_name(pretended) == "sandbox, Android"
        self.queue(people)
        assert dispatch.run(NOW).sent == 2
        items = list(SandboxItem.objects.all())
        assert len(items) == 3
        html = render_to_string("admin/delivery/mock/push.html", {"payload": items[0].payload})
        assert "Your cart waits" in html
        assert "shop://cart" in html
        assert "Buy" in html


class TestContent:
    @pytest.mark.parametrize(
        ("change", "field"),
        [
            ({"title": "", "body": ""}, "title"),
            ({"silent": True, "data": {}}, "data"),
            ({"data": {"from": "x"}}, "data"),
            ({"data": {"google.a": "x"}}, "data"),
            ({"app_url": "cart"}, "app_url"),
            ({"body": "ü" * 2100}, "body"),
            ({"image": "javascript:alert(1)"}, "image"),
        ],
    )
    def test_what_can_not_be_sent_is_told_at_its_field(self, change: dict[str, Any], field: str) -> None:
        [problem] = channels.get("push").problems({**GOOD, **change})
        assert problem.field == field

    def test_a_silent_push_holds_nothing_to_show(self) -> None:
        channel = channels.get("push")
        content = channel.compile({"silent": True, "data": {"refresh": "cart"}, "title": "No"}).render({})
        payload = channel.compose(Delivery(pk=7), content)
        assert (payload.title, payload.silent, payload.data) == ("", True, {"refresh": "cart"})
        assert push.aps(payload) == {"content-available": 1}
