"""Reading Salesforce: nothing is lost or twisted, whatever happens meanwhile."""

import json
import time

import pytest

from crm.connectors.base import ConnectorError
from crm.connectors.salesforce import Salesforce
from crm.connectors.salesforce_api import Described, DescribedField, DescribedValue
from crm.connectors.salesforce_fields import Schema
from crm.sandbox.inprocess import running_sandbox
from tests.crm.connectors.salesforce_crm import SandboxCrm

COUNT = 90
NAMES = ["Email", "MailingCity", "Plan__c"]


@pytest.fixture
def crm(settings, monkeypatch):
    monkeypatch.setattr(Salesforce, "backoff_seconds", 0.01)
    monkeypatch.setattr(Salesforce, "poll_seconds", 0.01)
    monkeypatch.setattr(Salesforce, "page_size", 20)
    with running_sandbox(contacts=COUNT, vendors=["salesforce"]) as sandbox:
        settings.NUDGE_SANDBOX_URL = sandbox.url
        yield SandboxCrm(sandbox)


@pytest.fixture
def bulk(monkeypatch):
    """Everything is read by jobs, in parts of 20."""
    monkeypatch.setattr(Salesforce, "bulk_from", 10)
    monkeypatch.setattr("crm.connectors.salesforce_walk.BULK_PAGE", 20)


def run(crm, cursor, mode="incremental", names=NAMES, kind="Contact"):
    """The pages of one run, their cursors as they come back from the database."""
    pages = list(crm.connector().pages(kind, cursor, mode, names))
    return pages, json.loads(json.dumps(pages[-1].cursor))


def records(pages):
    return [record for page in pages for record in page.records]


def ids(pages):
    return {record.id for record in records(pages)}


class TestConvertedLeads:
    """A converted lead lives on as a contact; as a lead it can't be written any more, and grows old."""

    def leads(self, crm):
        return {one.id for one in crm.org.object("Lead").table.records.values() if not one.deleted}

    def converted(self, crm):
        record_id = min(self.leads(crm))
        crm.org.edit("Lead", record_id, {"properties": {"IsConverted": True}})
        return record_id

    def test_one_is_gone_as_a_lead(self, crm):
        _, cursor = run(crm, {}, kind="Lead", names=["Email"])
        crm.wait()
        gone = self.converted(crm)
        crm.wait()
        pages, _ = run(crm, cursor, kind="Lead", names=["Email"])
        assert [(record.id, record.deleted) for record in records(pages)] == [(gone, True)]
        assert crm.connector().read("Lead", [gone], ["Email"]) == []

    @pytest.mark.parametrize("way", ["pages", "job"])
    def test_it_is_in_no_list(self, crm, request, way):
        if way == "job":
            request.getfixturevalue("bulk")
        gone = self.converted(crm)
        left = self.leads(crm) - {gone}
        assert ids(run(crm, {}, kind="Lead", names=["Email"])[0]) == left
        assert {one for batch in crm.connector().ids("Lead") for one in batch} == left


