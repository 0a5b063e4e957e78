"""A flow of ten steps while everything is killed at random: nobody is lost, goes another way or is written to twice.

The whole product runs as `make run` starts it, with a clock that the harness puts forward. Events come by REST from a
client that repeats each batch until it is taken, and some of them needlessly. Meanwhile web, workers, beat, supervisor,
the broker's queues and connections, the database and single processes of it are killed (benchmarks/chaos_kills.py).
In the end each person's decisions, in order, are held against the tests' interpreter of one person at a time, and so
are the outbox, the inboxes, the log and a number that the flow adds to.

NUDGE_BENCH_PROFILES people (20,000 unless set), NUDGE_CHAOS_SEED, and NUDGE_CHAOS_PAUSE: seconds between two kills, as
"1.5-5".
"""

import http.client
import json
import os
import random
import subprocess
import sys
import tempfile
import threading
import time
import uuid
from collections import Counter
from collections.abc import Sequence
from datetime import datetime, timedelta
from pathlib import Path

from benchmarks import chaos_clock, chaos_plan
from benchmarks.chaos_kills import Database, Killer, wait_until
from benchmarks.product import ROOT
from benchmarks.table import Differs
from tests.stack import Stack, free_ports

PEOPLE = int(os.environ.get("NUDGE_BENCH_PROFILES", "20000"))
SEED = int(os.environ.get("NUDGE_CHAOS_SEED", "1"))
PAUSE = tuple(map(float, os.environ.get("NUDGE_CHAOS_PAUSE", "1.5-5").split("-")))
BATCH = 200  # events a request
CLIENTS = 2
PHASE_SECONDS = 900.0  # until all that is due must be done
DRIFT = timedelta(minutes=20)  # how late a phase may get before somebody's wait ends in the wrong one
SOON = timedelta(minutes=6)  # who is asked again a moment later, after a failure or a collision

_LEFT = """
    SELECT (SELECT count(*) FROM (SELECT FROM crm_event e, crm_logcursor c
                WHERE c.name = 'flows' AND (e.txid, e.seq) > (c.txid, c.seq) LIMIT 1) waiting),
        (SELECT count(*) FROM crm_logcursor WHERE name LIKE 'flows:%%'),
        (SELECT count(*) FROM campaigns_enrollment WHERE state = 'active' AND due_at <= %(now)s),
        (SELECT count(*) FROM delivery_delivery WHERE state IN ('queued', 'deferred') AND due_at <= %(now)s),
        (SELECT min(due) FROM (
            (SELECT min(due_at) FROM campaigns_enrollment WHERE state = 'active' AND due_at <= %(soon)s) UNION ALL
            (SELECT min(due_at) FROM delivery_delivery WHERE state IN ('queued', 'deferred') AND due_at <= %(soon)s)
            UNION ALL
            (SELECT min(lease_until) FROM delivery_delivery WHERE state = 'sending')
        ) AS d(due))
"""


def report() -> str:
    """The harness's table.

    Raises:
        Differs: somebody's way, messages, profile or log is not what it must be; the table says how many.
    """
    with tempfile.TemporaryDirectory(prefix="nudge-chaos-", ignore_cleanup_errors=True) as folder:
        Path(folder).chmod(0o755)
        return Chaos(Path(folder)).run()


