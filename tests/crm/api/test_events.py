"""Events over HTTP."""

import uuid

import pytest

from crm import identity
from crm.models import Event, Profile

NAME = "product_viewed"


def event(**fields):
    return {"name": NAME, "profile": {"anonymous_id": "v"}} | fields


def test_the_answer_counts_each_row_once(writer):
    sent = event(id=str(uuid.uuid4()), occurred_at="2026-10-31T10:00:00Z")
    assert writer.post("events/", {"events": [sent]}).status_code == 202
    response = writer.post("events/", {"events": [sent, event(), event(name="")]})
    assert response.status_code == 202
    body = response.json()
    assert (body["accepted"], body["duplicates"]) == (1, 1)
    [rejected] = body["rejected"]
    assert (rejected["index"], rejected["code"], rejected["field"]) == (2, "invalid_name", "name")
    assert set(body) == {"accepted", "duplicates", "rejected"}
    assert set(rejected) == {"index", "code", "detail", "field"}


def test_nothing_taken_is_no_error(writer):
    response = writer.post("events/", {"events": [event(name="")]})
    assert (response.status_code, response.json()["accepted"]) == (202, 0)


@pytest.mark.parametrize("events", [[], [event()] * 1001, None, {}, "x"])
def test_what_is_no_batch(writer, events):
    response = writer.post("events/", {"events": events})
    assert (response.status_code, response.json()["error"]["code"]) == (400, "invalid_batch")
    assert not Event.objects.exists()


def test_the_source_tells_servers_from_browsers(writer, browser):
    writer.post("events/", {"events": [event()]})
    browser.post("events/", {"events": [event(name="from_browser")]})
    assert dict(Event.objects.values_list("name", "source")) == {NAME: "api", "from_browser": "sdk"}


def test_only_servers_name_profiles_by_number(writer, browser):
    [ann] = identity.resolve([identity.Reference(email="ann@example.com")])
    sent = {"events": [event(profile={"id": ann}), event(profile={"id": ann + 1})]}
    codes = [row["code"] for row in browser.post("events/", sent).json()["rejected"]]
    assert codes == ["not_allowed", "not_allowed"]
    assert [row["code"] for row in writer.post("events/", sent).json()["rejected"]] == ["unknown_profile"]


def test_identification_over_http_joins_visitor_and_customer(writer, browser):
    writer.post("profiles/", {"email": "ann@example.com", "first_name": "Ann"})
    browser.post("events/", {"events": [event()]})
    login = event(name="identified", profile={"anonymous_id": "v", "email": "Ann@Example.com"})
    browser.post("events/", {"events": [login]})
    ann = Profile.objects.get()
    assert (ann.first_name, ann.events.filter(name=NAME).count()) == ("Ann", 1)
