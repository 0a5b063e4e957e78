"""Web push against a strict local push service: format, headers, and what each answer leads to."""

import time
from datetime import timedelta
from typing import Any

import pytest

from crm.models import Alert, Device
from delivery import clicks, dispatch, tokens
from delivery.channels.base import Outcome
from delivery.models import Attempt, Delivery
from tests.delivery import world
from tests.delivery.conformance import ChannelConformance
from tests.delivery.world import NOW
from tests.push import client
from tests.push.faults import Fault
from tests.push.service import PushService

State = Delivery.State
CONTENT = {
    "title": "Hello {{ profile.first_name }}",
    "body": "Your cart waits",
    "url": "/cart?who={{ profile.id }}",
    "icon": "/static/icon.png",
    "image": "https://shop.example/hero.png",
    "actions": [{"title": "Shop", "url": "/shop"}],
    "urgency": "high",
}


class TestWebPush(ChannelConformance):
    kind = "webpush"
    good = CONTENT
    templated = "title"
    FAULTS = {
        Outcome.GONE: Fault.gone(),
        Outcome.REFUSED: Fault.too_large(),
        Outcome.RETRY: Fault.unavailable(),
        Outcome.CONFIGURATION: Fault.answer(403),
    }

    @pytest.fixture(autouse=True)
    def _provider(self, push: PushService) -> None:
        self.push = push

    def reach(self, profile: Any) -> None:
        world.browser(profile, client.subscribe(self.push))

    def fail(self, profile: Any, outcome: Outcome) -> None:
        self.push.fail_next(profile.devices.get().endpoint, self.FAULTS[outcome])

    def received(self) -> int:
        return sum(push.accepted for push in self.push.journal)


