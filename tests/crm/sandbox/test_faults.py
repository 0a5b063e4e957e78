"""Faults beyond plain statuses: what the client sees of bodies cut, slow, broken, repeated or replaced."""

import base64
import gzip
import http.client
import time

import pytest

LIST = "/crm/v3/objects/contacts"
IDS = f"{LIST}?limit=5&properties=email"


@pytest.fixture
def script(http):
    """Set a fault script."""

    def set_rules(*rules):
        answer = http("POST", "/_control/faults", list(rules))
        assert answer.status == 200, answer.data

    return set_rules


@pytest.fixture
def wire(sandbox):
    """The answer to a GET as it comes over the wire, its body not yet read."""
    connections = []

    def get(path=IDS, patience=30):  # with the body, in seconds
        connections.append(http.client.HTTPConnection("127.0.0.1", sandbox.port, timeout=30))
        connections[-1].request("GET", path, headers={"Authorization": "Bearer x"})
        socket = connections[-1].sock
        answer = connections[-1].getresponse()
        socket.settimeout(patience)
        return answer

    yield get
    for connection in connections:
        connection.close()


class TestCutBodies:
    @pytest.mark.parametrize("framing", ["length", "chunked"])
    def test_a_framed_body_that_ends_early_is_an_error_of_the_connection(self, wire, script, framing):
        script({"path": "contacts", "truncate": 30, "framing": framing})
        answer = wire()
        assert ("Content-Length" in answer.headers) is (framing == "length")
        with pytest.raises(http.client.IncompleteRead):
            answer.read()

    def test_an_unframed_body_just_ends(self, wire, script):
        whole = wire().read()
        script({"path": "contacts", "truncate": 30, "framing": "none"})
        answer = wire()
        assert answer.status == 200
        assert answer.read() == whole[:30]

    def test_half_of_a_compressed_body_cannot_be_unpacked(self, wire, script):
        script({"path": "contacts", "broken_gzip": True})
        answer = wire()
        assert answer.headers["Content-Encoding"] == "gzip"
        with pytest.raises(EOFError):
            gzip.decompress(answer.read())


class TestSlowBodies:
    def test_a_stalled_body_outlasts_the_readers_patience(self, wire, script):
        script({"path": "contacts", "stall_seconds": 60})
        answer = wire(patience=0.2)
        assert answer.status == 200
        with pytest.raises(TimeoutError):
            answer.read()

    def test_a_dripping_body_arrives_whole_but_late(self, wire, script):
        whole = wire().read()
        script({"path": "contacts", "drip_bytes_per_second": len(whole) * 4})
        began = time.monotonic()
        assert wire().read() == whole
        assert 0.15 < time.monotonic() - began < 20


class TestOtherBodies:
    def test_bytes_that_are_no_text(self, wire, script):
        body = b'{"results": ["\xff\xfe"]}'
        script({"path": "contacts", "body_base64": base64.b64encode(body).decode()})
        answer = wire()
        assert (answer.status, answer.headers["Content-Type"]) == (200, "application/json")
        assert answer.read() == body

    def test_text_of_another_type(self, wire, script):
        script({"path": "contacts", "body": "Id,Name\n", "content_type": "text/csv"})
        answer = wire()
        assert answer.headers["Content-Type"].startswith("text/csv")
        assert answer.read() == b"Id,Name\n"

    def test_headers_are_added_and_taken_away(self, wire, script):
        script(
            {
                "path": "contacts",
                "headers": {"Date": "Thu, 01 Jan 2015 00:00:00 GMT"},
                "remove_headers": ["X-HubSpot-RateLimit-Max"],
            }
        )
        answer = wire()
        assert answer.headers["Date"].endswith("2015 00:00:00 GMT")
        assert "X-HubSpot-RateLimit-Max" not in answer.headers
        assert "X-HubSpot-RateLimit-Remaining" in answer.headers

    @pytest.mark.parametrize("policy", ["SECONDLY", "TEN_SECONDLY_ROLLING", "DAILY"])
    def test_each_of_hubspots_limits(self, http, script, policy):
        script({"path": "contacts", "policy": policy})
        answer = http("GET", IDS)
        assert (answer.status, answer.json()["policyName"]) == (429, policy)
        assert answer.json()["message"] == f"You have reached your {policy.lower()} limit."
        assert "Retry-After" not in answer.headers

    def test_the_page_before_comes_again(self, http, script):
        script({"path": "contacts", "nth": 2, "repeat": True})
        first = http("GET", IDS).json()
        after = first["paging"]["next"]["after"]
        assert http("GET", f"{IDS}&after={after}").json() == first
        third = http("GET", f"{IDS}&after={after}").json()
        assert third["results"][0]["id"] != first["results"][0]["id"]


class TestWhichRequests:
    def statuses(self, http, count):
        return [http("GET", f"{LIST}/1").status for _ in range(count)]

    def test_a_share_is_random_but_the_same_for_a_seed(self, http, script):
        rule = {"path": "contacts", "share": 0.3, "seed": 7, "status": 503}
        script(rule)
        first = self.statuses(http, 60)
        script(rule)
        assert self.statuses(http, 60) == first
        assert 5 < first.count(503) < 35
        script({**rule, "seed": 8})
        assert self.statuses(http, 60) != first

    def test_from_the_nth_on(self, http, script):
        script({"path": "contacts", "from_nth": 3, "status": 503})
        assert self.statuses(http, 4) == [200, 200, 503, 503]

    def test_a_rule_ends_with_its_time(self, http, script):
        script({"path": "contacts", "for_seconds": 0.3, "status": 503})
        assert self.statuses(http, 1) == [503]
        deadline = time.monotonic() + 5
        while self.statuses(http, 1) == [503]:
            assert time.monotonic() < deadline
        assert self.statuses(http, 1) == [200]

    @pytest.mark.parametrize(
        "rule",
        [
            {"share": 2},
            {"framing": "none at all"},
            {"policy": "HOURLY"},
            {"body_base64": "?"},
            {"repeat": "yes"},
            {"remove_headers": "Date"},
            {"drip_bytes_per_second": 0},
            {"stall_seconds": -1},
            {"for_seconds": True},
            {"method": 5},
        ],
    )
    def test_nonsense_is_refused(self, http, rule):
        answer = http("POST", "/_control/faults", [{"path": "x", **rule}])
        assert answer.status == 400
        assert next(iter(rule)) in answer.json()["error"]


@pytest.mark.parametrize(
    ("path", "shape"),
    [
        (LIST, lambda body: body["correlationId"]),
        ("/services/data/v59.0/limits", lambda body: body[0]["errorCode"]),
        ("/crm/v8/Contacts", lambda body: body["code"]),
    ],
)
def test_a_bare_status_is_answered_in_the_words_of_the_vendor_asked(http, script, path, shape):
    script({"path": ".", "status": 503})
    answer = http("GET", path)
    assert answer.status == 503
    assert shape(answer.json())
