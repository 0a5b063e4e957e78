"""Zoho in the sandbox: lists, records, writes, deletions and metadata over plain HTTP."""

import uuid

import pytest
import urllib3

from crm.sandbox.inprocess import running_sandbox
from tests.crm.sandbox import specs
from tests.crm.sandbox.zoho import Zoho


@pytest.fixture(scope="module")
def shared():
    """One sandbox for the tests that only read, or clean up after themselves."""
    with running_sandbox(contacts=450, vendors=["zoho"]) as running:
        yield running


@pytest.fixture
def zoho(shared):
    return Zoho(shared, token=f"1000.{uuid.uuid4()}")


@pytest.fixture
def contacts(shared):
    return shared.zoho.modules["Contacts"]


def walk(zoho, path):
    """All rows of a list, by its page tokens."""
    rows, token = [], ""
    while True:
        page = zoho.get(f"{path}{token}").json()
        rows += page["data"]
        if not page["info"]["more_records"]:
            return rows
        token = f"&page_token={page['info']['next_page_token']}"


class TestLists:
    def test_tokens_lead_through_all_records(self, zoho, contacts):
        rows = walk(zoho, "Contacts?fields=Last_Name&sort_by=id&sort_order=asc&per_page=200")
        assert [row["id"] for row in rows] == [row.id for row in contacts.live()]
        assert all(len(row["id"]) == 18 and set(row) == {"id", "Last_Name"} for row in rows)

    def test_times_are_local_to_the_second_and_sorted(self, zoho, contacts):
        rows = walk(zoho, "Contacts?fields=Modified_Time&sort_by=Modified_Time&sort_order=asc")
        times = [row["Modified_Time"] for row in rows]
        assert times == sorted(times)
        assert all(len(time) == 25 and time.endswith("+02:00") for time in times)

    def test_only_what_is_newer_comes(self, zoho, contacts):
        third = contacts.by_time()[-3]
        header = {"If-Modified-Since": zoho.iso(third.second)}
        rows = zoho.get("Contacts?fields=Last_Name", headers=header).json()["data"]
        assert {row["id"] for row in rows} == {row.id for row in contacts.by_time()[-2:]}
        header = {"If-Modified-Since": zoho.iso(contacts.by_time()[-1].second)}
        answer = zoho.get("Contacts?fields=Last_Name", headers=header)
        assert (answer.status, answer.data) == (304, b"")

    def test_nothing_at_all_is_204(self, zoho):
        answer = zoho.get("Contacts?fields=Last_Name&page=4")
        assert (answer.status, answer.data) == (204, b"")

    @pytest.mark.parametrize(
        ("query", "code"),
        [
            ("", "REQUIRED_PARAM_MISSING"),
            ("fields=" + ",".join(f"F{number}" for number in range(51)), "LIMIT_EXCEEDED"),
            ("fields=Email&page=11", "DISCRETE_PAGINATION_LIMIT_EXCEEDED"),
            ("fields=Email&page=1&page_token=x", "AMBIGUITY_DURING_PROCESSING"),
            ("fields=Email&page_token=x", "INVALID_DATA"),
            ("fields=Email&per_page=201", "INVALID_DATA"),
            ("fields=Email&sort_by=Email", "INVALID_DATA"),
        ],
    )
    def test_what_zoho_refuses_is_refused(self, zoho, query, code):
        answer = zoho.get(f"Contacts?{query}")
        assert (answer.status, answer.json()["code"]) == (400, code)

    def test_page_tokens_run_out_and_belong_to_their_list(self, zoho, shared):
        first = zoho.get("Contacts?fields=Email&per_page=100").json()
        token = first["info"]["next_page_token"]
        other = zoho.get(f"Leads?fields=Email&per_page=100&page_token={token}")
        assert other.json()["code"] == "TOKEN_BOUND_DATA_MISMATCH"
        shared.zoho.records.expire_page_tokens()
        expired = zoho.get(f"Contacts?fields=Email&per_page=100&page_token={token}")
        assert expired.json()["code"] == "EXPIRED_VALUE"

    def test_records_come_by_their_ids(self, zoho, contacts):
        ids = [row.id for row in contacts.live()][:3]
        rows = zoho.get(f"Contacts?fields=Email&ids={','.join([*ids, '999'])}").json()["data"]
        assert {row["id"] for row in rows} == set(ids)

    def test_lag_and_lost_rights_hide_records_from_lists(self, zoho, shared, contacts):
        first, second = [row.id for row in contacts.live()][:2]
        contacts.update(contacts.rows[first], {"Title": "Baker"})
        shared.zoho.lag_seconds, shared.zoho.hidden = 60, {second}
        try:
            shown = {row["id"] for row in walk(zoho, "Contacts?fields=Email")}
            assert zoho.get(f"Contacts/{first}").json()["data"][0]["Title"] == "Baker"
            assert zoho.get(f"Contacts/{second}").status == 204
        finally:
            shared.zoho.lag_seconds, shared.zoho.hidden = 0, set()
        assert {row.id for row in contacts.live()} - shown == {first, second}

    def test_counts_and_searches(self, zoho, contacts):
        someone = next(row for row in contacts.live() if row.values.get("Email"))
        email = someone.values["Email"]
        assert zoho.get("Contacts/actions/count").json() == {"count": len(list(contacts.live()))}
        for query in (f"email={email}", f"criteria=(Email:equals:{email})"):
            found = zoho.get(f"Contacts/search?fields=Email&{query}").json()["data"]
            assert [row["id"] for row in found] == [someone.id]
        assert zoho.get("Contacts/search?email=nobody@example.com").status == 204


