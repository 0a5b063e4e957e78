"""Salesforce in the sandbox over plain HTTP: collections, odd requests, faults, and what other clients sent."""

import random
import re
from datetime import timedelta
from xml.etree import ElementTree

import pytest

from crm.sandbox.inprocess import running_sandbox
from crm.sandbox.people import HISTORY_END
from crm.sandbox.salesforce import Salesforce
from crm.sandbox.salesforce_soap import acknowledged
from crm.sandbox.store import Clock
from tests.crm.sandbox import specs
from tests.crm.sandbox.salesforce import DATA, Http, error

COLLECTION = "/composite/sobjects"


@pytest.fixture(autouse=True)
def recorded():
    """Nothing here speaks HubSpot."""


@pytest.fixture
def sandbox():
    with running_sandbox(contacts=40, vendors=["salesforce"]) as running:
        yield running


@pytest.fixture
def http(sandbox):
    return Http(sandbox)


@pytest.fixture
def salesforce():
    """An organisation without a server."""
    return Salesforce(Clock(), contacts=80, seed=2)


def contact(**values):
    return {"attributes": {"type": "Contact"}, **values}


def ids(http, count):
    return [row["Id"] for row in http.soql(f"SELECT Id FROM Contact LIMIT {count}").json()["records"]]


# Collections


def test_a_collection_upsert_tells_of_each_row_in_its_place(http):
    rows = [
        contact(Nudge_Id__c="a", LastName="A", Nudge_Opens__c=2),
        contact(Nudge_Id__c="b", Email="no last name"),
        contact(Nudge_Id__c="c", LastName="C"),
        contact(Nudge_Id__c="C", LastName="C again"),
        contact(LastName="no key"),
    ]
    path = f"{COLLECTION}/Contact/Nudge_Id__c"
    reply = http("PATCH", path, {"allOrNone": False, "records": rows})
    assert reply.status == 200
    first, *others = reply.json()
    assert first == {"id": first["id"], "success": True, "errors": [], "created": True}
    assert [(row["success"], row["created"], row["errors"][0]["statusCode"]) for row in others] == [
        (False, False, "INVALID_EMAIL_ADDRESS"),
        (False, False, "DUPLICATE_VALUE"),
        (False, False, "DUPLICATE_VALUE"),
        (False, False, "MISSING_ARGUMENT"),
    ]
    (again,) = http("PATCH", path, {"records": rows[:1]}).json()
    assert again == {**first, "created": False}
    assert http.soql("SELECT COUNT() FROM Contact WHERE Nudge_Id__c != null").json()["totalSize"] == 1


def test_all_or_none_writes_nothing_when_one_row_is_refused(http):
    before = http.soql("SELECT COUNT() FROM Contact").json()["totalSize"]
    rows = [contact(LastName="Good"), contact(FirstName="Bad")]
    reply = http("POST", COLLECTION, {"allOrNone": True, "records": rows}).json()
    assert [row["errors"][0]["statusCode"] for row in reply] == [
        "ALL_OR_NONE_OPERATION_ROLLED_BACK",
        "REQUIRED_FIELD_MISSING",
    ]
    assert http.soql("SELECT COUNT() FROM Contact").json()["totalSize"] == before
    reply = http("POST", COLLECTION, {"records": rows}).json()
    assert [row["success"] for row in reply] == [True, False]


def test_collections_update_delete_and_retrieve_by_id(http):
    first, second, third = ids(http, 3)
    rows = [contact(id=first, FirstName="Changed"), contact(Id="003000000000000AAA", FirstName="Nobody")]
    reply = http("PATCH", COLLECTION, {"records": rows}).json()
    assert [row["success"] for row in reply] == [True, False]
    assert reply[1]["errors"][0]["statusCode"] == "INVALID_CROSS_REFERENCE_KEY"
    gone = http("DELETE", f"{COLLECTION}?ids={second},{second[:15]},bad&allOrNone=false").json()
    assert [row["success"] for row in gone] == [True, False, False]
    asked = {"ids": [third, second, first[:15]], "fields": ["Id", "FirstName"]}
    for reply in (
        http("POST", f"{COLLECTION}/Contact", asked),
        http("GET", f"{COLLECTION}/Contact?ids={third},{second},{first[:15]}&fields=Id,FirstName"),
    ):
        rows = reply.json()
        assert [row and row["Id"] for row in rows] == [third, None, first]
        assert rows[2]["FirstName"] == "Changed"


