"""Kills parts of a running product at random moments, as a machine that misbehaves would: `kill -9`, no farewell.

The broker is the same database, so it can't die alone: its queues are emptied and its connections are cut instead,
which is what its end would do to the product. The embedded database dies as a whole (its postmaster), or one of its
processes does, upon which PostgreSQL ends all others and recovers.
"""

import os
import random
import signal
import threading
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import psycopg

from config import embedded
from tests.stack import Stack

PATIENCE = 180.0  # seconds until a query must have been answered, whatever is killed meanwhile

KINDS = (
    "web",
    "web child",
    "worker",
    "worker child",
    "worker",
    "worker child",
    "delivery",
    "background",
    "beat",
    "database",
    "database process",
    "connection",
    "broker",
    "supervisor",
)


class Database:
    """Asks the product's database, however often it dies meanwhile."""

    def __init__(self, stack: Stack):
        self._stack = stack
        self._connection: psycopg.Connection | None = None
        self._lock = threading.Lock()

    def rows(self, statement: str, values: Any = ()) -> list[tuple]:
        """What a statement that may be repeated returns.

        Raises:
            psycopg.Error: nothing answered for a long time.
        """
        deadline = time.monotonic() + PATIENCE
        with self._lock:
            while True:
                try:
                    return self._ask(statement, values)
                except psycopg.OperationalError:
                    self.close()
                    if time.monotonic() > deadline:
                        raise
                    time.sleep(0.1)

    def _ask(self, statement: str, values: Any) -> list[tuple]:
        if self._connection is None:
            self._connection = psycopg.connect(
                host=str(self._stack.data_dir / "socket"),
                user=embedded.USER,
                dbname="nudge",
                autocommit=True,
                connect_timeout=5,
            )
        cursor = self._connection.execute(statement, values)
        return cursor.fetchall() if cursor.description else []

    def close(self) -> None:
        """Drop the connection; the next question makes another."""
        if self._connection is not None:
            self._connection.close()
            self._connection = None


class Killer:
    """Kills in a thread of its own while `with` lasts.

    Args:
        pause: seconds between two kills, at least and at most.
        lots: decides what is killed and when.
        kinds: what may be killed; what stands there twice is killed twice as often.
        others: how to kill what is no part of the product, by kind; it tells whether there was anything to kill.
    """

    def __init__(
        self,
        stack: Stack,
        lots: random.Random,
        pause: tuple[float, float],
        kinds: Sequence[str] = KINDS,
        others: Mapping[str, Callable[[], bool]] | None = None,
    ):
        self.kills: Counter[str] = Counter()
        self.problem: BaseException | None = None
        self._stack, self._lots, self._pause, self._kinds = stack, lots, pause, kinds
        self._others = others or {}
        self._database = Database(stack)
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)

    def __enter__(self) -> "Killer":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()
        self._database.close()
        self.check()

    def check(self) -> None:
        """Raise what ended the thread."""
        if self.problem is not None:
            raise self.problem

    def _run(self) -> None:
        try:
            while not self._stop.wait(self._lots.uniform(*self._pause)):
                kind = self._lots.choice(self._kinds)
                if self._kill(kind):
                    self.kills[kind] += 1
        except BaseException as error:
            self.problem = error

    def _kill(self, kind: str) -> bool:
        """Kill one thing of this kind; whether there was one."""
        if kind in self._others:
            return self._others[kind]()
        if kind == "broker":
            return self._cut_broker()
        if kind == "connection":
            return self._cut_connection()
        if kind == "supervisor":
            return self._end_supervisor()
        if kind == "database process":
            ids = self._of_database()
        elif kind.endswith(" child"):
            ids = _children(self._stack.pid(kind.removesuffix(" child")))
        else:
            ids = [pid] if (pid := self._stack.pid(kind)) else []
        return bool(ids) and _kill(self._lots.choice(ids))

    def _of_database(self) -> list[int]:
        """The processes that serve the product's connections."""
        try:
            return [
                pid
                for (pid,) in self._database._ask(
                    "SELECT pid FROM pg_stat_activity WHERE backend_type = 'client backend'"
                    " AND pid <> pg_backend_pid() ORDER BY pid",
                    (),
                )
            ]
        except psycopg.Error:
            self._database.close()
            return []

    def _cut_broker(self) -> bool:
        """Empty all queues and cut the connections that listen to them or carry messages."""
        try:
            self._database._ask("SELECT pgmq.purge_queue(queue_name) FROM pgmq.list_queues()", ())
            self._database._ask(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE pid <> pg_backend_pid()"
                " AND (query ILIKE '%%pgmq%%' OR query ILIKE 'LISTEN%%')",
                (),
            )
        except psycopg.Error:
            self._database.close()
            return False
        return True

    def _cut_connection(self) -> bool:
        """End one of the product's connections."""
        try:
            found = self._database._ask(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE backend_type = 'client backend'"
                " AND pid <> pg_backend_pid() ORDER BY random() LIMIT 1",
                (),
            )
        except psycopg.Error:
            self._database.close()
            return False
        return bool(found)

    def _end_supervisor(self) -> bool:
        """Kill the supervisor, whose processes end with it, and start the product anew."""
        process = self._stack.process
        if process is None or process.poll() is not None:
            return False
        process.kill()
        process.wait()
        self._stack.process = None
        self._stack.start()
        return True


def _children(pid: int | None) -> list[int]:
    with suppress(OSError):
        return [int(one) for one in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
    return []


def _kill(pid: int) -> bool:
    with suppress(ProcessLookupError):
        os.kill(pid, signal.SIGKILL)
        return True
    return False


def wait_until(condition: Callable[[], bool], seconds: float, what: str, every: float = 0.3) -> None:
    """Wait until a condition holds.

    Raises:
        TimeoutError: it did not; `what` finishes the sentence "It took more than n s until …".
    """
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            raise TimeoutError(f"It took more than {seconds:.0f} s until {what}.")
        time.sleep(every)
