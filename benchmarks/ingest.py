"""Events per second over HTTP into the log, beside COPY of the same rows and beside what one would write by hand.

The web server is the product's own (gunicorn, two workers of four threads) on a database of its own; the client
keeps a few connections open. The limit is COPY of as many rows into a bare copy of the event table.
"""

import json
import statistics
import subprocess
import sys
import tempfile
import threading
import time
import uuid
from datetime import UTC, datetime
from http.client import HTTPConnection
from pathlib import Path

from benchmarks.product import product
from benchmarks.table import Row, row

BATCH = 100
BATCHES = 150
ROUNDS = 3
CLIENTS = 4


def rows() -> list[Row]:
    """Measure in rounds that take turns; the medians count."""
    with tempfile.TemporaryDirectory(prefix="nudge-bench-") as folder, product(Path(folder)) as served:
        ours, naive, limit = [], [], []
        _send(served, "/api/v1/events/", 20)
        for _ in range(ROUNDS):
            ours.append(_send(served, "/api/v1/events/", BATCHES))
            figures = _in_django(served.env)
            naive.append(figures["naive"])
            limit.append(figures["copy"])
        single = _single(served)
    rate = statistics.median(ours)
    return [
        row(
            f"events over HTTP, batches of {BATCH}",
            rate,
            "events/s",
            "COPY into a bare table",
            statistics.median(limit),
        ),
        row(
            f"events over HTTP, batches of {BATCH}",
            rate,
            "events/s",
            "get_or_create + save in a loop, no HTTP",
            statistics.median(naive),
        ),
        row("one event a request, idle machine, p95", single["p95"], "µs", "p50", single["p50"]),
    ]


def _send(served, path: str, batches: int) -> float:
    """Events per second until every batch is answered."""
    bodies = [_body(number) for number in range(batches)]
    share = [bodies[client::CLIENTS] for client in range(CLIENTS)]
    failures: list[str] = []

    def client(mine: list[bytes]) -> None:
        connection = HTTPConnection("127.0.0.1", served.port, timeout=60)
        for body in mine:
            connection.request("POST", path, body, served.headers)
            answer = connection.getresponse()
            text = answer.read()
            if answer.status != 202 or json.loads(text)["accepted"] != BATCH:
                failures.append(text.decode()[:200])

    threads = [threading.Thread(target=client, args=(mine,)) for mine in share]
    began = time.perf_counter()
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if failures:
        raise RuntimeError(failures[0])
    return batches * BATCH / (time.perf_counter() - began)


def _single(served) -> dict[str, float]:
    """Latency of requests that hold one event, in microseconds."""
    connection = HTTPConnection("127.0.0.1", served.port, timeout=60)
    times = []
    for number in range(300):
        body = json.dumps({"events": [_event(number)]}).encode()
        began = time.perf_counter()
        connection.request("POST", "/api/v1/events/", body, served.headers)
        connection.getresponse().read()
        times.append((time.perf_counter() - began) * 1e6)
    times.sort()
    return {"p50": times[len(times) // 2], "p95": times[int(len(times) * 0.95)]}


def _body(number: int) -> bytes:
    return json.dumps({"events": [_event(number * BATCH + index) for index in range(BATCH)]}).encode()


def _event(number: int) -> dict:
    return {
        "id": str(uuid.uuid4()),
        "name": ("product_viewed", "cart_updated", "purchase")[number % 3],
        "profile": {"external_id": f"bench-{number % 5000}"},
        "occurred_at": datetime.now(UTC).isoformat(),
        "properties": {"product_id": "haraz", "price": 18.5, "currency": "EUR", "category": "coffee"},
    }


def _in_django(env: dict[str, str]) -> dict[str, float]:
    """Run `benchmarks.ingest_peers` with the product's own settings; its figures in rows per second."""
    found = subprocess.run(
        [sys.executable, "-m", "benchmarks.ingest_peers"], env=env, check=True, capture_output=True, text=True
    )
    return json.loads(found.stdout.strip().splitlines()[-1])
