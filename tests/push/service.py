"""A strict push service on 127.0.0.1: autopush's WebSocket for Firefox, autopush's HTTP answers for senders.

As a program, `python -m tests.push.service --port 9090`, it also makes browser-less subscriptions on request:
`POST /subscriptions {"count": 100, "application_server_key": null}` and `GET /stats`.
"""

import argparse
import asyncio
import json
import signal
import threading
import time
import uuid
from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Literal, Self

import http_ece
from aiohttp import web

from tests.push import judge
from tests.push.autopush import Autopush, Message
from tests.push.client import ClientKeys, subscribe_many
from tests.push.faults import Fault
from tests.push.journal import Ack, Journal, Push, Registration
from tests.push.loopthread import LoopThread

_ERRORS = {
    400: "Bad Request",
    401: "Unauthorized",
    404: "Not Found",
    410: "Gone",
    413: "Payload Too Large",
    429: "Too Many Requests",
    503: "Service Unavailable",
}


@dataclass
class Subscription:
    """One push endpoint. `keys` is set without a browser, `uaid` and `channel_id` with one."""

    token: str
    endpoint: str
    application_server_key: str | None
    keys: ClientKeys | None = None
    uaid: str = ""
    channel_id: str = ""
    gone: bool = False
    faults: deque[Fault] = field(default_factory=deque)


