"""Messages by four channels while everything is killed: nobody gets one twice, or against their will, or at night.

The whole product runs as `make run` starts it, with a clock that the harness puts forward. Services of its own
(benchmarks/chaos_providers.py) take messages, refuse them, are busy, hang up and fall silent, and are killed like the
web server, workers, beat, supervisor, the broker's queues and connections, the database, its processes and single
connections (benchmarks/chaos_kills.py). People are asleep, never agreed, or leave meanwhile; a limit and a pace hold.
In the end the services' journal and the outbox are held against these rules (benchmarks/chaos_delivery_world.py).

NUDGE_BENCH_DELIVERIES (50,000 unless set), NUDGE_CHAOS_SEED, and NUDGE_CHAOS_PAUSE: seconds between two kills, as
"1.5-5", or "never".
"""

import json
import os
import random
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from datetime import UTC, datetime, timedelta
from pathlib import Path

from benchmarks import chaos_clock
from benchmarks.chaos_kills import Database, Killer, wait_until
from benchmarks.product import ROOT
from benchmarks.table import Differs
from tests.stack import Stack, free_ports

CHANNELS = 4
PEOPLE = int(os.environ.get("NUDGE_BENCH_DELIVERIES", "50000")) // CHANNELS
SEED = int(os.environ.get("NUDGE_CHAOS_SEED", "1"))
_PAUSE = os.environ.get("NUDGE_CHAOS_PAUSE", "1.5-5")
PAUSE = (1e9, 1e9) if _PAUSE == "never" else tuple(map(float, _PAUSE.split("-")))
PACE = max(1.0, PEOPLE / 200)  # text messages a second, so that it takes minutes to send them
KINDS = (
    "delivery",
    "delivery",
    "delivery",
    "worker",
    "background",
    "beat",
    "web",
    "database",
    "database process",
    "connection",
    "connection",
    "broker",
    "supervisor",
    "service",
)
# Noon; the night, in which others get up; the next morning, at which nobody sleeps; and when all has expired.
PHASES = (
    timedelta(),
    timedelta(hours=10, minutes=30),
    timedelta(hours=22, minutes=30),
    timedelta(days=3, hours=1),
)
LEAVING = 1  # the phase before which people leave
WITHIN = timedelta(hours=2)  # what is put off for so long comes in the same phase
DRIFT = timedelta(hours=8)  # how long a phase may take before somebody falls asleep in it
PHASE_SECONDS = 7200.0
STILL = 45.0  # seconds: longer than any call to a service, after which nobody who lives holds anything

_LEFT = """
    SELECT (SELECT count(*) FROM delivery_delivery WHERE state IN ('queued', 'deferred') AND due_at <= %(now)s),
        (SELECT count(*) FROM delivery_delivery WHERE state = 'sending'),
        (SELECT min(lease_until) FROM delivery_delivery WHERE state = 'sending'),
        (SELECT min(due_at) FROM delivery_delivery WHERE state IN ('queued', 'deferred') AND due_at > %(now)s),
        (SELECT max(held_until) FROM delivery_account WHERE held_until > %(now)s)
"""


def report() -> str:
    """The harness's table.

    Raises:
        Differs: a rule was broken; the table says which and how often.
    """
    with tempfile.TemporaryDirectory(prefix="nudge-chaos-", ignore_cleanup_errors=True) as folder:
        Path(folder).chmod(0o755)
        return Chaos(Path(folder)).run()


class Services:
    """The services, on the same ports however often they are killed."""

    def __init__(self, journal: Path, clock: Path):
        self.journal = journal
        self._arguments = [str(journal), str(SEED), str(clock)]
        self._lock = threading.Lock()
        self._process, self.ports = self._start()

    def _start(self, *ports: str) -> tuple[subprocess.Popen[str], dict[str, int]]:
        process = subprocess.Popen(
            [sys.executable, "-m", "benchmarks.chaos_providers", *self._arguments, *ports],
            cwd=ROOT,
            env=os.environ | {"NUDGE_CHAOS_SILENT": "1"},
            stdout=subprocess.PIPE,
            text=True,
        )
        assert process.stdout
        return process, json.loads(process.stdout.readline())

    def kill(self) -> bool:
        """Kill them and start them again."""
        with self._lock:
            self.end()
            self._process, _ports = self._start(str(self.ports["http"]), str(self.ports["smtp"]))
        return True

    def end(self) -> None:
        """Kill them."""
        self._process.kill()
        self._process.communicate()


