"""SMS by Twilio: the channel's and the provider's promises, held to Twilio's own library."""

from datetime import timedelta
from typing import Any
from urllib.parse import urlencode

import pytest
from hypothesis import given
from hypothesis import settings as trials
from hypothesis import strategies as st
from multidict import MultiDict
from twilio.request_validator import RequestValidator

from crm import consent
from delivery import accounts, dispatch
from delivery.channels.base import Outcome
from delivery.models import Account, Attempt, Delivery
from delivery.providers import twilio as provider
from delivery.providers.base import Call, NotGenuine, ProviderError, Reported, Sender
from tests.delivery import services, world
from tests.delivery.conformance import ChannelConformance
from tests.delivery.services import CUT, SID, TOKEN
from tests.delivery.sms.conftest import account
from tests.delivery.world import NOW

ANSWERS = {
    Outcome.GONE: (400, 21211),
    Outcome.REFUSED: (400, 21602),
    Outcome.RETRY: (429, 20429),
    Outcome.CONFIGURATION: (401, 20003),
}


def phone(profile: Any) -> str:
    return f"+4860000{profile.pk:06d}"[:15]


class TestConformance(ChannelConformance):
    kind = "sms"
    good = {"text": "Hello {{ profile.first_name }}", "simplify": "letters", "opt_out": True}
    templated = "text"

    @pytest.fixture(autouse=True)
    def _provider(self, service: services.Service, twilio: services.Twilio) -> None:
        self.twilio = twilio
        account(service)

    def reach(self, profile: Any) -> None:
        profile.phone = phone(profile)
        profile.save()

    def fail(self, profile: Any, outcome: Outcome) -> None:
        self.twilio.troubles[phone(profile)] = ANSWERS[outcome]

    def received(self) -> int:
        return len(self.twilio.taken)


def queued(content: dict[str, Any] | None = None, count: int = 1) -> list[Delivery]:
    people = [world.person(n, channels=["sms"], phone=f"+4860000000{n}") for n in range(count)]
    return world.queue(world.message(channel="sms", content=content or {"text": "Hello"}), people, "sms")


@pytest.mark.django_db
class TestSending:
    def test_what_goes_out_and_what_is_kept(self, service: services.Service, twilio: services.Twilio) -> None:
        used = account(service)
        used.cost_per_part = "0.04"
        used.save()
        text = "“Sale” – " + "x" * 160
        [delivery] = queued({"text": text, "picture": "https://shop.example.com/a.png"})
        dispatch.run(NOW)
        [form] = twilio.taken
        assert form == {
            "To": "+48600000000",
            "From": "+15017122661",
            "Body": '"Sale" - ' + "x" * 160,
            "MediaUrl": "https://shop.example.com/a.png",
            "StatusCallback": accounts.callback_url(used),
        }
        attempt = Attempt.objects.get(delivery=delivery)
        assert attempt.provider_id == f"SM{1:032x}"
        assert float(attempt.cost) == pytest.approx(0.08)

    def test_a_messaging_service_counts_nothing_so_we_do(
        self, service: services.Service, twilio: services.Twilio
    ) -> None:
        Account.objects.filter(pk=account(service, service="MG1", number="").pk).update(cost_per_part="0.01")
        [delivery] = queued({"text": "ą" * 140})
        dispatch.run(NOW)
        assert twilio.taken[0]["MessagingServiceSid"] == "MG1"
        assert float(Attempt.objects.get(delivery=delivery).cost) == pytest.approx(0.03)

    @pytest.mark.parametrize("trouble", [CUT, (500, 20500), (502, 0), (504, 0)])
    def test_what_may_have_gone_out_is_never_sent_again(
        self, service: services.Service, twilio: services.Twilio, trouble: Any
    ) -> None:
        account(service)
        first, second = queued(count=2)
        dispatch.run(NOW)  # the connection is open from here on
        twilio.troubles["+48600000009"] = trouble
        person = world.person(9, channels=["sms"], phone="+48600000009")
        [delivery] = world.queue(first.message, [person], "sms")
        dispatch.run(NOW)
        dispatch.run(NOW + timedelta(hours=2))
        delivery.refresh_from_db()
        assert (delivery.state, delivery.reason) == (Delivery.State.FAILED, "unknown outcome")
        assert [request.form["To"] for request in service.requests].count("+48600000009") == 1

    def test_what_never_reached_twilio_is(self, service: services.Service, settings: Any) -> None:
        account(service, base_url="http://127.0.0.1:9")
        settings.NUDGE_PROVIDER_HOSTS_TRUSTED = ["127.0.0.1:9"]
        [delivery] = queued()
        dispatch.run(NOW)
        delivery.refresh_from_db()
        assert delivery.state == Delivery.State.DEFERRED

    def test_a_private_address_is_not_called(self, service: services.Service, settings: Any) -> None:
        account(service)
        settings.NUDGE_PROVIDER_HOSTS_TRUSTED = []
        [delivery] = queued()
        dispatch.run(NOW)
        delivery.refresh_from_db()
        assert (delivery.state, service.requests) == (Delivery.State.DEFERRED, [])

    def test_who_opted_out_at_twilio_left(self, service: services.Service, twilio: services.Twilio) -> None:
        account(service)
        [delivery] = queued()
        twilio.troubles["+48600000000"] = (400, 21610)
        dispatch.run(NOW)
        delivery.refresh_from_db()
        assert delivery.state == Delivery.State.FAILED
        assert not consent.subscribed([delivery.profile_id], "sms")

    def test_a_refused_account_is_left_alone(
        self, service: services.Service, twilio: services.Twilio
    ) -> None:
        account(service)
        deliveries = queued(count=9)
        twilio.troubles = {f"+4860000000{n}": (401, 20003) for n in range(9)}
        dispatch.run(NOW)
        assert set(world.states()) == {"deferred"}
        assert len(deliveries) == 9

    def test_the_check_reads_the_account(self, service: services.Service) -> None:
        used = account(service)
        sender = accounts.sender(used)
        assert "Roastery" in accounts.provider(used).check(sender)
        used.credentials = {"auth_token": "wrong"}
        with pytest.raises(ProviderError):
            accounts.provider(used).check(accounts.sender(used))


