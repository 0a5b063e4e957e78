"""`make run`: prepare everything, start every process of the Procfile, say where to look, keep it running.

Each step prints one line with its time. What an operator can put right is answered with one sentence and
exit code 1. Django is loaded only by the processes started from here, so that the supervisor stays small.
"""

import fcntl
import os
import signal
import socket
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TextIO

import psycopg
from django.core.exceptions import ImproperlyConfigured
from honcho.environ import parse_procfile

from config import embedded, folder, processes
from config.supervisor import Supervisor, die_with_parent

BASE_DIR = Path(__file__).resolve().parent.parent
MARKER = "NUDGE_LAUNCH"  # in the environment of every process started here; its value is the data folder
START_TIMEOUT = 90  # seconds for web, or the CRM sandbox, to answer


class Launch:
    """One run of the product on this machine.

    Args:
        environ: the environment; it is passed on to every process, with the defaults filled in.
    """

    def __init__(self, environ: dict[str, str]) -> None:
        self.port = _port(environ.get("PORT") or "8000")
        self.data_dir = Path(environ.get("NUDGE_DATA") or BASE_DIR / "var").expanduser().resolve()
        self.demo = (environ.get("NUDGE_DEMO") or "1").lower() in ("1", "true", "yes", "on")
        self.database_url = environ.get("DATABASE_URL") or ""
        self.verbose = environ.get("VERBOSE", "") not in ("", "0")
        self.own_password = any(map(environ.get, ("NUDGE_ADMIN_PASSWORD", "NUDGE_ADMIN_PASSWORD_FILE")))
        self.public_url = (environ.get("NUDGE_PUBLIC_URL") or f"http://localhost:{self.port}").rstrip("/")
        self._database_checked = 0.0
        self._supervisor: Supervisor | None = None
        self._command: subprocess.Popen[str] | None = None
        self.env = environ | {
            "PATH": f"{Path(sys.executable).parent}{os.pathsep}{environ.get('PATH', os.defpath)}",
            "PORT": str(self.port),
            "SANDBOX_PORT": str(self.port + 1),
            "NUDGE_DATA": str(self.data_dir),
            "NUDGE_DEMO": "1" if self.demo else "0",
            "PYTHONUNBUFFERED": "1",
            MARKER: str(self.data_dir),
        }

    def run(self) -> None:
        """Run until Ctrl-C or a signal.

        Raises:
            ImproperlyConfigured: something the operator has to put right.
        """
        print(f"Nudge starts; its data is in {self.data_dir}", flush=True)
        folder.prepare(self.data_dir)
        with self._only_one():
            self._end_leftovers()
            for port in (self.port, self.port + 1) if self.demo else (self.port,):
                _require_free(port, self.port)
            try:
                with _step("database ready"):
                    self._start_database()
                self._manage("prepare")
                self._supervise()
            finally:
                if not self.database_url:
                    embedded.release(self.data_dir)
        print("✓ stopped", flush=True)

    def _start_database(self) -> None:
        if not self.database_url:
            embedded.ensure_running(self.data_dir)
            return
        try:
            psycopg.connect(self.database_url, connect_timeout=5).close()
        except psycopg.Error as error:
            reason = str(error).strip().splitlines()[-1].strip().rstrip(".")
            raise ImproperlyConfigured(f"The DATABASE_URL server cannot be reached: {reason}.") from error

    def _supervise(self) -> None:
        commands = dict(parse_procfile((BASE_DIR / "Procfile").read_text()).processes)
        if not self.demo:
            commands.pop("sandbox", None)
        os.chdir(BASE_DIR)
        supervisor = Supervisor(commands, self.env, self.data_dir, self._watch_database, self.verbose)
        self._supervisor = supervisor
        threading.Thread(target=self._greet, args=(supervisor,), daemon=True).start()
        try:
            supervisor.run()
        finally:
            self._end_command()

    def _watch_database(self) -> None:
        """Start the embedded server again if it was killed; the processes reconnect by themselves."""
        if self.database_url or time.monotonic() - self._database_checked < 1:
            return
        self._database_checked = time.monotonic()
        if embedded.postmaster_pid(self.data_dir) is None and self._supervisor:
            self._supervisor.say("✗ the database ended, starting it again")
            try:
                embedded.ensure_running(self.data_dir)
            except ImproperlyConfigured as error:
                self._supervisor.say(f"✗ {error}")
                self._database_checked += 15  # try again later, not in every look
            else:
                self._supervisor.say("✓ database ready")

    def _greet(self, supervisor: Supervisor) -> None:
        """In a thread: when the web process answers, fill the demo and say where to look."""
        started = time.monotonic()
        if not _wait(lambda: _healthy(self.port)):
            supervisor.say(f"✗ /healthz does not answer; see {self.data_dir}/logs/web.log")
            return
        supervisor.say(f"✓ web answers ({time.monotonic() - started:.1f} s)")
        if self.demo:
            try:
                if not _wait(lambda: _listens(self.port + 1)):
                    raise ImproperlyConfigured(
                        f"The CRM sandbox is silent; see {self.data_dir}/logs/sandbox.log"
                    )
                self._manage("nudge_demo", say=supervisor.say)
            except ImproperlyConfigured as error:
                supervisor.say(f"✗ {error}")
        supervisor.say(self._welcome())

    def _welcome(self) -> str:
        password = self.data_dir / "admin_password"
        if self.own_password:
            login = "admin, with the password from NUDGE_ADMIN_PASSWORD"
        elif password.exists():
            login = f"admin / {password.read_text().strip()}"
        else:
            login = "admin, with the password you chose"
        lines = [f"Open    {self.public_url}/admin/", f"Log in  {login}"]
        if self.demo:
            lines.append(f"Shop    {self.public_url}/demo/shop/")
        lines.append("Stop    Ctrl-C")
        width = max(map(len, lines))
        body = "\n".join(f"│ {line:<{width}} │" for line in lines)
        return f"┌{'─' * (width + 2)}┐\n{body}\n└{'─' * (width + 2)}┘"

    def _manage(self, command: str, say=lambda line: print(line, flush=True)) -> None:
        """Run one of the product's commands and pass its lines on as they come."""
        self._command = process = subprocess.Popen(
            [sys.executable, "manage.py", command],
            cwd=BASE_DIR,
            env=self.env,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
            start_new_session=True,
            preexec_fn=die_with_parent,
        )
        log = self.data_dir / "logs" / f"{command}.log"
        try:
            with open(log, "w") as file:
                last = ""
                for line in process.stdout or ():
                    file.write(line)
                    last = line.strip() or last
                    if line.startswith(("✓", "✗", "·")):
                        say(line.rstrip())
            code = process.wait()
        finally:
            self._end_command()  # Ctrl-C while preparing: the command must not outlive this process
        if code and not (self._supervisor and self._supervisor.stopping):
            last = last.removeprefix("nudge: ").removeprefix("CommandError: ").rstrip(".") or f"code {code}"
            raise ImproperlyConfigured(f"`manage.py {command}` failed: {last}. The whole output is in {log}.")

    def _end_command(self) -> None:
        process, self._command = self._command, None
        if process and process.poll() is None:
            process.terminate()
            process.wait()

    @contextmanager
    def _only_one(self) -> Iterator[None]:
        """Hold the data folder's launch lock, which the kernel drops with this process."""
        path = self.data_dir / "run" / "launch.pid"
        with open(path, "a+") as file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                file.seek(0)
                raise ImproperlyConfigured(
                    f"Nudge already runs with the data folder {self.data_dir} (process "
                    f"{file.read().strip()}); stop it, or choose another PORT and NUDGE_DATA."
                ) from None
            _write_pid(file)
            yield
            file.truncate(0)

    def _end_leftovers(self) -> None:
        """End what an earlier run with this data folder left behind when it was killed."""
        leftovers = processes.with_environment(MARKER, str(self.data_dir))
        for number, patience in ((signal.SIGTERM, 5.0), (signal.SIGKILL, 5.0)):
            alive = [pid for pid in leftovers if processes.is_alive(pid)]
            for pid in alive:
                with suppress(ProcessLookupError):
                    os.kill(pid, number)
            deadline = time.monotonic() + patience
            while any(map(processes.is_alive, alive)) and time.monotonic() < deadline:
                time.sleep(0.1)
        if leftovers:
            print(f"✓ ended {len(leftovers)} processes left from an earlier run", flush=True)


