"""Reading contacts from the sandbox with HubSpot's own Python client."""

import json
import time

import pytest
from hubspot import HubSpot
from hubspot.crm.contacts import ApiException

from crm.sandbox.inprocess import running_sandbox
from crm.sandbox.store import iso


def filters(*triples, **more):
    """A search body with one group of (property, operator, value) filters."""
    group = [
        {"propertyName": name, "operator": operator, "value": value} for name, operator, value in triples
    ]
    return {"filterGroups": [{"filters": group}], **more}


def error(refused):
    """The JSON of a refused call's body."""
    return json.loads(refused.value.body)


def test_paging_gives_all_five_thousand_once():
    with running_sandbox(vendors=["hubspot"]) as sandbox:
        client = HubSpot(access_token="x", host=sandbox.url)
        seen, after, calls = [], None, 0
        while True:
            page = client.crm.contacts.basic_api.get_page(
                limit=100, after=after, properties=["email", "plan"]
            )
            seen += [record.id for record in page.results]
            calls += 1
            if page.paging is None:
                break
            after = page.paging.next.after
        assert seen == [str(record_id) for record_id in sandbox.hubspot.contacts.records]
        assert len(seen) == 5000
        assert calls == 50


def test_a_record_shows_asked_properties_as_text_and_empty_ones_as_null(client, sandbox):
    record = next(r for r in sandbox.hubspot.contacts.live() if "webpush_opt_in" not in r.properties)
    shown = client.crm.contacts.basic_api.get_by_id(
        str(record.id), properties=["webpush_opt_in", "loyalty_points", "unheard_of"]
    )
    assert shown.properties == {
        "createdate": iso(record.created),
        "hs_object_id": str(record.id),
        "lastmodifieddate": iso(record.modified),
        "loyalty_points": record.properties["loyalty_points"],
        "webpush_opt_in": None,
    }
    assert shown.archived is False


def test_a_keyset_walk_over_the_search_meets_every_record_once(client, sandbox):
    seen, last = [], "0"
    while True:
        body = filters(("hs_object_id", "GT", last), sorts=["hs_object_id"], limit=200)
        results = client.crm.contacts.search_api.do_search(body).results
        if not results:
            break
        seen += [int(record.id) for record in results]
        last = results[-1].id
    assert seen == list(sandbox.hubspot.contacts.records)


@pytest.mark.parametrize("written", [str, iso], ids=["milliseconds", "iso"])
def test_only_records_changed_since_the_cursor_are_found(client, sandbox, written):
    stamps = sorted(record.modified for record in sandbox.hubspot.contacts.live())
    cursor = stamps[-20]
    found = client.crm.contacts.search_api.do_search(
        filters(("lastmodifieddate", "GTE", written(cursor)), sorts=["lastmodifieddate"], limit=200)
    )
    expected = [record.id for record in sandbox.hubspot.contacts.live() if record.modified >= cursor]
    assert found.total == len(expected)
    assert {int(record.id) for record in found.results} == set(expected)
    shown = [record.properties["lastmodifieddate"] for record in found.results]
    assert shown == sorted(shown)


def test_the_modified_date_of_other_objects_finds_no_contact(client):
    assert client.crm.contacts.search_api.do_search(filters(("hs_lastmodifieddate", "GTE", "0"))).total == 0


def test_search_pages_end_at_ten_thousand_rows():
    with running_sandbox(contacts=12_000, vendors=["hubspot"]) as sandbox:
        search = HubSpot(access_token="x", host=sandbox.url).crm.contacts.search_api.do_search
        last = search({"limit": 200, "after": "9800", "sorts": ["hs_object_id"]})
        assert last.total == 12_000
        assert len(last.results) == 200
        assert last.paging.next.after == "10000"
        with pytest.raises(ApiException) as refused:
            search({"limit": 200, "after": "10000", "sorts": ["hs_object_id"]})
        assert refused.value.status == 400


@pytest.mark.parametrize(
    ("operator", "operand", "holds"),
    [
        ("EQ", {"value": "VIP"}, lambda plan: plan == "vip"),
        ("NEQ", {"value": "free"}, lambda plan: plan != "free"),
        ("IN", {"values": ["plus", "vip"]}, lambda plan: plan in ("plus", "vip")),
        ("NOT_IN", {"values": ["plus", "vip"]}, lambda plan: plan == "free"),
        ("HAS_PROPERTY", {}, lambda plan: True),
        ("NOT_HAS_PROPERTY", {}, lambda plan: False),
        ("CONTAINS_TOKEN", {"value": "v*"}, lambda plan: plan == "vip"),
        ("NOT_CONTAINS_TOKEN", {"value": "v*"}, lambda plan: plan != "vip"),
    ],
)
def test_text_operators(client, sandbox, operator, operand, holds):
    item = {"propertyName": "plan", "operator": operator, **operand}
    found = client.crm.contacts.search_api.do_search({"filterGroups": [{"filters": [item]}]})
    assert found.total == sum(holds(record.properties["plan"]) for record in sandbox.hubspot.contacts.live())


@pytest.mark.parametrize(
    ("operator", "operand", "holds"),
    [
        ("LT", {"value": "90"}, lambda points: points < 90),
        ("LTE", {"value": "90.5"}, lambda points: points <= 90.5),
        ("GT", {"value": "90"}, lambda points: points > 90),
        ("GTE", {"value": "90"}, lambda points: points >= 90),
        ("BETWEEN", {"value": "90", "highValue": "1000"}, lambda points: 90 <= points <= 1000),
    ],
)
def test_numbers_are_compared_as_numbers(client, sandbox, operator, operand, holds):
    item = {"propertyName": "loyalty_points", "operator": operator, **operand}
    found = client.crm.contacts.search_api.do_search({"filterGroups": [{"filters": [item]}]})
    expected = sum(
        holds(int(record.properties["loyalty_points"])) for record in sandbox.hubspot.contacts.live()
    )
    assert 0 < found.total == expected


