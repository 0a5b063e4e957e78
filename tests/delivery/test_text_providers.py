"""Twilio, Meta, gateways and endpoints are providers like any other."""

import base64
import hashlib
import hmac
import json
import time
from datetime import UTC, datetime
from typing import Any
from unittest.mock import Mock
from urllib.parse import urlencode

import msgspec
import pytest
from twilio.request_validator import RequestValidator

from delivery import accounts
from delivery.channels.sms import SmsPayload
from delivery.channels.webhook import WebhookPayload
from delivery.providers import meta_whatsapp, sms_http
from delivery.providers.base import Call
from delivery.providers.sms_http import filled
from delivery.whatsapp.payload import WhatsAppPayload
from tests.delivery import provider_conformance as asked
from tests.delivery import services
from tests.delivery.provider_conformance import ProviderConformance

NUMBERS = ("+48600000001", "+48600000002", "+48600000003")
KEY = base64.b64encode(b"0" * 32).decode()


class OverHttp(ProviderConformance):
    """A service that answers as told; `good` is what it says when it takes a message."""

    answers = (asked.OK, asked.BAD, asked.BUSY, asked.BROKEN, asked.REFUSED, asked.CUT)
    addresses = NUMBERS
    bad: Any = {}
    address_field = "url"
    path = "/"

    @pytest.fixture(autouse=True)
    def _service(self, settings: Any) -> Any:
        with services.serving(self._answer) as service:
            settings.NUDGE_PROVIDER_HOSTS_TRUSTED = settings.NUDGE_WEBHOOK_HOSTS = [service.host]
            self.config = {**type(self).config, self.address_field: service.url + self.path}
            self.taken: dict[str, services.Request] = {}
            yield

    def serve(self, answer: str) -> None:
        self.told = answer

    def received(self) -> list[Any]:
        return list(self.taken.values())

    def good(self, request: services.Request, number: int) -> dict[str, Any]:
        """The answer to a message that is taken."""
        return {"id": f"m{number}"}

    def key(self, request: services.Request) -> str:
        """What the service tells messages by."""
        return str(len(self.taken))

    def _answer(self, request: services.Request) -> services.Answer:
        if request.method == "GET":
            return 200, {}, json.dumps({"status": "active", "verified_name": "Roastery"}).encode()
        if self.told == asked.CUT:
            return services.CUT
        status = {
            asked.OK: 200,
            asked.BAD: 400,
            asked.GONE: 400,
            asked.BUSY: 429,
            asked.BROKEN: 503,
            asked.REFUSED: 401,
        }
        body: Any = {}
        if self.told == asked.OK:
            self.taken[self.key(request)] = request
            body = self.good(request, len(self.taken))
        elif self.told in (asked.BAD, asked.GONE):
            body = self.bad if self.told == asked.BAD else self.gone
        more = {"Retry-After": "7"} if self.told == asked.BUSY else {}
        return status[self.told], more, json.dumps(body).encode()

    gone: Any = {}


class TestTwilio(OverHttp):
    channel, kind = "sms", "twilio"
    config = {"account_sid": services.SID, "number": "+15017122661"}
    credentials = {"auth_token": services.TOKEN}
    secrets = (services.TOKEN,)
    answers = (*OverHttp.answers, asked.GONE)
    address_field, path = "base_url", ""
    bad, gone = {"code": 21602}, {"code": 21211}

    def payload(self) -> msgspec.Struct:
        return SmsPayload("Hi", "gsm7", 1)

    def good(self, request: services.Request, number: int) -> dict[str, Any]:
        return {"sid": f"SM{number}", "num_segments": "1"}

    def _call(self, **fields: str) -> Call:
        url = self.sender().callback
        signed = RequestValidator(services.TOKEN).compute_signature(url, fields)
        return Call("POST", url, {"x-twilio-signature": signed}, {}, urlencode(fields).encode())

    def genuine(self, provider_id: str) -> list[Call]:
        return [
            self._call(MessageSid=provider_id, MessageStatus=word, To=NUMBERS[0])
            for word in ("delivered", "read")
        ]

    def forged(self, call: Call) -> list[Call]:
        return [
            msgspec.structs.replace(call, body=call.body + b"1"),
            msgspec.structs.replace(call, headers={}),
        ]

    def strange(self) -> list[Call]:
        return [self._call(MessageSid="x", MessageStatus="vanished"), self._call(EventType="new")]


