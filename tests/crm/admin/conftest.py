import pytest
from django.contrib.auth.models import Permission, User
from django.test import Client

from crm.connectors.hubspot import HubSpot
from crm.sandbox.inprocess import running_sandbox
from tests.crm.crm_sandbox import connect


@pytest.fixture(scope="package")
def served():
    """One sandbox for all of these tests; none of them changes its records."""
    with running_sandbox(contacts=120) as running:
        yield running


@pytest.fixture
def sandbox(served, settings, monkeypatch):
    monkeypatch.setattr(HubSpot, "backoff_seconds", 0.01)
    settings.NUDGE_SANDBOX_URL = served.url
    yield served
    served.control.faults = []


@pytest.fixture
def connection(sandbox):
    return connect()


@pytest.fixture
def staff(db):
    """Makes clients of staff with the given permissions, such as "view_connection"."""

    def client_with(*permissions: str) -> Client:
        user = User.objects.create_user(f"user {User.objects.count()}", is_staff=True)
        user.user_permissions.set(Permission.objects.filter(codename__in=permissions))
        client = Client()
        client.force_login(user)
        return client

    return client_with
