"""The lines of docs/api.md, as they stand there."""

import re
import shlex
from pathlib import Path

from campaigns.models import Backtest, MemberExport
from campaigns.segments import exporting
from crm import api_keys
from crm.models import Profile
from crm.profiles import row, upsert
from tests.crm.api.conftest import Caller

DOCS = Path(__file__).resolve().parents[3] / "docs" / "api.md"


def lines(about: str):
    """(method, path, body) of each call in a section."""
    section = DOCS.read_text().split(f"\n## {about}\n")[1].split("\n## ")[0]
    for line in re.findall(r"^(?:api|curl) .*NUDGE/.*$", section, re.MULTILINE):
        words = shlex.split(line)
        options = {word: words[place + 1] for place, word in enumerate(words) if word in ("-X", "-d")}
        [path] = [word.removeprefix("$NUDGE/") for word in words if word.startswith("$NUDGE/")]
        yield options.get("-X", "POST" if "-d" in options else "GET"), path, options.get("-d")


def test_every_line_works(server, db):
    upsert(
        [row({"external_id": "C-1001", "email": "ada@example.com"}), row({"email": "bo@example.com"})], "api"
    )
    asked = list(lines("Segments"))
    assert len(asked) > 15
    for method, path, body in asked:
        if "exports/1/" in path:
            exporting.work()
            path = path.replace("/1/", f"/{MemberExport.objects.get().pk}/")
        answer = server.send(method, path, body)
        assert answer.status_code in (200, 201, 202), (method, path, answer.content)
        if not answer.streaming:
            assert not answer.json().get("rejected"), (method, path)


def test_every_line_about_flows_works(db):
    publisher = Caller(api_keys.create("publisher", ["read", "write", "publish"])[1])
    upsert([row({"external_id": "C-1001"})], "api")
    publisher.send("PUT", "flows/tried/", '{"name": "Tried", "definition": {"steps": []}}')
    asked = list(lines("Flows"))
    assert len(asked) > 12
    for method, path, body in asked:
        if "backtest/1/" in path:
            path = path.replace("/1/", f"/{Backtest.objects.get().pk}/")
        answer = publisher.send(
            method, path.replace("profiles/1/", f"profiles/{Profile.objects.get().pk}/"), body
        )
        assert answer.status_code in (200, 201, 202, 204), (method, path, answer.content)
        assert not answer.content or not answer.json().get("rejected"), (method, path)
