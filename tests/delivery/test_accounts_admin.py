"""Setting up accounts, trying them, and the sandbox's page, as the roles may."""

import re
from datetime import timedelta
from typing import Any

import pytest
from django.contrib.auth.models import Group, User
from django.test import Client
from django.urls import reverse
from django.utils import timezone

from config import roles
from crm.models import Suppression
from delivery import accounts, dispatch
from delivery.models import Account, Delivery, SandboxItem
from delivery.providers.base import ProviderError
from tests.delivery import pretend, world

pytestmark = pytest.mark.django_db
LIST = "admin:delivery_account_changelist"
SANDBOX = "admin:delivery_sandboxitem_changelist"


@pytest.fixture(autouse=True)
def carrier(monkeypatch: pytest.MonkeyPatch) -> pretend.Carrier:
    monkeypatch.setattr(pretend.Pretend, "listed", True)
    return pretend.install(monkeypatch)


def as_role(role: str) -> Client:
    roles.ensure()
    user = User.objects.create(username=role, is_staff=True)
    user.groups.add(Group.objects.get(name=role))
    client = Client()
    client.force_login(user)
    return client


@pytest.fixture
def admin() -> Client:
    return as_role("Administrator")


def fields(**more: Any) -> dict[str, Any]:
    return {
        "channel": "pretend",
        "provider": "carrier",
        "name": "Main",
        "slug": "main",
        "purpose": "any",
        "usual": "on",
        "token": "s3cret",
        **more,
    }


def test_an_account_is_chosen_set_up_tried_and_kept_secret(admin: Client) -> None:
    chosen = admin.get(reverse("admin:delivery_account_add"))
    assert b"provider=carrier" in chosen.content
    form = f"{reverse('admin:delivery_account_add')}?channel=pretend&provider=carrier"
    assert b"Test connection" in admin.get(form).content
    tried = admin.post(reverse("admin:delivery_account_test"), fields())
    assert b"It answers." in tried.content
    assert not Account.objects.exists(), "trying stores nothing"
    saved = admin.post(form, fields())
    account = Account.objects.get()
    page = reverse("admin:delivery_account_change", args=[account.pk])
    assert (saved.status_code, saved.url) == (302, page)
    assert account.credentials == {"token": "s3cret"}
    shown = admin.get(page).content.decode()
    assert "s3cret" not in shown
    assert accounts.callback_url(account) in shown
    admin.post(page, fields(name="Other", token=""))
    account.refresh_from_db()
    assert (account.name, account.credentials) == ("Other", {"token": "s3cret"}), "empty keeps what is stored"
    assert b"Other" in admin.get(reverse(LIST)).content


def test_what_is_wrong_with_an_account_is_said_without_its_secret(
    admin: Client, carrier: pretend.Carrier, monkeypatch: pytest.MonkeyPatch
) -> None:
    def check(*_args: object) -> str:
        raise ProviderError("The token was refused.")

    monkeypatch.setattr(carrier, "check", check)
    tried = admin.post(reverse("admin:delivery_account_test"), fields()).content
    assert b"The token was refused." in tried
    assert b"s3cret" not in tried


def test_an_account_is_paused_and_goes_on(admin: Client) -> None:
    account = pretend.account()
    pause = reverse("admin:delivery_account_pause", args=[account.pk])
    assert admin.get(pause).status_code == 403
    admin.post(pause)
    assert accounts.route("pretend") is None
    other = pretend.account("other")
    admin.post(pause)
    assert accounts.route("pretend") == other, "there is one usual account"
    Account.objects.filter(pk=other.pk).update(state="paused")
    admin.post(pause)
    assert accounts.route("pretend") == account


def test_a_new_account_takes_the_place_of_the_sandbox(admin: Client) -> None:
    sandbox = pretend.account("sandbox")
    form = f"{reverse('admin:delivery_account_add')}?channel=pretend&provider=carrier"
    page = admin.post(form, fields(), follow=True).content.decode()
    made = Account.objects.get(slug="main")
    assert accounts.route("pretend") == made
    assert f"in place of “{sandbox.name}”" in page
    back = reverse("admin:delivery_account_change", args=[sandbox.pk])
    admin.post(back, fields(name="Sandbox"))
    assert accounts.route("pretend") == sandbox
    admin.post(back, fields(name="Sandbox", purpose="marketing"))
    assert accounts.route("pretend") == sandbox
    assert accounts.route("pretend", transactional=True) is None


def test_an_empty_dkim_selector_is_the_usual_one(admin: Client) -> None:
    form = f"{reverse('admin:delivery_account_add')}?channel=email&provider=smtp"
    entered = fields(
        provider="smtp", channel="email", host="mail.example.com", port="587", security="starttls"
    )
    entered |= {"from_address": "us@example.com", "dkim_selector": ""}
    assert "Use letters" in admin.post(form, entered | {"dkim_selector": "a b"}).content.decode()
    assert admin.post(form, entered).status_code == 302
    assert accounts.sender(Account.objects.get(slug="main")).config.dkim_selector == "nudge"


