"""Previews of large accounts come at once, too."""

import pytest

from crm import connectors
from crm.admin import connection_preview as preview
from crm.connectors.salesforce import Salesforce
from crm.sync import mapping as mappings
from crm.sync import setup

pytestmark = pytest.mark.django_db


def test_no_bulk_job_is_prepared_for_ten_records(sandbox, monkeypatch):
    monkeypatch.setattr(Salesforce, "bulk_from", 1)
    credentials = {"client_id": "any", "client_secret": "any"}
    connector = connectors.kinds()["salesforce"]({"server": "sandbox"}, credentials)
    found = connector.object_type("Contact")
    mapping = mappings.parse(setup.suggested(connector, "Contact"), found.role)
    sandbox.control.journal.clear()
    assert len(preview.sample(connector, found, mapping)) == preview.PEOPLE
    assert not [call for call in sandbox.control.journal if "/jobs/query" in call["path"]]
