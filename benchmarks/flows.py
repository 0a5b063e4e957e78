"""Flows: moving people who wait, reading a storm of events for many flows, and the time from an event to its message.

Moving stands beside the same work done as Django code is usually written, one person after the other, in the same
run; the rest beside what is asked of it. The number of people who wait comes from NUDGE_BENCH_PROFILES (a million by
default). With NUDGE_BENCH_KEEP, a folder, the database is made there and stays.
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
RATE_GOAL = 10_000  # runs/s of one worker process
STORM_GOAL = 100_000 / 60  # events/s
P50_GOAL, P99_GOAL = 60, 1_000  # ms


def rows() -> list[Row]:
    """Fill a database of its own and measure in it."""
    kept = os.environ.get("NUDGE_BENCH_KEEP")
    if kept:
        Path(kept).mkdir(parents=True, exist_ok=True)
        return _rows(_measured(kept))
    with tempfile.TemporaryDirectory(prefix="nudge-bench-") as folder:
        return _rows(_measured(folder))


def _rows(found: dict) -> list[Row]:
    size = f"{found['runs']:,} waiting"
    by_hand = "one person, one transaction after the other"
    figures = [
        row(f"{words} ({size})", found[name]["rate"], "runs/s", peer, theirs)
        for name, words in (
            ("straight", "from one wait to the next"),
            ("split", "from a wait through a split to the next"),
        )
        for peer, theirs in ((by_hand, found[f"{name}_by_hand"]), ("goal", RATE_GOAL))
    ]
    storm = (
        f"events read for {found['flows']} live flows, {found['began']:,} runs begun by {found['storm']:,}"
    )
    return [
        *figures,
        row(
            "the same by processor time of worker and database",
            found["straight"]["by_cpu"],
            "runs/s",
            "goal",
            RATE_GOAL,
        ),
        row(
            f"the same by the two hands of a worker, on {os.cpu_count()} cores with the database",
            found["two_hands"],
            "runs/s",
            "one hand",
            found["straight"]["rate"],
        ),
        row(storm, found["matching"], "events/s", "goal", STORM_GOAL),
        row("event to outbox, one at a time, p50", found["latency_single"], "ms", "goal", P50_GOAL),
        row("event to outbox at 200 events/s, p99", found["latency_p99"], "ms", "goal", P99_GOAL),
        row(
            "event to outbox at 200 events/s, p50",
            found["latency_p50"],
            "ms",
            "its p99",
            found["latency_p99"],
        ),
    ]


def _measured(folder: str) -> dict:
    """What `benchmarks.flows_work` measures."""
    env = os.environ | {"NUDGE_DATA": folder, "NUDGE_DEMO": "0", "NUDGE_LOG_LEVEL": "ERROR"}
    env.pop("DATABASE_URL", None)
    try:
        subprocess.run(
            [sys.executable, "manage.py", "prepare"], cwd=ROOT, env=env, check=True, capture_output=True
        )
        done = subprocess.run(
            [sys.executable, "-m", "benchmarks.flows_work"],
            cwd=ROOT,
            env=env,
            check=True,
            stdout=subprocess.PIPE,
            text=True,
        )
    finally:
        subprocess.run([sys.executable, "-c", _STOP, folder], cwd=ROOT, check=False)
    return json.loads(done.stdout.strip().splitlines()[-1])
