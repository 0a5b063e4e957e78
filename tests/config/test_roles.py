"""The four roles are there after a fresh migrate, and what an administrator makes of them stays."""

import pytest
from django.contrib.auth.models import Group, Permission, User
from django.urls import reverse

from config import roles
from crm import masking
from crm.models import Role

pytestmark = pytest.mark.django_db


def granted(name: str) -> set[str]:
    held = Permission.objects.filter(group__name=name)
    return {f"{app}.{code}" for app, code in held.values_list("content_type__app_label", "codename")}


def test_a_fresh_database_has_them():
    assert set(Group.objects.values_list("name", flat=True)) == {
        "Administrator",
        "Marketer",
        "Analyst",
        "Developer",
    }
    analyst, marketer = granted("Analyst"), granted("Marketer")
    assert {"crm.view_profile", "crm.view_event", "campaigns.view_flow"} <= analyst
    more = {name for name in analyst if not name.partition(".")[2].startswith("view_")}
    assert more == {
        *("crm.export_product", "analytics.export_report"),
        *(f"analytics.{verb}_savedreport" for verb in ("add", "change", "delete")),
    }
    assert {"crm.view_contact_data", "crm.view_auditentry", "crm.view_suppression"}.isdisjoint(analyst)
    assert {"campaigns.launch_broadcast", masking.PERMISSION, "crm.change_profile"} <= marketer
    assert {"crm.export_profile", "crm.erase_profile", "crm.view_apikey", "auth.change_user"}.isdisjoint(
        marketer
    )
    assert {"crm.add_apikey", "crm.view_event"} <= granted("Developer")
    assert masking.PERMISSION not in granted("Developer")
    administrator = granted("Administrator")
    assert {"crm.erase_profile", "crm.view_auditentry", "auth.change_group"} <= administrator
    assert "crm.delete_auditentry" not in administrator
    # A pattern that fits nothing is a slip of the pen.
    every = {
        f"{app}.{code}" for app, code in Permission.objects.values_list("content_type__app_label", "codename")
    }
    for _name, patterns in roles.ROLES.values():
        assert [pattern for pattern in patterns if not roles.wanted([pattern.removeprefix("-")], every)] == []


def test_an_administrators_changes_stay_and_new_permissions_come(django_assert_max_num_queries):
    analyst = Group.objects.get(name="Analyst")
    analyst.permissions.remove(Permission.objects.get(codename="view_event"))
    analyst.permissions.add(Permission.objects.get(codename="change_segment"))
    Group.objects.get(name="Developer").delete()
    role = Role.objects.get(slug="marketer")
    role.offered.remove("crm.view_place")  # as if it were new
    role.save()
    role.group.permissions.remove(Permission.objects.get(codename="view_place"))
    before = granted("Analyst")
    with django_assert_max_num_queries(12):
        roles.ensure()
    assert granted("Analyst") == before
    assert not Group.objects.filter(name="Developer").exists()
    assert "crm.view_place" in granted("Marketer")


def test_who_saw_people_before_the_upgrade_goes_on_seeing_their_contact_data(django_user_model):
    Role.objects.all().delete()
    Group.objects.all().delete()
    sees = Permission.objects.get(codename="view_profile", content_type__app_label="crm")
    team = Group.objects.create(name="Analyst")
    team.permissions.add(sees)
    user, stranger = (User.objects.create(username=name, is_staff=True) for name in ("ada", "bob"))
    user.user_permissions.add(sees)
    roles.ensure()
    assert masking.sees_contacts(User.objects.get(pk=user.pk))
    assert not masking.sees_contacts(User.objects.get(pk=stranger.pk))
    assert granted("Analyst") == {"crm.view_profile", masking.PERMISSION}
    assert Group.objects.filter(name="Analyst (Nudge)").exists()


def test_who_is_added_may_log_in_and_has_a_role(admin_client):
    """One form is enough: without either of the two they would see an empty admin."""
    address = reverse("admin:auth_user_add")
    form = admin_client.get(address).context["adminform"].form
    assert form["is_staff"].initial or form.initial["is_staff"]
    analyst = Group.objects.get(name="Analyst")
    password = "Kf83-quietly"  # noqa: S105
    data = {"username": "ana", "usable_password": "true", "password1": password, "password2": password}
    admin_client.post(address, {**data, "is_staff": "on", "groups": [analyst.pk]})
    user = User.objects.get(username="ana")
    assert user.is_staff
    assert list(user.groups.all()) == [analyst]
