"""Messages that go to another system: signed, repeated, and never where they must not."""

import json
from datetime import timedelta
from typing import Any

import pytest

from delivery import channels, dispatch
from delivery.channels.base import Outcome
from delivery.models import Account, Delivery
from tests.delivery import services, world
from tests.delivery.conformance import ChannelConformance
from tests.delivery.world import NOW

KEY = "MDAwMDAwMDAwMDAwMDAwMDAwMDAwMDAwMDAwMDAwMDA="
STATUS = {Outcome.GONE: 404, Outcome.REFUSED: 410, Outcome.RETRY: 500, Outcome.CONFIGURATION: 401}


@pytest.fixture
def told() -> dict[int, int]:
    """The status that calls about a profile get."""
    return {}


@pytest.fixture
def service(told: dict[int, int], settings: Any, db: Any) -> Any:
    """An endpoint on 127.0.0.1."""

    def answer(request: services.Request) -> services.Answer:
        return told.get(request.json["profile"]["id"], 200), {}, b""

    with services.serving(answer) as found:
        settings.NUDGE_WEBHOOK_HOSTS = [found.host]
        Account.objects.create(
            name="Till",
            slug="till",
            channel="webhook",
            provider="webhook_http",
            config={"url": found.url + "/hook"},
            credentials={"secret": KEY},
        )
        yield found


class TestConformance(ChannelConformance):
    kind = "webhook"
    good = {"values": {"name": "{{ profile.first_name }}"}, "headers": {"X-Shop": "1"}, "method": "PUT"}
    templated = "url"
    test_people_without_an_address_are_left_out = None  # everybody can be told of

    @pytest.fixture(autouse=True)
    def _provider(self, service: services.Service, told: dict[int, int]) -> None:
        self.service, self.told = service, told

    def fail(self, profile: Any, outcome: Outcome) -> None:
        if outcome == Outcome.GONE:
            pytest.skip("an endpoint says nothing of the person")
        self.told[profile.pk] = STATUS[outcome]

    def received(self) -> int:
        return sum(
            self.told.get(request.json["profile"]["id"], 200) == 200 for request in self.service.requests
        )


def queued(content: dict[str, Any]) -> Delivery:
    [delivery] = world.queue(world.message(channel="webhook", content=content), [world.person()], "webhook")
    return delivery


class TestCalls:
    def test_what_is_told_and_repeated_under_the_same_number(
        self, service: services.Service, told: dict[int, int]
    ) -> None:
        delivery = queued({"values": {"greeting": 'Hi "{{ profile.first_name }}"'}})
        told[delivery.profile_id] = 503
        dispatch.run(NOW)
        told.clear()
        dispatch.run(NOW + timedelta(hours=2))
        delivery.refresh_from_db()
        assert delivery.state == Delivery.State.SENT
        first, second = service.requests
        assert first.headers["webhook-id"] == second.headers["webhook-id"] == f"nudge_message_{delivery.pk}"
        assert first.body == second.body
        body = json.loads(first.body)
        assert body["data"] == {"greeting": 'Hi "Ann1"'}
        assert (body["type"], body["delivery"], body["message"]) == ("message", delivery.pk, "welcome")

    @pytest.mark.parametrize(
        "url", ["https://10.0.0.1/", "https://user:word@shop.example.com/", "http://shop.example.com/"]
    )
    def test_an_address_that_may_not_be_called_is_told_at_save(
        self, service: services.Service, url: str
    ) -> None:
        [problem] = channels.get("webhook").problems({"url": url})
        assert problem.field == "url"

    def test_nor_is_one_that_a_variable_made(self, service: services.Service) -> None:
        delivery = queued({"url": "https://{{ profile.city }}/"})
        type(delivery.profile).objects.filter(pk=delivery.profile_id).update(city="127.0.0.1")
        dispatch.run(NOW)
        delivery.refresh_from_db()
        assert delivery.state == Delivery.State.FAILED
        assert not service.requests

    @pytest.mark.parametrize(
        "headers", [{"webhook-id": "1"}, {"Content-Type": "x"}, {"a b": "x"}, {"{{ profile.city }}": "x"}]
    )
    def test_headers_that_are_ours_or_none(self, service: services.Service, headers: dict[str, str]) -> None:
        [problem] = channels.get("webhook").problems({"headers": headers})
        assert problem.field == "headers"

    def test_a_person_can_not_add_a_header(self, service: services.Service) -> None:
        delivery = queued({"headers": {"X-City": "{{ profile.city }}"}})
        type(delivery.profile).objects.filter(pk=delivery.profile_id).update(city="a\r\nX-Admin: 1")
        dispatch.run(NOW)
        delivery.refresh_from_db()
        assert delivery.state == Delivery.State.FAILED
        assert not service.requests