SENDER = Sender(
    1,
    "Twilio",
    provider.TwilioConfig(account_sid=SID, number="+15017122661"),
    provider.TwilioCredentials(auth_token=TOKEN),
    "https://nudge.example.com/callbacks/abc/",
)


def call(fields: dict[str, str], token: str = TOKEN, url: str = SENDER.callback) -> Call:
    """A callback, signed by Twilio's library."""
    signature = RequestValidator(token).compute_signature(url, fields)
    return Call("POST", url, {"x-twilio-signature": signature}, {}, urlencode(fields).encode())


class TestCallbacks:
    hear = staticmethod(lambda told: provider.Twilio().hear(SENDER, told))

    @trials(deadline=None, max_examples=50)
    @given(st.dictionaries(st.text(min_size=1, max_size=8), st.text(max_size=12), max_size=6))
    def test_the_signature_is_twilios(self, fields: dict[str, str]) -> None:
        own = provider.signature(TOKEN, SENDER.callback, {name: [value] for name, value in fields.items()})
        assert RequestValidator(TOKEN).validate(SENDER.callback, fields, own)

    def test_fields_that_come_twice_are_signed_as_twilio_does(self) -> None:
        fields = {"MediaUrl": ["b", "a", "b"], "To": ["x"]}
        validator = RequestValidator(TOKEN)
        multi = MultiDict([(name, value) for name, values in fields.items() for value in values])
        assert provider.signature(TOKEN, SENDER.callback, fields) == validator.compute_signature(
            SENDER.callback, multi
        )

    @pytest.mark.parametrize(
        ("status", "code", "kinds"),
        [
            ("delivered", "", [Reported.DELIVERED]),
            ("read", "", [Reported.READ]),
            ("undelivered", "30003", [Reported.FAILED]),
            ("undelivered", "30005", [Reported.BOUNCED]),
            ("undelivered", "30006", [Reported.BOUNCED]),
            ("undelivered", "30007", [Reported.FAILED]),
            ("undelivered", "30008", [Reported.FAILED]),
            ("failed", "21610", [Reported.FAILED, Reported.UNSUBSCRIBED]),
            ("sent", "", []),
            ("queued", "", []),
            ("a_new_word", "", []),
        ],
    )
    def test_statuses(self, status: str, code: str, kinds: list[Reported]) -> None:
        fields = {"MessageSid": "SM1", "MessageStatus": status, "To": "+48600000001", "AccountSid": SID}
        heard = self.hear(call(fields | ({"ErrorCode": code} if code else {})))
        assert [report.kind for report in heard.reports] == kinds
        assert len({report.key for report in heard.reports}) == len(kinds)
        assert all(report.provider_id == "SM1" for report in heard.reports)
        assert heard.answer.endswith("<Response></Response>")
        assert heard.content_type == "text/xml"

    def test_a_message_from_a_person(self) -> None:
        fields = {
            "MessageSid": "SM2",
            "SmsStatus": "received",
            "From": "+48600000001",
            "Body": "STOP",
            "NumMedia": "0",
        }
        [inbound] = self.hear(call(fields)).inbound
        assert (inbound.key, inbound.address, inbound.text, inbound.understood) == (
            "SM2",
            "+48600000001",
            "STOP",
            "",
        )
        [inbound] = self.hear(call({**fields, "OptOutType": "STOP"})).inbound
        assert inbound.understood == "stop"
        [inbound] = self.hear(call({**fields, "From": "whatsapp:+48600000001"})).inbound
        assert inbound.address == "+48600000001"

    def test_only_twilio_is_heard(self) -> None:
        good = call({"MessageSid": "SM1", "MessageStatus": "delivered"})
        for bad in (
            call({"MessageSid": "SM1", "MessageStatus": "delivered"}, token="another"),
            Call("POST", good.url, {}, {}, good.body),
            Call("POST", good.url, good.headers, {}, good.body + b"&To=x"),
            Call("GET", good.url, good.headers, {}, good.body),
            call({"MessageSid": "SM1"}, url="https://elsewhere.example.com/"),
        ):
            if bad.url != good.url:
                bad = Call("POST", good.url, bad.headers, {}, bad.body)
            with pytest.raises(NotGenuine):
                self.hear(bad)
