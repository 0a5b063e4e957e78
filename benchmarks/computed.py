"""Ten computed attributes over many events: everybody at once, and after 10,000 new events.

Beside hand-written SQL for the same attributes into a plain table with the same key, on the same data in the same run.
The sizes come from NUDGE_BENCH_PROFILES and NUDGE_BENCH_EVENTS (a million and ten million by default).
"""

import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

from benchmarks.product import ROOT
from benchmarks.table import Row, row

_STOP = "import sys, pathlib; from config import embedded; embedded.stop(pathlib.Path(sys.argv[1]))"


def rows() -> list[Row]:
    """Fill a database of its own and measure in it."""
    found = measured()
    size = f"{found['profiles']:,} people, {found['events']:,} events"
    return [
        row(
            f"10 computed attributes for everybody ({size})",
            found["values"] / found["backfill"],
            "values/s",
            "hand-written SQL into a plain table",
            found["values"] / found["backfill_by_hand"],
        ),
        row(
            f"10 computed attributes after {found['new']:,} new events",
            found["new"] / found["incremental"],
            "events/s",
            "hand-written SQL for the people they touch",
            found["new"] / found["incremental_by_hand"],
        ),
        row(
            "peak memory of the computing process",
            found["memory_mb"],
            "MB",
            "at its start",
            found["start_mb"],
        ),
    ]


def measured() -> dict:
    """What `benchmarks.computed_work` measures, with times in seconds."""
    with tempfile.TemporaryDirectory(prefix="nudge-bench-") as folder:
        env = os.environ | {"NUDGE_DATA": folder, "NUDGE_DEMO": "0", "NUDGE_LOG_LEVEL": "ERROR"}
        try:
            subprocess.run(
                [sys.executable, "manage.py", "prepare"], cwd=ROOT, env=env, check=True, capture_output=True
            )
            done = subprocess.run(
                [sys.executable, "-m", "benchmarks.computed_work"],
                cwd=ROOT,
                env=env,
                check=True,
                stdout=subprocess.PIPE,
                text=True,
            )
        finally:
            subprocess.run([sys.executable, "-c", _STOP, str(Path(folder))], cwd=ROOT, check=False)
    return json.loads(done.stdout.strip().splitlines()[-1])