class TestChanges:
    def test_many_records_of_one_stamp_come_once_each(self, crm):
        _, cursor = run(crm, {})
        crm.wait()
        now = crm.sandbox.clock.now()
        for record_id in crm.ids():
            crm.change(record_id, modified=now)
        crm.wait()
        pages, _ = run(crm, cursor)
        assert sorted(record.id for record in records(pages)) == sorted(crm.ids())

    def test_a_late_commit_below_the_cursor_arrives(self, crm):
        _, cursor = run(crm, {})
        crm.wait(3600)
        _, cursor = run(crm, cursor)
        late = min(crm.ids())
        crm.change(late, modified=crm.sandbox.clock.now() - 8 * 60_000)
        crm.wait()
        pages, _ = run(crm, cursor)
        assert ids(pages) == {late}

    def test_what_may_still_be_committed_now_waits_for_the_next_run(self, crm):
        _, cursor = run(crm, {})
        crm.wait(3600)
        begun = crm.sandbox.clock.now()
        pages, cursor = run(crm, cursor)
        until = pages[-1].until.timestamp() * 1000
        assert begun - 6_000 <= until <= crm.sandbox.clock.now() - 5_000
        crm.change(min(crm.ids()), modified=int(until) + 1_000)
        crm.wait()
        assert ids(run(crm, cursor)[0]) == {min(crm.ids())}

    def test_a_clock_that_was_put_back_loses_nothing(self, crm):
        crm.wait(3600)
        _, cursor = run(crm, {})
        crm.wait(-3600)
        crm.change(min(crm.ids()))
        crm.wait(60)
        pages, _ = run(crm, cursor)
        assert min(crm.ids()) in ids(pages)

    def test_an_interrupted_run_goes_on_behind_its_last_page(self, crm):
        _, cursor = run(crm, {})
        crm.wait(3600)
        for record_id in crm.ids():
            crm.change(record_id)
        crm.wait()
        pages = crm.connector().pages("Contact", cursor, "incremental", NAMES)
        first = [next(pages), next(pages)]
        rest, _ = run(crm, json.loads(json.dumps(first[-1].cursor)))
        assert len(ids(first)) == 40
        assert len(ids(rest)) == COUNT - 40
        assert ids(first) | ids(rest) == crm.ids()

    def test_a_page_that_comes_again_ends_the_run(self, crm):
        crm.script({"path": "Id\\+ASC", "repeat": True, "from_nth": 2})
        with pytest.raises(ConnectorError, match="same records"):
            run(crm, {})

    def test_an_empty_page_that_promises_more_ends_the_run(self, crm):
        crm.script(
            {
                "path": "Id\\+ASC",
                "status": 200,
                "content_type": "application/json",
                "body": {"totalSize": 5, "done": False, "records": [], "nextRecordsUrl": "/x"},
            }
        )
        with pytest.raises(ConnectorError, match="same records"):
            run(crm, {})

    def test_a_short_page_is_not_the_end_while_salesforce_says_so(self, crm):
        crm.org.queries.page_size = 7
        pages, _ = run(crm, {})
        assert ids(pages) == crm.ids()


class TestDeletions:
    def test_deleted_and_back_again_is_no_deletion(self, crm):
        _, cursor = run(crm, {})
        crm.wait(3600)
        victim = min(crm.ids())
        crm.delete(victim)
        crm.wait()
        pages, cursor = run(crm, cursor)
        assert [(one.id, one.deleted) for one in records(pages)] == [(victim, True)]
        crm.org.edit("Contact", victim, {"archived": False})
        crm.wait()
        pages, _ = run(crm, cursor)
        assert [(one.id, one.deleted) for one in records(pages)] == [(victim, False)]

    def test_the_feed_tells_what_the_window_has_passed_and_knows_merges(self, crm):
        _, cursor = run(crm, {})
        winner, loser, victim = sorted(crm.ids())[:3]
        crm.wait(3600)
        crm.merge(winner, loser)
        crm.delete(victim)
        crm.wait(1200)
        # As if the window had seen nothing of them.
        until = cursor["until"]
        cursor["until"] = "2100-01-01T00:00:00.000Z"
        crm.script(
            {
                "path": "SystemModstamp\\+ASC",
                "status": 200,
                "content_type": "application/json",
                "body": {"totalSize": 0, "done": True, "records": []},
            }
        )
        pages, after = run(crm, cursor)
        gone = {one.id: one.merged_into for one in records(pages) if one.deleted}
        assert gone == {loser: winner, victim: None}
        assert after["deleted_until"] > until

    def test_emptied_recycle_bins_are_told_as_a_gap(self, crm):
        _, cursor = run(crm, {})
        crm.wait(3600)
        pages, cursor = run(crm, cursor)
        assert "gap" not in cursor
        crm.delete(min(crm.ids()))
        crm.org.empty_recycle_bin("Contact")
        crm.wait(3600)
        _, cursor = run(crm, cursor)
        assert cursor["gap"] is True
        crm.wait(3600)
        _, cursor = run(crm, cursor)
        assert "gap" not in cursor

    def test_after_a_month_of_silence_deletions_are_a_gap(self, crm):
        _, cursor = run(crm, {})
        crm.wait(30 * 86_400)
        _, cursor = run(crm, cursor)
        assert cursor["gap"] is True

    def test_the_feed_is_asked_as_often_as_wanted(self, crm):
        _, cursor = run(crm, {})
        for _ in range(4):
            crm.wait(120)
            list(
                crm.connector({"deletions_every_minutes": 60}).pages("Contact", cursor, "incremental", NAMES)
            )
        assert not crm.asked("/deleted/")

    def test_merged_records_are_told_and_deleted_ones_left_out_when_read(self, crm):
        winner, loser, victim, other = sorted(crm.ids())[:4]
        crm.merge(winner, loser)
        crm.delete(victim)
        found = crm.connector().read("Contact", [loser, victim, other[:15], other], NAMES)
        assert {one.id: (one.deleted, one.merged_into) for one in found} == {
            loser: (True, winner),
            other: (False, None),
        }


