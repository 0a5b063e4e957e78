"""The connector that the documentation shows works as it says."""

import json
import re
import sys
import threading
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import ModuleType
from urllib.parse import parse_qs, urlsplit

import pytest

from crm import connectors
from tests.crm.connectors.conformance import Conformance

DOCUMENT = Path(__file__).resolve().parents[3] / "docs" / "connectors.md"
KEY = "acme-secret"
FIELDS = [
    {"name": "email", "label": "E-mail", "kind": "text", "custom": False},
    {"name": "first", "label": "First name", "kind": "text", "custom": False},
    {"name": "town", "label": "Town", "kind": "text", "custom": False},
    {"name": "tier", "label": "Tier", "kind": "choice", "custom": True},
]


def blocks():
    """The document's Python code: the connector, and the test class."""
    return re.findall(
        r"^```python\n(.*?)^```$", DOCUMENT.read_text(encoding="utf-8"), re.DOTALL | re.MULTILINE
    )


class AcmeServer(ThreadingHTTPServer):
    """Acme's API over people in memory."""

    daemon_threads = True

    def __init__(self):
        super().__init__(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server_port}"
        self.offset = timedelta()
        self.mood = ""
        begin = self.now() - timedelta(days=1)
        self.people = {
            number: {
                "id": str(number),
                "changed_at": begin.isoformat(),
                "deleted": False,
                "fields": {"email": f"{number}@example.com", "first": "Ann", "town": "Rome", "tier": "gold"},
            }
            for number in range(1, 451)
        }

    def now(self):
        return datetime.now(UTC) + self.offset

    def found(self, query):
        """The people that a query asks for, by id."""
        if "ids" in query:
            return [self.people[int(one)] for one in query["ids"].split(",") if int(one) in self.people]
        begin, end = query.get("changed_from", ""), query.get("changed_until", "9")
        after = int(query.get("after", 0))
        return [
            person
            for number, person in sorted(self.people.items())
            if number > after and begin <= person["changed_at"] <= end
        ]


class Handler(BaseHTTPRequestHandler):
    """One call."""

    server: AcmeServer

    def do_GET(self):  # noqa: N802
        url = urlsplit(self.path)
        query = {name: values[0] for name, values in parse_qs(url.query).items()}
        if self.server.mood == "html":
            return self.answer(200, b"<html>Sorry</html>")
        if self.server.mood == "refuse" or self.headers["Authorization"] != f"Bearer {KEY}":
            return self.answer(401, b"{}")
        if url.path == "/fields":
            return self.answer(200, json.dumps(FIELDS).encode())
        found = self.server.found(query)
        page = {"people": found[: int(query.get("limit", 100))], "total": len(found)}
        return self.answer(200, json.dumps(page).encode())

    def answer(self, status, body):
        self.send_response_only(status)
        self.send_header("Date", format_datetime(self.server.now(), usegmt=True))
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)


class AcmeCrm:
    """It as the suite's CRM."""

    def __init__(self, server, kind):
        self.server, self.kind = server, kind

    def connector(self):
        return self.kind({}, {"api_key": KEY})

    def ids(self):
        return {person["id"] for person in self.server.people.values() if not person["deleted"]}

    def add(self):
        number = max(self.server.people) + 1
        self.server.people[number] = {
            "id": str(number),
            "deleted": False,
            "fields": {"email": "new@example.com"},
        }
        self.change(str(number))
        return str(number)

    def change(self, record_id):
        person = self.server.people[int(record_id)]
        person["changed_at"] = self.server.now().isoformat()
        person["fields"] = {**person["fields"], "town": person["changed_at"]}

    def delete(self, record_id):
        self.change(record_id)
        self.server.people[int(record_id)] |= {"deleted": True, "fields": {}}

    def merge(self, winner, loser):
        raise NotImplementedError

    def value(self, record_id, field):
        return self.server.people[int(record_id)]["fields"].get(field)

    def wait(self):
        self.server.offset += timedelta(minutes=2)

    def refuse(self):
        self.server.mood = "refuse"

    def break_down(self):
        self.server.mood = "html"

    def secrets(self):
        return [KEY]


@contextmanager
def serving():
    """Acme on a free port."""
    server = AcmeServer()
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield server
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


@pytest.fixture
def acme(monkeypatch):
    """The document's connector as a module."""
    monkeypatch.setattr(connectors, "_kinds", {})  # it is registered for this test alone
    module = ModuleType("crm.connectors.acme")
    monkeypatch.setitem(sys.modules, module.__name__, module)
    exec(compile(blocks()[0], f"{DOCUMENT.name}: acme.py", "exec"), module.__dict__)
    return module


class TestAcme(Conformance):
    """All that the suite asks."""

    @pytest.fixture
    def crm(self, acme, monkeypatch):
        with serving() as server:
            monkeypatch.setattr(acme, "API", server.url)
            yield AcmeCrm(server, acme.Acme)


def test_the_document_s_test_class_is_this_one():
    assert blocks()[1].strip() in Path(__file__).read_text(encoding="utf-8")
    assert len(blocks()) == 2
