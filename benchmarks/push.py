"""Web pushes per second and core, beside `pywebpush.webpush()` in a loop on the same subscriptions."""

import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

from benchmarks.table import Row, row

ROOT = Path(__file__).resolve().parent.parent


def rows() -> list[Row]:
    """Measure on a database of its own against a stub that answers 201 to everything."""
    with tempfile.TemporaryDirectory(prefix="nudge-bench-") as folder:
        stub = subprocess.Popen(
            [sys.executable, "-m", "benchmarks.push_stub"], cwd=ROOT, stdout=subprocess.PIPE, text=True
        )
        try:
            host = f"127.0.0.1:{stub.stdout.readline().strip()}"
            rates = _measure(Path(folder), host)
        finally:
            stub.kill()
            stub.wait()
    cpu, wall = rates["cpu"], rates["wall"]
    unit = "msg/s per core"
    return [
        row(
            "web push, claimed row to recorded result",
            cpu["stage"],
            unit,
            "webpush() in a loop",
            cpu["webpush"],
        ),
        row(
            "web push, claimed row to recorded result",
            cpu["stage"],
            unit,
            "webpush() with one session",
            cpu["webpush_session"],
        ),
        row(
            "web push, channel alone",
            cpu["channel"],
            unit,
            "webpush() with one session",
            cpu["webpush_session"],
        ),
        row("web push, channel alone", cpu["channel"], unit, "limit: its encryption alone", cpu["encrypt"]),
        row(
            "web push, one sender by the clock",
            wall["stage"],
            "msg/s",
            "webpush() with one session",
            wall["webpush_session"],
        ),
    ]


def _measure(folder: Path, host: str) -> dict[str, dict[str, float]]:
    env = os.environ | {
        "NUDGE_DATA": str(folder),
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
        found = subprocess.run(
            [sys.executable, "-m", "benchmarks.push_sender", f"http://{host}"],
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
