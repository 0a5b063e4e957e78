"""The server itself: control API, faults, chunked bodies, start and stop."""

import json
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest
import urllib3
from hubspot import HubSpot
from urllib3 import Retry

from crm.sandbox import faults
from crm.sandbox.inprocess import running_sandbox

LIST = "/crm/v3/objects/contacts"
ROOT = Path(__file__).resolve().parents[3]


@pytest.fixture
def script(http):
    """Set a fault script."""

    def set_rules(*rules):
        answer = http("POST", "/_control/faults", list(rules))
        assert answer.status == 200, answer.data

    return set_rules


class TestControl:
    def test_the_store_dump_has_every_record_archived_ones_too(self, http, sandbox):
        http("DELETE", f"{LIST}/1")
        rows = [
            json.loads(line) for line in http("GET", "/_control/store/hubspot/contacts").data.splitlines()
        ]
        assert [row["id"] for row in rows] == [str(key) for key in sandbox.hubspot.contacts.records]
        assert [row["id"] for row in rows if row["archived"]] == ["1"]
        assert http("GET", "/_control/store/hubspot/unheard-of").status == 404
        assert http("GET", "/_control/store/unheard-of/contacts").status == 404

    def test_the_journal_has_every_request_but_its_own(self, http):
        http("GET", f"{LIST}?limit=1")
        http("GET", f"{LIST}/999999")
        entries = http("GET", "/_control/journal").json()["requests"]
        assert [(entry["method"], entry["path"], entry["status"]) for entry in entries] == [
            ("GET", f"{LIST}?limit=1", 200),
            ("GET", f"{LIST}/999999", 404),
        ]
        http("DELETE", "/_control/journal")
        assert http("GET", "/_control/journal").json()["requests"] == []

    def test_an_edit_from_outside_may_hold_what_the_api_refuses(self, http):
        body = {"properties": {"email": "broken", "city": None}, "modified": "2026-01-01T00:00:00Z"}
        assert http("POST", "/_control/contacts/1", body).status == 200
        shown = http("GET", f"{LIST}/1?properties=email,city").json()
        assert shown["properties"]["email"] == "broken"
        assert shown["properties"]["city"] is None
        assert shown["updatedAt"] == "2026-01-01T00:00:00.000Z"

    def test_an_archived_contact_can_be_restored(self, http):
        http("POST", "/_control/contacts/1", {"archived": True})
        assert http("GET", f"{LIST}/1").status == 404
        http("POST", "/_control/contacts/1", {"archived": False})
        assert http("GET", f"{LIST}/1").status == 200

    def test_the_clock_moves_stamps_and_the_date_header(self, http):
        http("POST", "/_control/clock", {"offset_seconds": -86_400 * 365 * 20})
        answer = http("PATCH", f"{LIST}/1", {"properties": {"plan": "vip"}})
        assert answer.json()["updatedAt"] < "2015"
        assert int(answer.headers["Date"].split()[3]) < 2015

    @pytest.mark.parametrize("vendor", ["hubspot", "salesforce", "zoho"])
    def test_a_record_can_be_made_changed_merged_deleted_and_erased(self, http, vendor):
        store = f"/_control/store/{vendor}/contacts"

        def rows():
            return {row["id"]: row for row in map(json.loads, http("GET", store).data.splitlines())}

        before = rows()
        made = [http("POST", store, {"properties": {}}) for _ in range(2)]
        assert [answer.status for answer in made] == [201, 201]
        winner, loser = (answer.json()["id"] for answer in made)
        assert set(rows()) - set(before) == {winner, loser}
        stamp = "2026-01-01T00:00:00.000Z"
        assert http("POST", f"{store}/{winner}", {"modified": stamp}).json()["modified"] == stamp
        assert http("POST", f"{store}/{winner}", {"merge": loser}).json()["merged_ids"] == [loser]
        assert http("POST", f"{store}/{winner}", {"archived": True}).json()["archived"] is True
        assert rows()[winner]["archived_at"]
        assert http("POST", f"{store}/{winner}", {"archived": False}).json()["archived"] is False
        assert http("POST", f"{store}/{winner}", {"erased": True}).json() == {"id": winner, "erased": True}
        assert winner not in rows()
        assert http("POST", f"{store}/{winner}", {"archived": True}).status == 404
        assert http("POST", f"/_control/store/{vendor}/unheard-of", {"properties": {}}).status == 404

    def test_the_journal_names_the_vendor(self, http):
        for path in (LIST, "/services/data", "/crm/v8/Contacts", "/elsewhere"):
            http("GET", path)
        entries = http("GET", "/_control/journal").json()["requests"]
        assert [entry["vendor"] for entry in entries] == ["hubspot", "salesforce", "zoho", None]

    def test_a_field_can_come_go_and_be_renamed(self, http):
        def names():
            listed = http("GET", "/crm/v3/properties/contacts").json()["results"]
            return {item["name"] for item in listed}

        def change(**how):
            return http("POST", "/_control/schema", {"vendor": "hubspot", "object": "contacts", **how}).status

        assert change(add={"name": "shoe_size", "type": "number", "fieldType": "number"}) == 200
        assert "shoe_size" in names()
        assert change(rename=["shoe_size", "shoe_length"]) == 200
        assert names() >= {"shoe_length"}
        assert "shoe_size" not in names()
        assert change(remove="shoe_length") == 200
        assert "shoe_length" not in names()
        assert change(remove="shoe_length") == 404
        assert change() == 400

    def test_a_search_can_be_made_to_lag(self, http, sandbox):
        assert http("POST", "/_control/lag", {"vendor": "hubspot", "seconds": 60}).status == 200
        assert sandbox.hubspot.lag_seconds == 60
        assert http("POST", "/_control/lag", {"vendor": "hubspot", "seconds": -1}).status == 400

    @pytest.mark.parametrize(
        ("path", "body"),
        [
            ("settings", {"vendor": "hubspot", "colour": "red"}),
            ("settings", {"vendor": "hubspot", "limits": {"hourly": 1}}),
            ("credentials", {"vendor": "hubspot", "accept": "token"}),
            ("store/hubspot/contacts/1", {"properties": 5}),
            ("store/hubspot/contacts/1", {"merge": "1"}),
            ("faults", {"path": "x"}),
            ("faults", [{"path": "["}]),
            ("faults", [{"path": "x", "sometimes": True}]),
            ("faults", [{"path": "x", "nth": 0}]),
            ("faults", [{"path": "x", "status": "bad"}]),
            ("clock", {"offset_seconds": "late"}),
            ("clock", "no json"),
            ("contacts/1", {"modified": "soon"}),
        ],
    )
    def test_nonsense_is_refused_with_a_sentence(self, http, path, body):
        answer = http("POST", f"/_control/{path}", body)
        assert answer.status == 400
        assert answer.json()["error"]


