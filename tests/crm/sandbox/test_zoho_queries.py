"""Zoho in the sandbox: COQL, bulk read and notifications over plain HTTP."""

import csv
import io
import json
import random
import threading
import zipfile
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, HTTPServer

import pytest

from crm.sandbox.inprocess import running_sandbox
from crm.sandbox.store import Clock
from crm.sandbox.zoho import Zoho as Vendor
from tests.crm.sandbox.zoho import Zoho


@pytest.fixture(scope="module")
def shared():
    with running_sandbox(contacts=300, vendors=["zoho"]) as running:
        yield running


@pytest.fixture
def zoho(shared):
    return Zoho(shared)


@pytest.fixture
def contacts(shared):
    return shared.zoho.modules["Contacts"]


class TestCoql:
    def found(self, zoho, where, module="Contacts"):
        answer = zoho.coql(f"select id from {module} where {where} limit 2000")
        return {row["id"] for row in answer.json()["data"]} if answer.status == 200 else set()

    @pytest.mark.parametrize(
        ("where", "holds"),
        [
            ("Plan = 'vip'", lambda v: v.get("Plan") == "vip"),
            ("Plan != 'free'", lambda v: v.get("Plan") != "free"),
            ("Plan in ('plus', 'vip')", lambda v: v.get("Plan") in ("plus", "vip")),
            ("Plan not in ('plus', 'vip')", lambda v: v.get("Plan") not in ("plus", "vip")),
            ("Email like '%@example.org'", lambda v: v.get("Email", "").endswith("@example.org")),
            ("Email is null", lambda v: "Email" not in v),
            ("Email is not null", lambda v: "Email" in v),
            ("Newsletter_Opt_In = true", lambda v: v["Newsletter_Opt_In"]),
            ("Loyalty_Points between 1 and 500", lambda v: 1 <= v.get("Loyalty_Points", 0) <= 500),
            (
                "((Plan = 'free' and Email is null) or Loyalty_Points > 900)",
                lambda v: (v.get("Plan") == "free" and "Email" not in v) or v.get("Loyalty_Points", 0) > 900,
            ),
        ],
    )
    def test_conditions(self, zoho, contacts, where, holds):
        expected = {row.id for row in contacts.live() if holds(row.values)}
        assert 0 < len(expected) < 300
        assert self.found(zoho, where) == expected

    def test_times_compare_as_instants(self, zoho, contacts):
        middle = contacts.by_time()[150].second
        later = datetime.fromtimestamp(middle, UTC).astimezone().isoformat()
        local = (datetime.fromtimestamp(middle, UTC) + timedelta(hours=5)).strftime("%Y-%m-%dT%H:%M:%S+05:00")
        expected = {row.id for row in contacts.live() if row.second >= middle}
        assert self.found(zoho, f"Modified_Time >= '{later}'") == expected
        assert self.found(zoho, f"Modified_Time >= '{local}'") == expected

    def test_a_keyset_over_time_and_id_meets_every_record_once(self, zoho, contacts):
        seen, second, last = [], "1970-01-01T00:00:00+00:00", 0
        while True:
            answer = zoho.coql(
                f"select id, Modified_Time from Contacts where ((Modified_Time = '{second}' and id > {last})"
                f" or Modified_Time > '{second}') order by Modified_Time asc, id asc limit 70"
            )
            if answer.status == 204:
                break
            rows = answer.json()["data"]
            seen += [row["id"] for row in rows]
            second, last = rows[-1]["Modified_Time"], rows[-1]["id"]
        assert sorted(seen) == [row.id for row in contacts.live()]

    def test_pages_counts_and_lookups(self, zoho, contacts):
        page = zoho.coql("select Last_Name from Contacts where id > 0 order by id desc limit 290, 20").json()
        ids = [row.id for row in contacts.live()]
        assert [row["id"] for row in page["data"]] == ids[9::-1]
        assert page["info"] == {"count": 10, "more_records": False}
        assert zoho.coql("select COUNT(id) from Contacts where id > 0").json()["data"] == [{"COUNT(id)": 300}]
        deal = zoho.coql("select Contact_Name from Deals where Contact_Name is not null limit 1").json()[
            "data"
        ][0]
        assert set(deal["Contact_Name"]) == {"id"}

    @pytest.mark.parametrize(
        ("query", "code"),
        [
            ("select id from Contacts", "SYNTAX_ERROR"),
            ("select id from Contacts where id > 0 and id < 9 and id != 3", "SYNTAX_ERROR"),
            ("select id from Contacts where (id > 0", "SYNTAX_ERROR"),
            ("select id from Contacts where id > 0 limit 0, 2001", "LIMIT_EXCEEDED"),
            ("select id from Contacts where id > 0 limit 99000, 2000", "LIMIT_EXCEEDED"),
            ("select Nothing from Contacts where id > 0", "INVALID_QUERY"),
            ("select id from Wishes where id > 0", "INVALID_QUERY"),
            ("select id from Contacts where Modified_Time > '2026-01-01T00:00:00.000Z'", "INVALID_QUERY"),
            ("select id from Contacts where Email > 'a'", "INVALID_QUERY"),
            ("delete from Contacts where id > 0", "SYNTAX_ERROR"),
            ("select id from Contacts where Email = 'a' ; drop", "SYNTAX_ERROR"),
        ],
    )
    def test_what_zoho_refuses_is_refused(self, zoho, query, code):
        answer = zoho.coql(query)
        assert (answer.status, answer.json()["code"]) == (400, code)


