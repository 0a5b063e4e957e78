"""The admin pages of text messages, as a marketer uses them."""

from typing import Any

import pytest
from django.contrib.auth.models import Permission, User
from django.template.loader import render_to_string

from delivery import channels, inbound
from delivery.channels.sms import SmsPayload
from delivery.channels.webhook import WebhookPayload
from delivery.models import Account, InboundMessage, Keywords, WhatsAppTemplate
from delivery.providers.base import Inbound
from delivery.whatsapp import templates
from delivery.whatsapp.payload import WhatsAppPayload
from tests.delivery import world
from tests.delivery.world import NOW

pytestmark = pytest.mark.django_db
LIST = "/admin/delivery/whatsapptemplate/"


@pytest.fixture
def boss(client: Any) -> Any:
    """Logged in, may do everything."""
    client.force_login(User.objects.create_superuser("boss", "boss@example.com", "pw"))
    return client


@pytest.fixture(autouse=True)
def _plain_menu(settings: Any) -> None:
    settings.UNFOLD = {**settings.UNFOLD, "SIDEBAR": {"navigation": []}}


def account() -> Account:
    return Account.objects.create(name="Try", slug="try", channel="whatsapp", provider="sandbox")


def test_what_people_wrote_is_listed_and_can_not_be_changed(boss: Any) -> None:
    used = Account.objects.create(name="s", slug="s", channel="sms", provider="sandbox")
    world.person(1, phone="+48600000001")
    inbound.apply(used.pk, "sms", [Inbound("a", "+48600000001", "<b>إيقاف</b>", NOW)], NOW)
    page = boss.get("/admin/delivery/inboundmessage/").content.decode()
    assert '<bdi dir="ltr">+48600000001</bdi>' in page
    assert '<bdi dir="auto">&lt;b&gt;' in page
    row = InboundMessage.objects.get()
    assert boss.get(f"/admin/delivery/inboundmessage/{row.pk}/change/").status_code == 200
    assert boss.post(f"/admin/delivery/inboundmessage/{row.pk}/change/", {"text": "x"}).status_code == 403


def test_templates_are_read_anew_by_whoever_may(boss: Any, client: Any) -> None:
    account()
    assert "Refresh templates" in boss.get(LIST).content.decode()
    assert boss.get(f"{LIST}refresh/").status_code == 405
    assert boss.post(f"{LIST}refresh/", follow=True).status_code == 200
    assert WhatsAppTemplate.objects.filter(state="approved").count() == 3
    assert "مرحبا" in boss.get(LIST).content.decode()
    reader = User.objects.create_user("reader", is_staff=True)
    reader.user_permissions.add(Permission.objects.get(codename="view_whatsapptemplate"))
    client.force_login(reader)
    assert "Refresh templates" not in client.get(LIST).content.decode()
    assert client.post(f"{LIST}refresh/").status_code == 403


def test_words_and_answers_are_set(boss: Any) -> None:
    data = {
        "channel": "sms",
        "stop": "Kawa nie",
        "answers": "on",
        "stop_answer": "pl = Szkoda = żal!\nPity: 1 = 1",
        "help_answer": "Call us.",
    }
    response = boss.post("/admin/delivery/keywords/add/", data)
    assert response.status_code == 302, response.context["adminform"].form.errors
    found = Keywords.objects.get()
    assert found.texts == {"pl": {"stop": "Szkoda = żal!"}, "": {"stop": "Pity: 1 = 1", "help": "Call us."}}
    page = boss.get(f"/admin/delivery/keywords/{found.pk}/change/").content.decode()
    assert "pl = Szkoda = żal!" in page
    assert boss.get("/admin/delivery/keywords/").status_code == 200


def test_previews_and_mocks_show_every_channel_in_any_direction() -> None:
    Account.objects.create(
        name="s", slug="s", channel="sms", provider="sandbox", cost_per_part="0.05", currency="EUR"
    )
    shown = render_to_string(channels.get("sms").preview, {"content": {"text": "مرحبا <b>" + "م" * 70}})
    assert "2 parts" in shown
    assert "0.1 EUR" in shown
    assert 'dir="auto"' in shown
    assert "&lt;b&gt;" in shown
    templates.refresh(account())
    whatsapp = channels.get("whatsapp")
    authored = {
        "template": "cart_reminder",
        "language": "ar",
        "parameters": {"first_name": "Ann", "product": "قهوة"},
    }
    assert whatsapp.problems(authored) == []
    filled = whatsapp.compile(authored).render({})
    shown = render_to_string(whatsapp.preview, {"content": filled})
    assert "مرحبا Ann" in shown
    assert "إلى السلة" in shown
    payloads = {
        "sms": SmsPayload("Hi <i>", "gsm7", 1),
        "whatsapp": WhatsAppPayload("Hi <i>", labels=["Go"]),
        "webhook": WebhookPayload("", "POST", {"X-A": "<i>"}, '{"a":1}'),
    }
    for kind, payload in payloads.items():
        mock = render_to_string(channels.get(kind).mock, {"payload": payload})
        assert "&lt;i&gt;" in mock
        assert "<i>" not in mock


def test_a_text_message_is_written_on_the_messages_page(boss: Any) -> None:
    page = boss.get("/admin/delivery/message/add/").content.decode()
    for name in ("SMS", "WhatsApp", "Webhook"):
        assert name in page