class TestFaults:
    def test_the_nth_request_fails_and_the_others_do_not(self, http, script):
        script({"path": r"contacts\?", "method": "GET", "nth": [2, 3], "status": 503})
        assert [http("GET", f"{LIST}?limit=1").status for _ in range(4)] == [200, 503, 503, 200]
        http("DELETE", "/_control/faults")

    def test_every_nth_request_fails(self, http, script):
        body = {"status": "error", "message": "m", "category": "INTERNAL_ERROR", "correlationId": "c"}
        script(
            {
                "path": "contacts",
                "every": 2,
                "status": 500,
                "body": body,
                "headers": {"X-Why": "test"},
            }
        )
        answers = [http("GET", f"{LIST}/1", headers={}) for _ in range(4)]
        assert [answer.status for answer in answers] == [401, 500, 401, 500]
        assert answers[1].headers["X-Why"] == "test"
        assert answers[1].json() == body

    @pytest.mark.parametrize(
        ("path", "policy"), [(f"{LIST}/search", "SECONDLY"), (LIST, "TEN_SECONDLY_ROLLING")]
    )
    def test_a_bare_429_has_hubspots_body(self, http, script, path, policy):
        script({"path": "contacts", "status": 429, "headers": {"Retry-After": "1"}})
        answer = http("POST", path, {})
        assert answer.headers["Retry-After"] == "1"
        assert answer.json()["policyName"] == policy
        assert answer.json()["errorType"] == "RATE_LIMIT"
        assert answer.json()["category"] == "RATE_LIMITS"

    def test_the_client_gets_through_a_burst_of_refusals(self, sandbox, script):
        script({"path": "search", "nth": [1, 2], "status": 429}, {"path": "search", "nth": 3, "drop": True})
        retry = Retry(total=5, status_forcelist=(429,), allowed_methods=None, backoff_factor=0)
        client = HubSpot(access_token="x", host=sandbox.url, retry=retry)
        assert client.crm.contacts.search_api.do_search({"limit": 1}).total == 300
        assert [entry["status"] for entry in sandbox.control.journal] == [429, 429, None, 200]

    def test_a_dropped_request_changes_nothing(self, http, script, sandbox):
        script({"path": "contacts/1", "drop": True})
        with pytest.raises(urllib3.exceptions.ProtocolError):
            http("DELETE", f"{LIST}/1")
        assert not sandbox.hubspot.contacts.records[1].archived

    def test_a_truncated_reply_comes_after_the_work_is_done(self, http, script, sandbox):
        script({"path": "contacts/1", "truncate": 10})
        with pytest.raises(urllib3.exceptions.ProtocolError):
            http("PATCH", f"{LIST}/1", {"properties": {"plan": "vip"}})
        assert sandbox.hubspot.contacts.records[1].properties["plan"] == "vip"

    def test_a_delayed_reply_outlasts_the_clients_patience(self, sandbox, script):
        script({"path": "contacts", "delay_seconds": 30})
        with pytest.raises(urllib3.exceptions.ReadTimeoutError):
            urllib3.PoolManager(retries=False).request("GET", sandbox.url + LIST, timeout=0.2)

    def test_an_html_page_instead_of_json(self, sandbox, script):
        script({"path": "contacts", "status": 200, "body": "<html>maintenance</html>"})
        with socket.create_connection(sandbox.url.removeprefix("http://").split(":")) as plain:
            plain.sendall(f"GET {LIST} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n".encode())
            answer = b"".join(iter(lambda: plain.recv(65_536), b""))
        assert b"text/html" in answer
        assert answer.endswith(b"<html>maintenance</html>")