class TestWrites:
    def test_a_record_lives_and_dies(self, zoho):
        made = zoho.post("Contacts", {"data": [{"Last_Name": "Ost", "Email": "ost@example.com"}]})
        row = made.json()["data"][0]
        key = row["details"]["id"]
        assert (made.status, row["message"]) == (201, "record added")
        assert zoho.put(f"Contacts/{key}", {"data": [{"Nudge_Opens": 3}]}).status == 200
        shown = zoho.get(f"Contacts/{key}").json()["data"][0]
        assert (shown["Full_Name"], shown["Nudge_Opens"], shown["Email_Opt_Out"]) == ("Ost", 3, False)
        assert zoho.delete(f"Contacts/{key}").json()["data"][0]["message"] == "record deleted"
        gone = zoho.get("Contacts/deleted?type=recycle").json()["data"][0]
        assert (gone["id"], gone["display_name"], gone["type"]) == (key, "Ost", "recycle")
        assert zoho.get(f"Contacts/{key}").status == 204

    def test_rows_fail_one_by_one(self, zoho, contacts):
        good = next(contacts.live()).id
        rows = [
            {"id": good, "Nudge_Clicks": 5},
            {"id": good, "Nudge_Clicks": "five"},
            {"id": "1", "Nudge_Clicks": 5},
            {"id": good, "Last_Name": ""},
            {"id": good, "Email": "nonsense"},
        ]
        answer = zoho.put("Contacts", {"data": rows, "trigger": []})
        assert answer.status == 207
        found = [(row["code"], row["details"].get("json_path")) for row in answer.json()["data"]]
        assert found == [
            ("SUCCESS", None),
            ("INVALID_DATA", "$.data[1].Nudge_Clicks"),
            ("INVALID_DATA", "$.data[2].id"),
            ("MANDATORY_NOT_FOUND", "$.data[3].Last_Name"),
            ("INVALID_DATA", "$.data[4].Email"),
        ]
        assert zoho.put("Contacts", {"data": rows[1:2]}).status == 400
        assert zoho.put("Contacts", {"data": [rows[0]] * 101}).json()["code"] == "INVALID_DATA"

    def test_upserting_finds_the_duplicate(self, zoho, contacts):
        someone = next(row for row in contacts.live() if row.values.get("Email"))
        rows = [
            {"Last_Name": "Same", "Email": someone.values["Email"].upper()},
            {"Last_Name": "Fresh", "Email": "fresh@example.com"},
        ]
        answer = zoho.post("Contacts/upsert", {"data": rows, "duplicate_check_fields": ["Email"]})
        found = [(row["action"], row["duplicate_field"]) for row in answer.json()["data"]]
        assert found == [("update", "Email"), ("insert", None)]
        assert someone.values["Last_Name"] == "Same"

    def test_a_merged_away_record_counts_as_deleted_for_good(self, zoho, shared, contacts):
        winner, loser = [row.id for row in contacts.live()][10:12]
        shared.zoho.edit("contacts", winner, {"merge": loser})
        gone = {row["id"]: row["type"] for row in zoho.get("Contacts/deleted?type=permanent").json()["data"]}
        assert gone[loser] == "permanent"
        assert zoho.get(f"Contacts?fields=Email&ids={loser}").status == 204
        shown = next(row for row in shared.zoho.dump("contacts") if row["id"] == winner)
        assert shown["merged_ids"] == [loser]

    def test_deals_lead_to_their_contacts(self, zoho, contacts):
        deal = zoho.get("Deals?fields=Contact_Name,Amount,Currency,Stage,Closing_Date").json()["data"][0]
        buyer = contacts.rows[deal["Contact_Name"]["id"]]
        assert deal["Contact_Name"]["name"] == contacts.schema.title(buyer.values)
        assert isinstance(deal["Amount"], float)


