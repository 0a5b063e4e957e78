"""A storm of events for a thousand live flows within a minute: what others wait meanwhile, and what is sent.

The whole product runs as `make run` starts it. Each event of the storm starts a run in one of the flows, and each run
asks for a message. Beside it two quiet flows get an event a second each, one of them with the first priority. One
flow's step always fails: its people must be held, the fault be shown, and all of them go on once it is mended. In the
end each event must have made one run and one message that was sent.

NUDGE_BENCH_EVENTS (100,000 unless set), NUDGE_BENCH_FLOWS (1,000), NUDGE_BENCH_SECONDS (60).
"""

import http.client
import json
import os
import statistics
import subprocess
import sys
import tempfile
import threading
import time
import uuid
from collections import Counter
from datetime import UTC, datetime
from pathlib import Path

from benchmarks.chaos_kills import Database, wait_until
from benchmarks.product import ROOT
from benchmarks.table import Differs
from tests.stack import Stack, free_ports

EVENTS = int(os.environ.get("NUDGE_BENCH_EVENTS", "100000"))
FLOWS = int(os.environ.get("NUDGE_BENCH_FLOWS", "1000"))
SECONDS = float(os.environ.get("NUDGE_BENCH_SECONDS", "60"))
PEOPLE = 20_000
BROKEN = 0  # the number of the flow whose step fails
BATCH = 100  # events a request
CLIENTS = 2
DRAINING = 1800.0  # seconds until all must be done

_LEFT = """
    SELECT (SELECT count(*) FROM (SELECT FROM crm_event e, crm_logcursor c
                WHERE c.name = 'flows' AND (e.txid, e.seq) > (c.txid, c.seq) LIMIT 1) waiting),
        (SELECT count(*) FROM campaigns_enrollment WHERE state = 'active' AND NOT step_state ? 'error'),
        (SELECT count(*) FROM delivery_delivery WHERE state NOT IN ('sent', 'delivered'))
"""


def name(number: int) -> str:
    """The event that starts a flow of the storm, and the flow's short name."""
    return f"storm{number:05d}"


def report() -> str:
    """The storm's table.

    Raises:
        Differs: something was not done, or done twice.
    """
    with tempfile.TemporaryDirectory(prefix="nudge-storm-", ignore_cleanup_errors=True) as folder:
        Path(folder).chmod(0o755)
        stack = Stack(Path(folder) / "data", free_ports(2), {"NUDGE_LOG_LEVEL": "CRITICAL"})
        try:
            stack.start()
            return _Storm(stack).run()
        finally:
            stack.end_all()


