"""Requests per second of the tracking endpoints, beside a view that answers "ok" under the same server.

The web server is the product's own (gunicorn, two workers of four threads). A second is one of processor time of its
processes, which other work on the machine does not change; bringing what was noted into the database, which they do
meanwhile and afterwards, counts in. The bare view stands alone, without any middleware, and behind the product's own.
All take turns; the medians count. At the end everything must be stored, once.
"""

import json
import os
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from contextlib import ExitStack
from pathlib import Path
from socket import create_connection, socket
from typing import Any

from benchmarks.product import ROOT, Served, product, serving
from benchmarks.table import Differs, Row, row

REQUESTS = 800  # of each kind in each round
ROUNDS = 3
CLIENTS = 8
PER_CONNECTION = 50
BATCH = 20
PHONE = (
    "Mozilla/5.0 (iPhone; CPU iPhone OS 18_0 like Mac OS X) AppleWebKit/605.1.15 Mobile/15E148 Safari/604.1"
)
LINK, PICTURE, REPORT, MANY = "link", "picture", "report", f"{BATCH} reports at once"
NAMES = {
    LINK: "click on a tracked link",
    PICTURE: "picture that tells of an opening",
    REPORT: "report of a device",
    MANY: f"report of a device, {BATCH} in a request",
}
_TICK = os.sysconf("SC_CLK_TCK")


def rows() -> list[Row]:
    """Measure in rounds that take turns."""
    rates: dict[str, list[float]] = {name: [] for name in (*NAMES, "alone", "behind")}
    times: list[float] = []
    with tempfile.TemporaryDirectory(prefix="nudge-bench-") as folder, ExitStack() as stack:
        served = stack.enter_context(product(Path(folder)))
        elsewhere = {"NUDGE_SPOOL_DIR": f"{folder}/none"}
        alone, behind = (
            stack.enter_context(serving(served.env | extra, "benchmarks.tracking_bare", {}))
            for extra in ({"BARE": "1", **elsewhere}, elsewhere)
        )
        tokens = _work(served, str(REQUESTS * (ROUNDS + 1)))
        for turn in range(ROUNDS + 1):
            mine = {kind: found[turn * REQUESTS : (turn + 1) * REQUESTS] for kind, found in tokens.items()}
            once = {name: _rate(served, requests, times) for name, requests in _requests(mine)}
            bare = [_get("/bare/")] * REQUESTS
            once |= {"alone": _rate(alone, bare, []), "behind": _rate(behind, bare, [])}
            if turn:  # the first one warms up
                for name, figure in once.items():
                    rates[name].append(figure)
        _complete(served)
    rate = {name: statistics.median(each) for name, each in rates.items()}
    rate[MANY] *= BATCH
    shown = [
        row(NAMES[name], rate[name], f"{'report' if name == MANY else 'request'}s/s of CPU", peer, rate[key])
        for name in NAMES
        for peer, key in (("a bare view alone", "alone"), ("a bare view behind our middleware", "behind"))
    ]
    times.sort()
    return [*shown, row("answer of any of them, p50", times[len(times) // 2] * 1e6, "µs", "goal", 10_000)]


def _requests(tokens: dict[str, list[str]]) -> list[tuple[str, list[bytes]]]:
    reports = [{"token": token, "kind": "shown"} for token in tokens["devices"]]
    closed = [{"token": token, "kind": "dismissed"} for token in tokens["devices"]]
    batches = [closed[start : start + BATCH] for start in range(0, len(closed), BATCH)]
    return [
        (LINK, [_get(f"/l/{token}") for token in tokens["links"]]),
        (PICTURE, [_get(f"/o/{token}.gif") for token in tokens["pictures"]]),
        (REPORT, [_post("/t/push/", report) for report in reports]),
        (MANY, [_post("/t/push/", batch) for batch in batches]),
    ]


def _get(path: str) -> bytes:
    return f"GET {path} HTTP/1.1\r\nHost: localhost\r\nUser-Agent: {PHONE}\r\n\r\n".encode()


def _post(path: str, content: Any) -> bytes:
    body = json.dumps(content).encode()
    head = f"POST {path} HTTP/1.1\r\nHost: localhost\r\nUser-Agent: {PHONE}\r\nContent-Type: text/plain\r\n"
    return f"{head}Content-Length: {len(body)}\r\n\r\n".encode() + body


def _rate(served: Served, requests: list[bytes], times: list[float]) -> float:
    """Requests per second of processor time, until all is answered and the spool is empty."""
    before = _cpu(served)
    failures: list[bytes] = []

    def client(mine: list[bytes]) -> None:
        for start in range(0, len(mine), PER_CONNECTION):
            with create_connection(("127.0.0.1", served.port), timeout=60) as connection:
                for request in mine[start : start + PER_CONNECTION]:
                    began = time.perf_counter()
                    answer = _ask(connection, request)
                    times.append(time.perf_counter() - began)
                    if answer[9:10] not in (b"2", b"3"):
                        failures.append(answer)
                        return

    clients = [
        threading.Thread(target=client, args=(requests[number::CLIENTS],)) for number in range(CLIENTS)
    ]
    for thread in clients:
        thread.start()
    for thread in clients:
        thread.join()
    if failures:
        raise RuntimeError(failures[0].decode(errors="replace")[-300:])
    _drained(served)
    return len(requests) / (_cpu(served) - before)


def _ask(connection: socket, request: bytes) -> bytes:
    """The answer to a request, however it tells where it ends."""
    connection.sendall(request)
    answer = b""
    while True:
        data = connection.recv(65_536)
        if not data:
            raise RuntimeError("The server closed the connection.")
        answer += data
        head, separator, body = answer.partition(b"\r\n\r\n")
        if not separator:
            continue
        fields = head.lower()
        if answer[9:12] == b"204" or (b"chunked" in fields and body.endswith(b"0\r\n\r\n")):
            return answer
        length = fields.partition(b"content-length:")[2].split(b"\r\n")[0]
        if length and len(body) >= int(length):
            return answer


def _drained(served: Served, seconds: float = 120) -> None:
    spool = Path(served.env["NUDGE_DATA"]) / "spool"
    deadline = time.monotonic() + seconds
    while any(spool.glob("*.spool")):
        if time.monotonic() > deadline:
            raise RuntimeError("What was noted is not stored.")
        time.sleep(0.05)


def _cpu(served: Served) -> float:
    """Seconds of processor time of the workers of the server that listens there."""
    total = 0
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            arguments = (stat.parent / "cmdline").read_bytes()
            fields = stat.read_text().rpartition(") ")[2].split()
        except OSError:
            continue
        if f"127.0.0.1:{served.port}".encode() in arguments.split(b"\0"):
            total += int(fields[11]) + int(fields[12])
    return total / _TICK


def _work(served: Served, *arguments: str) -> dict[str, Any]:
    command = [sys.executable, "-m", "benchmarks.tracking_work", *arguments]
    found = subprocess.run(command, cwd=ROOT, env=served.env, check=True, capture_output=True, text=True)
    return json.loads(found.stdout.strip().splitlines()[-1])


def _complete(served: Served) -> None:
    found = _work(served)
    if len(set(found.values())) != 1:
        raise Differs(f"Not everything is stored once: {found}")
