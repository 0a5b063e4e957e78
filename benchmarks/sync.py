"""Contacts per second into the database from pages in memory, beside COPY of the same rows; and the whole sync.

BENCH_CONTACTS says how many (20,000 unless set). COPY gets its rows as finished text, in one statement per table.
The peers `update_or_create` and the whole sync, with HubSpot's client and a sandbox in a process of its own, are
slower, so they are measured on fewer contacts.
"""

import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

from benchmarks.table import Row, row
from crm.sandbox.inprocess import running_sandbox

ROOT = Path(__file__).resolve().parent.parent
CONTACTS = int(os.environ.get("BENCH_CONTACTS", "20000"))
SYNCED = 3_000  # contacts of the whole sync


def rows() -> list[Row]:
    """Measure on a database of its own."""
    with tempfile.TemporaryDirectory(prefix="nudge-bench-") as folder:
        found = _measure(Path(folder))
    unit, whole = "contacts/s", found["whole"]
    table = []
    for answers, rates in (("", found["plain"]), (", two consents each", found["consents"])):
        for name, ours in (("first import", rates["first"]), ("unchanged again", rates["again"])):
            label = f"sync, {name} of {CONTACTS:,}{answers}"
            table += [
                row(label, ours, unit, "COPY into the same tables", rates["same"]),
                row(label, ours, unit, "COPY into the profile table alone", rates["profile"]),
                row(label, ours, unit, "COPY into bare tables", rates["bare"]),
            ]
    plain = found["plain"]
    return [
        *table,
        row("sync, first import", plain["first"], unit, "update_or_create in a loop", found["loop_new"]),
        row("sync, unchanged again", plain["again"], unit, "update_or_create in a loop", found["loop_again"]),
        row("sync, peak memory of the process", plain["memory"], "MB", "allowed", 300),
        row("sync with HubSpot's client, first", whole["first"], unit, "storing alone", plain["first"]),
        row("sync with HubSpot's client, again", whole["again"], unit, "storing alone", plain["again"]),
    ]


def _measure(folder: Path) -> dict:
    """Run `benchmarks.sync_worker` with a sandbox beside it."""
    with running_sandbox(SYNCED, vendors=["hubspot"]) as sandbox:
        env = os.environ | {
            "NUDGE_DATA": str(folder),
            "NUDGE_DEMO": "0",
            "NUDGE_LOG_LEVEL": "ERROR",
            "NUDGE_SANDBOX_URL": sandbox.url,
            "BROKER_URL": "memory://",
        }
        env.pop("DATABASE_URL", None)
        try:
            subprocess.run(
                [sys.executable, "manage.py", "prepare"], cwd=ROOT, env=env, check=True, capture_output=True
            )
            found: dict = {}
            for part in ("plain", "consents", "whole", "loop"):
                done = subprocess.run(
                    [sys.executable, "-m", "benchmarks.sync_worker", part, str(CONTACTS)],
                    cwd=ROOT,
                    env=env,
                    check=True,
                    stdout=subprocess.PIPE,
                    text=True,
                )
                figures = json.loads(done.stdout.strip().splitlines()[-1])
                found |= figures if part == "loop" else {part: figures}
            return found
        finally:
            stop = (
                "import sys, pathlib; from config import embedded; embedded.stop(pathlib.Path(sys.argv[1]))"
            )
            subprocess.run([sys.executable, "-c", stop, str(folder)], cwd=ROOT, check=False)