class Chaos:
    """One run of the harness in a folder of its own."""

    def __init__(self, folder: Path):
        self.clock = chaos_clock.Clock(folder / "clock")
        self.stack = Stack(
            folder / "data",
            free_ports(2),
            {
                "DJANGO_SETTINGS_MODULE": "benchmarks.chaos_settings",
                chaos_clock.ENVIRONMENT: str(folder / "clock"),
                "NUDGE_LOG_LEVEL": "WARNING",
            },
        )
        self.database = Database(self.stack)
        self.lots = random.Random(SEED)
        self.sent: Counter[str] = Counter()
        self.key = ""

    def run(self) -> str:
        """Live through the history and judge what came of it."""
        try:
            self.stack.start()
            self.key = self.stack.manage("api_key", "create", "chaos", "--scope", "write").strip()
            self._work("prepare", str(PEOPLE))
            zero = self.clock.now()
            began = time.monotonic()
            with Killer(self.stack, random.Random(SEED), PAUSE) as killer:
                late = self._live(zero, killer)
            took = time.monotonic() - began
            found = json.loads(self._work("judge", str(PEOPLE), str(SEED)).splitlines()[-1])
        finally:
            self.database.close()
            self.stack.end_all()
        return _table(found, killer.kills, self.sent, took, late)

    def _live(self, zero: datetime, killer: Killer) -> timedelta:
        """Let the history happen; return how far the clock ran on in the longest phase."""
        latest = timedelta()
        for minutes, events in chaos_plan.history(PEOPLE, SEED):
            at = zero + timedelta(minutes=minutes)
            self.clock.set(at)
            self._settle(killer, f"what was due {minutes} minutes after the beginning was done", sending=True)
            self._send(events, self.clock.now())
            self._settle(
                killer, f"what came {minutes} minutes after the beginning was handled", sending=False
            )
            latest = max(latest, self.clock.now() - at)
            if latest > DRIFT:
                raise RuntimeError(
                    f"The phase of minute {minutes} took {latest}: waits would end in another one."
                )
            taken = (self.clock.now() - at).total_seconds()
            left = f"minute {minutes}: {len(events):,} events, {killer.kills.total()} kills so far, {taken:.0f} s"
            print(f"  {left}", file=sys.stderr, flush=True)
        return latest

    def _settle(self, killer: Killer, what: str, sending: bool) -> None:
        """Wait until nothing is left to do; `sending`: nor is any message in the hands of somebody who may be dead.

        Where all that is left has been put off for some minutes, the clock is put forward to it.
        """

        def done() -> bool:
            killer.check()
            now = self.clock.now()
            [(unread, behind, due, queued, next_)] = self.database.rows(
                _LEFT, {"now": now, "soon": now + SOON}
            )
            if unread or due or queued:
                return False
            if behind:
                self.clock.set(now + timedelta(seconds=10))
                return False
            if next_ is None or (not sending and next_ > now + SOON):
                return True
            if next_ > now:
                self.clock.set(next_)
            return False

        wait_until(done, PHASE_SECONDS, what)

    def _send(self, events: Sequence[tuple[int, str]], at: datetime) -> None:
        """Send everything by several clients at once; each repeats a batch until it is taken."""
        rows = [
            {
                "id": str(uuid.UUID(int=self.lots.getrandbits(128), version=4)),
                "name": name,
                "profile": {"external_id": f"p{person}"},
                "occurred_at": at.isoformat(),
            }
            for person, name in events
        ]
        batches = [rows[start : start + BATCH] for start in range(0, len(rows), BATCH)]
        twice = self.lots.sample(batches, len(batches) // 10)  # a client that did not hear the answer
        problems: list[BaseException] = []

        def client(mine: list[list[dict]]) -> None:
            try:
                for batch in mine:
                    self._deliver(json.dumps({"events": batch}).encode(), len(batch))
            except BaseException as error:
                problems.append(error)

        todo = [*batches, *twice]
        threads = [
            threading.Thread(target=client, args=(todo[number::CLIENTS],)) for number in range(CLIENTS)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        if problems:
            raise problems[0]

    def _deliver(self, body: bytes, size: int) -> None:
        """Repeat a request until it is answered that each of its events is there."""
        deadline = time.monotonic() + PHASE_SECONDS
        headers = {"Authorization": f"Bearer {self.key}", "Content-Type": "application/json"}
        while time.monotonic() < deadline:
            self.sent["requests"] += 1
            connection = http.client.HTTPConnection("127.0.0.1", self.stack.port, timeout=30)
            try:
                connection.request("POST", "/api/v1/events/", body, headers)
                answer = connection.getresponse()
                text = answer.read()
                if answer.status == 202:
                    taken = json.loads(text)
                    if taken["rejected"] or taken["accepted"] + taken["duplicates"] != size:
                        raise RuntimeError(f"Events were refused: {text[:500]!r}")
                    self.sent["known already"] += taken["duplicates"]
                    return
                if answer.status < 429:
                    raise RuntimeError(f"Events were answered {answer.status}: {text[:500]!r}")
                self.sent["answered 5xx"] += 1
            except (OSError, http.client.HTTPException):
                self.sent["not answered"] += 1
            finally:
                connection.close()
            time.sleep(0.2)
        raise TimeoutError("Nobody took the events.")

    def _work(self, *arguments: str) -> str:
        done = subprocess.run(
            [sys.executable, "-m", "benchmarks.chaos_work", *arguments],
            cwd=ROOT,
            env=self.stack.env,
            stdout=subprocess.PIPE,
            text=True,
            check=True,
        )
        return done.stdout


def _table(found: dict, kills: Counter[str], sent: Counter[str], took: float, late: timedelta) -> str:
    lines = ["| killed | times |", "| --- | ---: |"]
    lines += [f"| {kind} | {number} |" for kind, number in sorted(kills.items())]
    lines += [
        f"| all | {kills.total()} |",
        "",
        "| what | expected | missing | too many |",
        "| --- | ---: | ---: | ---: |",
    ]
    broken = found.get("different", 0)
    for kind, words in (
        ("messages", "messages in the outbox"),
        ("in the inbox", "messages in inboxes"),
        ("in the log", "runs and messages in the log"),
        ("added", "additions to profiles"),
    ):
        expected, missing, doubled = (
            found[f"{kind}: {what}"] for what in ("expected", "missing", "too many")
        )
        broken += missing + doubled
        lines.append(f"| {words} | {expected:,} | {missing} | {doubled} |")
    others = {state: number for state, number in found["states"].items() if state != "sent"}
    broken += sum(others.values())
    summary = (
        f"{found['people']:,} people, {found['transitions']:,} decisions, {found.get('different', 0)} different paths, "
        f"{found['momentary']} put off for a moment, messages not sent: {others or 0}; {took:.0f} s, "
        f"seed {SEED}, longest phase {late.total_seconds():.0f} s by the harness's clock."
    )
    lines += [
        "",
        summary,
        "Requests with events: "
        + ", ".join(f"{number} {what}" for what, number in sorted(sent.items()))
        + ".",
        *found["examples"],
    ]
    text = "\n".join(lines)
    if broken:
        raise Differs(text)
    return text
