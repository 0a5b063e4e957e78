"""The lines of docs/api.md, as they stand there."""

import re
import shlex
from pathlib import Path

from campaigns.models import MemberExport
from campaigns.segments import exporting
from crm.profiles import row, upsert

DOCS = Path(__file__).resolve().parents[3] / "docs" / "api.md"


def lines():
    """(method, path, body) of each call in the section about segments."""
    section = DOCS.read_text().split("\n## Segments\n")[1].split("\n## ")[0]
    for line in re.findall(r"^(?:api|curl) .*NUDGE/.*$", section, re.MULTILINE):
        words = shlex.split(line)
        options = {word: words[place + 1] for place, word in enumerate(words) if word in ("-X", "-d")}
        [path] = [word.removeprefix("$NUDGE/") for word in words if word.startswith("$NUDGE/")]
        yield options.get("-X", "POST" if "-d" in options else "GET"), path, options.get("-d")


def test_every_line_works(server, db):
    upsert(
        [row({"external_id": "C-1001", "email": "ada@example.com"}), row({"email": "bo@example.com"})], "api"
    )
    asked = list(lines())
    assert len(asked) > 15
    for method, path, body in asked:
        if "exports/1/" in path:
            exporting.work()
            path = path.replace("/1/", f"/{MemberExport.objects.get().pk}/")
        answer = server.send(method, path, body)
        assert answer.status_code in (200, 201, 202), (method, path, answer.content)
        if not answer.streaming:
            assert not answer.json().get("rejected"), (method, path)
