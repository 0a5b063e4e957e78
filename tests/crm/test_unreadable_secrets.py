"""Another encryption key than the one a secret was stored with: the operator sees what is wrong and can mend it."""

import pytest
from cryptography.fernet import Fernet
from django.db import transaction
from django.urls import reverse

from crm.fields import DecryptionError
from crm.models import Alert, Connection, SyncRun
from crm.sync import schedule

pytestmark = pytest.mark.django_db


@pytest.fixture
def connection(settings):
    first_key = settings.NUDGE_ENCRYPTION_KEYS
    made = Connection.objects.create(
        kind="hubspot",
        name="Shop",
        slug="shop",
        config={"server": "sandbox"},
        credentials={"access_token": "old"},
    )
    settings.NUDGE_ENCRYPTION_KEYS = [Fernet.generate_key().decode()]
    made.first_key = first_key
    return made


def test_a_sync_fails_with_an_alert_instead_of_over_and_over_in_silence(connection):
    assert schedule.run_due(connection.pk) == 1
    assert SyncRun.objects.get().state == "failed"
    assert "Access token" in Alert.objects.get(key="sync:shop").detail


def test_the_secret_can_be_entered_anew(connection, admin_client):
    assert admin_client.get(reverse("admin:crm_connection_changelist")).status_code == 200
    page = reverse("admin:crm_connection_settings", args=[connection.pk])
    assert admin_client.get(page).status_code == 200
    sent = {"name": "Shop", "interval_minutes": 2, "server": "sandbox", "deletions_every_minutes": 60}
    admin_client.post(page, sent | {"access_token": "new", "op": "anyway"})
    connection.refresh_from_db()
    assert connection.credentials == {"access_token": "new"}


def test_nothing_overwrites_it_by_accident(connection, settings):
    unreadable = Connection.objects.get()
    with pytest.raises(DecryptionError), transaction.atomic():
        unreadable.save()
    unreadable.save(update_fields=["name"])
    settings.NUDGE_ENCRYPTION_KEYS = connection.first_key
    assert Connection.objects.get().credentials == {"access_token": "old"}
