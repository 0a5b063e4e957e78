"""Keys and a client that uses them."""

import json
from typing import Any

import pytest
from django.test import Client

from crm import api_keys


class Caller:
    """A client with one API key. Requests are JSON; `answer` is what came back."""

    def __init__(self, key: str | None = None, **headers: str):
        self.client = Client(raise_request_exception=False)
        self.headers = ({"HTTP_AUTHORIZATION": f"Bearer {key}"} if key else {}) | headers

    def send(self, method: str, path: str, body: Any = None, **headers: str):
        """Call `path` below /api/v1/; `body` is JSON text or something to make it of."""
        data = body if isinstance(body, str | bytes) else "" if body is None else json.dumps(body)
        headers = {"content_type": "application/json"} | self.headers | headers
        return self.client.generic(method, f"/api/v1/{path}", data, **headers)

    def get(self, path: str, **headers: str):
        return self.send("GET", path, **headers)

    def post(self, path: str, body: Any = None, **headers: str):
        return self.send("POST", path, body, **headers)


@pytest.fixture
def writer(db):
    return Caller(api_keys.create("writer", ["write"])[1])


@pytest.fixture
def reader(db):
    return Caller(api_keys.create("reader", ["read"])[1])


@pytest.fixture
def server(db):
    """A key that may read and write."""
    return Caller(api_keys.create("server", ["read", "write"])[1])


@pytest.fixture
def browser(db):
    return Caller(api_keys.create("browser", ["browser"], ["https://Shop.example.com/"])[1])


@pytest.fixture
def stranger(db):
    return Caller()