class TestBulk:
    def test_both_ways_bring_the_same(self, crm, monkeypatch):
        names = [field.name for field in crm.connector().fields("Contact")]
        victim = crm.table.records[min(crm.ids())]
        victim.values |= {"LastName": 'Quoted "x", \r\n and\nnew 🌸', "Description": "x" * 200_000}
        by_rest, _ = run(crm, {}, names=names)
        monkeypatch.setattr(Salesforce, "bulk_from", 10)
        by_bulk, _ = run(crm, {}, names=names)
        assert crm.org.bulk.jobs
        assert {one.id: one for one in records(by_rest)} == {one.id: one for one in records(by_bulk)}

    def test_a_part_that_breaks_off_is_asked_for_again(self, crm, bulk):
        crm.script({"path": "/results", "nth": 2, "truncate": 700, "framing": "none"})
        pages, _ = run(crm, {})
        assert ids(pages) == crm.ids()

    def test_a_part_that_always_breaks_off_is_never_taken(self, crm, bulk):
        crm.script({"path": "/results", "from_nth": 2, "truncate": 700, "framing": "none"})
        pages = crm.connector().pages("Contact", {}, "full", NAMES)
        found = [next(pages), next(pages)]
        with pytest.raises(ConnectorError):
            next(pages)
        crm.script()
        rest, _ = run(crm, found[-1].cursor)
        assert ids(found) | ids(rest) == crm.ids()
        assert not ids(found) & ids(rest)
        assert len(crm.org.bulk.jobs) == 1

    def test_fewer_rows_than_the_header_says_are_never_taken(self, crm, bulk):
        crm.script({"path": "/results", "headers": {"Sforce-NumberOfRecords": "21"}})
        with pytest.raises(ConnectorError):
            run(crm, {})

    def test_a_job_that_is_purged_is_made_anew(self, crm, bulk):
        pages = crm.connector().pages("Contact", {}, "full", NAMES)
        found = [next(pages), next(pages)]
        crm.org.bulk.expire_results()
        assert ids([*found, *pages]) == crm.ids()
        rest, _ = run(crm, found[-1].cursor)
        assert ids(rest) == crm.ids()

    def test_a_job_that_waits_when_the_process_ends_is_found_again(self, crm, bulk):
        first = next(crm.connector().pages("Contact", {}, "full", NAMES))
        assert first.records == []
        assert first.expected == COUNT
        pages, _ = run(crm, first.cursor)
        assert ids(pages) == crm.ids()
        assert len(crm.org.bulk.jobs) == 1

    def test_other_fields_need_another_job(self, crm, bulk):
        first = next(crm.connector().pages("Contact", {}, "full", NAMES))
        pages, _ = run(crm, first.cursor, names=[*NAMES, "LastName"])
        assert all(record.fields["LastName"] for record in records(pages))
        assert ids(pages) == crm.ids()

    def test_a_job_that_fails_leaves_the_other_way(self, crm, bulk):
        crm.org.bulk.fail_next = "InternalServerError"
        pages, cursor = run(crm, {})
        assert ids(pages) == crm.ids()
        assert set(cursor) == {"until", "deleted_until"}

    def test_an_edition_without_bulk_leaves_the_other_way(self, crm, bulk):
        body = [{"errorCode": "FUNCTIONALITY_NOT_ENABLED", "message": "not enabled"}]
        crm.script({"path": "/jobs/query", "status": 403, "body": body})
        assert ids(run(crm, {})[0]) == crm.ids()
        assert {one for lot in crm.connector().ids("Contact") for one in lot} == crm.ids()

    def test_what_changes_while_the_job_is_read_is_in_the_next_run(self, crm, bulk):
        pages = crm.connector().pages("Contact", {}, "full", NAMES)
        next(pages), next(pages)
        changed, deleted = sorted(crm.ids())[:2]
        crm.change(changed)
        crm.delete(deleted)
        cursor = list(pages)[-1].cursor
        crm.wait()
        found = {one.id: one.deleted for one in records(run(crm, cursor)[0])}
        assert found[changed] is False
        assert found[deleted] is True


