"""Zoho's connector: the conformance suite, and Zoho's own habits."""

import base64
import json
import logging
from datetime import UTC, datetime, timedelta
from urllib.parse import urlsplit

import pytest

from crm.connectors import kinds, zoho_api, zoho_errors, zoho_reading
from crm.connectors.base import Change, ConnectorError, Hint, HookRefused, HookRequest
from crm.connectors.tokens import Token
from crm.connectors.zoho import Zoho
from crm.sandbox import faults
from crm.sandbox.inprocess import running_sandbox
from tests.crm.connectors.conformance import Conformance
from tests.crm.sandbox.zoho_models import check, check_request

SECRETS = {"client_id": "1000.ID", "client_secret": "client-secret", "refresh_token": "1000.refresh-secret"}
URL = "https://nudge.example/hooks/crm/shop/"


class SandboxCrm:
    """The sandbox as the conformance suite's CRM."""

    def __init__(self, sandbox):
        self.sandbox = sandbox
        self.zoho = sandbox.zoho
        self.store = sandbox.zoho.modules["Contacts"]
        self.changes = 0

    def connector(self):
        return Zoho({"server": "sandbox"}, SECRETS)

    def ids(self):
        return {row.id for row in self.store.live()}

    def add(self):
        return self.store.create({"Last_Name": "New", "Email": "new@example.com"}).id

    def change(self, record_id):
        self.changes += 1
        self.store.update(self.store.rows[record_id], {"Mailing_City": f"City {self.changes}"})

    def delete(self, record_id):
        self.store.archive(self.store.rows[record_id])

    def merge(self, winner, loser):
        self.store.merge(self.store.rows[winner], self.store.rows[loser])

    def value(self, record_id, field):
        return self.store.rows[record_id].values.get(field)

    def wait(self):
        self.sandbox.clock.offset_seconds += 900

    def refuse(self):
        self.script({"path": ".", "status": 401})

    def break_down(self):
        self.script({"path": ".", "status": 200, "body": "<html>Sorry</html>"})

    def secrets(self):
        return list(SECRETS.values())

    def script(self, *rules):
        marked = [{**rule, "headers": {"X-Scripted": "1", **rule.get("headers", {})}} for rule in rules]
        self.sandbox.control.faults = faults.parse(marked)

    def pages(self, cursor=None, mode="incremental", names=("Email",), connector=None):
        return list((connector or self.connector()).pages("contacts", cursor or {}, mode, names))

    def journal(self):
        return [entry["path"] for entry in self.sandbox.control.journal]


@pytest.fixture
def exchanged(monkeypatch):
    """Every call to the API, checked against the operations and models of Zoho's own client; a script's are not."""
    original, checked = zoho_api.Api._send, []

    def send(api, method, url, **more):
        answer, content = original(api, method, url, **more)
        path = urlsplit(url).path
        if path.startswith("/crm/"):
            checked.append(path)
            check_request(method, path, more.get("params") or {})
            if content and answer.headers.get("X-Scripted") is None and content.startswith(b'{"'):
                check(method, path, answer.status_code, json.loads(content))
        return answer, content

    monkeypatch.setattr(zoho_api.Api, "_send", send)
    return checked


@pytest.fixture
def crm(settings, monkeypatch, exchanged):
    monkeypatch.setattr(Zoho, "backoff_seconds", 0.01)
    with running_sandbox(contacts=450, vendors=["zoho"]) as sandbox:
        settings.NUDGE_SANDBOX_URL = sandbox.url
        yield SandboxCrm(sandbox)


def told(pages):
    return {record.id for page in pages for record in page.records if not record.deleted}


class TestZoho(Conformance):
    """All that the suite asks."""

    def test_the_exchanges_are_checked(self, crm, exchanged):
        crm.pages()
        assert len(exchanged) >= 5


