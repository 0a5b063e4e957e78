"""The page of a key where a website's proofs are set up."""

import re

import pytest
from django.contrib.auth.models import Permission, User
from django.urls import reverse

from crm import api_keys, proof
from crm.identity import Reference


@pytest.fixture
def key(db):
    return api_keys.create("web", ["browser"])[0]


def test_the_secret_is_shown_once_and_works(admin_client, key):
    url = reverse("admin:crm_apikey_proofs", args=[key.pk])
    assert (
        url
        in admin_client.get(reverse("admin:crm_apikey_open_proofs", args=[key.pk]), follow=False)["Location"]
    )
    assert "identity-secret" not in admin_client.get(url).content.decode()
    made = admin_client.post(url, {"renew": "1"})
    secret = re.search(r'data-testid="identity-secret">(.*?)<', made.content.decode())[1]
    assert "no-store" in made["Cache-Control"]
    key.refresh_from_db()
    given = Reference(external_id="C-1", proof=proof.sign(secret, "external_id", "C-1"))
    assert proof.judge(key, given).proven
    for page in (url, reverse("admin:crm_apikey_change", args=[key.pk])):
        assert secret not in admin_client.get(page).content.decode()

    admin_client.post(url, {"renew": "1"})
    key.refresh_from_db()
    assert proof.judge(key, given).proven  # one careless click does not end everybody's proof
    admin_client.post(url, {"renew": "1", "sure": "on"})
    key.refresh_from_db()
    assert not proof.judge(key, given).proven

    admin_client.post(url, {"required": "on"})
    key.refresh_from_db()
    assert key.requires_proof
    admin_client.post(url, {})
    key.refresh_from_db()
    assert not key.requires_proof


def test_no_proof_is_demanded_that_nobody_can_make(admin_client, key):
    admin_client.post(reverse("admin:crm_apikey_proofs", args=[key.pk]), {"required": "on"})
    key.refresh_from_db()
    assert not key.requires_proof


def test_only_those_who_change_keys_and_only_keys_of_websites(client, key):
    server = api_keys.create("server", ["read"])[0]
    staff = User.objects.create_user("staff", is_staff=True)
    staff.user_permissions.set(Permission.objects.filter(codename="view_apikey"))
    client.force_login(staff)
    url = reverse("admin:crm_apikey_proofs", args=[key.pk])
    assert client.get(url).status_code == client.post(url, {"renew": "1"}).status_code == 403
    staff.user_permissions.set(Permission.objects.filter(codename__in=["view_apikey", "change_apikey"]))
    assert client.get(url).status_code == 200
    assert client.get(reverse("admin:crm_apikey_proofs", args=[server.pk])).status_code == 403
    assert client.get(reverse("admin:crm_apikey_proofs", args=[999])).status_code == 404
    key.refresh_from_db()
    assert key.identity_secret == {}
