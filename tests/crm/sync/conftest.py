"""A CRM in memory for each test."""

import pytest

from crm import connectors
from tests.crm.sync.fake import FakeConnector, FakeCrm, connect


@pytest.fixture(autouse=True)
def _known(monkeypatch):
    monkeypatch.setitem(connectors.kinds(), "fake", FakeConnector)


@pytest.fixture
def crm():
    return FakeCrm(people=40)


@pytest.fixture
def connection(db, crm):
    return connect(crm)