class TestBulkRead:
    def job(self, zoho, query):
        answer = zoho.post("/crm/bulk/v8/read", {"query": query})
        assert answer.status == 201
        return answer.json()["data"][0]["details"]["id"]

    def finished(self, zoho, job):
        states = []
        while not states or states[-1]["state"] != "COMPLETED":
            states.append(zoho.get(f"/crm/bulk/v8/read/{job}").json()["data"][0])
        return [one["state"] for one in states], states[-1]["result"]

    def rows(self, zoho, job):
        packed = zoho.get(f"/crm/bulk/v8/read/{job}/result")
        with zipfile.ZipFile(io.BytesIO(packed.data)) as archive:
            text = archive.read(f"{job}.csv").decode()
        return list(csv.DictReader(io.StringIO(text)))

    def test_a_job_is_polled_and_its_file_holds_the_records(self, zoho, contacts):
        job = self.job(zoho, {"module": {"api_name": "Contacts"}, "fields": ["Email", "Modified_Time"]})
        assert zoho.get(f"/crm/bulk/v8/read/{job}/result").status == 400
        states, result = self.finished(zoho, job)
        assert states == ["ADDED", "IN PROGRESS", "COMPLETED"]
        assert (result["count"], result["more_records"], result["next_page_token"]) == (300, False, None)
        rows = self.rows(zoho, job)
        assert {row["Id"]: row["Email"] for row in rows} == {
            row.id: row.values.get("Email", "") for row in contacts.live()
        }
        assert rows[0]["Modified_Time"].endswith("+02:00")

    def test_criteria_pages_and_purged_jobs(self, zoho, shared, contacts):
        criteria = {"field": {"api_name": "Plan"}, "comparator": "not_equal", "value": "free"}
        expected = {row.id for row in contacts.live() if row.values["Plan"] != "free"}
        shared.zoho.bulk.page_rows = len(expected) - 1
        query = {"module": {"api_name": "Contacts"}, "fields": ["Plan"], "criteria": criteria}
        first = self.job(zoho, query)
        _, result = self.finished(zoho, first)
        assert result["more_records"] is True
        second = self.job(zoho, {"page_token": result["next_page_token"]})
        _, last = self.finished(zoho, second)
        shared.zoho.bulk.page_rows = 200_000
        assert last["more_records"] is False
        assert {row["Id"] for job in (first, second) for row in self.rows(zoho, job)} == expected
        shared.zoho.bulk.purge()
        assert zoho.get(f"/crm/bulk/v8/read/{first}").json()["code"] == "RESOURCE_NOT_FOUND"


@pytest.fixture
def listener():
    """A subscriber's server; `calls` are the bodies it was sent."""

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self):
            self.server.calls.append(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
            self.server.told.set()
            self.send_response(200)
            self.end_headers()

        def log_message(self, *args):
            pass

    server = HTTPServer(("127.0.0.1", 0), Handler)
    server.calls, server.told = [], threading.Event()
    server.url = f"http://127.0.0.1:{server.server_port}/told"
    threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True).start()
    yield server
    server.shutdown()
    server.server_close()