class PushService:
    """Start and stop with `with PushService() as service:`.

    `verify="all"` judges every push as autopush does and decrypts those whose keys are here; `"none"` takes
    every push to a known endpoint, for benchmarks. `journal_limit` keeps only that many pushes. Journals:
    `journal` (pushes), `acks` (also Firefox's nacks), `registrations` (subscriptions made and ended).
    Subscriptions outlive `stop()` and `start()`, which together are an outage.
    """

    def __init__(
        self, port: int = 0, verify: Literal["all", "none"] = "all", journal_limit: int | None = None
    ) -> None:
        self.port = port
        self.verify = verify
        self.journal: Journal[Push] = Journal(journal_limit)
        self.acks: Journal[Ack] = Journal(journal_limit)
        self.registrations: Journal[Registration] = Journal()
        self._subscriptions: dict[str, Subscription] = {}
        self._lock = threading.Lock()
        self._autopush = Autopush(self)

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.stop()

    # -- life ------------------------------------------------------------------------------------------------

    def start(self) -> None:
        """Listen on 127.0.0.1; OSError when the port is taken."""
        self._thread = LoopThread("push-service")
        try:
            self._thread.run(self._serve())
        except BaseException:
            self._thread.stop()
            raise

    async def _serve(self) -> None:
        self._release = asyncio.Event()
        app = web.Application(client_max_size=2**20)
        app.router.add_post("/wpush/v2/{token}", self._receive)
        app.router.add_get("/", self._autopush.connect)
        app.router.add_post("/subscriptions", self._make_subscriptions)
        app.router.add_get("/stats", self._stats)
        self._runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.5)
        await self._runner.setup()
        await web.TCPSite(self._runner, "127.0.0.1", self.port).start()
        self.port = self._runner.addresses[0][1]
        self._judge = judge.VapidJudge(self.origin)

    def stop(self) -> None:
        """Drop all connections and stop listening; the port stays known for another `start()`."""

        async def close() -> None:
            self._release.set()
            await self._autopush.close()
            await self._runner.cleanup()

        self._thread.run(close())
        self._thread.stop()

    # -- addresses -------------------------------------------------------------------------------------------

    @property
    def host(self) -> str:
        """`127.0.0.1:port`, as NUDGE_PUSH_HOSTS takes it."""
        return f"127.0.0.1:{self.port}"

    @property
    def origin(self) -> str:
        """Origin of the endpoints: what a sender puts into `aud`."""
        return f"http://{self.host}"

    @property
    def websocket_url(self) -> str:
        """Where Firefox connects to (its preference dom.push.serverURL)."""
        return f"ws://{self.host}/"

    # -- subscriptions ---------------------------------------------------------------------------------------

    def register(
        self,
        application_server_key: str | None = None,
        *,
        keys: ClientKeys | None = None,
        uaid: str = "",
        channel_id: str = "",
    ) -> Subscription:
        """Make a subscription; tests call `client.subscribe` instead, Firefox comes by WebSocket."""
        token = uuid.uuid4().hex
        subscription = Subscription(
            token, f"{self.origin}/wpush/v2/{token}", application_server_key, keys, uaid, channel_id
        )
        self._subscriptions[token] = subscription
        if not keys:
            self.registrations.append(Registration(subscription.endpoint))
        return subscription

    def unregister(self, endpoint: str, code: int = 200) -> None:
        """End a subscription: later pushes are answered 410."""
        self._find(endpoint).gone = True
        self.registrations.append(Registration(endpoint, code))

    def forget(self, endpoint: str) -> None:
        """Drop every trace of a subscription: later pushes are answered 404."""
        del self._subscriptions[self._find(endpoint).token]

    def fail_next(self, endpoint: str, fault: Fault, times: int = 1) -> None:
        """Let the next `times` pushes to `endpoint` meet `fault`, after those told before."""
        with self._lock:
            self._find(endpoint).faults.extend([fault] * times)

    def release(self) -> None:
        """Send all answers that `Fault.held` keeps back."""

        async def let_go() -> None:
            self._release.set()
            self._release = asyncio.Event()

        self._thread.run(let_go())

    def subscriptions_of(self, uaid: str) -> Iterable[Subscription]:
        """The live subscriptions of one browser."""
        return [s for s in list(self._subscriptions.values()) if s.uaid == uaid and not s.gone]

    def _find(self, endpoint: str) -> Subscription:
        return self._subscriptions[endpoint.rpartition("/")[2]]

    # -- pushes ----------------------------------------------------------------------------------------------

    async def _receive(self, request: web.Request) -> web.StreamResponse:
        body = await request.read()
        token = request.match_info["token"]
        headers = {name.lower(): value for name, value in request.headers.items()}
        subscription = self._subscriptions.get(token)
        with self._lock:
            fault = subscription.faults.popleft() if subscription and subscription.faults else None
        release = self._release
        version = uuid.uuid4().hex
        answer: dict[str, object] = {"status": 201, "errno": None, "message": ""}
        extra: dict[str, str] = {}
        if fault and (fault.delay or (fault.hold and not fault.accept)):
            await self._wait(fault, release)
        try:
            if fault and fault.status:
                extra = dict(fault.headers)
                raise judge.Refusal(fault.status, fault.errno, "Told to fail")
            if fault and fault.close and not fault.accept:
                raise judge.Refusal(0, None, "Told to close the connection")
            extra = {
                "Location": f"{self.origin}/m/{version}",
                "TTL": str(self._examine(subscription, headers, body)),
            }
        except judge.Refusal as refusal:
            answer = {"status": refusal.status, "errno": refusal.errno, "message": refusal.message}
            if refusal.status == 410:
                extra.setdefault("Cache-Control", "max-age=86400")
        push = Push(
            token,
            f"{self.origin}/wpush/v2/{token}",
            headers,
            body,
            datetime.now(UTC),
            **answer,  # type: ignore[arg-type]
            keys=subscription.keys if subscription else None,
        )
        if push.accepted and subscription:
            await self._deliver(subscription, push, version, int(extra["TTL"]))
        self.journal.append(push)
        if fault and fault.hold and fault.accept:
            await self._wait(fault, release)
        if fault and fault.close:
            assert request.transport
            request.transport.abort()
        return self._answer(push, extra)

    @staticmethod
    async def _wait(fault: Fault, release: asyncio.Event) -> None:
        if fault.delay:
            await asyncio.sleep(fault.delay)
        if fault.hold:
            await release.wait()

    def _examine(self, subscription: Subscription | None, headers: dict[str, str], body: bytes) -> int:
        """Return the seconds the message is kept; judge.Refusal when it is not taken."""
        if subscription is None:
            raise judge.Refusal(404, 102, "No such endpoint")
        if subscription.gone:
            raise judge.Refusal(410, 106, "The subscription has ended")
        if self.verify == "none":
            return int(headers.get("ttl", 0))
        ttl = judge.ttl_of(headers)
        judge.check_headers(headers, body)
        self._judge.check(headers.get("authorization"), time.time(), subscription.application_server_key)
        return ttl

    async def _deliver(self, subscription: Subscription, push: Push, version: str, ttl: int) -> None:
        if subscription.uaid:
            topic = push.headers.get("topic", "")
            message = Message(
                subscription.channel_id, version, push.body, topic, time.time() + ttl, push.endpoint
            )
            await self._autopush.deliver(subscription.uaid, message)
        elif self.verify == "all":
            try:
                push.payload  # noqa: B018 - decrypts now, as a browser would
            except (http_ece.ECEException, ValueError):
                self.acks.append(Ack(push.endpoint, version, 101))
            else:
                self.acks.append(Ack(push.endpoint, version, 100))

    @staticmethod
    def _answer(push: Push, headers: dict[str, str]) -> web.Response:
        if push.accepted:
            return web.Response(status=201, headers=headers)
        status = push.status or 500
        error = {
            "code": status,
            "errno": push.errno,
            "error": _ERRORS.get(status, "Error"),
            "message": push.message,
        }
        return web.json_response(error, status=status, headers=headers)

    # -- as a program ----------------------------------------------------------------------------------------

    async def _make_subscriptions(self, request: web.Request) -> web.Response:
        wanted = await request.json()
        made = subscribe_many(self, int(wanted.get("count", 1)), wanted.get("application_server_key"))
        return web.json_response({"subscriptions": [subscription.to_json() for subscription in made]})

    async def _stats(self, request: web.Request) -> web.Response:
        return web.json_response(
            {
                "pushes": self.journal.total,
                "accepted": sum(push.accepted for push in self.journal),
                "delivered": sum(ack.code == 100 for ack in self.acks),
                "subscriptions": len(self._subscriptions),
            }
        )


def main() -> None:
    """Serve until SIGINT or SIGTERM."""
    parser = argparse.ArgumentParser(description="A strict push service on 127.0.0.1.")
    parser.add_argument("--port", type=int, default=0, help="0 takes a free one")
    parser.add_argument("--verify", choices=["all", "none"], default="all")
    parser.add_argument("--journal-limit", type=int, default=None, help="keep only the newest pushes")
    options = parser.parse_args()
    signals = {signal.SIGINT, signal.SIGTERM}
    signal.pthread_sigmask(signal.SIG_BLOCK, signals)  # before the thread starts, which inherits it
    with PushService(options.port, options.verify, options.journal_limit) as service:
        print(json.dumps({"origin": service.origin, "websocket": service.websocket_url}), flush=True)
        signal.sigwait(signals)


if __name__ == "__main__":
    main()
