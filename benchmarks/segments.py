"""Segments over many people and events: typical rules, previews, refreshes in full and by changes, sending meanwhile.

The rules stand beside hand-written SQL on the same data in the same run; the rest beside what is asked of it.
The sizes come from NUDGE_BENCH_PROFILES and NUDGE_BENCH_EVENTS (a million and ten million by default). With
NUDGE_BENCH_KEEP, a folder, the database is made there and stays, and the next run begins with it.
"""

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from benchmarks.product import ROOT
from benchmarks.table import Row, row

_STOP = "import sys, pathlib; from config import embedded; embedded.stop(pathlib.Path(sys.argv[1]))"


def rows() -> list[Row]:
    """Fill a database of its own and measure in it."""
    with _folder() as folder, _stub() as host:
        found = _measured(folder, host)
    size = f"{found['profiles']:,} people, {found['events']:,} events"
    figures = [
        row(f"{name} ({size})", ours, "ms", "hand-written SQL", by_hand)
        for name, ours, by_hand in found["questions"]
    ]
    goals = [
        ("slowest estimate of a preview", found["quick_ms"], "ms", 300),
        ("slowest exact preview", found["exact_ms"], "ms", 2_000),
        ("50 segments counted for the first time, members stored", found["first_s"] * 1000, "ms", 120_000),
        ("50 segments counted anew", found["again_s"] * 1000, "ms", 120_000),
        (f"50 segments after changes of {found['changed']:,} people", found["kept_s"] * 1000, "ms", 2_000),
    ]
    figures += [row(f"{name} ({size})", value, unit, "goal", goal) for name, value, unit, goal in goals]
    figures.append(
        row(
            "web pushes by the clock while everybody is counted",
            found["sending_meanwhile"],
            "msg/s",
            "while nobody is",
            found["sending"],
        )
    )
    return figures


@contextmanager
def _folder() -> Iterator[str]:
    kept = os.environ.get("NUDGE_BENCH_KEEP")
    if kept:
        Path(kept).mkdir(parents=True, exist_ok=True)
        yield kept
    else:
        with tempfile.TemporaryDirectory(prefix="nudge-bench-") as folder:
            yield folder


@contextmanager
def _stub() -> Iterator[str]:
    """A push service that takes everything; its host and port."""
    stub = subprocess.Popen(
        [sys.executable, "-m", "benchmarks.push_stub"], cwd=ROOT, stdout=subprocess.PIPE, text=True
    )
    try:
        yield f"127.0.0.1:{stub.stdout.readline().strip()}"
    finally:
        stub.kill()
        stub.wait()


def _measured(folder: str, host: str) -> dict:
    """What `benchmarks.segments_work` measures."""
    env = os.environ | {
        "NUDGE_DATA": folder,
        "NUDGE_DEMO": "0",
        "NUDGE_LOG_LEVEL": "ERROR",
        "NUDGE_PUSH_HOSTS": host,
        "BROKER_URL": "memory://",
    }
    env.pop("DATABASE_URL", None)
    try:
        subprocess.run(
            [sys.executable, "manage.py", "prepare"], cwd=ROOT, env=env, check=True, capture_output=True
        )
        done = subprocess.run(
            [sys.executable, "-m", "benchmarks.segments_work", f"http://{host}"],
            cwd=ROOT,
            env=env,
            check=True,
            stdout=subprocess.PIPE,
            text=True,
        )
    finally:
        subprocess.run([sys.executable, "-c", _STOP, folder], cwd=ROOT, check=False)
    return json.loads(done.stdout.strip().splitlines()[-1])
