"""Fixtures: sandboxes on loopback, the vendor's client, and the contract check of everything they say."""

import json

import pytest
import urllib3
from hubspot import HubSpot

from crm.sandbox.inprocess import running_sandbox
from tests.crm.sandbox.exchanges import Recorder, check


@pytest.fixture(autouse=True)
def recorded(monkeypatch):
    """Every exchange of the test, each checked against HubSpot's own API documents at its end."""
    recorder = Recorder(monkeypatch)
    yield recorder.exchanges
    for exchange in recorder.exchanges:
        check(exchange)


@pytest.fixture
def sandbox():
    """A fresh sandbox with 300 contacts."""
    with running_sandbox(contacts=300) as running:
        yield running


@pytest.fixture
def client(sandbox):
    """HubSpot's own Python client, pointed at the sandbox."""
    return HubSpot(access_token="pat-test", host=sandbox.url)


class Http:
    """Plain requests to a sandbox, with a token unless told otherwise."""

    def __init__(self, base: str) -> None:
        self.base = base
        self.pool = urllib3.PoolManager(retries=False, timeout=30)

    def __call__(self, method, path, body=None, headers=None):
        sent = (
            {"Authorization": "Bearer x", "Content-Type": "application/json"} if headers is None else headers
        )
        data = json.dumps(body) if isinstance(body, (dict, list)) else body
        return self.pool.request(method, self.base + path, body=data, headers=sent)


@pytest.fixture
def http(sandbox):
    """Plain requests to the sandbox."""
    return Http(sandbox.url)