@contextmanager
def _step(label: str) -> Iterator[None]:
    """Print the label with the seconds its block took."""
    started = time.monotonic()
    yield
    print(f"✓ {label} ({time.monotonic() - started:.1f} s)", flush=True)


def _write_pid(file: TextIO) -> None:
    file.truncate(0)
    file.write(str(os.getpid()))
    file.flush()


def _port(text: str) -> int:
    if not text.isdecimal() or not 1 <= int(text) <= 65534:
        raise ImproperlyConfigured(f"PORT must be a whole number from 1 to 65534, not {text!r}.")
    return int(text)


def _require_free(port: int, web_port: int) -> None:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except PermissionError as error:
            raise ImproperlyConfigured(f"Port {port} is for root only; choose one above 1023.") from error
        except OSError as error:
            use = "" if port == web_port else ", which the demo's CRM needs (PORT + 1),"
            raise ImproperlyConfigured(
                f"Port {port}{use} is taken; choose another, for instance: make run PORT={web_port + 100}"
            ) from error


def _wait(condition: Callable[[], bool]) -> bool:
    deadline = time.monotonic() + START_TIMEOUT
    while not condition():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.2)
    return True


def _listens(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


def _healthy(port: int) -> bool:
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/healthz", timeout=5) as answer:
            return answer.status == 200
    except (OSError, urllib.error.HTTPError, ValueError):
        return False


def main() -> int:
    """Run the product; returns the exit code."""
    try:
        for number in (
            signal.SIGINT,
            signal.SIGTERM,
            signal.SIGHUP,
        ):  # while preparing; the supervisor sets its own
            signal.signal(number, signal.default_int_handler)
        Launch(dict(os.environ)).run()
    except ImproperlyConfigured as error:
        print(f"✗ {error}", file=sys.stderr, flush=True)
        return 1
    except KeyboardInterrupt:
        print("✓ stopped", flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
