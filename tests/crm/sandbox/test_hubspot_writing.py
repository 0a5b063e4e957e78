"""Creating, changing, merging and deleting contacts in the sandbox with HubSpot's own Python client."""

import json

import pytest
from hubspot.crm.contacts import ApiException
from hubspot.crm.properties import PropertyCreate


@pytest.fixture
def contacts(client):
    """The client's contacts API."""
    return client.crm.contacts


@pytest.fixture
def refused():
    """Call, and give the status and the body of the refusal."""

    def call(function, *args, **kwargs):
        with pytest.raises(ApiException) as caught:
            function(*args, **kwargs)
        return caught.value.status, json.loads(caught.value.body)

    return call


def new(contacts, **properties):
    """A contact with these properties."""
    return contacts.basic_api.create({"properties": properties, "associations": []})


def found(contacts, email):
    """Ids that a search for the address finds."""
    item = {"propertyName": "email", "operator": "EQ", "value": email}
    return [
        record.id for record in contacts.search_api.do_search({"filterGroups": [{"filters": [item]}]}).results
    ]


def test_a_created_contact_is_listed_found_and_stored(contacts, sandbox):
    created = new(contacts, email="Ann@Example.com", firstname="Ann", loyalty_points="7")
    assert created.properties["email"] == "ann@example.com"
    assert found(contacts, "ann@example.com") == [created.id]
    assert sandbox.hubspot.contacts.records[int(created.id)].properties["loyalty_points"] == "7"


def test_a_taken_address_is_a_conflict_that_names_the_holder(contacts, refused):
    ann = new(contacts, email="ann@example.com")
    status, body = refused(new, contacts, email="ANN@example.com")
    assert status == 409
    assert body["category"] == "CONFLICT"
    assert body["message"] == f"Contact already exists. Existing ID: {ann.id}"
    bob = new(contacts, email="bob@example.com")
    status, _ = refused(contacts.basic_api.update, bob.id, {"properties": {"email": "ann@example.com"}})
    assert status == 409


def test_an_update_changes_stamps_and_clears(contacts, sandbox):
    ann = new(contacts, email="ann@example.com", firstname="Ann", city="Łódź")
    sandbox.clock.offset_seconds = 60
    changed = contacts.basic_api.update(ann.id, {"properties": {"firstname": "Anna", "city": ""}})
    assert changed.properties["firstname"] == "Anna"
    assert changed.properties["city"] is None
    assert (changed.updated_at - ann.updated_at).total_seconds() >= 60
    history = contacts.basic_api.get_by_id(
        ann.id, properties_with_history=["firstname"]
    ).properties_with_history
    assert [version.value for version in history["firstname"]] == ["Anna", "Ann"]


def test_an_update_by_address(contacts):
    ann = new(contacts, email="ann@example.com")
    changed = contacts.basic_api.update(
        "ann@example.com", {"properties": {"plan": "vip"}}, id_property="email"
    )
    assert changed.id == ann.id


@pytest.mark.parametrize(
    ("name", "value", "code"),
    [
        ("x", "1", "PROPERTY_DOESNT_EXIST"),
        ("hs_object_id", "7", "READ_ONLY_VALUE"),
        ("email", "not-an-email", "INVALID_EMAIL"),
        ("loyalty_points", "many", "INVALID_NUMBER"),
        ("plan", "platinum", "INVALID_OPTION"),
        ("newsletter_opt_in", "maybe", "INVALID_OPTION"),
        ("company", "x" * 65_537, "PROPERTY_VALUE_TOO_LONG"),
    ],
)
def test_a_bad_value_is_refused_by_name(contacts, refused, name, value, code):
    status, body = refused(new, contacts, **{name: value})
    assert status == 400
    assert body["category"] == "VALIDATION_ERROR"
    assert body["errors"][0]["code"] == code
    assert body["errors"][0]["context"] == {"propertyName": [name]}