class Chaos:
    """One run of the harness in a folder of its own."""

    def __init__(self, folder: Path):
        clock = folder / "clock.ahead"
        self.clock = chaos_clock.Clock(clock)
        self.services = Services(folder / "journal", clock)
        here = f"127.0.0.1:{self.services.ports['http']}"
        self.stack = Stack(
            folder / "data",
            free_ports(2),
            {
                "DJANGO_SETTINGS_MODULE": "benchmarks.chaos_settings",
                chaos_clock.ENVIRONMENT: str(clock),
                "NUDGE_PUSH_HOSTS": here,
                "NUDGE_PROVIDER_HOSTS_TRUSTED": here,
                "NUDGE_LOG_LEVEL": "WARNING",
            },
        )
        self.database = Database(self.stack)

    def run(self) -> str:
        """Send everything and judge what came of it."""
        try:
            self.stack.start()
            noon = (self.clock.now() + timedelta(days=1)).astimezone(UTC)
            noon = noon.replace(hour=12, minute=0, second=0, microsecond=0)
            ports = self.services.ports
            self._work(
                "prepare",
                PEOPLE,
                PACE,
                (noon - timedelta(seconds=1)).isoformat(),
                ports["http"],
                ports["smtp"],
            )
            began = time.monotonic()
            kinds = {"service": self.services.kill}
            with Killer(self.stack, random.Random(SEED), PAUSE, KINDS, kinds) as killer:  # type: ignore[arg-type]
                left_at, late = self._live(noon, killer)
            took = time.monotonic() - began
            found = json.loads(
                self._work("judge", PEOPLE, PACE, left_at, self.services.journal).splitlines()[-1]
            )
        finally:
            self.database.close()
            self.stack.end_all()
            self.services.end()
        return _table(found, killer.kills, took, late)

    def _live(self, noon: datetime, killer: Killer) -> tuple[str, timedelta]:
        """Go from phase to phase; return when people left, and how far the clock ran on in the longest phase."""
        latest, left_at = timedelta(), ""
        for number, phase in enumerate(PHASES):
            if number == LEAVING:
                left_at = json.loads(self._repeated("leave", PEOPLE).splitlines()[-1])
            at = noon + phase
            self.clock.set(at)
            self._settle(killer, at, last=number == len(PHASES) - 1)
            latest = max(latest, self.clock.now() - at)
            if latest > DRIFT:
                raise RuntimeError(f"The phase {phase} after noon took {latest}: somebody fell asleep in it.")
            told = f"{phase} after noon: {killer.kills.total()} kills so far, {self.clock.now() - at} by the clock"
            print(f"  {told}", file=sys.stderr, flush=True)
        return left_at, latest

    def _settle(self, killer: Killer, at: datetime, last: bool) -> None:
        """Wait until all that can be sent in this phase is, and nothing is in anybody's hands.

        The clock is put forward only while nothing is being sent: to the moment when what is put off is due, or when
        what the dead hold may be taken over.
        """
        seen: tuple[int, ...] = ()
        since = time.monotonic()

        def done() -> bool:
            nonlocal seen, since
            killer.check()
            now = self.clock.now()
            [(due, held, lease, next_, resting)] = self.database.rows(_LEFT, {"now": now})
            if (due, held) != seen:
                seen, since = (due, held), time.monotonic()
            still = time.monotonic() - since > STILL
            if held:
                if still and lease and lease > now:
                    self.clock.set(lease)
                return False
            if due:
                if still and resting:
                    self.clock.set(resting)
                return False
            if next_ is None or (next_ > at + WITHIN and not last):
                return True
            self.clock.set(next_)
            return False

        wait_until(done, PHASE_SECONDS, f"what could be sent {at:%d %H:%M} was")

    def _repeated(self, *arguments: object) -> str:
        """Do a part of the work that may fail as long as something is killed meanwhile."""
        for _try in range(20):
            try:
                return self._work(*arguments, errors=subprocess.DEVNULL)
            except subprocess.CalledProcessError:
                time.sleep(1)
        return self._work(*arguments)

    def _work(self, *arguments: object, errors: int | None = None) -> str:
        done = subprocess.run(
            [sys.executable, "-m", "benchmarks.chaos_delivery_work", *map(str, arguments)],
            cwd=ROOT,
            env=self.stack.env,
            stdout=subprocess.PIPE,
            stderr=errors,
            text=True,
            check=True,
        )
        return done.stdout


def _table(found: dict, kills: Counter[str], took: float, late: timedelta) -> str:
    def rows(head: str, of: dict[str, int]) -> list[str]:
        lines = [f"| {head} | number |", "| --- | ---: |"]
        return [*lines, *(f"| {what} | {number:,} |" for what, number in sorted(of.items())), ""]

    summary = (
        f"{sum(found['states'].values()):,} deliveries to {PEOPLE:,} people, {sum(found['taken'].values()):,} taken, "
        f"{found['pushes replaced']} pushes replaced by the same; {took:.0f} s, seed {SEED}, "
        f"longest phase {late.total_seconds():.0f} s by the harness's clock."
    )
    lines = [
        *rows("killed", {**kills, "all": kills.total()}),
        *rows("what the services did", found["answers"]),
        *rows("deliveries in the end", found["states"]),
        *rows("of unknown outcome", found["unknown"]),
        *rows("broken rule", found["wrong"]),
        summary,
    ]
    text = "\n".join(lines)
    if any(found["wrong"].values()):
        raise Differs(text)
    return text
