"""WhatsApp by Meta's Cloud API: the channel's and the provider's promises, held to Meta's reference."""

import hashlib
import hmac
import json
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from delivery import accounts, channels, dispatch
from delivery.channels.base import Outcome
from delivery.models import Account, Attempt, Delivery, InboundMessage, WhatsAppTemplate
from delivery.providers import meta_whatsapp as provider
from delivery.providers.base import Call, NotGenuine, Reported, Sender
from delivery.whatsapp import templates, window
from tests.delivery import services, world
from tests.delivery.conformance import ChannelConformance
from tests.delivery.services import ACCESS, BUSINESS_ID, CUT, PHONE_ID
from tests.delivery.world import NOW

SECRET, WORD = "app-secret", "verify-me"
ANSWERS = {
    Outcome.REFUSED: (400, 131026),
    Outcome.RETRY: (429, 130429),
    Outcome.CONFIGURATION: (401, 190),
}
CONFIG = provider.MetaConfig(phone_number_id=PHONE_ID, business_account_id=BUSINESS_ID)
CREDENTIALS = provider.MetaCredentials(access_token=ACCESS, app_secret=SECRET, verify_token=WORD)
SENDER = Sender(1, "Meta", CONFIG, CREDENTIALS, "https://nudge.example.com/callbacks/abc/")
TEMPLATES = [
    {
        "id": "11",
        "name": "order_update",
        "language": "en_US",
        "status": "APPROVED",
        "category": "UTILITY",
        "rejected_reason": "NONE",
        "components": [
            {"type": "HEADER", "format": "IMAGE"},
            {"type": "BODY", "text": "Hi {{first_name}}, your {{product}} is on its way."},
            {"type": "FOOTER", "text": "The roastery"},
            {
                "type": "BUTTONS",
                "buttons": [
                    {"type": "URL", "text": "Track", "url": "https://shop.example.com/{{1}}"},
                    {"type": "QUICK_REPLY", "text": "Stop promotions"},
                    {"type": "PHONE_NUMBER", "text": "Call", "phone_number": "+1555"},
                ],
            },
        ],
    },
    {
        "id": "12",
        "name": "sale",
        "language": "pl",
        "status": "PAUSED",
        "category": "MARKETING",
        "components": [{"type": "BODY", "text": "Cześć {{1}}, {{2}}!"}],
    },
]
GOOD = {
    "template": "order_update",
    "language": "en_US",
    "parameters": {"first_name": "{{ profile.first_name }}", "product": "Arabica\n  1 kg"},
    "header": "https://shop.example.com/a.png",
    "buttons": {"0": "track/7", "1": "stop"},
}


@pytest.fixture
def meta() -> services.Meta:
    """Answers like the Cloud API."""
    return services.Meta()


@pytest.fixture
def service(meta: services.Meta, settings: Any) -> Any:
    """Meta on 127.0.0.1."""
    with services.serving(meta) as found:
        settings.NUDGE_PROVIDER_HOSTS_TRUSTED = [found.host]
        yield found


@pytest.fixture
def used(service: services.Service, meta: services.Meta, db: Any) -> Account:
    """An account with its templates read."""
    account = Account.objects.create(
        name="Meta",
        slug="meta",
        channel="whatsapp",
        provider="meta",
        config={"phone_number_id": PHONE_ID, "business_account_id": BUSINESS_ID, "base_url": service.url},
        credentials={"access_token": ACCESS, "app_secret": SECRET, "verify_token": WORD},
    )
    meta.templates = TEMPLATES
    templates.refresh(account, NOW)
    return account


def wrote(account: Account, address: str, at: datetime = NOW) -> None:
    """A person has written to the account."""
    InboundMessage.objects.create(
        account=account, key=f"{address}:{at}", channel="whatsapp", address=address, text="Hi", at=at
    )


def phone(profile: Any) -> str:
    return f"+48600{profile.pk:06d}"


class TestConformance(ChannelConformance):
    kind = "whatsapp"
    good = {"text": "Hello {{ profile.first_name }}"}
    templated = "text"

    @pytest.fixture(autouse=True)
    def _provider(self, used: Account, meta: services.Meta) -> None:
        self.meta, self.used = meta, used

    def reach(self, profile: Any) -> None:
        profile.phone = phone(profile)
        profile.save()
        wrote(self.used, phone(profile))

    def fail(self, profile: Any, outcome: Outcome) -> None:
        if outcome == Outcome.GONE:
            pytest.skip("Meta does not say that a number exists no more")
        self.meta.troubles[phone(profile).removeprefix("+")] = ANSWERS[outcome]

    def received(self) -> int:
        return len(self.meta.taken)


