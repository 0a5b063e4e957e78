"""Keys that see people without their contact data."""

import json

import pytest

from crm import api_keys
from crm.models import ApiKey
from tests.crm.api.conftest import Caller

ADA = {
    "external_id": "C-1001",
    "email": "ada.lovelace@example.com",
    "phone": "+48601234567",
    "first_name": "Ada",
    "last_name": "Lovelace",
    "birthday": "1990-12-10",
    "city": "London",
    "attributes": {"plan": "gold", "work_email": "ada@work.example"},
}
SECRETS = ["lovelace", "C-1001", "601234567", "Lovelace", "1990", "ada@work"]


@pytest.fixture
def analyst(db):
    key, text = api_keys.create("analyst", ["read"])
    ApiKey.objects.filter(pk=key.pk).update(scopes=["read_masked"])
    return Caller(text)


@pytest.fixture
def number(writer):
    number = writer.post("profiles/", ADA).json()["id"]
    event = {"name": "bought", "profile": {"id": number}, "properties": {"total": 5, "email": ADA["email"]}}
    assert writer.post("events/", {"events": [event]}).json()["accepted"] == 1
    return number


def test_nothing_given_out_tells_who_it_is(analyst, reader, number):
    for path in ("profiles/", f"profiles/{number}/", f"profiles/{number}/events/", "events/?name=bought"):
        assert analyst.get(path).status_code == 200
        shown = json.dumps(analyst.get(path).json())
        assert not [secret for secret in SECRETS if secret in shown], path
        whole = json.dumps(reader.get(path).json())
        assert "lovelace" in whole
    assert analyst.get(f"profiles/{number}/").json()["city"] == "London"


@pytest.mark.parametrize("name", ["email", "phone", "external_id", "anonymous_id", "attributes"])
def test_what_is_hidden_can_not_be_asked_for(analyst, number, name):
    response = analyst.get(f"profiles/?{name}=x")
    assert (response.status_code, response.json()["error"]["field"]) == (403, name)


def test_nothing_may_be_written(analyst, number):
    assert analyst.post("profiles/", ADA).status_code == 403
    assert analyst.send("PATCH", f"profiles/{number}/", {"city": "Ur"}).status_code == 403
