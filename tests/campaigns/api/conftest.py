"""Keys, clients and a few people."""

import pytest

from campaigns.models import Segment
from campaigns.segments import editing, refresh
from crm import api_keys
from crm.models import ApiKey, Profile
from crm.profiles import row, upsert
from tests.crm.api.conftest import Caller, browser, reader, server, stranger, writer  # noqa: F401

POLES = {"kind": "attribute", "field": "country", "op": "eq", "value": "PL"}


@pytest.fixture
def analyst(db):
    """A key that sees people in outline."""
    key, text = api_keys.create("analyst", ["read"])
    ApiKey.objects.filter(pk=key.pk).update(scopes=["read_masked"])
    return Caller(text)


@pytest.fixture
def people(db):
    """Profiles by name; Ada and Bo are in Poland."""
    rows = [
        row(
            {
                "external_id": f"C-{name}",
                "email": f"{name}@example.com",
                "first_name": name,
                "country": country,
            }
        )
        for name, country in (("ada", "PL"), ("bo", "PL"), ("cy", "FR"))
    ]
    upsert(rows, "api")
    return {profile.first_name: profile for profile in Profile.objects.all()}


@pytest.fixture
def poles(people):
    """The segment of those in Poland, counted."""
    segment = editing.save(Segment(slug="poles", name="Poles"), POLES, "ada")
    refresh.refresh(segment)
    return segment