def queued(content: dict[str, Any], count: int = 1) -> list[Delivery]:
    people = [world.person(n, channels=["whatsapp"], phone=f"+4860000000{n}") for n in range(count)]
    return world.queue(world.message(channel="whatsapp", content=content), people, "whatsapp")


class TestTemplates:
    def test_all_pages_are_read_and_what_is_gone_is_kept_as_gone(
        self, used: Account, meta: services.Meta
    ) -> None:
        found = dict(WhatsAppTemplate.objects.values_list("name", "state"))
        assert found == {"order_update": "approved", "sale": "paused"}
        assert list(templates.offered()) == [("order_update/en_US", "order_update (en_US)")]
        meta.templates = TEMPLATES[1:]
        assert templates.refresh(used, NOW + timedelta(hours=1)) == 1
        assert dict(WhatsAppTemplate.objects.values_list("name", "state")) == {
            "order_update": "gone",
            "sale": "paused",
        }

    def test_what_goes_out(self, used: Account, meta: services.Meta) -> None:
        [delivery] = queued(GOOD)
        dispatch.run(NOW)
        [message] = meta.taken
        header, body, link, reply = message["template"].pop("components")
        assert message["template"] == {"name": "order_update", "language": {"code": "en_US"}}
        picture = {"type": "image", "image": {"link": "https://shop.example.com/a.png"}}
        assert header == {"type": "header", "parameters": [picture]}
        named = {each["parameter_name"]: each["text"] for each in body["parameters"]}
        assert named == {"first_name": "Ann0", "product": "Arabica 1 kg"}
        told = {"type": "text", "text": "track/7"}
        assert link == {"type": "button", "sub_type": "url", "index": "0", "parameters": [told]}
        told = {"type": "payload", "payload": "stop"}
        assert reply == {"type": "button", "sub_type": "quick_reply", "index": "1", "parameters": [told]}
        delivery.refresh_from_db()
        assert delivery.content["shown"].startswith("Hi Ann0, your Arabica")
        assert Attempt.objects.get().provider_id == "wamid.1"

    def test_numbered_places_go_in_order(self, used: Account, meta: services.Meta) -> None:
        WhatsAppTemplate.objects.filter(name="sale").update(state="approved")
        queued({"template": "sale", "language": "pl", "parameters": {"2": "b", "1": "a"}})
        dispatch.run(NOW)
        [component] = meta.taken[0]["template"]["components"]
        assert [each["text"] for each in component["parameters"]] == ["a", "b"]

    def test_a_header_of_words_has_its_place_by_name(self, used: Account, meta: services.Meta) -> None:
        WhatsAppTemplate.objects.filter(name="sale").update(
            state="approved",
            components=[
                {"type": "HEADER", "format": "TEXT", "text": "Hi {{who}}"},
                {"type": "BODY", "text": "!"},
            ],
        )
        first, second = queued(
            {"template": "sale", "language": "pl", "header": "{{ profile.city }}"}, count=2
        )
        type(first.profile).objects.filter(pk=first.profile_id).update(city="Gdańsk")
        dispatch.run(NOW)
        [[header]] = [message["template"]["components"] for message in meta.taken]
        told = {"type": "text", "parameter_name": "who", "text": "Gdańsk"}
        assert header == {"type": "header", "parameters": [told]}
        second.refresh_from_db()
        assert second.reason == "render: header: This must not be empty."

    def test_a_button_without_a_value_is_left_out(self, used: Account, meta: services.Meta) -> None:
        [delivery] = queued({**GOOD, "buttons": {"0": "{{ profile.city }}"}})
        dispatch.run(NOW)
        delivery.refresh_from_db()
        assert (delivery.state, meta.taken) == ("failed", [])
        assert "buttons" in delivery.reason

    @pytest.mark.parametrize(
        ("change", "field"),
        [
            ({"template": "sale", "language": "pl"}, "template"),
            ({"template": "nothing"}, "template"),
            ({"parameters": {"first_name": "x"}}, "parameters"),
            ({"parameters": {**GOOD["parameters"], "more": "x"}}, "parameters"),
            ({"header": ""}, "header"),
            ({"buttons": {"1": "x"}}, "buttons"),
            ({"text": "Hi"}, "text"),
        ],
    )
    def test_what_whatsapp_would_refuse_is_told_at_save(self, used: Account, change: Any, field: str) -> None:
        channel = channels.get("whatsapp")
        assert channel.problems(GOOD) == []
        [problem] = channel.problems({**GOOD, **change})
        assert problem.field == field

    def test_a_template_that_was_paused_since_fails_with_its_reason(
        self, used: Account, meta: services.Meta
    ) -> None:
        [delivery] = queued(GOOD)
        WhatsAppTemplate.objects.update(state="paused")
        dispatch.run(NOW)
        delivery.refresh_from_db()
        assert delivery.state == Delivery.State.FAILED
        assert "paused" in delivery.reason
        assert not meta.taken

    def test_a_person_without_a_value_is_left_out(self, used: Account, meta: services.Meta) -> None:
        first, second = queued(
            {**GOOD, "parameters": {"first_name": "{{ profile.city }}", "product": "x"}}, count=2
        )
        type(first.profile).objects.filter(pk=first.profile_id).update(city="Gdańsk")
        dispatch.run(NOW)
        assert [message["to"] for message in meta.taken] == ["48600000000"]
        second.refresh_from_db()
        assert "first_name" in second.reason

    def test_the_form_keeps_what_was_chosen(self, used: Account) -> None:
        form_class = channels.get("whatsapp").Form
        form = form_class(initial=GOOD)
        data = {name: form[name].value() or "" for name in form.fields}
        assert data["template"] == "order_update/en_US"
        filled = form_class(data)
        assert filled.is_valid(), filled.errors
        # A line is one value: the line break in it became a space.
        expected = {**GOOD, "parameters": {**GOOD["parameters"], "product": "Arabica 1 kg"}}
        assert filled.content() == expected


