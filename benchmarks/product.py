"""The product's web server on a database and a port of its own, for benchmarks."""

import json
import os
import shlex
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
from typing import Any

ROOT = Path(__file__).resolve().parent.parent


@dataclass(frozen=True)
class Served:
    """Where the product answers, and what a request needs."""

    port: int
    env: dict[str, str]
    headers: dict[str, str]

    def figures(self, module: str) -> dict[str, Any]:
        """Run a module with the product's own settings; what the last line that it prints holds as JSON."""
        found = subprocess.run(
            [sys.executable, "-m", module], env=self.env, check=True, capture_output=True, text=True
        )
        return json.loads(found.stdout.strip().splitlines()[-1])


@contextmanager
def product(folder: Path) -> Iterator[Served]:
    """Prepare a database in `folder`, start gunicorn as the Procfile does, and stop both at the end."""
    env = os.environ | {
        "NUDGE_DATA": str(folder),
        "PORT": str(_free_port()),
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
    headers = {"Authorization": f"Bearer {key}", "Content-Type": "application/json"}
    try:
        with serving(env, "config.wsgi", headers) as served:
            yield served
    finally:
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


@contextmanager
def serving(env: dict[str, str], application: str, headers: dict[str, str]) -> Iterator[Served]:
    """Run a WSGI application under gunicorn with the Procfile's options on a free port."""
    port = _free_port()
    web = next(line for line in (ROOT / "Procfile").read_text().splitlines() if line.startswith("web: "))
    options = shlex.split(web.partition("gunicorn config.wsgi")[2].replace("$PORT", str(port)))
    command = [sys.executable, "-m", "gunicorn", application, *options, "--log-level", "error"]
    server = subprocess.Popen(command, cwd=ROOT, env=env)
    try:
        _wait(port)
        yield Served(port, env, headers)
    finally:
        server.terminate()
        server.wait()


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def _wait(port: int, seconds: float = 60) -> None:
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        try:
            urllib.request.urlopen(f"http://127.0.0.1:{port}/healthz", timeout=5).close()
            return
        except urllib.error.HTTPError:
            return  # it answers, if only that it has no such page
        except OSError:
            time.sleep(0.1)
    raise RuntimeError(f"Nothing answers on port {port}.")