def test_an_archived_contact_leaves_search_and_keeps_its_stamp(contacts):
    ann = new(contacts, email="ann@example.com")
    contacts.basic_api.archive(ann.id)
    assert found(contacts, "ann@example.com") == []
    with pytest.raises(ApiException):
        contacts.basic_api.get_by_id(ann.id)
    archived = contacts.basic_api.get_by_id(ann.id, archived=True)
    assert archived.archived is True
    assert archived.archived_at >= ann.updated_at
    assert archived.updated_at == ann.updated_at
    assert [record.id for record in contacts.basic_api.get_page(archived=True).results] == [ann.id]
    again = new(contacts, email="ann@example.com")
    assert again.id != ann.id


def test_merging_leaves_the_primary_with_both_addresses(contacts, sandbox):
    ann = new(contacts, email="ann@example.com", city="Paris")
    other = new(contacts, email="ann@example.org", city="Lyon", firstname="Ann")
    winner = contacts.basic_api.merge({"primaryObjectId": ann.id, "objectIdToMerge": other.id})
    assert winner.id == ann.id
    names = [
        "firstname",
        "city",
        "email",
        "hs_additional_emails",
        "hs_merged_object_ids",
        "hs_calculated_merged_vids",
    ]
    shown = contacts.basic_api.get_by_id(other.id, properties=names)
    assert shown.id == ann.id
    assert shown.properties["city"] == "Paris"
    assert shown.properties["firstname"] == "Ann"
    assert shown.properties["hs_additional_emails"] == "ann@example.org"
    assert shown.properties["hs_merged_object_ids"] == other.id
    assert shown.properties["hs_calculated_merged_vids"].startswith(f"{other.id}:")
    assert int(other.id) not in sandbox.hubspot.contacts.records
    listed = contacts.basic_api.get_page(archived=True)
    assert listed.results == []


def test_merging_what_is_not_there_is_refused(contacts, refused):
    status, _ = refused(contacts.basic_api.merge, {"primaryObjectId": "1", "objectIdToMerge": "1"})
    assert status == 400


def test_an_erased_contact_never_comes_back(contacts, sandbox):
    ann = new(contacts, email="ann@example.com")
    contacts.basic_api.purge({"objectId": "ann@example.com", "idProperty": "email"})
    assert int(ann.id) not in sandbox.hubspot.contacts.records
    for archived in (True, False):
        with pytest.raises(ApiException):
            contacts.basic_api.get_by_id(ann.id, archived=archived)


