"""WhatsApp by Twilio: its Content templates, held to what Twilio's own library sends."""

import json
from typing import Any

import pytest

from delivery import channels, dispatch
from delivery.models import Account, WhatsAppTemplate
from delivery.providers import twilio_content
from delivery.whatsapp import templates
from tests.delivery import services
from tests.delivery.services import SID, TOKEN
from tests.delivery.whatsapp.test_meta import queued
from tests.delivery.world import NOW

CARD = {
    "sid": "HX" + "1" * 32,
    "friendly_name": "order_update",
    "language": "en",
    "variables": {"1": "Customer_Name"},
    "approval_requests": {"name": "order_update", "category": "UTILITY", "status": "approved"},
    "types": {
        "twilio/text": {"body": "Plain {{1}}"},
        "whatsapp/card": {
            "header_text": "Hello {{1}}",
            "body": "Your {{product}} is on its way.",
            "footer": "The roastery",
            "media": ["https://shop.example.com/{{picture}}.png"],
            "actions": [
                {"type": "URL", "title": "Track", "url": "https://shop.example.com/{{3}}"},
                {"type": "COPY_CODE", "title": "Copy", "code": "{{code}}"},
                {"type": "PHONE_NUMBER", "title": "Call", "phone": "+15551234567"},
            ],
        },
    },
}
REPLY = {
    "sid": "HX" + "2" * 32,
    "friendly_name": "rate_us",
    "language": "pl",
    "variables": {},
    "approval_requests": {"category": "MARKETING", "status": "rejected", "rejection_reason": "Too loud"},
    "types": {"twilio/quick-reply": {"body": "Jak było?", "actions": [{"title": "Dobrze", "id": "good"}]}},
}
VALUES = {
    "1": "{{ profile.first_name }}", "product": "Arabica\n1 kg", "picture": "bag", "3": "track/7", "code": "TEN",
}  # fmt: skip
GOOD = {"template": "order_update", "language": "en", "parameters": VALUES}


@pytest.fixture
def twilio() -> services.Twilio:
    """Answers like Twilio."""
    found = services.Twilio()
    found.contents = [CARD, REPLY]
    return found


@pytest.fixture
def used(twilio: services.Twilio, settings: Any, db: Any) -> Any:
    """An account with its templates read."""
    with services.serving(twilio) as service:
        settings.NUDGE_PROVIDER_HOSTS_TRUSTED = [service.host]
        account = Account.objects.create(
            name="Twilio", slug="twilio", channel="whatsapp", provider="twilio",
            config={
                "account_sid": SID, "service": "MG" + "0" * 32, "base_url": service.url,
                "content_url": service.url,
            },
            credentials={"auth_token": TOKEN},
        )  # fmt: skip
        assert templates.refresh(account, NOW) == 2
        yield account


def test_templates_are_read_with_all_their_places(used: Account) -> None:
    card, reply = WhatsAppTemplate.objects.order_by("name")
    assert (card.state, card.category, card.external_id) == ("approved", "utility", CARD["sid"])
    assert templates.places(card.components) == ["1", "product", "picture", "3", "code"]
    assert [each["text"] for each in templates.buttons(card.components)] == ["Track", "Copy", "Call"]
    assert (reply.state, reply.reason) == ("rejected", "Too loud")
    assert templates.buttons(reply.components) == [{"type": "QUICK_REPLY", "text": "Dobrze"}]


def test_what_goes_out(used: Account, twilio: services.Twilio) -> None:
    [delivery] = queued(GOOD)
    dispatch.run(NOW)
    [form] = twilio.taken
    assert json.loads(form.pop("ContentVariables")) == {**VALUES, "1": "Ann0", "product": "Arabica 1 kg"}
    assert form.pop("StatusCallback").startswith("http")
    assert form == {
        "To": "whatsapp:+48600000000",
        "MessagingServiceSid": "MG" + "0" * 32,
        "ContentSid": CARD["sid"],
    }
    delivery.refresh_from_db()
    assert delivery.state == "sent"
    shown = "Hello Ann0\nYour Arabica\n1 kg is on its way.\nThe roastery"
    assert (delivery.content["shown"], delivery.content["labels"]) == (shown, ["Track", "Copy", "Call"])


def test_who_lacks_a_value_gets_none_of_twilios_samples(used: Account, twilio: services.Twilio) -> None:
    """Twilio fills places without a value with the template's sample."""
    values = {name: value for name, value in VALUES.items() if name != "picture"}
    [problem] = channels.get("whatsapp").problems({**GOOD, "parameters": values})
    assert (problem.field, "picture" in problem.message) == ("parameters", True)
    [delivery] = queued({**GOOD, "parameters": {**VALUES, "3": "{{ profile.city }}"}})
    dispatch.run(NOW)
    delivery.refresh_from_db()
    assert (delivery.state, twilio.taken) == ("failed", [])


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"header": "https://shop.example.com/a.png"}, "header"),
        ({"template": "rate_us", "language": "pl", "parameters": {}}, "template"),
        ({"parameters": {**VALUES, "4": "x"}}, "parameters"),
    ],
)
def test_what_twilio_would_refuse_is_told_at_save(used: Account, change: Any, field: str) -> None:
    channel = channels.get("whatsapp")
    assert channel.problems(GOOD) == []
    [problem] = channel.problems({**GOOD, **change})
    assert problem.field == field


@pytest.mark.parametrize(
    "types", [None, [], {}, {"twilio/text": 3}, {"twilio/card": {"actions": [1, {}], "body": 5}}]
)
def test_odd_contents_are_read_all_the_same(types: Any) -> None:
    body, places, *_more = twilio_content.components({"types": types, "variables": []})
    assert (body["text"], places["names"]) == ("", [])