class TestAccess:
    def test_a_refreshed_token_opens_the_api_until_it_expires(self, shared):
        zoho = Zoho(shared, token=None)
        answer = zoho.refresh()
        assert answer["api_domain"] == shared.url
        zoho.token = answer["access_token"]
        assert zoho.get("org").status == 200
        assert shared.zoho.expire_tokens() >= 1
        refused = zoho.get("org")
        assert (refused.status, refused.json()["code"]) == (401, "INVALID_TOKEN")
        zoho.token = zoho.refresh()["access_token"]
        shared.clock.offset_seconds = 3601
        try:
            assert zoho.get("org").status == 401
        finally:
            shared.clock.offset_seconds = 0

    def test_refused_refreshes_come_with_status_200(self, shared):
        zoho = Zoho(shared)
        assert zoho.refresh(client_secret="") == {"error": "invalid_client"}
        shared.zoho.accepts = {"secret", "grant"}
        try:
            assert zoho.refresh(client_secret="secret") == {"error": "invalid_code"}
            token = zoho.refresh(client_secret="secret", refresh_token="grant")["access_token"]
            assert Zoho(shared, token=token).get("org").status == 200
            assert Zoho(shared, token="made-up").get("org").status == 401
        finally:
            shared.zoho.accepts = None

    def test_too_many_refreshes_are_denied(self, shared):
        shared.zoho.access.refresh_limit = 0
        try:
            assert Zoho(shared).refresh()["error"] == "Access Denied"
        finally:
            shared.zoho.access.refresh_limit = None

    def test_bearer_is_not_zohos_word(self, zoho):
        answer = zoho.get("org", headers={"Authorization": "Bearer x"})
        assert (answer.status, answer.json()["code"]) == (401, "AUTHENTICATION_FAILURE")

    def test_credits_run_out_and_are_told_from_half_on(self, shared):
        with running_sandbox(contacts=1, vendors=["zoho"]) as running:
            running.zoho.access.credits = 4
            answers = [Zoho(running).get("org") for _ in range(5)]
        assert [one.status for one in answers] == [200, 200, 200, 200, 429]
        assert [one.headers.get("X-API-CREDITS-REMAINING") for one in answers] == [None, "2", "1", "0", None]
        assert answers[-1].json()["code"] == "TOO_MANY_REQUESTS"
        assert "Retry-After" not in answers[-1].headers

    def test_too_many_calls_at_one_time_are_refused(self, zoho, shared):
        shared.zoho.access.concurrency = 0
        try:
            assert zoho.get("org").json()["code"] == "TOO_MANY_REQUESTS"
        finally:
            shared.zoho.access.concurrency = 25


class TestMetadata:
    def test_modules_fields_users_and_the_organisation(self, zoho):
        modules = zoho.get("settings/modules").json()["modules"]
        assert [module["api_name"] for module in modules] == ["Contacts", "Leads", "Deals", "Products"]
        assert zoho.get("settings/modules/Deals").json()["modules"] == [modules[2]]
        fields = {
            one["api_name"]: one for one in zoho.get("settings/fields?module=Contacts").json()["fields"]
        }
        assert fields["Email_Opt_Out"]["data_type"] == "boolean"
        assert fields["Nudge_Score"]["custom_field"] is True
        assert [one["actual_value"] for one in fields["Plan"]["pick_list_values"]] == ["free", "plus", "vip"]
        one = zoho.get(f"settings/fields/{fields['Plan']['id']}?module=Contacts").json()["fields"]
        assert one == [fields["Plan"]]
        assert zoho.get("users?type=CurrentUser").json()["users"][0]["email"]
        assert zoho.get("org").json()["org"][0]["iso_code"] == "EUR"
        assert zoho.get("settings/fields?module=Wishes").json()["code"] == "INVALID_MODULE"

    def test_fields_come_go_and_change_their_names(self, zoho, shared, contacts):
        someone = next(row for row in contacts.live() if row.values.get("Title"))
        title = someone.values["Title"]
        shared.zoho.change_schema("contacts", {"add": {"name": "Shoe_Size", "type": "integer"}})
        shared.zoho.change_schema("contacts", {"rename": ["Title", "Job"]})
        names = {one["api_name"] for one in zoho.get("settings/fields?module=Contacts").json()["fields"]}
        assert {"Shoe_Size", "Job"} <= names
        assert "Title" not in names
        row = zoho.get(f"Contacts?fields=Title,Job&ids={someone.id}").json()["data"][0]
        assert row == {"id": someone.id, "Job": title}
        shared.zoho.change_schema("contacts", {"remove": "Shoe_Size"})
        shared.zoho.change_schema("contacts", {"rename": ["Job", "Title"]})


def test_recorded_requests_of_zohos_client_are_understood(shared):
    pool, replayed = urllib3.PoolManager(retries=False, timeout=30), 0
    for client in specs.load("zoho", "client-requests.json"):
        for request in client["requests"]:
            answer = pool.request(
                request["method"],
                shared.url + request["path"],
                body=request["body"] or None,
                headers=request["headers"],
            )
            assert answer.status not in (404, 405), request["path"]
            assert answer.status < 500, request["path"]
            replayed += 1
    assert replayed >= 7


def test_every_recorded_operation_of_reading_and_writing_has_a_route(shared):
    """Operations that a sync meets; layouts, photos, territories and the like are not part of the sandbox."""
    wanted = {"coql.", "notifications.", "bulk_read."}
    pool = urllib3.PoolManager(retries=False, timeout=30)
    operations = [one for one in specs.load("zoho", "operations.json") if "operation" in one]
    met = [one for one in operations if one["operation"].startswith(tuple(wanted))]
    for one in met:
        path = one["path"].replace("{job_id}", "1")
        answer = pool.request(one["method"], shared.url + path, body=b"{}" if one["body"] else None)
        assert answer.status == 401, one
    assert len(met) == 10
