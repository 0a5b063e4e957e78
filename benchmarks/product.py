"""The product's web server on a database and a port of its own, for benchmarks."""

import os
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent


@dataclass(frozen=True)
class Served:
    """Where the product answers, and what a request needs."""

    port: int
    env: dict[str, str]
    headers: dict[str, str]


@contextmanager
def product(folder: Path) -> Iterator[Served]:
    """Prepare a database in `folder`, start gunicorn as the Procfile does, and stop both at the end."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    env = os.environ | {
        "NUDGE_DATA": str(folder),
        "PORT": str(port),
        "NUDGE_DEMO": "0",
        "NUDGE_LOG_LEVEL": "ERROR",
    }
    manage = [sys.executable, "manage.py"]
    subprocess.run([*manage, "prepare"], cwd=ROOT, env=env, check=True, capture_output=True)
    key = subprocess.run(
        [*manage, "api_key", "create", "bench", "--scope", "write"],
        cwd=ROOT,
        env=env,
        check=True,
        capture_output=True,
        text=True,
    ).stdout.strip()
    gunicorn = [sys.executable, "-m", "gunicorn", "config.wsgi", "--worker-class", "gthread"]
    options = ["--workers", "2", "--threads", "4", "--bind", f"127.0.0.1:{port}", "--log-level", "error"]
    server = subprocess.Popen([*gunicorn, *options, "--no-control-socket"], cwd=ROOT, env=env)
    try:
        _wait(f"http://127.0.0.1:{port}/healthz")
        yield Served(port, env, {"Authorization": f"Bearer {key}", "Content-Type": "application/json"})
    finally:
        server.terminate()
        server.wait()
        subprocess.run(
            [
                sys.executable,
                "-c",
                "import sys, pathlib; from config import embedded; embedded.stop(pathlib.Path(sys.argv[1]))",
                str(folder),
            ],
            cwd=ROOT,
            check=False,
        )


def _wait(url: str, seconds: float = 60) -> None:
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        try:
            urllib.request.urlopen(url, timeout=5).close()
            return
        except (urllib.error.URLError, ConnectionError):
            time.sleep(0.1)
    raise RuntimeError(f"{url} does not answer")
