"""Keeps the processes of the Procfile running: their output, their restarts, their end.

Honcho ends everything when one process ends. Here a process that dies is started again, after a pause that
grows while it keeps dying, so that one crash neither stops the product nor spins.
"""

import ctypes
import logging
import os
import queue
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from logging.handlers import RotatingFileHandler
from pathlib import Path

from honcho.colour import get_colours
from honcho.printer import Message, Printer

GRACE = 7.0  # seconds between asking a process to stop and killing it
STEADY = 30.0  # seconds a process must run for its earlier deaths to be forgotten
PAUSES = (0.5, 1.0, 2.0, 4.0, 8.0, 15.0)  # seconds before the first, second, ... restart in a row
TICK = 0.2  # seconds between looks at the processes
REPEAT = 60.0  # seconds for which the terminal does not show the same words again
WIDTH = 300  # characters of a process's line on the terminal; the log has all of it
LOG_SIZE = 20 * 1024 * 1024  # bytes, then the file is rotated

_ALARM = re.compile(r"^[\[\d][^A-Za-z]*\[?(WARNING|ERROR|CRITICAL)\b")
_EVERYDAY = re.compile(r"django\.request: (Not Found|Unauthorized|Bad Request|Forbidden)\b")
_VARYING = re.compile(r"0x[0-9a-f]+|[\d.,:]+")
_PR_SET_PDEATHSIG = 1
_libc = ctypes.CDLL(None, use_errno=True) if sys.platform == "linux" else None


def die_with_parent() -> None:
    """In a new child: ask the kernel for SIGTERM when the supervisor dies, even by `kill -9` (Linux)."""
    if _libc:
        _libc.prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)


class Noise:
    """Tells which lines of a process the terminal should show: warnings, errors, ends of tracebacks.

    The same words again within a minute are not news.
    """

    def __init__(self, show_all: bool) -> None:
        self._show_all = show_all
        self._in_traceback = False
        self._shown: tuple[str, float] = ("", 0.0)  # the last line's words, and when (monotonic seconds)

    def shows(self, line: str) -> bool:
        """Whether this line is worth a look by somebody who has the log files for the rest."""
        if self._show_all:
            return True
        if not self._alarms(line):
            return False
        words, now = _VARYING.sub("", line), time.monotonic()
        repeated = words == self._shown[0] and now - self._shown[1] < REPEAT
        self._shown = (words, now)
        return not repeated

    def _alarms(self, line: str) -> bool:
        if line.startswith("Traceback "):
            self._in_traceback = True
        elif self._in_traceback and line[:1] not in (" ", "\t", ""):
            self._in_traceback = False
            return True  # the last line of a traceback names the error
        return bool(_ALARM.match(line) and not _EVERYDAY.search(line))


@dataclass
class Service:
    """One process of the Procfile and what is known about it."""

    name: str
    command: str
    colour: str
    noise: Noise
    log: logging.Logger
    process: subprocess.Popen[bytes] | None = None
    started: float = 0.0
    deaths: int = 0
    due: float | None = 0.0  # when to start it (monotonic seconds); None while it runs
    reader: threading.Thread | None = field(default=None, repr=False)