class TestReading:
    def test_a_crowded_second_is_read_once_whole_and_ends(self, crm, monkeypatch):
        monkeypatch.setattr(zoho_reading, "TIED_ROWS", 100)
        stamp = crm.sandbox.clock.now() - 60_000
        for row in crm.store.live():
            crm.store.update(row, {"Title": "All"}, stamp)
        pages = crm.pages()
        assert told(pages) == crm.ids()
        ids = [record.id for page in pages for record in page.records]
        assert len(ids) < 2 * len(crm.ids())
        halfway = pages[len(pages) // 2]
        before = told(pages[: len(pages) // 2 + 1])
        assert before | told(crm.pages(json.loads(json.dumps(halfway.cursor)))) == crm.ids()

    def test_rows_that_move_between_pages_take_no_others_with_them(self, crm):
        pages = crm.connector().pages("contacts", {}, "incremental", ["Email"])
        seen = [next(pages)]
        for record in seen[0].records[:150]:
            crm.change(record.id)  # the first page empties: by position, 150 others would be jumped over
        crm.delete(seen[0].records[180].id)
        seen += pages
        assert crm.ids() <= told(seen)

    def test_a_crm_that_changes_faster_than_it_is_read_does_not_hold_the_run(self, crm):
        cursor = crm.pages()[-1].cursor
        crm.wait()
        stamp = crm.sandbox.clock.now() - 60_000
        for row in crm.store.live():
            crm.store.update(row, {"Title": "New"}, stamp)
        rows = 0
        for page in crm.connector().pages("contacts", cursor, "incremental", ["Email"]):
            rows += len(page.records)
            assert rows < 5 * len(crm.ids())
            for record_id in crm.ids():
                crm.change(record_id)
            crm.sandbox.clock.offset_seconds += 10

    def test_late_commits_below_the_cursor_are_read(self, crm):
        cursor = crm.pages()[-1].cursor
        late = crm.add()
        eight_minutes = crm.sandbox.clock.now() - 8 * 60_000
        crm.store.update(crm.store.rows[late], {"Title": "Late"}, eight_minutes)
        assert late in told(crm.pages(cursor))

    def test_a_clock_set_back_loses_nothing(self, crm):
        cursor = crm.pages()[-1].cursor
        crm.sandbox.clock.offset_seconds -= 3 * 3600
        changed = sorted(crm.ids())[0]
        crm.change(changed)
        assert changed in told(crm.pages(cursor))

    def test_times_are_instants_whatever_the_organisations_offset(self, crm):
        first = {record.id: record.modified_at for page in crm.pages() for record in page.records}
        crm.zoho.utc_offset_minutes = -570
        again = {record.id: record.modified_at for page in crm.pages() for record in page.records}
        assert first == again
        row = next(crm.store.live())
        assert first[row.id] == datetime.fromtimestamp(row.second, UTC)

    def test_a_quiet_run_is_three_calls(self, crm):
        cursor = crm.pages()[-1].cursor
        crm.wait()
        connector = crm.connector()
        pages = crm.pages(cursor, connector=connector)
        assert [len(page.records) for page in pages] == [0, 0]
        assert connector.calls <= 4  # the token among them
        assert pages[-1].until == datetime.fromtimestamp(pages[-1].cursor["until"], UTC)

    def test_more_fields_than_a_call_shows_are_joined_by_id(self, crm):
        for number in range(110):
            crm.zoho.change_schema("contacts", {"add": {"name": f"Extra_{number}", "type": "text"}})
        for row in crm.store.live():
            row.values |= {f"Extra_{number}": f"{row.id}-{number}" for number in (0, 60, 109)}
        connector = crm.connector()
        names = [field.name for field in connector.fields("contacts")]
        assert len(names) > 100
        for pages in (crm.pages(names=names), crm.pages({}, "full", names)):
            assert told(pages) == crm.ids()
            for record in pages[0].records:
                assert [record.fields[f"Extra_{number}"] for number in (0, 60, 109)] == [
                    f"{record.id}-0",
                    f"{record.id}-60",
                    f"{record.id}-109",
                ]

    def test_a_record_changed_between_its_two_halves_comes_again(self, crm):
        for number in range(60):
            crm.zoho.change_schema("contacts", {"add": {"name": f"Extra_{number}", "type": "text"}})
        victim = crm.store.by_time()[0]
        before = victim.second
        lists = []

        def changing(module, ids, names, read=zoho_api.Api.read):
            if not lists:
                crm.store.update(victim, {"Extra_59": "new"})
            lists.append(ids)
            return read(connector._api, module, ids, names)

        connector = crm.connector()
        connector._api.read = changing
        names = [f"Extra_{number}" for number in range(60)]
        found = [
            r
            for page in crm.pages(names=names, connector=connector)
            for r in page.records
            if r.id == victim.id
        ]
        assert found[0].modified_at == datetime.fromtimestamp(before, UTC)
        assert found[-1].modified_at == datetime.fromtimestamp(victim.second, UTC)
        assert found[-1].fields["Extra_59"] == "new"

    def test_erased_and_restored_records(self, crm):
        first, second = sorted(crm.ids())[:2]
        crm.delete(second)
        cursor = crm.pages()[-1].cursor
        crm.store.restore(crm.store.rows[second])
        crm.store.erase(crm.store.rows[first])
        pages = crm.pages(cursor)
        assert {record.id for page in pages for record in page.records if record.deleted} == {first}
        assert second in told(crm.pages(cursor, "full"))
        assert {one for batch in crm.connector().ids("contacts") for one in batch} == crm.ids()

    def test_deals_name_their_buyers(self, crm):
        pages = list(crm.connector().pages("deals", {}, "full", ["Amount", "Stage"]))
        deals = crm.zoho.modules["Deals"].rows
        for record in pages[0].records:
            assert record.people == [("contacts", deals[record.id].values["Contact_Name"]["id"])]
            assert set(record.fields) == {"Amount", "Stage"}
            assert isinstance(record.fields["Amount"], float)

    @pytest.mark.parametrize(
        ("body", "sentence"),
        [
            ({"data": [], "info": {"more_records": True}}, "out of order"),
            (
                {
                    "data": [
                        {"id": "1", "Modified_Time": "2026-01-02T00:00:00+00:00"},
                        {"id": "2", "Modified_Time": "2026-01-01T00:00:00+00:00"},
                    ],
                    "info": {},
                },
                "out of order",
            ),
            ({"data": [{"id": "1"}], "info": {}}, "without a time"),
            ({"data": "none"}, "makes no sense"),
        ],
    )
    def test_nonsense_ends_the_run_with_a_sentence(self, crm, body, sentence):
        crm.script({"path": "/Contacts\\?", "status": 200, "body": body})
        with pytest.raises(ConnectorError, match=sentence):
            crm.pages()

    def test_a_page_that_never_changes_ends_the_run(self, crm):
        row = {"id": "5", "Modified_Time": "2026-01-01T00:00:00+00:00"}
        same = {"data": [row], "info": {"more_records": True}}
        crm.script({"path": "/Contacts\\?", "status": 200, "body": same})
        with pytest.raises(ConnectorError, match="out of order"):
            crm.pages()

    def test_deletions_that_never_end_end_the_run(self, crm):
        row = {"id": "5", "deleted_time": "2026-01-01T00:00:00+00:00"}
        crm.script(
            {"path": "/deleted", "status": 200, "body": {"data": [row], "info": {"more_records": True}}}
        )
        with pytest.raises(ConnectorError, match="same deletions"):
            crm.pages()

    def test_a_list_of_deletions_that_ends_too_early_is_a_gap(self, crm):
        """All ids are compared then."""
        cursor = crm.pages()[-1].cursor
        crm.wait()
        ended = {"code": "DISCRETE_PAGINATION_LIMIT_EXCEEDED", "details": {"limit": 2000}, "status": "error"}
        crm.script({"path": "/deleted", "status": 400, "body": ended})
        cursor = crm.pages(cursor)[-1].cursor
        assert cursor["gap"]
        crm.script()
        crm.wait()
        assert "gap" not in crm.pages(cursor)[-1].cursor

    def test_stray_bytes_cost_one_value_not_the_page(self, crm):
        row = b'{"id": "7", "Modified_Time": "2026-01-01T00:00:00+00:00", "Email": "\xff\\ud83d"}'
        body = base64.b64encode(b'{"data": [' + row + b'], "info": {}}').decode()
        crm.script({"path": "/Contacts\\?", "status": 200, "body_base64": body})
        record = crm.pages()[0].records[0]
        assert (record.id, record.fields["Email"]) == ("7", "\ufffd\ud83d")


class TestAccess:
    def test_it_is_found_by_its_kind(self):
        assert kinds()["zoho"] is Zoho

    def test_only_zoho_and_the_sandbox_can_be_reached(self, settings):
        settings.NUDGE_SANDBOX_URL = "http://127.0.0.1:9"

        def address(server, domain):
            return Zoho({"server": server}, SECRETS)._api._address(Token("t", None, {"api_domain": domain}))

        assert address("sandbox", "https://www.zohoapis.com") == "http://127.0.0.1:9"
        assert address("eu", "https://www.zohoapis.eu") == "https://www.zohoapis.eu"
        assert address("eu", "https://sandbox.zohoapis.eu") == "https://sandbox.zohoapis.eu"
        for domain in ("http://10.0.0.1", "https://www.zohoapis.eu@10.0.0.1", "http://www.zohoapis.eu", ""):
            assert address("eu", domain) == "https://www.zohoapis.eu"
        for config in ({"server": "http://10.0.0.1"}, {"api_domain": "http://10.0.0.1"}):
            with pytest.raises(ConnectorError):
                Zoho(config, SECRETS)

    def test_every_data_centre_can_be_chosen(self):
        offered = {value for value, _ in Zoho.Form().fields["server"].choices}
        assert offered == {*zoho_api.CENTRES, "sandbox"}

    def test_a_redirect_does_not_get_the_token(self, crm):
        with running_sandbox(contacts=1, vendors=["zoho"]) as other:
            crm.script({"path": "/crm/", "status": 302, "headers": {"Location": f"{other.url}/crm/v8/org"}})
            with pytest.raises(ConnectorError):
                crm.connector().test()
            assert not other.control.journal

    def test_an_expired_token_is_replaced_in_the_middle_of_a_run(self, crm):
        connector = crm.connector()
        pages = connector.pages("contacts", {}, "incremental", ["Email"])
        seen = [next(pages)]
        crm.zoho.expire_tokens()
        seen += pages
        assert told(seen) == crm.ids()
        assert sum("/oauth/" in path for path in crm.journal()) == 2

    def test_a_token_refused_again_and_again_ends_the_run(self, crm):
        crm.script({"path": "/crm/", "status": 401})
        with pytest.raises(ConnectorError, match="just given"):
            crm.connector().fields("contacts")
        assert sum("/oauth/" in path for path in crm.journal()) == 2

    @pytest.mark.parametrize(
        ("error", "sentence", "minutes"),
        [
            ("invalid_client", "client ID", None),
            ("invalid_code", "refresh token", None),
            ("Access Denied", "no more access tokens", zoho_errors.REFRESH_LIMIT_MINUTES),
            ("something", "something", None),
        ],
    )
    def test_refused_refreshes_are_explained(self, crm, error, sentence, minutes):
        crm.zoho.access.refuse_refresh = error
        with pytest.raises(ConnectorError, match=sentence) as caught:
            crm.connector().test()
        assert caught.value.retry_minutes == minutes
        assert not [secret for secret in crm.secrets() if secret in str(caught.value)]

    def test_secrets_that_a_refusal_repeats_are_not_told_on(self, crm):
        said = f"invalid {SECRETS['refresh_token']} of {SECRETS['client_secret']}"
        crm.script({"path": "/oauth/", "status": 400, "body": {"error": said}})
        with pytest.raises(ConnectorError, match="invalid … of …"):
            crm.connector().test()


class TestTrouble:
    @pytest.mark.parametrize(
        "rule",
        [
            {"status": 503},
            {"status": 429},
            {"status": 500, "body": "<html>"},
            {"drop": True},
            {"truncate": 100},
            {"truncate": 100, "framing": "none"},
            {"broken_gzip": True},
            {"status": 200, "body": "<html>"},
        ],
    )
    def test_what_passes_is_tried_again(self, crm, rule):
        crm.script({"path": "/Contacts\\?", "nth": [1, 3], **rule})
        assert told(crm.pages()) == crm.ids()

    @pytest.mark.parametrize(
        ("rule", "sentence", "minutes"),
        [
            ({"status": 503}, "has trouble", None),
            ({"status": 429}, "fewer calls", None),
            (
                {"status": 429, "headers": {"X-API-CREDITS-REMAINING": "0"}},
                "credits",
                zoho_errors.LIMIT_MINUTES,
            ),
            ({"drop": True}, "No answer from", None),
            (
                {"status": 400, "body": {"code": "INVALID_MODULE", "status": "error", "message": "wrong"}},
                "refused",
                None,
            ),
            (
                {"status": 200, "body": {"code": "INVALID_DATA", "status": "error", "message": "wrong"}},
                "refused",
                None,
            ),
            (
                {"status": 401, "body": {"code": "OAUTH_SCOPE_MISMATCH", "status": "error"}},
                "lacks a scope",
                None,
            ),
            (
                {"status": 403, "body": {"code": "NO_PERMISSION", "message": "permission denied"}},
                "may not",
                None,
            ),
        ],
    )
    def test_what_lasts_is_told_in_a_sentence(self, crm, rule, sentence, minutes):
        crm.script({"path": "/crm/", **rule})
        connector = crm.connector()
        with pytest.raises(ConnectorError, match=sentence) as caught:
            connector.fields("contacts")
        assert caught.value.retry_minutes == minutes
        assert connector.calls <= 8

    def test_an_answer_that_drips_ends_in_bounded_time(self, crm, monkeypatch):
        monkeypatch.setattr(zoho_api, "WHOLE_ANSWER_SECONDS", 0.3)
        monkeypatch.setattr(Zoho, "backoff_seconds", 0)
        crm.script({"path": "/settings/fields", "drip_bytes_per_second": 50})
        connector = crm.connector()
        connector._api._patience, connector._api._retries = 0.3, 1
        with pytest.raises(ConnectorError, match="No answer from"):
            connector.fields("contacts")

    def test_secrets_stay_out_of_the_log(self, crm, caplog):
        caplog.set_level(logging.DEBUG)
        crm.script({"path": "/crm/", "status": 503})
        with pytest.raises(ConnectorError):
            crm.connector().fields("contacts")
        assert not [secret for secret in crm.secrets() if secret in caplog.text]


class TestWriting:
    def test_values_become_what_the_field_takes(self, crm):
        record = sorted(crm.ids())[0]
        values = {
            "Nudge_Opens": 3.0,
            "Nudge_Score": 0.5,
            "Nudge_Unsubscribed": True,
            "Nudge_Lifecycle_Stage": 7,
            "Nudge_Last_Engagement": datetime(2026, 11, 1, 12, 30, 5, 999, tzinfo=UTC),
        }
        assert crm.connector().write("contacts", [Change(record, values)]) == [None]
        held = crm.store.rows[record].values
        assert held["Nudge_Opens"] == 3
        assert isinstance(held["Nudge_Opens"], int)
        assert held["Nudge_Lifecycle_Stage"] == "7"
        assert held["Nudge_Last_Engagement"] == "2026-11-01T12:30:05+00:00"
        assert (held["Nudge_Score"], held["Nudge_Unsubscribed"]) == (0.5, True)

    def test_a_bad_row_does_not_cost_the_others(self, crm):
        one, two, three = sorted(crm.ids())[:3]
        crm.zoho.locked = {two}
        changes = [
            Change(one, {"Nudge_Opens": 1}),
            Change(two, {"Nudge_Opens": 2}),
            Change("no id", {"Nudge_Opens": 3}),
            Change(three, {"Nudge_Opens": "four"}),
        ]
        said = crm.connector().write("contacts", changes)
        assert said[0] is None
        assert "locked" in said[1]
        assert "no id" in said[2]
        assert "Nudge_Opens" in said[3]
        assert crm.value(one, "Nudge_Opens") == 1

    def test_a_batch_refused_as_a_whole_is_halved(self, crm):
        ids = sorted(crm.ids())[:4]
        refused = {"code": "INVALID_DATA", "message": "no", "status": "error"}
        crm.script({"path": "/Contacts$", "method": "PUT", "nth": [1, 2, 3], "status": 400, "body": refused})
        said = crm.connector().write("contacts", [Change(one, {"Nudge_Opens": 9}) for one in ids])
        assert [bool(one) for one in said] == [True, False, False, False]

    def test_a_lost_answer_makes_no_second_record(self, crm):
        record = sorted(crm.ids())[0]
        crm.script({"path": "/Contacts$", "method": "PUT", "nth": 1, "truncate": 5})
        count = len(crm.store.rows)
        assert crm.connector().write("contacts", [Change(record, {"Nudge_Opens": 4})]) == [None]
        assert (crm.value(record, "Nudge_Opens"), len(crm.store.rows)) == (4, count)


class TestNotifications:
    def now(self, crm):
        return datetime.fromtimestamp(crm.sandbox.clock.now() / 1000, UTC)

    def call(self, body, **changed):
        sent = json.dumps({**body, **changed}).encode()
        return HookRequest("POST", URL, {}, sent, datetime.now(UTC))

    def test_what_zoho_calls_is_understood_and_what_others_call_is_not(self, crm):
        crm.connector().watch(URL, {}, self.now(crm))
        first, second = sorted(crm.ids())[:2]
        crm.change(first)
        crm.delete(second)
        crm.zoho.create("leads", {"Last_Name": "Lead"})
        url, body = crm.zoho.watch.waiting.popleft()
        assert url == URL
        connector = crm.connector()
        assert connector.hook(self.call(body)).hints == [Hint("contacts", first)]
        hints = [connector.hook(self.call(body)).hints for _, body in crm.zoho.watch.waiting]
        assert hints[0] == [Hint("contacts", second, "deleted")]
        assert hints[1][0].object == "leads"
        for token in ("", "x", body["token"][:-1], "ü"):
            with pytest.raises(HookRefused):
                connector.hook(self.call(body, token=token))
        other = Zoho({"server": "sandbox"}, {**SECRETS, "refresh_token": "another"})
        with pytest.raises(HookRefused):
            other.hook(self.call(body))
        assert connector.hook(self.call(body, module="Wishes")).hints == []
        assert connector.hook(self.call(body, ids=["1; drop", 12, "12"])).hints == [Hint("contacts", "12")]

    def test_a_subscription_is_renewed_before_it_ends(self, crm):
        now = self.now(crm)
        state = crm.connector().watch(URL, {}, now)
        assert state == json.loads(json.dumps(state))
        calls = len(crm.journal())
        assert crm.connector().watch(URL, state, now + timedelta(days=2)) == state
        assert len(crm.journal()) == calls
        channel = next(iter(crm.zoho.watch.channels.values()))
        assert timedelta(milliseconds=channel.expires) - timedelta(seconds=now.timestamp()) > timedelta(
            days=5
        )
        crm.sandbox.clock.offset_seconds += 4 * 86_400
        renewed = crm.connector().watch(URL, state, now + timedelta(days=4))
        assert renewed["renew_at"] > state["renew_at"]
        assert len(crm.zoho.watch.channels) == 1
        crm.zoho.watch.channels.clear()
        crm.connector().watch(URL, renewed, now + timedelta(days=8))
        assert len(crm.zoho.watch.channels) == 1

    def test_zoho_is_not_asked_to_call_without_encryption(self):
        state = {"channel": "1"}
        assert Zoho({}, SECRETS).watch("http://nudge.example/hook/", state, datetime.now(UTC)) is state