def test_a_chunked_body_without_length_is_read(sandbox, http):
    headers = {"Authorization": "Bearer x", "Content-Type": "application/json"}
    parts = [b'{"prop', b'erties": {"pl', b'an": "vip"}}']
    answer = http.pool.request("PATCH", f"{sandbox.url}{LIST}/1", body=parts, headers=headers, chunked=True)
    assert answer.status == 200
    form = [b"grant_type=refresh_token&client_id=c", b"&client_secret=s&refresh_token=r"]
    headers = {"Content-Type": "application/x-www-form-urlencoded"}
    answer = http.pool.request(
        "POST", f"{sandbox.url}/oauth/v1/token", body=form, headers=headers, chunked=True
    )
    assert answer.json()["refresh_token"] == "r"


def test_characters_survive_and_lone_surrogates_do_not(http):
    shown = http("PATCH", f"{LIST}/1", '{"properties": {"firstname": "Zoë \\u0000 🌸 \\ud83c"}}')
    assert shown.json()["properties"]["firstname"] == "Zoë \x00 🌸 ?"


@pytest.mark.parametrize(
    "body", ["", "{", "[]", "null", '{"properties": 1}', '{"inputs": {}}', '{"inputs": [1]}']
)
@pytest.mark.parametrize("path", [LIST, f"{LIST}/batch/create", f"{LIST}/batch/read", f"{LIST}/merge"])
def test_a_broken_body_is_refused_not_a_server_error(http, path, body):
    assert http("POST", path, body).status == 400


def test_unknown_paths_and_methods_are_answered_in_json(http):
    assert http("GET", "/crm/v3/spaceships").json()["category"] == "OBJECT_NOT_FOUND"
    assert http("GET", "/crm/v3/objects/spaceships").json()["category"] == "VALIDATION_ERROR"
    assert http("PUT", f"{LIST}/1").status == 405


def test_it_stops_at_once_even_with_a_request_in_hand():
    with running_sandbox(contacts=5) as sandbox:
        sandbox.control.faults = faults.parse([{"path": "contacts", "delay_seconds": 30}])
        with pytest.raises(urllib3.exceptions.ReadTimeoutError):
            urllib3.PoolManager(retries=False).request("GET", sandbox.url + LIST, timeout=0.1)
        waiting = socket.create_connection(("127.0.0.1", sandbox.port))
        waiting.sendall(f"GET {LIST} HTTP/1.1\r\nHost: x\r\n\r\n".encode())
        began = time.monotonic()
    assert time.monotonic() - began < 15
    with waiting, pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.1", sandbox.port))


class TestCommand:
    @pytest.fixture
    def port(self):
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            return probe.getsockname()[1]

    def start(self, port, *more):
        command = [sys.executable, "manage.py", "crm_sandbox", "--port", str(port), "--contacts", "20", *more]
        return subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)

    @pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
    def test_it_says_when_it_is_ready_and_stops_when_told(self, port, number):
        process = self.start(port)
        try:
            line = process.stdout.readline()
            assert line == f"CRM sandbox ready on http://127.0.0.1:{port} with 20 contacts\n"
            kept_open = urllib3.PoolManager().request("GET", f"http://127.0.0.1:{port}/_control/journal")
            assert kept_open.status == 200
            process.send_signal(number)
            assert process.wait(30) == 0
        finally:
            process.kill()
            process.communicate()

    def test_it_keeps_changing_records_if_told(self, port):
        process = self.start(port, "--writes-per-second", "200", "--vendors", "zoho")
        try:
            process.stdout.readline()
            url = f"http://127.0.0.1:{port}/_control/store/zoho/contacts"
            before, deadline = urllib3.request("GET", url).data, time.monotonic() + 10
            while urllib3.request("GET", url).data == before:
                assert time.monotonic() < deadline
                time.sleep(0.01)
            assert urllib3.request("GET", url.replace("zoho", "hubspot")).status == 404
        finally:
            process.kill()
            process.communicate()

    def test_a_taken_port_gives_one_sentence(self, port):
        with socket.socket() as taken:
            taken.bind(("127.0.0.1", port))
            taken.listen()
            process = self.start(port)
            out, err = process.communicate(timeout=30)
        assert process.returncode == 1
        assert out == ""
        assert (
            err == f"CommandError: Port {port} on 127.0.0.1 is already in use; choose another with --port.\n"
        )
