"""Emails per second to a local SMTP server, beside django-post_office in the same run."""

import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

from benchmarks.table import Row, row

ROOT = Path(__file__).resolve().parent.parent
PEER = "django-post_office send_queued"


def rows() -> list[Row]:
    """Measure on a database of its own; the server has a process of its own."""
    with tempfile.TemporaryDirectory(prefix="nudge-bench-") as folder:
        sink = subprocess.Popen(
            [sys.executable, "-m", "benchmarks.email_sink"], cwd=ROOT, stdout=subprocess.PIPE, text=True
        )
        try:
            found = _measure(Path(folder), int(sink.stdout.readline()))
        finally:
            sink.kill()
            sink.wait()
    wall, cpu = found["wall"], found["cpu"]
    stage = "email, claimed row to recorded result"
    return [
        row(f"{stage}, one process", wall["one"], "msg/s", PEER, wall["post_office"]),
        row(f"{stage}, two processes", wall["two"], "msg/s", f"{PEER} with two", wall["post_office two"]),
        row(
            f"{stage}, with the database's work, one process",
            cpu["one"],
            "msg/s per core",
            PEER,
            cpu["post_office"],
        ),
        row(
            f"{stage}, with the database's work, two processes",
            cpu["two"],
            "msg/s per core",
            f"{PEER} with two",
            cpu["post_office two"],
        ),
    ]


def _measure(folder: Path, port: int) -> dict[str, dict[str, float]]:
    env = os.environ | {
        "NUDGE_DATA": str(folder),
        "NUDGE_DEMO": "0",
        "NUDGE_LOG_LEVEL": "ERROR",
        "NUDGE_BENCHMARK_SMTP": str(port),
        "BROKER_URL": "memory://",
    }
    env.pop("DATABASE_URL", None)
    try:
        subprocess.run(
            [sys.executable, "manage.py", "prepare"], cwd=ROOT, env=env, check=True, capture_output=True
        )
        found = subprocess.run(
            [sys.executable, "-m", "benchmarks.email_sender", str(port)],
            cwd=ROOT,
            env=env,
            check=True,
            stdout=subprocess.PIPE,
            text=True,
        )
        return json.loads(found.stdout.strip().splitlines()[-1])
    finally:
        stop = "import sys, pathlib; from config import embedded; embedded.stop(pathlib.Path(sys.argv[1]))"
        subprocess.run([sys.executable, "-c", stop, str(folder)], cwd=ROOT, check=False)
