"""The real product as subprocesses: `python -m config.launch` with a data folder and a port of its own.

stack = Stack(tmp_path / "data", free_ports(2), {"NUDGE_DEMO": "0"})
with stack:
    requests.get(stack.url + "/healthz")
    stack.kill("worker")        # kill -9; the supervisor starts it again
    stack.wait_for("worker")
"""

import http.client
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from types import TracebackType

from config import embedded, processes

ROOT = Path(__file__).resolve().parent.parent
_used: set[int] = set()


def free_ports(count: int) -> int:
    """Return the first of `count` neighbouring ports on 127.0.0.1 that are free now, never the same twice."""
    # Below the ephemeral range, so that no client connection takes them; by worker, so that two do not race.
    worker = int(os.environ.get("PYTEST_XDIST_WORKER", "gw0")[2:] or 0)
    start = 20000 + (os.getpid() * 37 + worker * 1000) % 10000
    for first in range(start, 32000, count):
        if first not in _used and all(map(_is_free, range(first, first + count))):
            _used.add(first)
            return first
    raise RuntimeError("no free ports")


def _is_free(port: int) -> bool:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True


class Stack:
    """Web, workers, beat, sandbox and database of one running product.

    Args:
        data_dir: its NUDGE_DATA.
        port: its PORT; the CRM sandbox takes the next one.
        env: further environment, for instance NUDGE_PUSH_HOSTS.
    """

    def __init__(self, data_dir: Path, port: int, env: dict[str, str] | None = None) -> None:
        self.data_dir = Path(data_dir)
        self.port = port
        self.url = f"http://localhost:{port}"
        self.output = self.data_dir.parent / f"{self.data_dir.name}.launch.log"
        self.process: subprocess.Popen[bytes] | None = None
        inherited = ("PATH", "HOME", "LANG", "TMPDIR", "PYTHONPATH", "VIRTUAL_ENV")
        self.env = {name: os.environ[name] for name in inherited if name in os.environ}
        self.env |= {"PORT": str(port), "NUDGE_DATA": str(data_dir), "NUDGE_DEMO": "0"} | (env or {})

    def __enter__(self) -> "Stack":
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None
    ):
        if error:
            print(self.logs())
        self.stop()

    def start(self, timeout: float = 240, ready: bool = True) -> float:
        """Start it; wait until everything (the demo too) is ready. Returns the seconds that took.

        Raises:
            AssertionError: it ended or did not get ready in time; the message holds its output and logs.
        """
        self.output.parent.mkdir(parents=True, exist_ok=True)
        started = time.monotonic()
        with open(self.output, "ab") as output:
            self._from = output.tell()
            self.process = subprocess.Popen(
                [sys.executable, "-m", "config.launch"],
                cwd=ROOT,
                env=self.env | {"PYTHONUNBUFFERED": "1"},
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
            )
        if ready:
            self.until(lambda: "└" in self.said(), timeout, "ready")
        return time.monotonic() - started

    def stop(self, timeout: float = 60) -> int:
        """Ask it to stop as Ctrl-C does, and wait. Returns the exit code."""
        if self.process is None:
            return 0
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGINT)
        try:
            code = self.process.wait(timeout)
        except subprocess.TimeoutExpired:
            self.end_all()
            raise AssertionError(f"the product did not stop in {timeout} s\n{self.logs()}") from None
        self.process = None
        return code

    def end_all(self) -> None:
        """kill -9 everything that belongs to this stack, supervisor first, the database server too."""
        if self.process:
            self.process.kill()
            self.process.wait()
            self.process = None
        for pid in self.pids():
            _kill(pid)
        if server := embedded.postmaster_pid(self.data_dir):
            _kill(server)

    def pids(self) -> list[int]:
        """The processes that the supervisor started and their children, without the database server."""
        return processes.with_environment("NUDGE_LAUNCH", str(self.data_dir.resolve()))

    def pid(self, name: str) -> int | None:
        """Process id of a Procfile service, of `launch` or of `database`; None when it does not run."""
        if name == "database":
            return embedded.postmaster_pid(self.data_dir)
        try:
            pid = int((self.data_dir / "run" / f"{name}.pid").read_text())
        except (OSError, ValueError):
            return None
        return pid if processes.is_alive(pid) else None

    def kill(self, name: str) -> int:
        """kill -9 one process (see pid). Returns the process id it had."""
        pid = self.pid(name)
        assert pid, f"{name} does not run\n{self.logs()}"
        os.kill(pid, signal.SIGKILL)
        return pid

    def wait_for(self, name: str, other_than: int | None = None, timeout: float = 90) -> int:
        """Wait until the process runs, with another id than the given one. Returns its id."""
        self.until(lambda: self.pid(name) not in (None, other_than), timeout, f"{name} running")
        return self.pid(name) or 0

    def restart(self, name: str) -> int:
        """kill -9 one process and wait until the supervisor has started it again. Returns the new id."""
        return self.wait_for(name, other_than=self.kill(name))

    def healthy(self) -> bool:
        """Whether /healthz answers 200 now."""
        try:
            with urllib.request.urlopen(f"{self.url}/healthz", timeout=5) as answer:
                return answer.status == 200
        except (OSError, http.client.HTTPException):
            return False

    def wait_healthy(self, timeout: float = 120) -> None:
        """Wait until /healthz answers 200."""
        self.until(self.healthy, timeout, "healthy")

    def manage(self, *arguments: str, timeout: float = 120) -> str:
        """Run a manage.py command of this stack and return what it printed.

        Raises:
            AssertionError: it failed; the message holds its output.
        """
        done = subprocess.run(
            [sys.executable, "manage.py", *arguments],
            cwd=ROOT,
            env=self.env,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=timeout,
        )
        assert done.returncode == 0, f"manage.py {' '.join(arguments)}: {done.stdout}{done.stderr}"
        return done.stdout

    @property
    def password(self) -> str:
        """The admin's password."""
        return self.env.get("NUDGE_ADMIN_PASSWORD") or (self.data_dir / "admin_password").read_text().strip()

    def said(self) -> str:
        """What the supervisor has printed since the last start."""
        with open(self.output, errors="replace") as file:
            file.seek(self._from)
            return file.read()

    def logs(self, lines: int = 40) -> str:
        """The supervisor's output and the end of each log, for a failure's message."""
        parts = [f"== terminal\n{self.said()}"]
        for path in sorted((self.data_dir / "logs").glob("*.log")):
            parts += [f"== {path.name}", *path.read_text(errors="replace").splitlines()[-lines:]]
        return "\n".join(parts)

    def until(self, condition: Callable[[], bool], timeout: float, what: str) -> None:
        """Wait until the condition holds; `what` finishes the sentence 'the product was not ...'."""
        deadline = time.monotonic() + timeout
        while not condition():
            ended = self.process is not None and self.process.poll() is not None
            if ended or time.monotonic() > deadline:
                why = "ended" if ended else f"was not {what} in {timeout} s"
                raise AssertionError(f"the product {why}\n{self.logs()}")
            time.sleep(0.1)


def _kill(pid: int) -> None:
    with suppress(ProcessLookupError):
        os.kill(pid, signal.SIGKILL)
