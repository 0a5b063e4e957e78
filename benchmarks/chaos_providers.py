"""Services of one's own that carry messages badly.

`python -m benchmarks.chaos_providers JOURNAL SEED CLOCK [HTTP SMTP]` prints {"http": port, "smtp": port}: the given
ones, if any, for services that come back after they were killed. What happens to each message is written down (JOURNAL,
one line of JSON each, on disk before it is answered) with the channel, the address, the push's topic and the time. It
depends on the address alone: taken, refused, gone, told to come again, an error of the service, taken and then cut off,
cut off before anything was taken, taken and (if NUDGE_CHAOS_SILENT is set) never answered. What can pass happens once,
and the next message to the address is taken. CLOCK is a file that holds the time, or one of benchmarks/chaos_clock.py
named *.ahead.
"""

import asyncio
import hashlib
import json
import os
import sys
from collections.abc import Callable
from datetime import datetime
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs

from aiosmtpd.smtp import SMTP

from benchmarks.chaos_clock import Clock

# Up to which part of a hundred, and what happens then.
HTTP_FATES = (
    (70, "take"),
    (74, "refuse"),
    (78, "gone"),
    (84, "later"),
    (89, "busy"),
    (92, "error"),
    (96, "take and cut"),
    (99.7, "cut"),
    (100, "take in silence"),
)
SMTP_FATES = (
    (76, "take"),
    (82, "refuse"),
    (90, "later"),
    (95, "take and cut"),
    (99.9, "cut"),
    (100, "take in silence"),
)
SILENT = bool(os.environ.get("NUDGE_CHAOS_SILENT"))
LASTING = {"refuse", "gone"}  # anything else happens once to an address
LOSING = {"error", "cut", "take and cut", "take in silence"}  # who asked can't know whether it was taken
STATUS = {
    "take": "201 Created",
    "refuse": "400 Bad Request",
    "gone": "410 Gone",
    "later": "429 Too Many Requests",
    "busy": "503 Service Unavailable",
    "error": "500 Internal Server Error",
}


class Services:
    """What all of them share: the journal, the clock and everybody's fate."""

    def __init__(self, journal: Path, seed: str, now: Callable[[], datetime]):
        self._file = os.open(journal, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
        self._seed, self._now = seed, now
        told = map(json.loads, journal.read_text().splitlines())
        self._met = {(line["channel"], line["to"]) for line in told}

    def fate(self, channel: str, to: str) -> str:
        """What happens to the next message to this address."""
        told = f"{self._seed}:{channel}:{to}".encode()
        place = int.from_bytes(hashlib.blake2b(told, digest_size=4).digest(), "big") / 2**32 * 100
        fates = SMTP_FATES if channel == "email" else HTTP_FATES
        found = next(what for upto, what in fates if place < upto)
        if found == "take in silence" and not SILENT:
            return "take and cut"
        return found if found in LASTING or (channel, to) not in self._met else "take"

    def note(self, fate: str, channel: str, to: str, topic: str = "") -> None:
        """Write down what happens to a message."""
        self._met.add((channel, to))
        line = {"channel": channel, "to": to, "topic": topic, "at": self._now().isoformat(), "fate": fate}
        os.write(self._file, f"{json.dumps(line)}\n".encode())

    async def http(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Answer requests until one is cut off."""
        try:
            while True:
                head = (await reader.readuntil(b"\r\n\r\n")).decode()
                request, *lines = head.split("\r\n")
                headers = {
                    name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)
                }
                body = await reader.readexactly(int(headers.get("content-length", "0")))
                channel, to = _addressed(request.split()[1], body)
                fate = self.fate(channel, to)
                self.note(fate, channel, to, headers.get("topic", ""))
                if fate == "take in silence":
                    await asyncio.sleep(3600)
                if "cut" in fate:
                    return
                answer = _answer(channel, to, fate)
                retry = "Retry-After: 1\r\n" if fate == "later" else ""
                writer.write(
                    f"HTTP/1.1 {STATUS[fate]}\r\n{retry}Content-Length: {len(answer)}\r\n\r\n{answer}".encode()
                )
                await writer.drain()
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            writer.transport.abort()

    async def handle_RCPT(  # noqa: N802 aiosmtpd's name
        self, server: Any, session: Any, envelope: Any, address: str, options: Any
    ) -> str:
        """SMTP: refuse, put off or take a recipient."""
        session.fate = self.fate("email", address)
        if session.fate in ("refuse", "later"):
            self.note(session.fate, "email", address)
            return "550 No such mailbox" if session.fate == "refuse" else "451 Come again"
        envelope.rcpt_tos.append(address)
        return "250 OK"

    async def handle_DATA(self, server: Any, session: Any, envelope: Any) -> str:  # noqa: N802 aiosmtpd's name
        """SMTP: take a message or don't."""
        self.note(session.fate, "email", envelope.rcpt_tos[0])
        if session.fate == "take in silence":
            await asyncio.sleep(3600)
        if "cut" in session.fate:
            server.transport.abort()
        return "250 OK"


def _addressed(path: str, body: bytes) -> tuple[str, str]:
    """Which channel's service is asked, and for whom."""
    if path.startswith("/push/"):
        return "webpush", path
    if path.endswith("Messages.json"):
        return "sms", parse_qs(body.decode())["To"][0]
    return "whatsapp", "+" + json.loads(body)["to"].lstrip("+")


def _answer(channel: str, to: str, fate: str) -> str:
    if channel == "webpush":
        return ""
    if channel == "sms":
        return json.dumps({"sid": f"SM{to}", "num_segments": "1"} if fate == "take" else {"message": fate})
    return json.dumps(
        {"messages": [{"id": f"wamid.{to}"}]} if fate == "take" else {"error": {"message": fate}}
    )


async def main(journal: Path, seed: str, clock: Path, ports: tuple[int, int] = (0, 0)) -> None:
    """Serve until killed, on ports for HTTP and SMTP (0: any that is free)."""
    ahead = clock.suffix == ".ahead"
    services = Services(
        journal, seed, Clock(clock).now if ahead else lambda: datetime.fromisoformat(clock.read_text())
    )
    loop = asyncio.get_running_loop()
    http = await asyncio.start_server(services.http, "127.0.0.1", ports[0], backlog=1024)
    smtp = await loop.create_server(
        lambda: SMTP(services, hostname="chaos.example", loop=loop), "127.0.0.1", ports[1], backlog=1024
    )
    open_ = {name: server.sockets[0].getsockname()[1] for name, server in (("http", http), ("smtp", smtp))}
    print(json.dumps(open_), flush=True)
    await asyncio.Event().wait()


if __name__ == "__main__":
    _journal, _seed, _clock, *_ports = sys.argv[1:]
    _http, _smtp = map(int, _ports or (0, 0))
    asyncio.run(main(Path(_journal), _seed, Path(_clock), (_http, _smtp)))