class TestWindow:
    def test_free_words_reach_only_who_wrote_within_a_day(
        self, used: Account, meta: services.Meta, django_assert_max_num_queries: Any
    ) -> None:
        deliveries = queued({"text": "Hello"}, count=4)
        wrote(used, "+48600000000", NOW - timedelta(hours=23, minutes=59))
        wrote(used, "+48600000001", NOW - timedelta(hours=24, minutes=1))
        other = Account.objects.create(
            name="o", slug="o", channel="whatsapp", provider="sandbox", usual=False
        )
        wrote(other, "+48600000002", NOW - timedelta(hours=1))
        dispatch.run(NOW)
        assert [message["to"] for message in meta.taken] == ["48600000000"]
        found = Delivery.objects.in_bulk([delivery.pk for delivery in deliveries])
        assert [found[d.pk].state for d in deliveries] == ["sent", "failed", "failed", "failed"]
        assert found[deliveries[1].pk].reason == window.CLOSED


class TestAnswers:
    @pytest.mark.parametrize("trouble", [CUT, (500, 131000), (502, 99999)])
    def test_what_may_have_gone_out_is_never_sent_again(
        self, used: Account, meta: services.Meta, service: services.Service, trouble: Any
    ) -> None:
        first, _second = queued(GOOD, count=2)
        dispatch.run(NOW)  # the connection is open from here on
        meta.troubles["48600000009"] = trouble
        person = world.person(9, channels=["whatsapp"], phone="+48600000009")
        [delivery] = world.queue(first.message, [person], "whatsapp")
        dispatch.run(NOW)
        dispatch.run(NOW + timedelta(hours=2))
        delivery.refresh_from_db()
        assert (delivery.state, delivery.reason) == ("failed", "unknown outcome")
        sent = [json.loads(request.body)["to"] for request in service.requests if request.method == "POST"]
        assert sent.count("48600000009") == 1

    @pytest.mark.parametrize(
        ("status", "code", "state"),
        [
            (400, 131026, "failed"),
            (400, 131047, "failed"),
            (400, 132000, "failed"),
            (400, 132015, "failed"),
            (400, 131050, "failed"),
            (400, 130429, "deferred"),
            (400, 131056, "deferred"),
            (400, 131042, "deferred"),
            (403, 10, "deferred"),
            (418, 999999, "failed"),
        ],
    )
    def test_errors(self, used: Account, meta: services.Meta, status: int, code: int, state: str) -> None:
        [delivery] = queued(GOOD)
        meta.troubles["48600000000"] = (status, code)
        dispatch.run(NOW)
        delivery.refresh_from_db()
        assert delivery.state == state
        assert str(code) in delivery.reason

    def test_the_check_reads_the_number(self, used: Account) -> None:
        assert "Roastery" in accounts.provider(used).check(accounts.sender(used))


