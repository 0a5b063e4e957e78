"""What HubSpot does on bad days, and that nothing is lost, skipped or waited for without end."""

import time

import pytest

from crm.connectors.base import ConnectorError
from crm.connectors.hubspot import HubSpot
from crm.connectors.hubspot_errors import DAILY_LIMIT_MINUTES
from crm.sandbox.hubspot_access import Limits
from crm.sandbox.inprocess import running_sandbox
from tests.crm.connectors.hubspot.sandbox import CONTACTS, DEALS, SandboxCrm, read, records

LIST, SEARCH = r"objects/contacts\?", "contacts/search"


@pytest.fixture(scope="module")
def shared():
    """One sandbox of 120 contacts for the tests that change nothing in it."""
    with running_sandbox(contacts=120, vendors=["hubspot"]) as sandbox:
        yield sandbox


@pytest.fixture
def fixed(shared, settings, hurry, monkeypatch):
    """It without faults, whose contacts are two pages of a list and three of a search."""
    monkeypatch.setattr("crm.connectors.hubspot_reading.SEARCH_PAGE", 50)
    settings.NUDGE_SANDBOX_URL = shared.url
    yield SandboxCrm(shared)
    shared.control.faults, shared.hubspot.access.limits, shared.hubspot.lag_seconds = [], None, 0


def ids(pages):
    return {record.id for record in records(pages)}


PASSING = {
    "a secondly limit": {"policy": "SECONDLY"},
    "a limit of ten seconds": {"policy": "TEN_SECONDLY_ROLLING"},
    "a limit that says how long": {"policy": "SECONDLY", "headers": {"Retry-After": "0"}},
    "an error": {"status": 500},
    "an error page": {"status": 502, "body": "<html>Bad gateway</html>"},
    "an error page in another encoding": {"status": 503, "body_base64": "/v8A", "content_type": "text/html"},
    "a lock": {"status": 423},
    "an HTML page": {"status": 200, "body": "<html>Please log in</html>"},
    "a reset": {"drop": True},
    "half a body": {"truncate": 500},
    "half a body in chunks": {"truncate": 500, "framing": "chunked"},
    "half a body that looks whole": {"truncate": 500, "framing": "none"},
    "half a body in gzip": {"broken_gzip": True},
    "an empty body": {"truncate": 0, "framing": "none"},
    "the page before once more": {"repeat": True},
}


class TestPassing:
    @pytest.mark.parametrize("fault", PASSING.values(), ids=PASSING.keys())
    def test_it_is_asked_again_and_nothing_is_missing(self, fixed, fault):
        fixed.script({"path": LIST, "nth": 2, **fault})
        connector = fixed.connector()
        assert ids(read(connector)) == fixed.ids()
        assert connector.calls <= 8

    @pytest.mark.parametrize("fault", PASSING.values(), ids=PASSING.keys())
    def test_a_search_is_asked_again_too(self, fixed, fault):
        fixed.script({"path": SEARCH, "nth": [2, 3], **fault})
        cursor = {"until": 0, "deleted_until": int(time.time() * 1000)}
        assert ids(read(fixed.connector(), cursor)) == fixed.ids()

    def test_a_twentieth_of_all_answers_being_errors_costs_nothing(self, fixed):
        fixed.script({"path": ".", "share": 0.05, "seed": 3, "status": 503})
        for _ in range(5):
            assert ids(read(fixed.connector())) == fixed.ids()

    def test_waiting_grows_and_has_an_end(self, fixed, monkeypatch):
        waits = []
        monkeypatch.setattr(HubSpot, "backoff_seconds", 1.0)
        monkeypatch.setattr("crm.connectors.hubspot_api.time.sleep", waits.append)
        fixed.script({"path": ".", "policy": "TEN_SECONDLY_ROLLING"})
        with pytest.raises(ConnectorError, match="fewer calls"):
            fixed.connector().fields(CONTACTS)
        assert waits == [10, 20, 30, 30, 30]
        waits.clear()
        fixed.script({"path": ".", "status": 500})
        with pytest.raises(ConnectorError, match="error 500"):
            fixed.connector().fields(CONTACTS)
        assert waits == [1, 2, 4, 8, 16]
        waits.clear()
        fixed.script({"path": ".", "status": 429, "headers": {"Retry-After": "7200"}})
        with pytest.raises(ConnectorError):
            fixed.connector().fields(CONTACTS)
        assert set(waits) == {30}

    def test_enforced_limits_are_kept_in_the_end(self, fixed, monkeypatch):
        waits = []

        def sleep(seconds):
            waits.append(seconds)
            fixed.sandbox.clock.offset_seconds += seconds

        monkeypatch.setattr(HubSpot, "backoff_seconds", 1.0)
        monkeypatch.setattr("crm.connectors.hubspot_api.time.sleep", sleep)
        fixed.hubspot.access.limits = Limits(burst=3, searches_per_second=1)
        cursor = {"until": 0, "deleted_until": int(time.time() * 1000)}
        assert ids(read(fixed.connector(), cursor)) == fixed.ids()
        assert ids(read(fixed.connector())) == fixed.ids()
        assert 0 < sum(waits) < 60