def test_collections_take_two_hundred_records(http):
    many = {"records": [contact(LastName=str(number)) for number in range(201)]}
    assert error(http("POST", COLLECTION, many)) == (400, "EXCEEDED_MAX_SIZE_REQUEST")
    many["records"].pop()
    assert all(row["success"] for row in http("POST", COLLECTION, many).json())


# Odd requests


def test_replies_to_paths_bodies_and_tokens_that_make_no_sense(http):
    assert error(http("GET", "/sobjects/Nope/describe")) == (404, "NOT_FOUND")
    assert error(http("GET", "/nothing/here")) == (404, "NOT_FOUND")
    assert error(http("GET", "/services/data/v9.0/limits")) == (404, "NOT_FOUND")
    assert error(http("GET", "/services/data/v999.0/limits")) == (404, "NOT_FOUND")
    assert error(http("PUT", "/query")) == (405, "METHOD_NOT_ALLOWED")
    assert error(http("GET", "/query")) == (400, "MALFORMED_QUERY")
    assert error(http("POST", "/sobjects/Contact", "{")) == (400, "JSON_PARSER_ERROR")
    assert error(http("POST", "/sobjects/Contact", "[]")) == (400, "JSON_PARSER_ERROR")
    assert error(http("GET", "/limits", headers={"Authorization": ""})) == (401, "INVALID_SESSION_ID")
    assert error(http("GET", "/limits", headers={"Authorization": "Basic x"})) == (401, "INVALID_SESSION_ID")
    assert http("GET", "/limits", headers={"Authorization": "OAuth x"}).status == 200


def test_every_reply_tells_the_usage(http):
    first, second = http("GET", "/limits"), http("GET", "/nothing")
    assert first.headers["Sforce-Limit-Info"] == "api-usage=1/100000"
    assert second.headers["Sforce-Limit-Info"] == "api-usage=1/100000"
    assert http("GET", "/sobjects/Nope").headers["Sforce-Limit-Info"] == "api-usage=2/100000"


@pytest.mark.parametrize(
    "path",
    ["/query{}?q=SELECT+Id+FROM+Contact", "/limits{}", "/sobjects{}", "{}", "/sobjects/Contact/describe{}"],
)
def test_a_trailing_slash_changes_nothing(http, path):
    assert http("GET", path.format("")).json() == http("GET", path.format("/")).json() or "limits" in path
    assert http("GET", path.format("/")).status == 200


def test_versions_need_no_token(http):
    versions = http("GET", "/services/data", headers={"Authorization": ""}).json()
    assert {"label": "Winter '24", "url": DATA, "version": "59.0"} in versions


def test_refresh_token_and_instance_url(sandbox, http):
    form = {"grant_type": "refresh_token", "client_id": "c", "client_secret": "s", "refresh_token": "r"}

    def ask(fields, headers=None):
        return http.pool.request(
            "POST",
            f"{http.url}/services/oauth2/token",
            fields=fields,
            headers=headers,
            encode_multipart=False,
        )

    reply = ask(form)
    assert reply.status == 200
    body = reply.json()
    assert body["instance_url"] == http.url
    assert body["token_type"] == "Bearer"
    assert body["issued_at"].isdigit()
    proxied = ask(form, {"X-Forwarded-Proto": "https", "Host": "crm.example"}).json()
    assert proxied["instance_url"] == "https://crm.example"
    identity = http(
        "GET", "/services/oauth2/userinfo", headers={"Authorization": f"Bearer {body['access_token']}"}
    )
    assert identity.json()["organization_id"].startswith("00D")
    for changed, code in (
        ({"refresh_token": ""}, "invalid_request"),
        ({"client_id": ""}, "invalid_client_id"),
        ({"grant_type": "magic"}, "unsupported_grant_type"),
    ):
        refused = ask({**form, **changed})
        assert (refused.status, refused.json()["error"]) == (400, code)
    http.pool.request(
        "POST",
        f"{http.url}/services/oauth2/revoke",
        fields={"token": body["access_token"]},
        encode_multipart=False,
    )
    after = http("GET", "/limits", headers={"Authorization": f"Bearer {body['access_token']}"})
    assert error(after) == (401, "INVALID_SESSION_ID")