class _Storm:
    def __init__(self, stack: Stack):
        self.stack = stack
        self.key = stack.manage("api_key", "create", "storm", "--scope", "write").strip()
        self.database = Database(stack)
        self.over = threading.Event()
        self.problems: list[BaseException] = []
        self.quiet = 0

    def run(self) -> str:
        self._work("prepare")
        self._post([_event("asked", PEOPLE - 1)])  # the workers have started
        wait_until(self._done, 120, "a message was sent before the storm")
        print("  the storm begins", file=sys.stderr, flush=True)
        began = time.time()
        beside = threading.Thread(target=self._guarded, args=(self._beside,))
        clients = [
            threading.Thread(target=self._guarded, args=(self._pour, number)) for number in range(CLIENTS)
        ]
        for thread in (beside, *clients):
            thread.start()
        for thread in clients:
            thread.join()
        poured = time.time()
        print(f"  {EVENTS:,} events in {poured - began:.0f} s", file=sys.stderr, flush=True)
        self.over.set()
        beside.join()
        if self.problems:
            raise self.problems[0]
        [(unread, due, unsent)] = self.database.rows(_LEFT)
        wait_until(self._done, DRAINING, "the storm was over", every=1)
        done = time.time()
        held = self._judge()
        self._work("mend")
        wait_until(lambda: self._done() and not self._held(), DRAINING, "those who were held went on")
        mended = self._judge()
        self.database.close()
        return _table(
            held,
            mended,
            began,
            poured,
            done,
            self.quiet,
            f"unread: {bool(unread)}, due {due:,}, unsent {unsent:,}",
        )

    def _guarded(self, work, *arguments) -> None:
        try:
            work(*arguments)
        except BaseException as error:
            self.problems.append(error)

    def _pour(self, client: int) -> None:
        """Send every second batch of the storm at an even pace."""
        start = time.monotonic()
        for first in range(client * BATCH, EVENTS, CLIENTS * BATCH):
            time.sleep(max(0.0, start + first / EVENTS * SECONDS - time.monotonic()))
            self._post(
                [
                    _event(name(number % FLOWS), (number // FLOWS * 199 + number % FLOWS * 7) % PEOPLE)
                    for number in range(first, min(EVENTS, first + BATCH))
                ]
            )

    def _beside(self) -> None:
        """An event a second for each of the quiet flows, as long as the storm lasts."""
        while not self.over.wait(1):
            self._post([_event("asked", self.quiet), _event("urgent", self.quiet)])
            self.quiet += 1

    def _post(self, events: list[dict]) -> None:
        """Send events until they are taken."""
        body = json.dumps({"events": events})
        headers = {"Authorization": f"Bearer {self.key}", "Content-Type": "application/json"}
        for _try in range(50):
            connection = http.client.HTTPConnection("127.0.0.1", self.stack.port, timeout=60)
            try:
                connection.request("POST", "/api/v1/events/", body, headers)
                answer = connection.getresponse()
                if answer.status == 202 and not json.loads(answer.read())["rejected"]:
                    return
            except (OSError, http.client.HTTPException):
                pass
            finally:
                connection.close()
            time.sleep(0.2)
        raise RuntimeError("Nobody took the events.")

    def _done(self) -> bool:
        return self.database.rows(_LEFT) == [(0, 0, 0)]

    def _held(self) -> int:
        return self.database.rows("SELECT count(*) FROM campaigns_enrollment WHERE state = 'active'")[0][0]

    def _judge(self) -> dict:
        return json.loads(self._work("judge").splitlines()[-1])

    def _work(self, what: str) -> str:
        return subprocess.run(
            [sys.executable, "-m", "benchmarks.storm_work", what],
            cwd=ROOT,
            env=self.stack.env,
            stdout=subprocess.PIPE,
            text=True,
            check=True,
        ).stdout


def _event(what: str, person: int) -> dict:
    return {
        "id": str(uuid.uuid4()),
        "name": what,
        "profile": {"external_id": f"p{person}"},
        "occurred_at": datetime.now(UTC).isoformat(),
    }


def _table(held: dict, mended: dict, began: float, poured: float, done: float, quiet: int, left: str) -> str:
    per_second = Counter(int(at - began) for at in held["sent"] if began <= at < poured)
    seconds = [per_second[second] for second in range(int(poured - began))]
    lines = [
        "| what | figure |",
        "| --- | ---: |",
        f"| live flows | {FLOWS + 2:,} |",
        f"| events taken | {EVENTS:,} in {poured - began:.0f} s, {EVENTS / (poured - began):,.0f}/s |",
        f"| events to messages sent, to the last | {done - began:.0f} s, {EVENTS / (done - began):,.0f}/s |",
        f"| left when the last event was taken | {left} |",
        f"| messages sent a second meanwhile, median / least | {statistics.median(seconds):,.0f} / {min(seconds)} |",
    ]
    for slug, words in (("asked", "quiet flow"), ("urgent", "quiet flow of the first priority")):
        for stage, until in (("queued", "outbox"), ("sent", "sent")):
            cuts = statistics.quantiles(held["waits"][slug][stage], n=100)
            lines.append(f"| {words}, event to {until}, p50 / p99 | {cuts[49]:,.0f} / {cuts[98]:,.0f} ms |")
    expected = Counter({f"{name(number)} sent": 0 for number in range(FLOWS)})
    for number in range(EVENTS):
        expected[f"{name(number % FLOWS)} sent"] += 1
    expected += Counter({"asked sent": quiet + 1, "urgent sent": quiet})
    failing = expected[f"{name(BROKEN)} sent"]
    apart = expected - Counter({f"{name(BROKEN)} sent": failing})
    before, after = Counter(held["messages"]), Counter(mended["messages"])
    wrong = [
        *([f"messages while a flow fails: {_difference(before, apart)}"] if before != apart else []),
        *([f"messages in the end: {_difference(after, expected)}"] if after != expected else []),
        *([f"{held['held']} people held instead of {failing}"] if held["held"] != failing else []),
        *([f"{held['failing']} flows fail instead of one"] if held["failing"] != 1 else []),
        *(["the failing flow is not shown"] if not held["shown"] else []),
        *(["the mended flow is shown as failing"] if mended["failing"] or mended["shown"] else []),
    ]
    lines.append(
        f"| people of the failing flow: held, shown, gone on | {held['held']}, {held['shown']}, {failing} |"
    )
    text = "\n".join([*lines, "", *(wrong or ["Each event made one message; none was lost or doubled."])])
    if wrong:
        raise Differs(text)
    return text


def _difference(found: Counter, expected: Counter) -> str:
    return f"missing {dict(expected - found)}, too many {dict(found - expected)}"[:1000]