def call(value: dict[str, Any], secret: str = SECRET) -> Call:
    """A call of Meta's, with the documented envelope."""
    value = {"messaging_product": "whatsapp", "metadata": {"phone_number_id": PHONE_ID}} | value
    change = {"field": "messages", "value": value}
    body = json.dumps(
        {"object": "whatsapp_business_account", "entry": [{"id": BUSINESS_ID, "changes": [change]}]}
    ).encode()
    signature = "sha256=" + hmac.new(secret.encode(), body, hashlib.sha256).hexdigest()
    return Call("POST", SENDER.callback, {"x-hub-signature-256": signature}, {}, body)


class TestCallbacks:
    hear = staticmethod(lambda told: provider.MetaWhatsApp().hear(SENDER, told))

    def test_the_challenge_is_answered_to_who_knows_the_word(self) -> None:
        query = {"hub.mode": "subscribe", "hub.verify_token": WORD, "hub.challenge": "1158201444"}
        assert self.hear(Call("GET", SENDER.callback, {}, query, b"")).answer == "1158201444"
        with pytest.raises(NotGenuine):
            self.hear(Call("GET", SENDER.callback, {}, {**query, "hub.verify_token": "guess"}, b""))

    def test_statuses(self) -> None:
        status = {
            "id": "wamid.1",
            "status": "delivered",
            "timestamp": "1750857384",
            "recipient_id": "48600000001",
            "conversation": {"id": "a", "origin": {"type": "marketing"}},
            "pricing": {"billable": True, "pricing_model": "PMP", "category": "marketing"},
        }
        failed = status | {"status": "failed", "errors": [{"code": 131026, "title": "Message undeliverable"}]}
        stopped = status | {
            "status": "failed",
            "id": "wamid.2",
            "errors": [{"code": 131050, "title": "Stopped"}],
        }
        told = [
            status,
            status | {"status": "read"},
            status | {"status": "sent"},
            failed,
            stopped,
            {"id": "x"},
        ]
        heard = self.hear(call({"statuses": told}))
        kinds = [Reported.DELIVERED, Reported.READ, Reported.FAILED, Reported.FAILED, Reported.UNSUBSCRIBED]
        assert [report.kind for report in heard.reports] == kinds
        assert heard.reports[0].at == datetime.fromtimestamp(1750857384, UTC)
        assert heard.reports[0].address == "+48600000001"
        assert heard.reports[2].detail == "131026 Message undeliverable"
        assert len({report.key for report in heard.reports}) == 5

    def test_messages_from_people(self) -> None:
        base = {"from": "48600000001", "timestamp": "1750857384"}
        told = [
            base | {"id": "a", "type": "text", "text": {"body": "Stop"}},
            base | {"id": "b", "type": "button", "button": {"text": "Stop promotions", "payload": "x"}},
            base
            | {
                "id": "c",
                "type": "interactive",
                "interactive": {"type": "button_reply", "button_reply": {"title": "Yes"}},
            },
            base | {"id": "d", "type": "image", "image": {"id": "1", "caption": "Look"}},
            base | {"id": "e", "type": "sticker", "sticker": {"id": "1"}},
        ]
        heard = self.hear(call({"messages": told}))
        assert [inbound.text for inbound in heard.inbound] == ["Stop", "Stop promotions", "Yes", "Look", ""]
        assert {inbound.address for inbound in heard.inbound} == {"+48600000001"}

    def test_a_choice_in_whatsapp_itself(self) -> None:
        wish = {
            "wa_id": "48600000001",
            "category": "marketing_messages",
            "value": "stop",
            "timestamp": 1750857384,
        }
        [inbound] = self.hear(call({"user_preferences": [wish]})).inbound
        assert inbound.understood == "stop"

    def test_another_number_of_the_same_app_is_not_ours(self) -> None:
        told = {"metadata": {"phone_number_id": "1"}, "statuses": [{"id": "wamid.1", "status": "read"}]}
        assert not self.hear(call(told)).reports

    def test_only_meta_is_heard(self) -> None:
        good = call({"statuses": []})
        for bad in (
            call({"statuses": []}, "another"),
            Call("POST", good.url, {}, {}, good.body),
            Call("POST", good.url, good.headers, {}, good.body + b" "),
        ):
            with pytest.raises(NotGenuine):
                self.hear(bad)

    @pytest.mark.parametrize(
        "body", [b"", b"[]", b"1", b'{"entry": 1}', b'{"entry": [{"changes": [{"value": 3}]}]}']
    )
    def test_nonsense_with_a_good_signature_is_passed_over(self, body: bytes) -> None:
        told = Call(
            "POST", SENDER.callback, {"x-hub-signature-256": provider.signature(SECRET, body)}, {}, body
        )
        assert self.hear(told).reports == []
