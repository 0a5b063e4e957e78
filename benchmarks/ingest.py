"""Events per second over HTTP into the log, beside COPY into the same table and beside what one would write by hand.

The web server is the product's own (gunicorn, two workers of four threads) on a database of its own. Every event
names its person by a customer number, has an id and a time, and can be read from the log once it is answered. The
limit is one COPY of prepared text into the same table, with all its indexes and for profiles whose numbers are known.
The peers are Django REST Framework endpoints under the same server, see `benchmarks.naive_api`. All of them take
turns; the medians count.
"""

import json
import socket
import statistics
import tempfile
import threading
import time
import uuid
from datetime import UTC, datetime
from pathlib import Path

from benchmarks.product import Served, product, serving
from benchmarks.table import Row, row

BATCH = 100
BATCHES = 200
NAIVE_BATCHES = 30
SINGLES = 300
ROUNDS = 5
CLIENTS = 8
PER_CONNECTION = (
    5  # requests; a connection stays with one worker, so few that last would leave the other idle
)
PROFILES = 5000
P95_GOAL = 25_000  # µs
_PATH = "/api/v1/events/"


def rows() -> list[Row]:
    """Measure in rounds that take turns."""
    ours, naive, lean, limit = [], [], [], []
    with tempfile.TemporaryDirectory(prefix="nudge-bench-") as folder, product(Path(folder)) as served:
        _send(served, _PATH, [_body(number, _named) for number in range(PROFILES // BATCH)])
        first = served.figures("benchmarks.ingest_peers")["first_profile"]
        with serving(served.env, "benchmarks.naive_wsgi", served.headers) as peer:
            for _ in range(ROUNDS):
                ours.append(_send(served, _PATH, [_body(number, _named) for number in range(BATCHES)]))
                limit.append(served.figures("benchmarks.ingest_peers")["copy"])
                for path, figures in (("/naive/", naive), ("/lean/", lean)):
                    bodies = [_body(number, _numbered(first), bare=True) for number in range(NAIVE_BATCHES)]
                    figures.append(_send(peer, path, bodies))
        single = _single(served)
    rate = statistics.median(ours)
    name = f"events over HTTP, batches of {BATCH}"
    peers = (
        ("COPY into the same table", limit),
        ("ModelSerializer(many=True) + bulk_create", naive),
        ("the same without looking at profiles", lean),
    )
    return [
        *(row(name, rate, "events/s", peer_name, statistics.median(found)) for peer_name, found in peers),
        row("one event a request, one client, p95", single["p95"], "µs", "goal", P95_GOAL),
        row("one event a request, one client, p50", single["p50"], "µs", "goal for p95", P95_GOAL),
    ]


def _send(served: Served, path: str, bodies: list[bytes]) -> float:
    """Events per second until every batch is answered."""
    requests = [_request(served, path, body) for body in bodies]
    failures: list[str] = []

    def client(mine: list[bytes]) -> None:
        for start in range(0, len(mine), PER_CONNECTION):
            with socket.create_connection(("127.0.0.1", served.port), timeout=60) as connection:
                for request in mine[start : start + PER_CONNECTION]:
                    answer = _ask(connection, request)
                    if b" 202 " not in answer[:20] or b'"accepted":%d' % BATCH not in answer:
                        failures.append(answer.decode()[-300:])
                        return

    threads = [
        threading.Thread(target=client, args=(requests[number::CLIENTS],)) for number in range(CLIENTS)
    ]
    began = time.perf_counter()
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    took = time.perf_counter() - began
    if failures:
        raise RuntimeError(failures[0])
    return len(bodies) * BATCH / took


def _request(served: Served, path: str, body: bytes) -> bytes:
    """An HTTP/1.1 request as it goes over the wire."""
    lines = [f"POST {path} HTTP/1.1", f"Host: 127.0.0.1:{served.port}", f"Content-Length: {len(body)}"]
    lines += [f"{name}: {value}" for name, value in served.headers.items()]
    return "\r\n".join([*lines, "", ""]).encode() + body


def _ask(connection: socket.socket, request: bytes) -> bytes:
    """The answer to a request, which must say its length."""
    connection.sendall(request)
    answer = b""
    while b"\r\n\r\n" not in answer:
        answer += _some(connection)
    head, _separator, rest = answer.partition(b"\r\n\r\n")
    length = int(head.lower().partition(b"content-length:")[2].split(b"\r\n")[0])
    while len(rest) < length:
        rest += _some(connection)
    return head + b"\r\n\r\n" + rest


def _some(connection: socket.socket) -> bytes:
    data = connection.recv(65_536)
    if not data:
        raise RuntimeError("The server closed the connection.")
    return data


def _single(served: Served) -> dict[str, float]:
    """Latency of requests that hold one event, in microseconds."""
    times = []
    with socket.create_connection(("127.0.0.1", served.port), timeout=60) as connection:
        for number in range(SINGLES):
            body = json.dumps({"events": [_event(number, _named)]}).encode()
            request = _request(served, _PATH, body)
            began = time.perf_counter()
            _ask(connection, request)
            times.append((time.perf_counter() - began) * 1e6)
    times.sort()
    return {"p50": times[len(times) // 2], "p95": times[int(len(times) * 0.95)]}


def _named(number: int) -> dict:
    return {"profile": {"external_id": f"bench-{number % PROFILES}"}}


def _numbered(first: int):
    return lambda number: {"profile": first + number % PROFILES}


def _body(number: int, whose, bare: bool = False) -> bytes:
    events = [_event(number * BATCH + index, whose) for index in range(BATCH)]
    return json.dumps(events if bare else {"events": events}).encode()


def _event(number: int, whose) -> dict:
    return {
        "id": str(uuid.uuid4()),
        "name": ("product_viewed", "cart_updated", "purchase")[number % 3],
        **whose(number),
        "occurred_at": datetime.now(UTC).isoformat(),
        "properties": {"product_id": "haraz", "price": 18.5, "currency": "EUR", "category": "coffee"},
    }
