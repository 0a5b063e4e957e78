"""Whatever a service answers or tells, it is understood or left out: nothing breaks off a batch."""

import hashlib
import hmac
import json
from typing import Any
from urllib.parse import urlencode

import pytest
from hypothesis import example, given
from hypothesis import settings as trials
from hypothesis import strategies as st

from crm.models import Device
from delivery.channels.base import Address, Outcome, Parcel, Result
from delivery.channels.sms import SmsPayload
from delivery.httpclient import Response
from delivery.models import Delivery
from delivery.providers import apns, fcm, meta_whatsapp, sms_http, twilio, webhook_http
from delivery.providers.base import Call, Heard, Sender
from delivery.providers.http import Answer, HttpProvider
from tests.delivery.world import NOW

SECRET = "shared-word"
WORDS = [
    *("sid", "num_segments", "code", "message", "messages", "id", "error", "error_data", "details", "status"),
    *(
        "statuses",
        "entry",
        "changes",
        "value",
        "errors",
        "timestamp",
        "from",
        "text",
        "user_preferences",
        "wa_id",
    ),
]
STATUSES = [200, 201, 204, 301, 400, 401, 404, 410, 429, 500, 503, 599]
CALLBACK = "https://nudge.example.com/callbacks/abc/"
PROVIDERS: dict[HttpProvider, Sender] = {
    twilio.Twilio(): Sender(
        1,
        "a",
        twilio.TwilioConfig(account_sid="AC1", number="+1"),
        twilio.TwilioCredentials(auth_token=SECRET),
        CALLBACK,
    ),
    meta_whatsapp.MetaWhatsApp(): Sender(
        1,
        "a",
        meta_whatsapp.MetaConfig(phone_number_id="1", business_account_id="2"),
        meta_whatsapp.MetaCredentials(access_token="t", app_secret=SECRET, verify_token="v"),
        CALLBACK,
    ),
    sms_http.Gateway(): Sender(
        1,
        "a",
        sms_http.GatewayConfig(
            url="https://sms.example.com/", statuses={"read": "read"}, id_path="messages.0.id"
        ),
        sms_http.GatewayCredentials(secret=SECRET),
        CALLBACK,
    ),
    webhook_http.Endpoint(): Sender(
        1,
        "a",
        webhook_http.EndpointConfig(url="https://a.example.com/"),
        webhook_http.EndpointCredentials(secret="AAAA"),
        CALLBACK,
    ),
}
anything = st.recursive(
    st.one_of(
        st.none(), st.booleans(), st.integers(), st.floats(allow_nan=False), st.text(max_size=5),
        st.sampled_from(["read", "failed"]),
    ),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(WORDS), inner, max_size=4),
    max_leaves=12,
)  # fmt: skip
providers = pytest.mark.parametrize("provider", PROVIDERS, ids=lambda provider: provider.kind)


@providers
def test_any_answer_is_a_result(provider: HttpProvider) -> None:
    parcel = Parcel(7, Delivery(pk=1), Address("+48600000001"), SmsPayload("Hi", "gsm7", 1), 1)

    @trials(deadline=None, max_examples=80)
    @given(
        st.sampled_from([200, 201, 204, 301, 400, 401, 404, 410, 429, 500, 503, 599]),
        anything | st.binary(max_size=9),
    )
    @example(200, {"messages": {"id": 1}})
    @example(200, {"messages": 1})
    @example(400, {"code": [1], "error": {"code": {}, "error_data": [1]}})
    @example(400, {"error": {"code": [190]}})
    def understood(status: int, told: Any) -> None:
        body = told if isinstance(told, bytes) else json.dumps(told).encode()
        answer = Answer(Response(parcel, status, {"retry-after": "soon"}, body))
        result = provider.understand(PROVIDERS[provider], parcel, answer, NOW)
        assert isinstance(result, Result)
        assert result.number == 7
        assert isinstance(result.provider_id, str)
        assert result.outcome != Outcome.ACCEPTED or status < 300

    understood()


@pytest.mark.parametrize("provider", [fcm.Fcm(), apns.Apns()], ids=lambda provider: provider.kind)
def test_any_answer_of_a_push_service_is_a_result(provider: HttpProvider) -> None:
    phone = Device(pk=1, changed_at=NOW)
    parcel = Parcel(7, Delivery(pk=1), Address("token", phone), None, 1)
    sender = Sender(1, "a", None, None, CALLBACK)

    @trials(deadline=None, max_examples=80)
    @given(st.sampled_from([each for each in STATUSES if each != 401]), anything)
    @example(400, {"error": {"details": 1}})
    @example(400, {"error": {"details": [{"fieldViolations": 1}]}})
    @example(410, {"reason": "Unregistered", "timestamp": 1e99})
    @example(410, {"reason": ["Unregistered"], "timestamp": 10**400})
    def understood(status: int, told: Any) -> None:
        answer = Answer(Response(parcel, status, {}, json.dumps(told).encode()))
        result = provider.understand(sender, parcel, answer, NOW)
        assert (result.number, isinstance(result.provider_id, str)) == (7, True)

    understood()


@providers
def test_any_call_is_heard(provider: HttpProvider) -> None:
    if provider.kind == "webhook_http":
        pytest.skip("it never calls")

    @trials(deadline=None, max_examples=80)
    @given(anything | st.dictionaries(st.sampled_from(WORDS), st.text(max_size=5)))
    @example(
        {"entry": [{"changes": [{"value": {"statuses": [{"id": 1, "status": "read", "timestamp": 1e99}]}}]}]}
    )
    @example({"entry": [{"changes": [{"value": {"messages": [{"id": 1, "from": 2, "type": []}]}}]}]})
    @example({"entry": [{"changes": [{"value": {"user_preferences": [{"wa_id": "1", "value": ["stop"]}]}}]}]})
    @example({"id": "1", "status": ["read"]})
    def heard(told: Any) -> None:
        body = json.dumps(told).encode()
        if provider.kind == "twilio":
            form = {name: str(value) for name, value in told.items()} if isinstance(told, dict) else {}
            form |= {"MessageSid": "SM1"} if form else {}
            body = urlencode(form).encode()
            signed = twilio.signature(
                SECRET, CALLBACK, {name: [value] for name, value in form.items() if value}
            )
            headers = {"x-twilio-signature": signed}
            if any(not value for value in form.values()):
                return
        else:
            signed = hmac.new(SECRET.encode(), body, hashlib.sha256).hexdigest()
            headers = {"x-hub-signature-256": f"sha256={signed}", "x-signature": signed}
        found = provider.hear(PROVIDERS[provider], Call("POST", CALLBACK, headers, {}, body))
        assert isinstance(found, Heard)
        for each in [*found.reports, *found.inbound]:
            assert isinstance(each.key, str)
            assert isinstance(each.address, str)

    heard()
