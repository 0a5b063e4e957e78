"""Processes of the product that a test may kill at will: starting one anew takes no time (worker.py)."""

import http.client
import json
import os
import random
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from django.db import connection

from tests.campaigns.flows.worker import NAME

SECONDS_BETWEEN_KILLS = (0.02, 0.15)
SLOWER = (
    2.0  # seconds after which kills come half as often, and so on: a busy machine shall come to an end, too
)
ROOT = Path(__file__).resolve().parents[3]


class Nursery:
    """Starts processes, gives them events, and kills them.

    Args:
        clock: a file that holds the time.
        roles: what to start, see worker.py.
        key: an API key that events are sent with.
        settings: of the product, to be set in the processes.
    """

    def __init__(self, clock: Path, roles: Sequence[str], key: str = "", settings: dict | None = None):
        self.process = subprocess.Popen(
            [sys.executable, "-m", "tests.campaigns.flows.worker"],
            cwd=ROOT,
            env=os.environ | {"NUDGE_LOG_LEVEL": "CRITICAL"},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        self.running: list[tuple[str, int]] = []
        self.kills: Counter[str] = Counter()
        self._headers = {"Authorization": f"Bearer {key}", "Content-Type": "application/json"}
        options = {
            "database": connection.settings_dict["NAME"],
            "clock": str(clock),
            "settings": settings or {},
        }
        self.port = self._ask(json.dumps(options))
        for role in roles:
            self.start(role)

    def _ask(self, line: str) -> int:
        assert self.process.stdin
        assert self.process.stdout
        self.process.stdin.write(f"{line}\n")
        self.process.stdin.flush()
        return int(self.process.stdout.readline())

    def start(self, role: str) -> None:
        self.running.append((role, self._ask(role)))

    def kill(self, kind: str) -> None:
        """Kill something of this kind and start another."""
        if kind == "connection":
            with connection.cursor() as cursor:
                # None of the test run's own, of which other threads may hold some.
                cursor.execute(
                    "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = current_database()"
                    " AND application_name = %s ORDER BY random() LIMIT 1",
                    [NAME],
                )
                self.kills[kind] += len(cursor.fetchall())
            return
        found = next(each for each in self.running if each[0] == kind)
        self.running.remove(found)
        os.kill(found[1], signal.SIGKILL)
        self.kills[kind] += 1
        self.start(kind)

    def send(self, events: list[dict]) -> None:
        """Repeat a request until it is answered that each of its events is there."""
        deadline = time.monotonic() + 30
        body = json.dumps({"events": events})
        while time.monotonic() < deadline:
            there = http.client.HTTPConnection("127.0.0.1", self.port, timeout=2)
            try:
                there.request("POST", "/api/v1/events/", body, self._headers)
                answer = there.getresponse()
                said = json.loads(answer.read())
                if answer.status == 202 and said["accepted"] + said["duplicates"] == len(events):
                    return
                assert answer.status >= 500, said
            except (OSError, http.client.HTTPException):
                pass
            finally:
                there.close()
        raise AssertionError("nobody takes the events")

    def close(self) -> None:
        for _role, pid in self.running:
            os.kill(pid, signal.SIGKILL)
        self.process.communicate(timeout=30)


@contextmanager
def nursery(
    clock: Path, roles: Sequence[str], key: str = "", settings: dict | None = None
) -> Iterator[Nursery]:
    found = Nursery(clock, roles, key, settings)
    try:
        yield found
    finally:
        found.close()


def pause(chance: random.Random, began: float, seconds: tuple[float, float] = SECONDS_BETWEEN_KILLS) -> None:
    """Wait for the moment of the next kill in a phase that began at `began` by the monotonic clock."""
    time.sleep(chance.uniform(*seconds) * (1 + (time.monotonic() - began) / SLOWER))