def test_patch_can_be_tunnelled_through_post(http):
    (key,) = ids(http, 1)
    path = f"/sobjects/Contact/{key}"
    assert http("POST", f"{path}?_HttpMethod=PATCH", {"FirstName": "Tunnelled"}).status == 204
    assert http("GET", f"{path}?fields=FirstName").json()["FirstName"] == "Tunnelled"
    assert error(http("POST", path, {})) == (405, "METHOD_NOT_ALLOWED")


def test_bulk_jobs_by_hand(sandbox, http):
    sandbox.salesforce.bulk.polls = 2
    job = http(
        "POST", "/jobs/query", {"operation": "query", "query": "SELECT Id FROM Contact", "lineEnding": "CRLF"}
    ).json()
    path = f"/jobs/query/{job['id']}"
    assert error(http("GET", f"{path}/results")) == (400, "INVALIDJOBSTATE")
    assert [http("GET", path).json()["state"] for _ in range(3)] == [
        "InProgress",
        "InProgress",
        "JobComplete",
    ]
    page = http("GET", f"{path}/results?maxRecords=30")
    assert page.data.startswith(b'"Id"\r\n"003')
    assert page.headers["Sforce-NumberOfRecords"] == "30"
    last = http("GET", f"{path}/results?locator={page.headers['Sforce-Locator']}")
    assert (last.headers["Sforce-NumberOfRecords"], last.headers["Sforce-Locator"]) == ("10", "null")
    assert error(http("GET", f"{path}/results?locator=zzz")) == (400, "INVALIDLOCATOR")
    assert http("DELETE", path).status == 204
    assert error(http("GET", path)) == (404, "NOT_FOUND")
    job = http("POST", "/jobs/query", {"operation": "query", "query": "SELECT Id FROM Contact"}).json()
    assert http("PATCH", f"/jobs/query/{job['id']}", {"state": "Aborted"}).json()["state"] == "Aborted"
    sandbox.salesforce.bulk.expire_results()
    assert error(http("GET", f"/jobs/query/{job['id']}")) == (404, "NOT_FOUND")


def test_an_upload_in_chunks_with_any_delimiter(sandbox, http):
    (key,) = ids(http, 1)
    job = http(
        "POST", "/jobs/ingest", {"object": "contact", "operation": "update", "columnDelimiter": "SEMICOLON"}
    ).json()
    path = f"/jobs/ingest/{job['id']}"
    csv = [
        b"\xef\xbb\xbfID;lastname\r\n",
        f"{key};Chunk, or piece\r\n".encode(),
        b"003000000000000AAA;Nobody\r\n",
    ]
    upload = http("PUT", f"{path}/batches", iter(csv), {"Content-Type": "text/csv"}, chunked=True)
    assert (upload.status, upload.data) == (201, b"")
    assert error(http("PUT", f"{path}/batches", "x")) == (400, "INVALIDBATCH")
    assert http("PATCH", path, {"state": "UploadComplete"}).json()["state"] == "UploadComplete"
    assert http("GET", path).json()["state"] == "InProgress"
    job = http("GET", path).json()
    assert (job["state"], job["numberRecordsProcessed"], job["numberRecordsFailed"]) == ("JobComplete", 2, 1)
    assert (
        http("GET", f"{path}/successfulResults").data.decode()
        == f'"sf__Id";"sf__Created";"ID";"lastname"\n"{key}";"false";"{key}";"Chunk, or piece"\n'
    )
    assert b"INVALID_CROSS_REFERENCE_KEY" in http("GET", f"{path}/failedResults").data
    assert http("GET", f"{path}/unprocessedrecords").data == b'"ID";"lastname"\n'
    assert http("GET", f"/sobjects/Contact/{key}").json()["LastName"] == "Chunk, or piece"


@pytest.mark.parametrize(
    ("csv", "words"),
    [
        ("", "is empty"),
        ("Nope\n1\n", "Field name not found : Nope"),
        ("Id,LastName\n1\n", "number of columns"),
        ('Id\n"', "unexpected end"),
    ],
)
def test_a_csv_that_cannot_be_read_fails_the_job(http, csv, words):
    job = http("POST", "/jobs/ingest", {"object": "Contact", "operation": "update"}).json()
    path = f"/jobs/ingest/{job['id']}"
    http("PUT", f"{path}/batches", csv)
    http("PATCH", path, {"state": "UploadComplete"})
    http("GET", path)
    job = http("GET", path).json()
    assert job["state"] == "Failed"
    assert words in job["errorMessage"]