def test_one_that_rests_can_be_told_to_send_again(admin: Client) -> None:
    account = pretend.account(trips=2, held_until=timezone.now() + timedelta(hours=1))
    page = admin.get(reverse("admin:delivery_account_change", args=[account.pk])).content
    assert b"Send again now" in page
    admin.post(reverse("admin:delivery_account_release", args=[account.pk]))
    account.refresh_from_db()
    assert (account.trips, account.held_until) == (0, None)


def test_marketers_see_accounts_and_change_none() -> None:
    account = pretend.account(config={})
    marketer = as_role("Marketer")
    assert marketer.get(reverse(LIST)).status_code == 200
    page = marketer.get(reverse("admin:delivery_account_change", args=[account.pk]))
    assert page.status_code == 200
    assert account.callback_key not in page.content.decode()
    for url, data in (
        (reverse("admin:delivery_account_add"), fields()),
        (reverse("admin:delivery_account_test"), fields()),
        (reverse("admin:delivery_account_pause", args=[account.pk]), {}),
    ):
        assert marketer.post(url, data).status_code == 403
    assert Account.objects.get().state == "active"


@pytest.fixture
def item(monkeypatch: pytest.MonkeyPatch) -> SandboxItem:
    """A message that a sandbox took."""
    from delivery import providers

    monkeypatch.setitem(providers.everything(), ("pretend", "sandbox"), providers.get("email", "sandbox"))
    pretend.account(provider="sandbox", credentials={})
    person = world.person(channels=["pretend"])
    world.queue(
        world.message(channel="pretend", content={"text": "Hi"}), [person], "pretend", now=timezone.now()
    )
    assert dispatch.run().sent == 1
    return SandboxItem.objects.get()


def test_the_sandbox_shows_what_nobody_got_and_reports_as_a_provider(item: SandboxItem) -> None:
    marketer = as_role("Marketer")
    shown = marketer.get(f"{reverse(SANDBOX)}?q=person1&channel=pretend").content.decode()
    assert re.search("person1@example.com", shown)
    assert "Hi" in shown
    assert "sandbox-item" not in marketer.get(f"{reverse(SANDBOX)}?q=nobody").content.decode()
    url = reverse("admin:delivery_sandboxitem_report", args=[item.pk])
    for kind in ("delivered", "bounced"):
        assert marketer.post(url, {"kind": kind, "back": "https://evil.example/"}).url == reverse(SANDBOX)
    assert Delivery.objects.get().state == "delivered"
    assert Suppression.objects.get().address == "person1@example.com"
    assert marketer.post(url, {"kind": "nonsense"}).status_code == 404


def test_analysts_see_no_addresses_and_tell_nothing(item: SandboxItem) -> None:
    analyst = as_role("Analyst")
    shown = analyst.get(reverse(SANDBOX)).content.decode()
    assert "person1@example.com" not in shown
    assert (
        analyst.post(
            reverse("admin:delivery_sandboxitem_report", args=[item.pk]), {"kind": "bounced"}
        ).status_code
        == 403
    )


def test_the_sandbox_is_emptied_after_a_while(item: SandboxItem) -> None:
    assert accounts.empty_sandbox(timezone.now()) == 0
    assert accounts.empty_sandbox(timezone.now() + accounts.SANDBOX_KEPT * 2) == 1


def test_what_is_stored_does_not_go_to_another_address(admin: Client) -> None:
    account = Account.objects.create(
        name="Post",
        slug="post",
        channel="email",
        provider="smtp",
        config={"host": "mail.example.com", "from_address": "us@example.com", "username": "us"},
        credentials={"password": "s3cret"},
    )
    page = reverse("admin:delivery_account_change", args=[account.pk])
    entered = {
        "name": "Post",
        "purpose": "any",
        "usual": "on",
        "host": "mail.example.com",
        "port": "587",
        "security": "starttls",
        "username": "us",
        "from_address": "us@example.com",
        "dkim_selector": "nudge",
    }
    elsewhere = entered | {"host": "mail.attacker.example"}
    tried = admin.post(reverse("admin:delivery_account_test"), {**elsewhere, "account": account.pk})
    assert b"Enter it again" in tried.content
    assert admin.post(page, elsewhere).status_code == 200
    account.refresh_from_db()
    assert account.config["host"] == "mail.example.com"
    assert admin.post(page, entered | {"from_name": "Us"}).status_code == 302
    assert admin.post(page, elsewhere | {"password": "another"}).status_code == 302
    account.refresh_from_db()
    assert account.credentials["password"] == "another"