class TestNotifications:
    def subscribe(self, zoho, listener, **changed):
        entry = {
            "channel_id": "1000000068001",
            "events": ["Contacts.all"],
            "notify_url": listener.url,
            "token": "t0ken",
            **changed,
        }
        return zoho.post("actions/watch", {"watch": [entry]})

    def test_changes_are_posted_to_the_subscriber(self, zoho, contacts, listener):
        assert self.subscribe(zoho, listener).status == 201
        row = next(contacts.live())
        zoho.put("Contacts", {"data": [{"id": row.id, "Title": "Chef"}]})
        assert listener.told.wait(30)
        call = listener.calls[0]
        assert (call["module"], call["operation"], call["ids"]) == ("Contacts", "update", [row.id])
        assert (call["channel_id"], call["token"]) == ("1000000068001", "t0ken")
        assert call["affected_fields"] == [{row.id: ["Title"]}]
        assert isinstance(call["server_time"], int)
        assert zoho.delete("actions/watch?channel_ids=1000000068001").status == 200
        assert zoho.get("actions/watch").status == 204

    def test_a_subscription_lasts_an_hour_or_up_to_a_week(self, zoho, shared, listener):
        def expiry(answer):
            text = answer.json()["watch"][0]["details"]["events"][0]["channel_expiry"]
            return (datetime.fromisoformat(text).timestamp() - shared.clock.now() / 1000) / 3600

        def asked(hours):
            moment = datetime.fromtimestamp(shared.clock.now() // 1000, UTC) + timedelta(hours=hours)
            return moment.isoformat()

        assert expiry(self.subscribe(zoho, listener)) == pytest.approx(1, abs=0.01)
        days = self.subscribe(zoho, listener, channel_expiry=asked(160))
        assert expiry(days) == pytest.approx(160, abs=0.01)
        assert expiry(self.subscribe(zoho, listener, channel_expiry=asked(170))) == pytest.approx(1, abs=0.01)
        entry = {"channel_id": "1000000068001", "channel_expiry": asked(100)}
        assert expiry(zoho.patch("actions/watch", {"watch": [entry]})) == pytest.approx(100, abs=0.01)
        shown = zoho.get("actions/watch?module=Contacts").json()["watch"]
        assert [(one["channel_id"], one["events"]) for one in shown] == [("1000000068001", ["Contacts.all"])]
        shared.clock.offset_seconds = 101 * 3600
        assert zoho.get("actions/watch").status == 204
        shared.clock.offset_seconds = 0

    @pytest.mark.parametrize(
        ("changed", "code"),
        [
            ({"notify_url": ""}, "MANDATORY_NOT_FOUND"),
            ({"channel_id": "abc"}, "INVALID_DATA"),
            ({"token": "x" * 51}, "INVALID_DATA"),
            ({"events": ["Wishes.all"]}, "INVALID_DATA"),
            ({"channel_expiry": "tomorrow"}, "INVALID_DATA"),
        ],
    )
    def test_bad_subscriptions_are_refused(self, zoho, listener, changed, code):
        answer = self.subscribe(zoho, listener, **changed)
        assert (answer.status, answer.json()["code"]) == (400, code)

    def test_unknown_channels_are_refused(self, zoho):
        answer = zoho.patch("actions/watch", {"watch": [{"channel_id": "7"}]})
        assert answer.json()["code"] == "NOT_SUBSCRIBED"


class TestStore:
    def test_the_live_writer_repeats_itself_for_the_same_seed(self):
        told = []
        for _ in range(2):
            vendor, rng = Vendor(Clock(), 200, 1), random.Random(5)
            told.append([vendor.random_write(rng) for _ in range(300)])
        assert told[0] == told[1]
        assert {line.split()[0] for line in told[0]} == {
            "changed",
            "created",
            "deleted",
            "restored",
            "merged",
        }

    def test_records_are_edited_from_outside(self):
        vendor = Vendor(Clock(), 10, 1)
        made = vendor.create("contacts", {"Last_Name": "Late", "Email": "not checked"})
        late = vendor.edit("contacts", made["id"], {"modified": "2026-01-01T00:00:00Z"})
        assert late["modified"] == "2026-01-01T00:00:00.000Z"
        assert vendor.edit("contacts", made["id"], {"archived": True})["archived"] is True
        assert vendor.edit("contacts", made["id"], {"erased": True}) == {"id": made["id"], "erased": True}
        assert made["id"] not in {row["id"] for row in vendor.dump("Contacts")}
        assert vendor.dump("wishes") is None
        for wrong in (("wishes", "1"), ("contacts", "1")):
            with pytest.raises(KeyError):
                vendor.edit(*wrong, {})
        with pytest.raises(ValueError):
            vendor.edit("contacts", next(vendor.dump("contacts"))["id"], {"properties": []})