def test_no_recorded_request_is_unknown_or_breaks_the_server(sandbox, http):
    """Of each client: the ids of jobs are those that this server gave it, which the recording's server did not."""
    sandbox.salesforce.add_field("Contact", "X__c", external_id=True)
    replayed = 0
    for client in specs.load("salesforce", "client-requests.json"):
        jobs = {}
        for request in client["requests"]:
            method, path, body = request["method"], request["path"], request["body"] or None
            found = re.match(r"(.*/jobs/(query|ingest))(/[^/?]+)?(.*)", path)
            if found and found[3]:
                path = f"{found[1]}/{jobs[found[2]]}{found[4]}"
                sandbox.salesforce.bulk.polls = 0
            chunked = request["headers"].get("transfer-encoding") == "chunked"
            data = iter([body.encode()]) if chunked else body
            headers = {key: value for key, value in request["headers"].items() if key != "transfer-encoding"}
            answer = http.pool.request(method, http.url + path, body=data, headers=headers, chunked=chunked)
            assert answer.status not in (404, 405), (client["client"], path)
            assert answer.status < 500, (client["client"], path)
            if method == "POST" and found:
                jobs[found[2]] = answer.json()["id"]
            replayed += 1
    assert replayed >= 40


def test_scripted_faults_speak_as_salesforce(sandbox, http):
    org = sandbox.salesforce
    for status, code in (
        (403, "REQUEST_LIMIT_EXCEEDED"),
        (503, "SERVER_UNAVAILABLE"),
        (500, "UNKNOWN_EXCEPTION"),
    ):
        assert org.error_response(status, "/services/data/v59.0/query").text.count(code) == 1
    assert org.error_response(400, "/services/oauth2/token").text.startswith('{"error":"invalid_grant"')
    assert "faultcode" in org.error_response(503, "/services/Soap/u/59.0").text
    http.pool.request(
        "POST", f"{http.url}/_control/faults", json=[{"path": "limits", "nth": 1, "status": 403}]
    )
    assert error(http("GET", "/limits")) == (403, "REQUEST_LIMIT_EXCEEDED")
    assert http("GET", "/limits").status == 200


# What the control API and tests do beside the API


def test_equal_seeds_give_equal_organisations():
    first, second, third = (Salesforce(Clock(), 150, seed) for seed in (4, 4, 5))
    for name in ("contacts", "leads", "opportunities", "products", "accounts"):
        assert list(first.dump(name)) == list(second.dump(name)) != []
    assert list(first.dump("contacts")) != list(third.dump("contacts"))
    assert first.dump("nope") is None
    stamps = [row["modified"] for row in first.dump("contacts")]
    assert max(stamps) < (HISTORY_END + timedelta(days=1)).isoformat()


def test_an_edit_can_do_what_the_api_cannot(salesforce):
    first, second = [row["id"] for row in salesforce.dump("Contact")][:2]
    shown = salesforce.edit(
        "contacts",
        first,
        {"properties": {"LastName": "N\0L", "Email": "broken"}, "modified": "2026-05-06T07:08:09.500Z"},
    )
    assert (shown["properties"]["LastName"], shown["properties"]["Email"]) == ("N\0L", "broken")
    assert shown["modified"] == "2026-05-06T07:08:09.000Z"  # seconds are the finest that Salesforce keeps
    (row,) = salesforce.engine.run(
        "SELECT Id FROM Contact WHERE SystemModstamp = 2026-05-06T07:08:09Z"
    ).records
    assert row.id == first
    merged = salesforce.edit("Contact", first, {"merge": second})
    assert merged["merged_ids"] == [second]
    loser = next(row for row in salesforce.dump("Contact") if row["id"] == second)
    assert (loser["archived"], loser["merged_into"], loser["properties"]["MasterRecordId"]) == (
        True,
        first,
        first,
    )
    assert salesforce.edit("Contact", second, {"erased": True}) == {"id": second, "erased": True}
    assert second not in [row["id"] for row in salesforce.dump("Contact")]
    for kind, key, body, problem in (
        ("Contact", second, {}, KeyError),
        ("Nope", first, {}, KeyError),
        ("Contact", first, {"properties": {"Nope": 1}}, ValueError),
        ("Contact", first, {"properties": {"Nudge_Opens__c": "x"}}, ValueError),
        ("Contact", first, {"merge": first}, ValueError),
    ):
        with pytest.raises(problem):
            salesforce.edit(kind, key, body)