class TestMeta(OverHttp):
    channel, kind = "whatsapp", "meta"
    config = {"phone_number_id": services.PHONE_ID, "business_account_id": services.BUSINESS_ID}
    credentials = {"access_token": services.ACCESS, "app_secret": "app-secret", "verify_token": "verify-me"}
    secrets = (services.ACCESS, "app-secret", "verify-me")
    address_field, path = "base_url", ""
    bad = {"error": {"code": 131026, "message": "Message undeliverable"}}

    def payload(self) -> msgspec.Struct:
        return WhatsAppPayload("Hi", "sale", "pl", {"1": "x"})

    def good(self, request: services.Request, number: int) -> dict[str, Any]:
        services.check_message(request.json)
        return {"messages": [{"id": f"wamid.{number}"}]}

    def _call(self, *statuses: dict[str, Any]) -> Call:
        value = {"metadata": {"phone_number_id": services.PHONE_ID}, "statuses": statuses}
        body = json.dumps({"entry": [{"changes": [{"field": "messages", "value": value}]}]}).encode()
        signed = meta_whatsapp.signature("app-secret", body)
        return Call("POST", self.sender().callback, {"x-hub-signature-256": signed}, {}, body)

    def genuine(self, provider_id: str) -> list[Call]:
        return [
            self._call({"id": provider_id, "status": word, "timestamp": "1750857384"})
            for word in ("delivered", "read")
        ]

    def strange(self) -> list[Call]:
        return [self._call({"id": "x", "status": "teleported"}, {"status": "read"})]


class TestGateway(OverHttp):
    channel, kind = "sms", "sms_http"
    config = {
        "key_header": "Idempotency-Key",
        "id_path": "result.0.id",
        "success": '"result"',
        "body": '{"to": "{{digits}}", "text": "{{text}}", "sms": {"parts": {{parts}}, "id": "{{id}}"}}',
        "statuses": {"DELIVRD": "delivered", "UNDELIV": "failed"},
        "inbound_text": "message",
    }
    credentials = {
        "auth_header": "Authorization",
        "auth_value": "Bearer very-secret",
        "secret": "shared-word",
    }
    secrets = ("very-secret", "shared-word")

    def payload(self) -> msgspec.Struct:
        return SmsPayload('Say "hi"\n\\ ą', "ucs2", 1)

    def key(self, request: services.Request) -> str:
        assert request.headers["authorization"] == "Bearer very-secret"
        assert request.json["text"] == 'Say "hi"\n\\ ą'
        assert f"+{request.json['to']}" in NUMBERS
        assert request.json["sms"]["parts"] == 1
        return request.headers["idempotency-key"]

    def good(self, request: services.Request, number: int) -> dict[str, Any]:
        return {"result": [{"id": number}]}

    def _call(self, told: Any) -> Call:
        body = json.dumps(told).encode()
        signed = hmac.new(b"shared-word", body, hashlib.sha256).hexdigest()
        return Call("POST", self.sender().callback, {"x-signature": signed}, {}, body)

    def genuine(self, provider_id: str) -> list[Call]:
        return [
            self._call([{"id": provider_id, "status": "DELIVRD"}, {"id": provider_id, "status": "UNDELIV"}])
        ]

    def strange(self) -> list[Call]:
        return [self._call(each) for each in ({"id": "x", "status": "new"}, [], [1], "x", {"status": {}})]

    def test_a_good_status_is_not_yet_a_good_answer(self) -> None:
        self.good = lambda request, number: {"error": "no credit"}
        _parcels, results = self.send(asked.OK)
        assert {result.outcome for result in results} == {"refused"}
        assert "no credit" in results[0].detail

    def test_without_a_key_nothing_is_repeated(self) -> None:
        self.config = {**self.config, "key_header": ""}
        assert not self.provider.repeatable(self.sender().config)
        _parcels, results = self.send(asked.CUT)
        assert {result.outcome for result in results} == {"started"}

    def test_a_pattern_that_never_ends_holds_up_nobody(self) -> None:
        self.config = {**self.config, "success": "(a|aa)+$", "key_header": ""}
        self.good = lambda request, number: {"id": "a" * 60 + "!"}
        began = time.process_time()
        _parcels, results = self.send(asked.OK)
        assert {result.outcome for result in results} == {"started"}, "nobody knows whether it was taken"
        assert time.process_time() - began < 1 + sms_http.PATIENCE * len(results)

    def test_the_same_words_without_a_number_are_heard_again_later(self, monkeypatch: Any) -> None:
        call = self._call({"from": "48600000001", "message": "STOP"})
        keys = []
        for minute in (0, 1, 20):
            moment = datetime(2026, 3, 2, 9, minute, tzinfo=UTC)
            monkeypatch.setattr(sms_http, "datetime", Mock(now=lambda zone, moment=moment: moment))
            keys.append(self.provider.hear(self.sender(), call).inbound[0].key)
        assert keys[0] == keys[1] != keys[2]

    def test_a_form_or_an_address_is_filled_in_as_such(self) -> None:
        values = {"to": "+48", "text": "a&b=c {{to}}\n"}
        assert filled("to={{to}}&t={{ text }}", values, "form") == "to=%2B48&t=a%26b%3Dc+%7B%7Bto%7D%7D%0A"
        assert filled("/sms/{{to}}/{{text}}", values, "url") == "/sms/%2B48/a%26b%3Dc%20%7B%7Bto%7D%7D%0A"

    def test_what_a_person_wrote(self) -> None:
        heard = self.provider.hear(
            self.sender(), self._call({"id": 7, "from": "48600000001", "message": "STOP"})
        )
        [inbound] = heard.inbound
        assert (inbound.key, inbound.address, inbound.text) == ("7", "+48600000001", "STOP")
        query = {"secret": "shared-word", "from": "48600000001", "message": "Hi"}
        told = Call("GET", self.sender().callback, {}, query, b"")
        [inbound] = self.provider.hear(self.sender(), told).inbound
        assert inbound.text == "Hi"

    def test_the_form_tells_what_can_not_work(self, settings: Any) -> None:
        fields = {
            "url": "https://sms.example.com/",
            "method": "POST",
            "kind": "json",
            "body": '{"t": "{{text}}"}',
        }
        form = self.provider.Form
        assert form(fields).is_valid(), form(fields).errors
        for name, wrong in {
            "url": "http://10.0.0.1/",
            "body": '{"t": {{text}}',
            "success": "(",
            "statuses": "DELIVRD = arrived",
            "key_header": "a b",
        }.items():
            assert set(form({**fields, name: wrong}).errors) == {name}
        assert "body" in form({**fields, "body": "{{nobody}}"}).errors


