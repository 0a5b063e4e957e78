"""Who looked at and changed what is written once, without names of customers, and stays."""

import json
from datetime import timedelta

import pytest
from django.contrib.admin.models import ADDITION, CHANGE, DELETION, LogEntry
from django.contrib.auth.models import Group, User
from django.db import ProgrammingError, connection, transaction
from django.test import RequestFactory
from django.utils import timezone

from crm import audit
from crm.models import AuditEntry, Profile

pytestmark = pytest.mark.django_db


def test_a_request_leaves_who_from_where_and_no_customers_name(admin_user: User) -> None:
    """Things of ours are named, people by their number only."""
    request = RequestFactory(REMOTE_ADDR="192.0.2.7").get("/")
    request.user = admin_user
    profile = Profile.objects.create(email="ada@example.com", first_name="Ada")
    audit.record(request, "profile.viewed", profile)
    audit.record(request, "role.changed", Group.objects.create(name="Night shift"), added=2)
    viewed, changed = AuditEntry.objects.order_by("pk")
    assert (viewed.actor, viewed.actor_id, viewed.address) == ("admin", admin_user.pk, "192.0.2.7")
    assert (viewed.object_type, viewed.object_id, viewed.object_repr) == ("crm.profile", str(profile.pk), "")
    assert (changed.object_repr, changed.detail) == ("Night shift", {"added": 2})


def test_behind_a_proxy_the_address_is_whom_the_proxy_heard(admin_user: User, settings) -> None:
    settings.NUDGE_TRUSTED_PROXIES = 1
    request = RequestFactory(REMOTE_ADDR="10.0.0.1").get(
        "/", headers={"X-Forwarded-For": "1.1.1.1, 192.0.2.7"}
    )
    request.user = admin_user
    audit.record(request, "profile.viewed")
    assert AuditEntry.objects.get().address == "192.0.2.7"


def test_the_admins_log_is_taken_over_once_whoever_writes_it(admin_user: User) -> None:
    """One change and many, in Django's bulk way; words about customers are left out."""
    profiles = Profile.objects.bulk_create([Profile(email=f"p{n}@example.com") for n in range(3)])
    group = Group.objects.create(name="Night shift")
    message = json.dumps([{"added": {"name": "identifier", "object": "email p0@example.com"}}])
    LogEntry.objects.log_actions(admin_user.pk, profiles[:1], CHANGE, message, single_object=True)
    LogEntry.objects.log_actions(admin_user.pk, profiles[1:], DELETION, "wrote to p1@example.com")
    LogEntry.objects.log_actions(admin_user.pk, [group], ADDITION, "By hand", single_object=True)
    entries = AuditEntry.objects.order_by("pk")
    assert [(entry.action, entry.object_type) for entry in entries] == [
        ("admin.changed", "crm.profile"),
        ("admin.deleted", "crm.profile"),
        ("admin.deleted", "crm.profile"),
        ("admin.added", "auth.group"),
    ]
    assert entries[0].detail == {"changes": [{"added": {"name": "identifier"}}]}
    assert (entries[3].object_repr, entries[3].detail) == ("Night shift", {"message": "By hand"})
    told = " ".join(f"{entry.object_repr} {entry.detail}" for entry in entries)
    assert "example.com" not in told


def test_only_retention_takes_entries_away() -> None:
    """Neither a change nor a deletion is possible, and retention takes the old ones alone."""
    now = timezone.now()
    audit.record(None, "old.thing")
    with pytest.raises(ProgrammingError, match="append-only"), transaction.atomic():
        AuditEntry.objects.update(actor="somebody else")
    with pytest.raises(ProgrammingError, match="append-only"), transaction.atomic():
        AuditEntry.objects.all().delete()
    assert audit.forget_old(30, now + timedelta(days=29)) == 0
    assert audit.forget_old(0, now + timedelta(days=9999)) == 0
    assert audit.forget_old(30, now + timedelta(days=31)) == 1
    audit.record(None, "new.thing")
    with pytest.raises(ProgrammingError, match="append-only"), connection.cursor() as cursor:
        cursor.execute("DELETE FROM crm_auditentry")