def test_a_late_commit_appears_below_what_was_read(sandbox, http):
    text = "SELECT Id FROM Contact WHERE SystemModstamp >= LAST_N_DAYS:1 ORDER BY SystemModstamp, Id"
    sandbox.salesforce.lag_seconds = 600
    made = sandbox.salesforce.create("Contact", {"LastName": "Late"})
    assert http.soql(text).json()["records"] == []
    sandbox.clock.offset_seconds = 700
    assert [row["Id"] for row in http.soql(text).json()["records"]] == [made["id"]]


def test_schema_changes_of_the_control_api(salesforce):
    salesforce.change_schema("contacts", {"add": {"name": "Extra__c", "type": "double"}})
    salesforce.change_schema("contacts", {"rename": ["Plan__c", "Tier__c"]})
    fields = salesforce.change_schema("contacts", {"remove": "Language__c"})["fields"]
    assert {"Extra__c", "Tier__c"} <= set(fields)
    assert not {"Plan__c", "Language__c"} & set(fields)
    assert next(salesforce.dump("contacts"))["properties"]["Tier__c"]
    for body, problem in (
        ({"remove": "Nope__c"}, KeyError),
        ({"add": {"name": "Extra__c"}}, ValueError),
        ({"add": {"name": "New__c", "type": "magic"}}, ValueError),
        ({"add": {"name": "New__c", "colour": "red"}}, ValueError),
        ({"add": {"name": "bad name"}}, ValueError),
        ({}, ValueError),
    ):
        with pytest.raises(problem):
            salesforce.change_schema("contacts", body)


def test_the_live_writer_repeats_itself_for_equal_seeds():
    first, second = (Salesforce(Clock(), 80, 2) for _ in range(2))
    for org in (first, second):  # an index that exists is kept up to date
        assert org.object("Contact").table.find("Plan__c", "free")
    done = [
        [org.random_write(rng) for _ in range(400)]
        for org, rng in ((first, random.Random(9)), (second, random.Random(9)))
    ]
    assert done[0] == done[1]
    assert {line.split()[0] for line in done[0]} == {"create", "update", "delete", "restore", "merge"}
    table = first.object("Contact").table
    assert table.by_id == sorted(table.records)
    assert table.by_stamp == sorted((record.modstamp, key) for key, record in table.records.items())
    live = [record for record in table.records.values() if not record.deleted]
    for name in ("Plan__c", "AccountId"):
        for value in {record.values.get(name) for record in table.records.values()} - {None}:
            assert table.find(name, value) == [record for record in live if record.values.get(name) == value]


def test_an_outbound_message_names_what_changed(salesforce):
    keys = [row["id"] for row in salesforce.dump("leads")][:2]
    salesforce.edit("leads", keys[0], {"properties": {"LastName": "<Łoś> & \0co"}})
    root = ElementTree.fromstring(salesforce.outbound("leads", keys, "http://127.0.0.1:1"))
    space = {"o": "http://soap.sforce.com/2005/09/outbound", "sf": "urn:sobject.enterprise.soap.sforce.com"}
    notes = root.findall(".//o:Notification", space)
    assert [note.find(".//sf:Id", space).text for note in notes] == keys
    assert notes[0].find(".//sf:LastName", space).text == "<Łoś> & co"
    assert len({note.find("o:Id", space).text for note in notes}) == 2
    assert root.find(".//o:OrganizationId", space).text.startswith("00D")
    with pytest.raises(KeyError):
        salesforce.outbound("leads", ["00Q000000000000AAA"], "http://127.0.0.1:1")
    with pytest.raises(ValueError):
        salesforce.outbound("leads", keys * 51, "http://127.0.0.1:1")
    assert acknowledged(b"<notificationsResponse xmlns='x'><Ack>true</Ack></notificationsResponse>")
    assert acknowledged(b"<n:Ack> true </n:Ack>")
    assert not acknowledged(b"<Ack>false</Ack>")
