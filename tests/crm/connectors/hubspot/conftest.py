"""Fixtures: HubSpot's sandbox, and the check of everything said to it and by it."""

import pytest

from crm.connectors.hubspot import HubSpot
from crm.sandbox.inprocess import running_sandbox
from tests.crm.connectors.hubspot.sandbox import SCRIPTED, SandboxCrm
from tests.crm.sandbox.exchanges import Recorder, check


@pytest.fixture(autouse=True)
def checked(monkeypatch):
    """Every exchange is held against HubSpot's own API documents, but for what a fault made of it."""
    recorder = Recorder(monkeypatch)
    yield recorder.exchanges
    for exchange in recorder.exchanges:
        if SCRIPTED not in exchange.reply_headers:
            check(exchange)


@pytest.fixture
def hurry(monkeypatch):
    """Wait shorter than in life."""
    monkeypatch.setattr(HubSpot, "backoff_seconds", 0.002)


@pytest.fixture
def crm(settings, hurry):
    """450 contacts."""
    with running_sandbox(contacts=450, vendors=["hubspot"]) as sandbox:
        settings.NUDGE_SANDBOX_URL = sandbox.url
        yield SandboxCrm(sandbox)


@pytest.fixture
def few(settings, hurry):
    """Six contacts."""
    with running_sandbox(contacts=6, vendors=["hubspot"]) as sandbox:
        settings.NUDGE_SANDBOX_URL = sandbox.url
        yield SandboxCrm(sandbox)