def test_groups_are_joined_by_or_and_free_text_by_and(client, sandbox):
    someone = next(record for record in sandbox.hubspot.contacts.live() if record.properties.get("email"))
    groups = [
        {"filters": [{"propertyName": "plan", "operator": "EQ", "value": "vip"}]},
        {
            "filters": [
                {"propertyName": "email", "operator": "EQ", "value": someone.properties["email"].upper()}
            ]
        },
    ]
    found = client.crm.contacts.search_api.do_search(
        {"filterGroups": groups, "query": someone.properties["email"]}
    )
    assert [record.id for record in found.results] == [str(someone.id)]


@pytest.mark.parametrize(
    "body",
    [
        {"limit": 201},
        {"after": "x"},
        {"sorts": ["email", "plan"]},
        {"filterGroups": [{"filters": [{"propertyName": "unheard_of", "operator": "EQ", "value": "1"}]}]},
        {"filterGroups": [{"filters": [{"propertyName": "plan", "operator": "EQ"}]}]},
        {"filterGroups": [{"filters": [{"propertyName": "plan", "operator": "LIKE", "value": "1"}]}]},
        {"filterGroups": [{"filters": [{"propertyName": "createdate", "operator": "GT", "value": "soon"}]}]},
        {"filterGroups": [{"filters": []}] * 6},
        {"filterGroups": "all"},
    ],
)
def test_a_search_that_makes_no_sense_is_refused(http, body):
    assert http("POST", "/crm/v3/objects/contacts/search", body).status == 400


def test_batch_read_gives_what_it_finds_and_lists_the_rest(client):
    batch = {
        "inputs": [{"id": "2"}, {"id": "999999"}, {"id": "1"}],
        "properties": ["email"],
        "propertiesWithHistory": [],
    }
    answer = client.crm.contacts.batch_api.read(batch)
    assert [record.id for record in answer.results] == ["2", "1"]
    assert answer.num_errors == 1
    assert answer.errors[0].category == "OBJECT_NOT_FOUND"
    assert answer.errors[0].context == {"ids": ["999999"]}


def test_batch_read_by_address(client, sandbox):
    someone = next(
        record for record in sandbox.hubspot.contacts.live() if "@" in record.properties.get("email", "")
    )
    batch = {
        "inputs": [{"id": someone.properties["email"]}],
        "idProperty": "email",
        "properties": ["city"],
        "propertiesWithHistory": ["city"],
    }
    (found,) = client.crm.contacts.batch_api.read(batch).results
    assert found.id == str(someone.id)
    assert found.properties_with_history["city"][0].value == someone.properties["city"]


def test_an_unknown_record_is_not_found(client):
    with pytest.raises(ApiException) as refused:
        client.crm.contacts.basic_api.get_by_id("999999")
    assert refused.value.status == 404
    assert error(refused)["category"] == "OBJECT_NOT_FOUND"


@pytest.mark.parametrize("header", [{}, {"Authorization": "Bearer "}, {"Authorization": "Basic eDp4"}])
def test_a_request_without_a_token_is_refused(http, header):
    answer = http("GET", "/crm/v3/objects/contacts", headers=header)
    assert answer.status == 401
    assert answer.json()["category"] == "INVALID_AUTHENTICATION"


def test_rate_limit_headers_are_on_every_reply_but_search(http):
    listed = http("GET", "/crm/v3/objects/contacts?limit=1")
    assert listed.headers["X-HubSpot-RateLimit-Max"] == "100"
    assert listed.headers["X-HubSpot-RateLimit-Interval-Milliseconds"] == "10000"
    first = int(listed.headers["X-HubSpot-RateLimit-Remaining"])
    assert int(http("GET", "/crm/v3/unheard-of").status) == 404
    again = http("GET", "/crm/v3/objects/contacts?limit=1")
    assert int(again.headers["X-HubSpot-RateLimit-Remaining"]) == first - 1
    searched = http("POST", "/crm/v3/objects/contacts/search", {"limit": 1})
    assert not [name for name in searched.headers if "ratelimit" in name.lower()]


def test_a_very_long_url_is_refused(http):
    names = "&".join(f"properties=property_number_{number}" for number in range(800))
    assert http("GET", f"/crm/v3/objects/contacts?{names}").status == 414
    shorter = "&".join(f"properties=property_number_{number}" for number in range(400))
    assert http("GET", f"/crm/v3/objects/contacts?{shorter}").status == 200


@pytest.mark.parametrize(
    "query", ["limit=101", "limit=0", "limit=x", "after=x", "limit=100&propertiesWithHistory=email"]
)
def test_paging_outside_its_limits_is_refused(http, query):
    assert http("GET", f"/crm/v3/objects/contacts?{query}").status == 400


def test_the_last_page_of_a_long_search_is_quick():
    with running_sandbox(contacts=5000, vendors=["hubspot"]) as sandbox:
        search = HubSpot(access_token="x", host=sandbox.url).crm.contacts.search_api.do_search
        began = time.process_time()
        found = search(
            filters(("lastmodifieddate", "GTE", "0"), sorts=["lastmodifieddate"], limit=200, after="4800")
        )
        assert len(found.results) == 200
        assert time.process_time() - began < 1
