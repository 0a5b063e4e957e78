"""Salesforce's connector: the conformance suite, by either way of reading everything."""

import pytest

from crm.connectors import kinds
from crm.connectors.salesforce import Salesforce
from crm.sandbox.inprocess import running_sandbox
from tests.crm.connectors.conformance import Conformance
from tests.crm.connectors.salesforce_crm import SandboxCrm


@pytest.fixture
def crm(settings, monkeypatch):
    monkeypatch.setattr(Salesforce, "backoff_seconds", 0.01)
    monkeypatch.setattr(Salesforce, "poll_seconds", 0.01)
    monkeypatch.setattr(Salesforce, "page_size", 200)
    with running_sandbox(contacts=450, vendors=["salesforce"]) as sandbox:
        settings.NUDGE_SANDBOX_URL = sandbox.url
        yield SandboxCrm(sandbox)


class TestSalesforce(Conformance):
    """All that the suite asks, read by REST."""


class TestSalesforceByBulk(Conformance):
    """All that the suite asks, everything read by Bulk 2.0 jobs."""

    @pytest.fixture
    def crm(self, crm, monkeypatch):
        monkeypatch.setattr(Salesforce, "bulk_from", 100)
        monkeypatch.setattr("crm.connectors.salesforce_walk.BULK_PAGE", 200)
        return crm

    def test_jobs_are_used_but_for_what_holds_other_records_inside(self, crm):
        pages = self.all_pages(crm, {})
        assert len(crm.asked("/jobs/query/")) >= len(pages) - 1
        assert not crm.asked("Id+ASC")
        list(crm.connector().pages("Opportunity", {}, "full", ["Amount"]))
        assert len(crm.org.bulk.jobs) == 1

    def test_a_change_during_the_import_is_not_lost(self, crm):
        connector = crm.connector()
        pages = connector.pages("Contact", {}, "incremental", self.names(connector, "Contact"))
        first = next(page for page in pages if page.records)  # before it comes the job's number
        crm.change(first.records[0].id)
        cursor = list(pages)[-1].cursor
        crm.wait()
        records = [record for page in self.all_pages(crm, cursor) for record in page.records]
        assert first.records[0].id in {record.id for record in records}


def test_it_is_found_by_its_kind():
    assert kinds()["salesforce"] is Salesforce
