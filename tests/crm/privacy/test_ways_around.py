"""Ways by which somebody who sees outlines could come to the data itself."""

import pytest
from django.contrib.auth.models import Group, Permission, User
from django.urls import reverse

from crm import merging
from crm.models import ApiKey, EventFile, EventFileReject, Profile

pytestmark = pytest.mark.django_db


@pytest.fixture
def developer(client) -> User:
    """Logged in with the role."""
    user = User.objects.create_user("dev", is_staff=True)
    user.groups.add(Group.objects.get(name="Developer"))
    client.force_login(user)
    return user


def test_a_developers_key_reads_no_more_than_the_developer(client, developer, admin_client):
    address = reverse("admin:crm_apikey_add")
    client.post(address, {"name": "all", "scopes": ["read"]})
    assert not ApiKey.objects.exists()
    client.post(address, {"name": "outlines", "scopes": ["read_masked", "write"]})
    admin_client.post(address, {"name": "administrator's", "scopes": ["read"]})
    assert list(ApiKey.objects.order_by("pk").values_list("scopes", flat=True)) == [
        ["read_masked", "write"],
        ["read"],
    ]


def test_reasons_why_a_row_was_refused_tell_no_address(client, developer):
    file = EventFile.objects.create(
        name="x.csv", format="csv", digest="", size=1, state="done", created_by="ada"
    )
    said = "“ada@lovelace.example” is not an email address."
    EventFileReject.objects.create(file=file, row=2, code="invalid_email", field="mail", detail=said)
    shown = client.get(reverse("admin:crm_eventfile_status", args=[file.pk])).content.decode()
    assert "is not an email address" in shown
    assert "lovelace" not in shown


def test_parting_and_exporting_show_nobody_whole(client, developer):
    loser = Profile.objects.create(last_name="Quixotehopper", attributes={"street": "Elm Road 7"})
    winner = Profile.objects.create(first_name="Grace")
    merging.merge([(loser.pk, winner.pk)], "admin")
    codes = ["merge_profile", "export_person"]
    developer.user_permissions.set(Permission.objects.filter(codename__in=codes))
    undo = reverse("admin:crm_profile_unmerge", args=[winner.merges.get().pk])
    shown = client.get(undo).content.decode()
    assert "street" in shown
    assert "Quixotehopper" not in shown
    assert "Elm Road" not in shown
    export = reverse("admin:crm_profile_export_person", args=[winner.pk])
    assert client.get(export).status_code == client.post(export).status_code == 403