class TestTrouble:
    def test_a_spent_day_is_waited_for_at_once(self, crm):
        connector = crm.connector()
        connector.fields("Contact")
        crm.org.daily_calls = 1
        before = connector.calls
        with pytest.raises(ConnectorError, match="used up") as caught:
            connector.fields("Contact")
        assert caught.value.retry_minutes >= 15
        assert connector.calls == before + 1
        assert connector.budget.used == connector.budget.limit == 1

    @pytest.mark.parametrize(
        "fault",
        [
            {"status": 503},
            {"status": 429},
            {"drop": True},
            {"truncate": 300},
            {"truncate": 300, "framing": "chunked"},
            {"truncate": 300, "framing": "none"},
            {"broken_gzip": True},
            {"status": 400, "body": [{"errorCode": "UNABLE_TO_LOCK_ROW", "message": "x"}]},
            {"status": 200, "body": "<html>Down for maintenance</html>"},
        ],
    )
    def test_what_passes_is_tried_again(self, crm, fault):
        crm.script({"path": "query", "nth": [2, 4], **fault})
        pages, _ = run(crm, {})
        assert ids(pages) == crm.ids()

    def test_a_maintenance_page_is_told_plainly(self, crm):
        crm.script({"path": "/services/data", "status": 503, "body": "<html>Maintenance</html>"})
        with pytest.raises(ConnectorError, match="trouble .error 503."):
            run(crm, {})
        assert len(crm.sandbox.control.journal) < 10

    def test_an_answer_that_stalls_is_given_up(self, crm, monkeypatch):
        monkeypatch.setattr("crm.connectors.salesforce.PATIENCE", 0.2)
        monkeypatch.setattr("crm.connectors.salesforce.RETRIES", 1)
        crm.script({"path": "/services/data", "stall_seconds": 600})
        begun = time.monotonic()
        with pytest.raises(ConnectorError, match="No answer"):
            crm.connector().fields("Contact")
        assert time.monotonic() - begun < 30

    def test_an_answer_that_drips_for_ever_is_given_up(self, crm, monkeypatch):
        monkeypatch.setattr("crm.connectors.salesforce_http.WHOLE_ANSWER_SECONDS", 0.3)
        monkeypatch.setattr("crm.connectors.salesforce.RETRIES", 0)
        crm.script({"path": "/services/data", "drip_bytes_per_second": 200})
        begun = time.monotonic()
        with pytest.raises(ConnectorError, match="No answer"):
            crm.connector().fields("Contact")
        assert time.monotonic() - begun < 30

    def test_nobody_there_is_told_plainly(self, settings, monkeypatch):
        monkeypatch.setattr(Salesforce, "backoff_seconds", 0.01)
        settings.NUDGE_SANDBOX_URL = "http://127.0.0.1:9"
        with pytest.raises(ConnectorError, match="No answer"):
            Salesforce({"server": "sandbox"}, {"client_id": "a", "client_secret": "b"}).test()

    def test_a_missing_permission_is_told_plainly(self, crm):
        body = [{"errorCode": "INVALID_TYPE", "message": "sObject type 'Lead' is not supported."}]
        crm.script({"path": "Lead", "status": 400, "body": body})
        with pytest.raises(ConnectorError, match="permission"):
            crm.connector().fields("Lead")
        body = [{"errorCode": "API_DISABLED_FOR_ORG", "message": "The REST API is not enabled"}]
        crm.script({"path": "/services/data", "status": 403, "body": body})
        with pytest.raises(ConnectorError, match="API Enabled"):
            crm.connector().fields("Contact")