class TestGivingUp:
    def test_a_spent_day_is_not_asked_again(self, fixed):
        fixed.script({"path": "properties", "policy": "DAILY"})
        connector = fixed.connector()
        with pytest.raises(ConnectorError) as caught:
            connector.fields(CONTACTS)
        assert caught.value.retry_minutes == DAILY_LIMIT_MINUTES
        assert connector.calls == 1

    @pytest.mark.parametrize("fault", [{"stall_seconds": 60}, {"drip_bytes_per_second": 200}])
    def test_silence_and_single_drops_in_the_middle_of_an_answer_end(self, fixed, fault, monkeypatch):
        monkeypatch.undo()  # the recorder would read the answers in our stead, and to their end
        monkeypatch.setattr(HubSpot, "retries", 1)
        monkeypatch.setattr(HubSpot, "backoff_seconds", 0.002)
        monkeypatch.setattr(HubSpot, "patience_seconds", 0.3)
        monkeypatch.setattr(HubSpot, "slowest_seconds", 0.4)
        fixed.script({"path": "properties", **fault})
        began = time.monotonic()
        with pytest.raises(ConnectorError, match="No answer"):
            fixed.connector().fields(CONTACTS)
        assert time.monotonic() - began < 20

    def test_a_test_of_a_silent_server_answers_soon(self, fixed, monkeypatch):
        monkeypatch.setattr("crm.connectors.hubspot.HURRIED_PATIENCE", 0.3)
        fixed.script({"path": ".", "delay_seconds": 60})
        began = time.monotonic()
        with pytest.raises(ConnectorError, match="Check the network"):
            fixed.connector().test()
        assert time.monotonic() - began < 20

    def test_a_test_has_an_end_whatever_its_attempts_cost(self, fixed, monkeypatch):
        monkeypatch.setattr("crm.connectors.hubspot.HURRIED_SECONDS", 0.5)
        monkeypatch.setattr(HubSpot, "backoff_seconds", 60.0)
        fixed.script({"path": ".", "status": 503})
        began = time.monotonic()
        with pytest.raises(ConnectorError, match="error 503"):
            fixed.connector().test()
        assert time.monotonic() - began < 20

    def test_nobody_there_is_told(self, settings):
        settings.NUDGE_SANDBOX_URL = "http://127.0.0.1:9"
        with pytest.raises(ConnectorError, match="Check the network"):
            SandboxCrm.connector(None).test()

    def test_a_missing_scope_is_named_as_hubspot_names_it(self, fixed):
        body = {
            "status": "error",
            "message": "This app hasn't been granted all required scopes to make this call.",
            "correlationId": "x",
            "category": "MISSING_SCOPES",
            "errors": [
                {
                    "message": "One or more of the following scopes are required.",
                    "context": {
                        "requiredGranularScopes": ["crm.schemas.deals.read", "crm.objects.deals.read"]
                    },
                }
            ],
        }
        fixed.script({"path": "properties/deals", "status": 403, "body": body})
        with pytest.raises(ConnectorError, match=r"crm\.schemas\.deals\.read, crm\.objects\.deals\.read"):
            fixed.connector().fields(DEALS)

    def test_an_answer_without_a_date_moves_no_cursor(self, fixed):
        fixed.script({"path": ".", "headers": {"Date": "yesterday"}})
        with pytest.raises(ConnectorError, match="no date"):
            read(fixed.connector())

    def test_an_access_that_ends_in_the_middle_ends_the_run(self, fixed):
        fixed.script({"path": LIST, "from_nth": 2, "status": 401})
        with pytest.raises(ConnectorError, match="refused the credentials"):
            read(fixed.connector())

    def test_a_page_that_leads_to_itself_ends_the_run(self, fixed):
        body = {"results": [], "paging": {"next": {"after": "101"}}}
        fixed.script({"path": "after=", "status": 200, "body": body})
        cursor = {"list": {"after": "101", "started": 0}, "deleted_until": 0}
        with pytest.raises(ConnectorError, match="same page"):
            read(fixed.connector(), cursor, "full")

    def test_pages_in_a_ring_end_the_run(self, fixed):
        for number in (1, 2):
            fixed.script(
                {"path": r"after=3\b", "body": {"results": [], "paging": {"next": {"after": "2"}}}},
                {"path": r"after=2\b", "body": {"results": [], "paging": {"next": {"after": "3"}}}},
            )
            cursor = {"list": {"after": str(number + 1), "started": 0}, "deleted_until": 0}
            with pytest.raises(ConnectorError, match="same page"):
                read(fixed.connector(), cursor, "full")

    def test_search_results_out_of_order_end_the_run(self, fixed):
        row = {"id": "5", "updatedAt": "2026-01-01T00:00:00.000Z", "properties": {}}
        fixed.script(
            {"path": SEARCH, "status": 200, "body": {"total": 2, "results": [{**row, "id": "6"}, row]}}
        )
        with pytest.raises(ConnectorError, match="out of order"):
            read(fixed.connector(), {"until": 0, "deleted_until": 0})

    def test_an_empty_page_that_claims_there_is_more_does_not_end_a_search_early(self, fixed):
        fixed.script({"path": SEARCH, "nth": 2, "status": 200, "body": {"total": 50, "results": []}})
        cursor = {"until": 0, "deleted_until": int(time.time() * 1000)}
        assert ids(read(fixed.connector(), cursor)) == fixed.ids()