class TestBatches:
    def test_create(self, contacts):
        rows = [{"properties": {"email": f"p{number}@example.com"}} for number in range(3)]
        answer = contacts.batch_api.create({"inputs": rows})
        assert answer.status == "COMPLETE"
        assert [record.properties["email"] for record in answer.results] == [
            row["properties"]["email"] for row in rows
        ]

    def test_one_taken_address_refuses_the_whole_batch(self, contacts, sandbox, refused):
        ann = new(contacts, email="ann@example.com")
        before = len(sandbox.hubspot.contacts.records)
        rows = [{"properties": {"email": "bob@example.com"}}, {"properties": {"email": "ann@example.com"}}]
        status, body = refused(contacts.batch_api.create, {"inputs": rows})
        assert (status, body["category"]) == (409, "CONFLICT")
        assert body["message"].endswith(ann.id)
        assert len(sandbox.hubspot.contacts.records) == before

    def test_traced_rows_fail_alone(self, contacts):
        new(contacts, email="ann@example.com")
        rows = [
            {"properties": {"email": "bob@example.com"}, "objectWriteTraceId": "row-1"},
            {"properties": {"email": "ann@example.com"}, "objectWriteTraceId": "row-2"},
        ]
        answer = contacts.batch_api.create({"inputs": rows})
        assert [record.object_write_trace_id for record in answer.results] == ["row-1"]
        assert [error.context for error in answer.errors] == [{"objectWriteTraceId": ["row-2"]}]

    def test_update_reports_unknown_records(self, contacts):
        rows = [{"id": "1", "properties": {"plan": "plus"}}, {"id": "999999", "properties": {"plan": "plus"}}]
        answer = contacts.batch_api.update({"inputs": rows})
        assert [(record.id, record.properties["plan"]) for record in answer.results] == [("1", "plus")]
        assert answer.errors[0].context["id"] == ["999999"]

    def test_upsert_tells_new_from_known(self, contacts):
        ann = new(contacts, email="ann@example.com")
        rows = [
            {"id": address, "idProperty": "email", "properties": {"plan": "vip"}}
            for address in ("ann@example.com", "bob@example.com")
        ]
        answer = contacts.batch_api.upsert({"inputs": rows})
        assert [record.new for record in answer.results] == [False, True]
        assert answer.results[0].id == ann.id
        assert found(contacts, "bob@example.com") == [answer.results[1].id]

    def test_archive_passes_over_unknown_records(self, contacts, sandbox):
        contacts.batch_api.archive({"inputs": [{"id": "1"}, {"id": "999999"}]})
        assert sandbox.hubspot.contacts.records[1].archived

    def test_more_than_a_hundred_rows_are_refused(self, contacts, refused):
        rows = [{"id": str(number)} for number in range(101)]
        body = {"inputs": rows, "properties": [], "propertiesWithHistory": []}
        assert refused(contacts.batch_api.read, body)[0] == 400

    def test_repeated_ids_are_refused(self, contacts, refused):
        rows = [{"id": "1", "properties": {"plan": "plus"}}] * 2
        assert refused(contacts.batch_api.update, {"inputs": rows})[0] == 400


class TestProperties:
    def test_standard_and_custom_properties_are_listed_with_their_types(self, client):
        listed = {item.name: item for item in client.crm.properties.core_api.get_all("contacts").results}
        assert listed["lastmodifieddate"].type == "datetime"
        assert listed["loyalty_points"].type == "number"
        assert [option.value for option in listed["plan"].options] == ["free", "plus", "vip"]
        assert listed["plan"].hubspot_defined is None
        assert listed["email"].hubspot_defined is True

    def test_a_new_property_can_be_written_and_an_archived_one_cannot(self, client, refused):
        api = client.crm.properties.core_api
        create = PropertyCreate(
            name="shoe_size", label="Shoe size", type="number", field_type="number", group_name="shop"
        )
        assert api.create("contacts", create).name == "shoe_size"
        client.crm.contacts.basic_api.update("1", {"properties": {"shoe_size": "42"}})
        api.archive("contacts", "shoe_size")
        shown = client.crm.contacts.basic_api.get_by_id("1", properties=["shoe_size"])
        assert "shoe_size" not in shown.properties
        status, _ = refused(client.crm.contacts.basic_api.update, "1", {"properties": {"shoe_size": "43"}})
        assert status == 400

    def test_a_property_name_is_taken_once(self, http):
        body = {"name": "plan", "label": "Plan", "type": "string", "fieldType": "text", "groupName": "shop"}
        assert http("POST", "/crm/v3/properties/contacts", body).status == 409
        assert http("POST", "/crm/v3/properties/contacts", {**body, "name": "No Good"}).status == 400


def test_tokens_are_issued_for_a_refresh_token(client):
    token = client.oauth.tokens_api.create(
        grant_type="refresh_token", client_id="c", client_secret="s", refresh_token="r"
    )
    assert token.refresh_token == "r"
    assert token.expires_in == 1800
    assert token.access_token


def test_a_custom_event_is_kept(client, sandbox):
    client.events.send.basic_api.send({"eventName": "pe1_opened", "objectId": "1", "properties": {"k": "v"}})
    assert sandbox.hubspot.events[0]["eventName"] == "pe1_opened"