class TestFields:
    def test_a_field_hidden_after_it_was_described_is_left_out(self, crm):
        connector = crm.connector()
        connector.fields("Contact")
        crm.org.remove_field("Contact", "Plan__c")
        found = records(connector.pages("Contact", {}, "full", NAMES))
        assert {one.id for one in found} == crm.ids()
        assert {one.fields["Plan__c"] for one in found} == {None}
        assert any(one.fields["MailingCity"] for one in found)

    def test_a_field_hidden_from_a_job_is_left_out(self, crm, bulk):
        connector = crm.connector()
        connector.fields("Contact")
        crm.org.remove_field("Contact", "Plan__c")
        assert {one.id for one in records(connector.pages("Contact", {}, "full", NAMES))} == crm.ids()

    def test_more_fields_than_an_address_holds(self, crm):
        for number in range(300):
            name = f"An_Unusually_Long_Name_Of_A_Field_{number}__c"
            crm.org.add_field("Contact", name)
            crm.table.records[min(crm.ids())].values[name] = str(number)
        connector = crm.connector()
        names = [field.name for field in connector.fields("Contact")]
        _, cursor = run(crm, {}, names=names)
        crm.wait(3600)
        victim = max(crm.ids())
        crm.change(min(crm.ids()))
        crm.delete(victim)
        crm.wait()
        pages, _ = run(crm, cursor, names=names)
        (changed,) = (one for one in records(pages) if not one.deleted)
        assert changed.fields["An_Unusually_Long_Name_Of_A_Field_299__c"] == "299"
        assert [one.id for one in records(pages) if one.deleted] == [victim]
        (found,) = connector.read("Contact", [min(crm.ids())], names)
        assert found.fields == changed.fields
        assert max(map(len, crm.asked(""))) < 16_000

    def test_broken_text_passes_to_whoever_judges_it(self, crm):
        crm.script(
            {
                "path": "Id\\+ASC",
                "status": 200,
                "content_type": "application/json",
                "body": '{"totalSize":1,"done":true,"records":[{"Id":"003Qy0000000001IAA","Email":"\\ud83d\\u0000",'
                '"SystemModstamp":"2026-01-01T00:00:00.000+0000"}]}',
            }
        )
        (record,) = records(run(crm, {})[0])
        assert record.fields["Email"] == "\ud83d\x00"

    def test_compound_fields_are_left_out_and_formulas_marked(self, crm):
        fields = {field.name: field for field in crm.connector().fields("Contact")}
        assert "MailingAddress" not in fields
        assert {"MailingCity", "Id"} <= set(fields)
        assert fields["Email"].writable
        assert not fields["SystemModstamp"].writable
        assert fields["Plan__c"].custom
        described = Described([DescribedField("Score__c", "double", calculated=True)])
        assert Schema("Contact", described).fields[0].volatile

    @pytest.mark.parametrize(
        ("kind", "value", "expected"),
        [
            ("string", "", None),
            ("string", "00123", "00123"),
            ("double", "12.0", 12),
            ("double", 12.0, 12),
            ("double", 1.5, 1.5),
            ("int", "123456789012345678", 123456789012345678),
            ("currency", "nan", "nan"),
            ("boolean", "true", True),
            ("boolean", "false", False),
            ("boolean", False, False),
            ("picklist", "Yes", True),
            ("picklist", "Maybe", "Maybe"),
            ("multipicklist", "a;b", ["a", "b"]),
            ("date", "1980-02-29", "1980-02-29"),
            ("datetime", "2026-01-01T00:00:00.000+0000", "2026-01-01T00:00:00.000+00:00"),
            ("datetime", "2026-01-01T00:00:00.000Z", "2026-01-01T00:00:00.000+00:00"),
        ],
    )
    def test_values_get_their_types(self, kind, value, expected):
        answers = [DescribedValue("Yes"), DescribedValue("No")]
        schema = Schema("Contact", Described([DescribedField("X", kind, picklist_values=answers)]))
        found = schema.reader("X")(value)
        assert found == expected
        assert type(found) is type(expected)


