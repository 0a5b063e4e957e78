"""Text messages per second to a local gateway, beside the bare HTTP client, Twilio's library and a set throttle."""

import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

from benchmarks.table import Row, row

ROOT = Path(__file__).resolve().parent.parent


def rows() -> list[Row]:
    """Measure on a database of its own; the gateway has a process of its own."""
    with tempfile.TemporaryDirectory(prefix="nudge-bench-") as folder:
        gateway = subprocess.Popen(
            [sys.executable, "-m", "benchmarks.sms_gateway"], cwd=ROOT, stdout=subprocess.PIPE, text=True
        )
        try:
            found = _measure(Path(folder), int(gateway.stdout.readline()))
        finally:
            gateway.kill()
            gateway.wait()
    wall, cpu = found["wall"], found["cpu"]
    stage = "SMS, claimed row to recorded result"
    return [
        row(stage, wall["product"], "msg/s", "twilio library in a loop", wall["library"]),
        row(stage, cpu["product"], "msg/s per core", "the HTTP client alone", cpu["client"]),
        row(
            "SMS, requests of the provider alone",
            cpu["provider"],
            "msg/s per core",
            "the HTTP client alone",
            cpu["client"],
        ),
        row("SMS with a throttle", wall["throttled"], "msg/s", "the throttle", found["throttle"]),
    ]


def _measure(folder: Path, port: int) -> dict:
    env = os.environ | {
        "NUDGE_DATA": str(folder),
        "NUDGE_DEMO": "0",
        "NUDGE_LOG_LEVEL": "ERROR",
        "NUDGE_PROVIDER_HOSTS_TRUSTED": f"127.0.0.1:{port}",
        "BROKER_URL": "memory://",
        "DJANGO_SETTINGS_MODULE": "config.settings",
    }
    env.pop("DATABASE_URL", None)
    try:
        subprocess.run(
            [sys.executable, "manage.py", "prepare"], cwd=ROOT, env=env, check=True, capture_output=True
        )
        command = [sys.executable, "-m", "benchmarks.sms_sender", str(port)]
        sent = subprocess.run(command, cwd=ROOT, env=env, check=True, stdout=subprocess.PIPE, text=True)
        return json.loads(sent.stdout.strip().splitlines()[-1])
    finally:
        stop = "import sys, pathlib; from config import embedded; embedded.stop(pathlib.Path(sys.argv[1]))"
        subprocess.run([sys.executable, "-c", stop, str(folder)], cwd=ROOT, check=False)
