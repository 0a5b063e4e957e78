"""The pages for a person's rights, for retention and for the audit log."""

from datetime import timedelta

import pytest
from django.contrib.auth.models import Group, Permission, User
from django.test import Client
from django.urls import reverse
from django.utils import timezone

from crm import log
from crm.models import (
    AuditEntry,
    Connection,
    CrmErasure,
    EventRetention,
    Identifier,
    Profile,
    SourceRecord,
)
from tests.crm.admin.pages import text_of

pytestmark = pytest.mark.django_db


@pytest.fixture
def person() -> Profile:
    """Somebody who is in a CRM, too."""
    profile = Profile.objects.create(email="ada@example.com", first_name="Ada")
    crm = Connection.objects.create(kind="hubspot", name="Shop", slug="shop")
    Identifier.objects.create(profile=profile, kind="shop:contacts", value="77")
    SourceRecord.objects.create(
        connection=crm, object="contacts", record_id="77", modified_at=timezone.now(), content_hash=b"1"
    )
    return profile


def entries(action: str) -> list[AuditEntry]:
    return list(AuditEntry.objects.filter(action=action).order_by("pk"))


def test_erasing_shows_what_goes_and_wants_the_number(person, admin_client):
    address = reverse("admin:crm_profile_erase", args=[person.pk])
    words = text_of(admin_client.get(address))
    assert "contacts 77" in words
    assert "The names this person is known by." in words
    wrong = admin_client.post(address, {"number": "0", "crms": "on"})
    assert "nothing was erased" in text_of(wrong)
    person.refresh_from_db()
    assert person.email
    admin_client.post(address, {"number": str(person.pk), "crms": "on"})
    person.refresh_from_db()
    assert person.email is None
    assert CrmErasure.objects.get().record_id == "77"
    [entry] = entries("profile.erased")
    assert (entry.actor, entry.object_id, entry.detail) == ("admin", str(person.pk), {"crms": True})
    assert "contacts 77" in text_of(admin_client.get(reverse("admin:crm_crmerasure_changelist")))


def test_each_right_takes_a_permission(person, admin_client):
    user = User.objects.create(username="viewer", is_staff=True)
    user.user_permissions.add(Permission.objects.get(codename="view_profile", content_type__app_label="crm"))
    viewer = Client()
    viewer.force_login(user)
    for name in ("crm_profile_erase", "crm_profile_export_person"):
        address = reverse(f"admin:{name}", args=[person.pk])
        assert viewer.get(address).status_code == viewer.post(address).status_code == 403
        assert admin_client.get(reverse(f"admin:{name}", args=[2**62])).status_code == 404
    export = reverse("admin:crm_profile_export_person", args=[person.pk])
    assert not entries("profile.exported")
    assert admin_client.get(export).status_code == 200
    assert b"".join(admin_client.post(export).streaming_content)[:2] == b"PK"
    assert len(entries("profile.exported")) == 1


def test_a_new_rule_says_what_will_go(person, admin_client):
    now = timezone.now()
    event = log.event_id("x")
    log.append([log.NewEvent(event, person.pk, "seen", now - timedelta(days=40), {}, "api")])
    add = reverse("admin:crm_eventretention_add")
    shown = text_of(admin_client.post(add, {"name": " seen ", "days": "30"}, follow=True))
    assert "1 events of “seen” are over this time" in shown
    assert EventRetention.objects.get().name == "seen"
    assert admin_client.post(add, {"name": "seen", "days": "3"}).status_code == 200  # there is one already
    assert [entry.object_repr for entry in entries("admin.added")] == ["seen"]


def test_the_log_knows_who_came_in_and_who_may_do_what(admin_client, admin_user):
    login = reverse("admin:login")
    stranger = Client()
    stranger.post(login, {"username": "admin", "password": "wrong"})
    stranger.post(login, {"username": "my secret password", "password": "x"})
    stranger.post(login, {"username": "admin", "password": "password"})
    failed = entries("user.login_failed")
    assert [(entry.object_id, entry.address) for entry in failed] == [
        (str(admin_user.pk), "127.0.0.1"),
        ("", "127.0.0.1"),
    ]
    assert "secret" not in str(list(AuditEntry.objects.values()))
    assert entries("user.logged_in")[-1].actor == "admin"
    analyst = Group.objects.get(name="Analyst")
    user = User.objects.create(username="bob", is_staff=True)
    address = reverse("admin:auth_user_change", args=[user.pk])
    form = {"username": "bob", "is_active": "on", "is_staff": "on", "groups": [analyst.pk]}
    form |= {"date_joined_0": "2026-01-01", "date_joined_1": "00:00:00"}
    assert admin_client.post(address, form).status_code == 302
    [given] = entries("user.roles_changed")
    assert (given.actor, given.object_repr, given.detail) == (
        "admin",
        "bob",
        {"change": "add", "names": ["Analyst"]},
    )


def test_the_log_is_read_filtered_and_never_written(person, admin_client):
    admin_client.get(reverse("admin:crm_profile_change", args=[person.pk]))
    lists = reverse("admin:crm_auditentry_changelist")
    link = reverse("admin:crm_profile_change", args=[person.pk])

    def listed(query: str) -> bool:
        return link in admin_client.get(f"{lists}?{query}").content.decode()

    assert listed(f"thing=crm.profile+{person.pk}")
    assert listed("did=profile.viewed&who=admin")
    assert not listed("thing=crm.profile+999")
    assert not listed("did=profile.erased")
    assert not listed("who=somebody")
    entry = AuditEntry.objects.filter(action="profile.viewed").get()
    assert admin_client.get(reverse("admin:crm_auditentry_change", args=[entry.pk])).status_code == 200
    assert admin_client.post(reverse("admin:crm_auditentry_delete", args=[entry.pk])).status_code == 403
    assert admin_client.get(reverse("admin:crm_auditentry_add")).status_code == 403