class TestReading:
    def test_an_empty_page_in_between_is_no_end(self, fixed):
        body = {"results": [], "paging": {"next": {"after": "1"}}}
        fixed.script({"path": LIST, "nth": 1, "status": 200, "body": body})
        assert ids(read(fixed.connector())) == fixed.ids()

    def test_fewer_rows_than_asked_for_are_no_end_of_a_search(self, fixed, monkeypatch):
        monkeypatch.setattr("crm.connectors.hubspot_reading.SEARCH_PAGE", 7)
        cursor = {"until": 0, "deleted_until": int(time.time() * 1000)}
        pages = read(fixed.connector(), cursor)
        assert len(pages) > 15
        assert ids(pages) == fixed.ids()

    def test_a_place_that_hubspot_forgot_costs_a_new_beginning(self, fixed):
        fixed.script({"path": "after=77", "status": 400})
        cursor = {"list": {"after": "77", "started": 5}, "deleted_until": int(time.time() * 1000)}
        pages = read(fixed.connector(), cursor)
        assert ids(pages) == fixed.ids()
        assert pages[-1].cursor["until"] == 5

    def test_names_that_fit_no_url_are_read_by_id(self, fixed):
        fixed.script({"path": "properties=city", "status": 414, "body": "<html>414</html>"})
        pages = read(fixed.connector(), names=["city", "email"])
        assert ids(pages) == fixed.ids()
        assert {record.fields["city"] for record in records(pages)} == {
            record.properties.get("city") for record in fixed.store.live()
        }

    def test_half_a_character_costs_one_contact_not_its_page(self, fixed):
        body = b'{"results": [{"id": "1", "updatedAt": "2026-01-01T00:00:00Z", "properties": {"city": "\\ud83d"}}]}'
        fixed.script({"path": LIST, "status": 200, "body": body.decode()})
        page = next(iter(fixed.connector().pages(CONTACTS, {}, "incremental", ["city"])))
        assert page.records[0].fields["city"] == "\ud83d"

    def test_a_contact_that_can_t_be_read_does_not_cost_its_page(self, fixed):
        good = {"id": "1", "updatedAt": "2026-01-01T00:00:00Z", "properties": {"city": "Rome"}}
        rows = [good, {**good, "id": "2", "properties": ["Rome"]}, {**good, "id": "3", "updatedAt": "soon"}]
        fixed.script({"path": LIST, "status": 200, "body": {"results": rows}})
        found = records(read(fixed.connector(), names=["city"]))
        assert [(one.id, bool(one.problem)) for one in found] == [("1", False), ("2", True), ("3", True)]
        assert found[0].fields == {"city": "Rome"}
        assert "can't be read" in found[1].problem

    def test_the_day_s_budget_is_kept_where_it_is_told(self, fixed):
        connector = fixed.connector()
        connector.fields(CONTACTS)
        assert connector.budget is None
        headers = {"X-HubSpot-RateLimit-Daily": "250000", "X-HubSpot-RateLimit-Daily-Remaining": "249000"}
        fixed.script({"path": ".", "headers": headers})
        connector.fields(CONTACTS)
        assert (connector.budget.used, connector.budget.limit) == (1000, 250_000)
        assert connector.calls == 2