class Supervisor:
    """Runs services until told to stop.

    Args:
        commands: shell commands by service name.
        env: their environment.
        data_dir: gets `logs/<name>.log` and, while a service runs, `run/<name>.pid`.
        tick: called about five times a second from the main thread; may raise to end everything.
        verbose: show every line of output, not only warnings and errors.
    """

    def __init__(
        self,
        commands: Mapping[str, str],
        env: Mapping[str, str],
        data_dir: Path,
        tick: Callable[[], None] = lambda: None,
        verbose: bool = False,
    ) -> None:
        self._env = dict(env)
        self._data_dir = data_dir
        self._tick = tick
        self._lines: queue.Queue[tuple[Service | None, str]] = queue.Queue()
        self._printer = Printer(sys.stdout, width=max(map(len, commands), default=0))
        self._signals = 0
        colours = get_colours()
        self.services = [
            Service(name, command, next(colours), Noise(verbose), _log_file(name, data_dir))
            for name, command in commands.items()
        ]

    def say(self, line: str) -> None:
        """Print a line of the supervisor's own; any thread may call this."""
        self._lines.put((None, line))

    @property
    def stopping(self) -> bool:
        """Whether a stop has been requested."""
        return self._signals > 0

    def request_stop(self, *_: object) -> None:
        """Signal handler: the first asks the services to stop, the second kills them."""
        self._signals += 1

    def run(self) -> None:
        """Start the services and keep them running until a stop is requested."""
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            signal.signal(number, self.request_stop)
        try:
            while not self._signals:
                for service in self.services:
                    self._look_after(service)
                self._tick()
                self._print_lines(TICK)
        finally:
            self._stop_all()

    def _look_after(self, service: Service) -> None:
        now = time.monotonic()
        if service.process is None:
            if service.due is not None and now >= service.due:
                self._start(service)
            return
        code = service.process.poll()
        if code is None:
            if service.deaths and now - service.started > STEADY:
                service.deaths = 0
            return
        # Its children may live on and hold the port or the pipe; they end with it.
        self._signal_group(service, signal.SIGKILL)
        pause = PAUSES[min(service.deaths, len(PAUSES) - 1)]
        service.deaths += 1
        self._forget(service)
        service.due = now + pause
        cause = f"was killed by {signal.Signals(-code).name}" if code < 0 else f"ended with code {code}"
        hint = "" if service.deaths < 3 else f"; its log is {self._data_dir}/logs/{service.name}.log"
        self.say(f"✗ {service.name} {cause}, starting it again in {pause:g} s{hint}")

    def _start(self, service: Service) -> None:
        service.process = subprocess.Popen(  # noqa: S602 the Procfile is part of the product
            f"exec {service.command}",
            shell=True,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            env=self._env,
            start_new_session=True,  # Ctrl-C reaches the supervisor alone, which then stops the rest in order
            preexec_fn=die_with_parent,
        )
        service.started, service.due = time.monotonic(), None
        self._pid_file(service).write_text(str(service.process.pid))
        service.reader = threading.Thread(target=self._read, args=(service, service.process), daemon=True)
        service.reader.start()

    def _read(self, service: Service, process: subprocess.Popen[bytes]) -> None:
        for raw in process.stdout or ():
            self._lines.put((service, raw.decode(errors="replace").rstrip("\n")))

    def _print_lines(self, wait: float) -> None:
        """Write what has arrived to logs and terminal; wait up to `wait` seconds for the first line."""
        try:
            service, line = self._lines.get(timeout=wait)
            while True:
                self._print(service, line)
                service, line = self._lines.get_nowait()
        except queue.Empty:
            sys.stdout.flush()

    def _print(self, service: Service | None, line: str) -> None:
        if service is None:
            print(line)
            return
        service.log.info(line)
        if service.noise.shows(line) and not self._signals:
            self._printer.write(Message("line", line[:WIDTH], datetime.now(), service.name, service.colour))

    def _stop_all(self) -> None:
        running = [service for service in self.services if service.process]
        for service in running:
            # Only the leader is asked: it knows how to finish what its children are doing.
            if service.process and service.process.poll() is None:
                service.process.terminate()
        deadline = time.monotonic() + GRACE
        while any(service.process and service.process.poll() is None for service in running):
            if time.monotonic() > deadline or self._signals > 1:
                break
            self._print_lines(0.1)
        for service in running:
            self._signal_group(service, signal.SIGKILL)
        for service in running:
            if service.process:
                service.process.wait()
            if service.reader:
                service.reader.join(timeout=2)
            self._forget(service)
        self._print_lines(0)

    def _signal_group(self, service: Service, number: signal.Signals) -> None:
        try:
            if service.process:
                os.killpg(service.process.pid, number)
        except ProcessLookupError:
            pass

    def _forget(self, service: Service) -> None:
        service.process = None
        self._pid_file(service).unlink(missing_ok=True)

    def _pid_file(self, service: Service) -> Path:
        return self._data_dir / "run" / f"{service.name}.pid"


def _log_file(name: str, data_dir: Path) -> logging.Logger:
    path = data_dir / "logs" / f"{name}.log"
    handler = RotatingFileHandler(path, maxBytes=LOG_SIZE, backupCount=2, encoding="utf-8")
    handler.setFormatter(logging.Formatter("%(message)s"))
    # Not from the registry: two runs in one process must not share handlers.
    log = logging.Logger(f"nudge.{name}")  # noqa: LOG001
    log.addHandler(handler)
    return log
