"""What the pages of messages offer besides writing: codes for print, a phone to try with, the switch, tests."""

import re
from typing import Any

import pytest
from django.contrib.auth.models import Permission, User
from django.core.cache import cache
from django.urls import reverse

from crm import consent
from crm.models import AuditEntry, Device, Identifier
from delivery import dispatch
from delivery.models import Account, LinkSettings, Message, SandboxItem
from delivery.policies import emergency
from tests.delivery import world
from tests.delivery.test_admin import _plain_menu, marketer  # noqa: F401 - fixtures

pytestmark = pytest.mark.django_db
QR = "/admin/delivery/message/qr.svg"
PHONE = "/admin/delivery/sandboxitem/phone/"


@pytest.fixture(autouse=True)
def _nothing_remembered() -> None:
    cache.clear()


def known(number: int = 1) -> Any:
    person = world.person(number, agrees=False)
    Identifier.objects.create(kind="email", value=person.email, profile=person)
    return person


@pytest.mark.parametrize(
    ("kind", "fields"),
    [
        ("sms", {"text": "Look: https://shop.example/a?b=1&c=2 or {{ profile.attributes.page }}"}),
        ("email", {"subject": "Hi", "html": '<p><a href="https://shop.example/a?b=1&amp;c=2">x</a></p>'}),
    ],
)
def test_links_come_as_codes_with_the_words_for_analytics(marketer: Any, kind: str, fields: Any) -> None:  # noqa: F811
    LinkSettings(own_hosts=["shop.example"], utm_medium="{channel}", utm_campaign="{message}").save()
    known()
    prefix = f"contents-{kind}-0"
    posted = {f"{prefix}-{name}": value for name, value in fields.items()}
    page = marketer.post(
        reverse("admin:delivery_message_preview"), {"preview_form": prefix, "slug": "sale", **posted}
    ).content.decode()
    target = "https://shop.example/a?b=1&amp;c=2&amp;utm_medium=qr&amp;utm_campaign=sale"
    assert page.count(f'<bdi dir="ltr">{target}</bdi>') == 1
    [address] = re.findall(r'<img src="([^"]*/qr\.svg[^"]*)"', page)
    assert "/p/" not in page.partition("qr-codes")[2], "a page to leave on is of one person alone"
    picture = marketer.get(address.replace("&amp;", "&"))
    assert picture["Content-Type"] == "image/svg+xml"
    assert picture.content.startswith(b"<?xml")


@pytest.mark.parametrize(
    "to", ["", "javascript:alert(1)", "/path", "data:text/html,x", "https://a.example/" + "x" * 9000]
)
def test_codes_are_of_web_addresses(marketer: Any, to: str) -> None:  # noqa: F811
    assert marketer.get(QR, {"to": to}).status_code == 404


@pytest.mark.parametrize(("permission", "status"), [("view_message", 403), ("change_message", 200)])
def test_codes_are_for_writers(client: Any, permission: str, status: int) -> None:
    user = User.objects.create_user("someone", is_staff=True)
    user.user_permissions.set(Permission.objects.filter(codename=permission))
    client.force_login(user)
    assert client.get(QR, {"to": "https://shop.example/"}).status_code == status


def test_mobile_push_is_tried_without_an_app(marketer: Any) -> None:  # noqa: F811
    Account.objects.create(name="Phone", slug="phone", channel="push", provider="sandbox")
    ann = known()
    assert 'data-testid="sandbox-phone"' in marketer.get("/admin/delivery/sandboxitem/").content.decode()
    marketer.post(PHONE, {"person": "nobody@example.com"})
    assert not Device.objects.exists()
    marketer.post(PHONE, {"person": ann.email})
    assert Device.objects.get().profile_id == ann.pk
    assert consent.subscribed([ann.pk], "push") == {ann.pk}
    assert AuditEntry.objects.filter(action="sandbox.phone_added").exists()
    world.queue(world.message("hi", "push", {"title": "Hello"}), [ann], "push")
    dispatch.run(world.NOW)
    assert SandboxItem.objects.get().delivery.profile_id == ann.pk


@pytest.mark.parametrize("codenames", [["change_sandboxitem", "view_sandboxitem"], ["change_profile"]])
def test_a_phone_is_a_change_of_a_person(client: Any, codenames: list[str]) -> None:
    user = User.objects.create_user("someone", is_staff=True)
    user.user_permissions.set(Permission.objects.filter(codename__in=codenames))
    client.force_login(user)
    assert client.post(PHONE, {"person": "1"}).status_code == 403
    user.user_permissions.set(
        Permission.objects.filter(codename__in=["change_sandboxitem", "change_profile"])
    )
    assert client.get(PHONE).status_code == 403


def test_what_is_stopped_is_not_offered_to_be_stopped(marketer: Any) -> None:  # noqa: F811
    page, stop = (
        reverse("admin:delivery_sendingrules_changelist"),
        reverse("admin:delivery_sendingrules_stop"),
    )
    boss = User.objects.get()
    emergency.press(boss, "sms")
    assert stop in marketer.get(page).content.decode()
    offered = marketer.get(stop).content.decode()
    assert '<option value="email">' in offered
    assert '<option value="sms">' not in offered
    emergency.press(boss)
    assert stop not in marketer.get(page).content.decode()
    assert marketer.get(stop).status_code == 302


def test_a_test_is_filled_in_for_somebody_there_is(marketer: Any) -> None:  # noqa: F811
    message = world.message("hi", "sms", {"text": "Hi"})
    ann = known()
    url = reverse("admin:delivery_message_send_test", args=[message.pk])
    assert f'value="{ann.email}"' in marketer.get(url).content.decode()
    boss = world.person(2, email="boss@example.com")
    Identifier.objects.create(kind="email", value=boss.email, profile=boss)
    assert f'value="{boss.email}"' in marketer.get(url).content.decode()


@pytest.mark.parametrize("number", ["12", "600 100 200", "+48", "me@example.com", "+1" * 300])
def test_a_number_that_is_none_is_told(marketer: Any, number: str) -> None:  # noqa: F811
    ann = known()
    url = reverse("admin:delivery_message_send_test", args=[world.message("hi", "sms", {"text": "Hi"}).pk])
    entered = {"_form_submitted": "True", "person": ann.email, "channel": "sms", "address": number}
    assert "country&#x27;s code" in marketer.post(url, entered).content.decode()


def test_who_wrote_it_is_told_that_another_one_has_to_approve(marketer: Any) -> None:  # noqa: F811
    message = world.message("receipt", transactional=True)
    url = reverse("admin:delivery_message_change", args=[message.pk])
    assert "Approve as transactional" in marketer.get(url).content.decode()
    Message.objects.update(transactional_marked_by=User.objects.get())
    page = marketer.get(url).content.decode()
    assert "Approve as transactional" not in page
    assert "Another person has to approve what you marked." in page