@pytest.mark.django_db
class TestOnePush:
    def test_what_arrives(self, push: PushService, settings) -> None:
        ann = world.person()
        world.browser(ann, client.subscribe(push))
        [delivery] = world.queue(world.message(channel="webpush", content=CONTENT), [ann], "webpush")
        # A minute of the day that the message lives has passed.
        dispatch.run(NOW + timedelta(minutes=1))

        [arrived] = push.journal
        assert arrived.status == 201, arrived.message
        assert arrived.json == {
            "title": "Hello Ann1",
            "body": "Your cart waits",
            "url": f"/cart?who={ann.pk}",
            "icon": "/static/icon.png",
            "image": "https://shop.example/hero.png",
            "tag": f"nudge-{delivery.pk}",
            "token": arrived.json["token"],
            "click": arrived.json["click"],
            "track": f"{settings.NUDGE_PUBLIC_URL}/t/push/",
            "actions": [{"action": "1", "title": "Shop", "url": "/shop"}],
        }
        assert tokens.read(arrived.json["token"]) == delivery.pk
        token = arrived.json["click"]
        assert clicks.people([token], NOW) == {token: ann.pk}
        headers = arrived.headers
        assert (headers["ttl"], headers["urgency"]) == (str(24 * 3600 - 60), "high")
        assert headers["content-type"] == "application/octet-stream"
        assert len(headers["topic"]) == 32

    def test_every_browser_of_a_person_gets_it_and_one_is_enough(self, push: PushService) -> None:
        ann = world.person()
        phone, laptop = (world.browser(ann, client.subscribe(push)) for _ in range(2))
        push.unregister(laptop.endpoint)
        [delivery] = world.queue(world.message(channel="webpush"), [ann], "webpush")
        dispatch.run(NOW)
        delivery.refresh_from_db()
        assert delivery.state == State.SENT
        assert dict(Attempt.objects.values_list("device_id", "outcome")) == {
            phone.pk: Outcome.ACCEPTED,
            laptop.pk: Outcome.GONE,
        }

    def test_a_gone_browser_is_dropped_and_the_batch_goes_on(self, push: PushService) -> None:
        people = [world.person(number) for number in range(4)]
        devices = [world.browser(profile, client.subscribe(push)) for profile in people]
        push.unregister(devices[1].endpoint)
        push.forget(devices[2].endpoint)
        world.queue(world.message(channel="webpush"), people, "webpush")
        assert dispatch.run(NOW).sent == 2
        states = Device.objects.in_bulk([device.pk for device in devices])
        assert [states[device.pk].state for device in devices] == ["active", "gone", "gone", "active"]
        assert [e.profile_id for e in world.events("push_unsubscribed")] == [people[1].pk, people[2].pk]

    def test_a_renewed_subscription_is_not_dropped_for_its_old_address(self, push: PushService) -> None:
        from delivery.channels.webpush import WebPush

        ann = world.person()
        device = world.browser(ann, client.subscribe(push))
        push.unregister(device.endpoint)
        world.queue(world.message(channel="webpush"), [ann], "webpush")
        fresh = client.subscribe(push)
        send = WebPush.send

        def renew_first(self, parcels, now):
            parcels = list(parcels)
            Device.objects.filter(pk=device.pk).update(endpoint=fresh.endpoint)
            return send(self, parcels, now)

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(WebPush, "send", renew_first)
            dispatch.run(NOW)
        device.refresh_from_db()
        assert device.state == "active"

    def test_a_refused_key_alerts_and_deletes_nothing(self, push: PushService) -> None:
        people = [world.person(number) for number in range(12)]
        devices = [world.browser(profile, client.subscribe(push)) for profile in people]
        for device in devices:
            push.fail_next(device.endpoint, Fault.answer(401))
        world.queue(world.message(channel="webpush"), people, "webpush")

        assert dispatch.run(NOW).deferred == 12

        assert Device.objects.filter(state="active").count() == 12
        alert = Alert.objects.get()
        assert alert.key == f"webpush:configuration:{push.origin}"
        assert alert.resolved_at is None
        due = list(Delivery.objects.values_list("due_at", flat=True))
        assert min(due) > NOW + timedelta(minutes=10), "nobody is hammered while the operator looks"

    def test_after_a_few_refusals_the_rest_of_the_batch_is_left_alone(
        self, push: PushService, monkeypatch
    ) -> None:
        from delivery import httpclient, pushhosts

        monkeypatch.setattr(
            httpclient, "client", lambda public: httpclient.Client(pushhosts.public, max_in_flight=2)
        )
        people = [world.person(number) for number in range(12)]
        for profile in people:
            push.fail_next(world.browser(profile, client.subscribe(push)).endpoint, Fault.answer(403))
        world.queue(world.message(channel="webpush"), people, "webpush")
        assert dispatch.run(NOW).deferred == 12
        assert 3 <= len(push.journal) <= 5

    def test_a_browser_that_subscribed_with_another_key_is_not_tried(self, push: PushService) -> None:
        ann = world.person()
        world.browser(ann, client.subscribe(push))
        Device.objects.update(application_key="another")
        [delivery] = world.queue(world.message(channel="webpush"), [ann], "webpush")
        dispatch.run(NOW)
        delivery.refresh_from_db()
        assert (delivery.state, delivery.reason, len(push.journal)) == (
            State.SUPPRESSED,
            "no active device",
            0,
        )

    def test_broken_keys_are_refused_alone(self, push: PushService) -> None:
        people = [world.person(number) for number in range(2)]
        for profile in people:
            world.browser(profile, client.subscribe(push))
        Device.objects.filter(profile=people[0]).update(p256dh="AAAA")
        world.queue(world.message(channel="webpush"), people, "webpush")
        result = dispatch.run(NOW)
        assert (result.sent, result.failed) == (1, 1)

    def test_an_endpoint_that_is_no_push_service_is_never_called(self, push: PushService, settings) -> None:
        ann = world.person()
        world.browser(ann, client.subscribe(push))
        settings.NUDGE_PUSH_HOSTS = []
        [delivery] = world.queue(world.message(channel="webpush"), [ann], "webpush")
        dispatch.run(NOW)
        delivery.refresh_from_db()
        assert (delivery.state, len(push.journal)) == (State.FAILED, 0)
        assert delivery.reason == "not a push service we may call"

    def test_a_lost_connection_is_tried_again_with_the_same_topic(self, push: PushService) -> None:
        ann = world.person()
        device = world.browser(ann, client.subscribe(push))
        push.fail_next(device.endpoint, Fault.closed(accept=True))
        [delivery] = world.queue(world.message(channel="webpush"), [ann], "webpush")
        dispatch.run(NOW)
        delivery.refresh_from_db()
        assert delivery.state == State.DEFERRED, delivery.reason
        dispatch.run(delivery.due_at)
        delivery.refresh_from_db()
        assert delivery.state == State.SENT
        first, second = push.journal
        assert first.headers["topic"] == second.headers["topic"]
        assert first.json["tag"] == second.json["tag"], "the browser replaces the first one"

    def test_retry_after_is_kept_to(self, push: PushService) -> None:
        ann = world.person()
        push.fail_next(world.browser(ann, client.subscribe(push)).endpoint, Fault.too_many(1800))
        [delivery] = world.queue(world.message(channel="webpush"), [ann], "webpush")
        dispatch.run(NOW)
        delivery.refresh_from_db()
        assert delivery.state == State.DEFERRED, delivery.reason
        assert delivery.due_at >= NOW + timedelta(seconds=1800)

    def test_a_text_that_grows_too_big_fails_for_that_person_only(self, push: PushService) -> None:
        people = [world.person(1, attributes={"note": "x" * 5000}), world.person(2, attributes={"note": "y"})]
        for profile in people:
            world.browser(profile, client.subscribe(push))
        content = {"title": "Note", "body": "{{ profile.attributes.note }}"}
        world.queue(world.message(channel="webpush", content=content), people, "webpush")
        result = dispatch.run(NOW)
        assert (result.sent, result.failed) == (1, 1)
        assert "too big" in Delivery.objects.get(state=State.FAILED).reason

    def test_connections_are_kept(self, push: PushService) -> None:
        """A thousand pushes must not mean a thousand connections."""
        people = [world.person(number) for number in range(150)]
        for profile, subscription in zip(people, client.subscribe_many(push, 150), strict=True):
            world.browser(profile, subscription)
        world.queue(world.message(channel="webpush"), people, "webpush")
        started = time.monotonic()
        assert dispatch.run(NOW).sent == 150
        assert time.monotonic() - started < 30