class TestEndpoint(OverHttp):
    channel, kind = "webhook", "webhook_http"
    credentials = {"secret": KEY, "auth_header": "X-Token", "auth_value": "very-secret"}
    secrets = (KEY, "very-secret")

    def payload(self) -> msgspec.Struct:
        return WebhookPayload("", "POST", {"X-Shop": "1"}, '{"data": {}}')

    def key(self, request: services.Request) -> str:
        headers = request.headers
        assert (headers["x-token"], headers["x-shop"]) == ("very-secret", "1")
        signed = f"{headers['webhook-id']}.{headers['webhook-timestamp']}.".encode() + request.body
        expected = base64.b64encode(hmac.new(b"0" * 32, signed, hashlib.sha256).digest()).decode()
        assert headers["webhook-signature"] == f"v1,{expected}"
        return headers["webhook-id"]

    def test_another_host_is_not_told_the_secret(self) -> None:
        parcel = self.parcels()[0]
        parcel = msgspec.structs.replace(
            parcel, payload=WebhookPayload("https://other.example.com/", "POST", {}, "{}")
        )
        wanted = self.provider.request(0, self.sender(), parcel)
        assert not [header for header in wanted.headers if "secret" in header]

    def test_a_key_is_made_and_told(self) -> None:
        given: dict[str, Any] = {}
        self.provider.complete({}, given)
        assert len(base64.b64decode(given["secret"])) == 32
        [(_label, told)] = self.provider.facts(accounts.sender(self.account()))
        assert told == f"whsec_{KEY}"
        form = self.provider.Form({"url": "https://a.example.com/", "secret": f"whsec_{KEY}"})
        assert form.is_valid()
        assert form.cleaned_data["secret"] == KEY
        assert (
            "secret" in self.provider.Form({"url": "https://a.example.com/", "secret": "whsec_short"}).errors
        )