def test_purchases_name_their_people_the_likeliest_first(crm):
    found = records(run(crm, {}, names=["Amount", "CloseDate", "IsWon"], kind="Opportunity")[0])
    some = found[0]
    buyer = crm.org.object("Opportunity").table.records[some.id].values["ContactId"]
    other = max(crm.ids() - {buyer})
    crm.org.create(
        "OpportunityContactRole", {"OpportunityId": some.id, "ContactId": other, "IsPrimary": False}
    )
    (again,) = crm.connector().read("Opportunity", [some.id], ["Amount"])
    assert list(again.people) == [("Contact", buyer), ("Contact", other)]
    assert isinstance(again.fields["Amount"], int | float)


def test_a_buyer_that_is_named_later_arrives_though_the_purchase_is_not_stamped(crm):
    sold = min(crm.org.object("Opportunity").table.records)
    _, cursor = run(crm, {}, names=["Amount"], kind="Opportunity")
    crm.wait(3600)
    _, cursor = run(crm, cursor, names=["Amount"], kind="Opportunity")
    other = max(crm.ids())
    crm.org.create("OpportunityContactRole", {"OpportunityId": sold, "ContactId": other, "IsPrimary": False})
    crm.wait()
    (record,) = records(run(crm, cursor, names=["Amount"], kind="Opportunity")[0])
    assert record.id == sold
    assert ("Contact", other) in record.people
    crm.wait(3600)
    _, cursor = run(crm, cursor, names=["Amount"], kind="Opportunity")
    role = max(crm.org.object("OpportunityContactRole").table.records)
    crm.org.edit("OpportunityContactRole", role, {"archived": True})
    crm.wait()
    (record,) = records(run(crm, cursor, names=["Amount"], kind="Opportunity")[0])
    assert ("Contact", other) not in record.people


def test_prices_come_from_the_price_book_and_change_with_it(crm):
    names = ["Name", "UnitPrice"]
    fields = {field.name: field for field in crm.connector().fields("Product2")}
    assert not fields["UnitPrice"].writable
    found = records(run(crm, {}, names=names, kind="Product2")[0])
    products = crm.org.object("Product2").table.records
    assert {one.id: one.fields["UnitPrice"] for one in found} == {
        key: pytest.approx(product.values["Price__c"]) for key, product in products.items()
    }
    _, cursor = run(crm, {}, names=names, kind="Product2")
    crm.wait(3600)
    entry = min(crm.org.object("PricebookEntry").table.records.values(), key=lambda one: one.id)
    crm.org.edit("PricebookEntry", entry.id, {"properties": {"UnitPrice": 4.5}})
    crm.wait()
    (record,) = records(run(crm, cursor, names=names, kind="Product2")[0])
    assert (record.id, record.fields["UnitPrice"]) == (entry.values["Product2Id"], 4.5)
