"""A stand-in for Nudge's HTTP API that serves the real SDK and worker, answers as told and keeps what it is sent."""

import asyncio
import json
import threading
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from time import monotonic
from typing import Any, Self

from aiohttp import web

from config import minify
from tests.push.loopthread import WAIT, LoopThread

FOLDER = Path(__file__).resolve().parents[2] / "static" / "nudge"
SERVED = {name: minify.script((FOLDER / name).read_text()) for name in ("sdk.js", "sw.js")}
KEY = "pk_test"
POLICY = "default-src 'none'; script-src 'self'; connect-src 'self'; img-src 'self'"
# A valid P-256 point (RFC 8291, section 5: the user agent's public key), as a server key must be one.
VAPID_KEY = "BCVxsr7N_eNgVRqvHtD0zTZsEc6-VV-JvLexhqUzORcxaOzi6-AYWXvTBHm4bjyPjs7Vd8pZGH6SRpkNtoIAiw4"

_QUEUE_STUB = """
window.nudge = window.nudge || {q: []};
['init', 'identify', 'track', 'page', 'reset', 'on'].forEach((m) => {
  nudge[m] = nudge[m] || ((...args) => { nudge.q.push([m, ...args]); });
});
"""


@dataclass(frozen=True)
class Request:
    """One request as it arrived; `at` is a monotonic time in seconds, `body` parsed JSON or None."""

    method: str
    path: str
    body: Any
    headers: dict[str, str]
    at: float


@dataclass(frozen=True)
class Answer:
    """What to reply: a status, a JSON body or None, headers. Status 0: the server dies with the request stored."""

    status: int
    body: Any = None
    headers: dict[str, str] | None = None


class Stub:
    """`with Stub() as api:`; queue answers with `api.answer(path, Answer(503))`, the default is success."""

    def __init__(self) -> None:
        self.requests: list[Request] = []
        self.delay = 0.0  # seconds before each answer; 0 also ends the wait of those that are late
        self.vapid_key = VAPID_KEY
        self.inbox: list[dict[str, Any]] = []  # the in-app messages of whoever asks
        self._answers: dict[str, deque[Answer]] = {}
        self._arrived = threading.Condition()
        self._loop = LoopThread("stub-api")

    def __enter__(self) -> Self:
        self._loop.run(self._start())
        return self

    def __exit__(self, *exc_info: object) -> None:
        self._loop.run(self._runner.cleanup())
        self._loop.stop()

    def reset(self) -> None:
        """Forget requests, answers and delay."""
        self.requests, self._answers, self.delay, self.vapid_key, self.inbox = [], {}, 0.0, VAPID_KEY, []

    def answer(self, path: str, *answers: Answer) -> None:
        """Give these answers, in turn, to the next requests for `path`."""
        self._answers.setdefault(path, deque()).extend(answers)

    def sent(self, path: str) -> list[Request]:
        """The requests for `path`, oldest first, without preflights."""
        return [request for request in list(self.requests) if request.path == path]

    def batches(self) -> list[list[dict[str, Any]]]:
        """The events of each request that brought some."""
        return [request.body["events"] for request in self.sent("/api/v1/events/")]

    def events(self) -> list[dict[str, Any]]:
        """All events that arrived, repeats included."""
        return [event for batch in self.batches() for event in batch]

    def wait(self, condition: Callable[[], Any], timeout: float = WAIT) -> None:
        """Return when `condition()` holds; it is looked at after each request. TimeoutError after `timeout` seconds."""
        with self._arrived:
            if not self._arrived.wait_for(condition, timeout):
                raise TimeoutError(
                    f"Not within {timeout} s; requests: {[(r.method, r.path) for r in self.requests]}"
                )

    async def _start(self) -> None:
        app = web.Application(middlewares=[self._cors])
        app.router.add_get("/page", self._page)
        app.router.add_get("/empty", self._empty)
        app.router.add_get("/sdk/nudge.js", self._script)
        app.router.add_get("/nudge-sw.js", self._script)
        for path in (
            "/api/v1/events/",
            "/api/v1/subscriptions/",
            "/api/v1/push/config/",
            "/t/push/",
            "/t/push/changed/",
            "/api/v1/inbox/",
            "/api/v1/consents/",
            "/api/v1/events/beacon/",
        ):
            app.router.add_route("*", path, self._api)
        self._runner = web.AppRunner(app)
        await self._runner.setup()
        site = web.TCPSite(self._runner, "127.0.0.1", 0)
        await site.start()
        self.port = self._runner.addresses[0][1]
        self.origin = f"http://localhost:{self.port}"

    @web.middleware
    async def _cors(self, request: web.Request, handler: Any) -> web.StreamResponse:
        response = web.Response() if request.method == "OPTIONS" else await handler(request)
        response.headers.update(
            {
                "Access-Control-Allow-Origin": "*",
                "Access-Control-Allow-Headers": "authorization, content-type",
                "Access-Control-Allow-Methods": "GET, POST, DELETE",
                "Access-Control-Expose-Headers": "Retry-After",
            }
        )
        return response

    async def _page(self, request: web.Request) -> web.Response:
        """A page with the SDK; `?before=` is script that runs before it, `?api=` another server, `?bare` no key,
        `?csp` a strict policy and no script but the SDK's."""
        key = "" if "bare" in request.query else f'data-key="{KEY}" data-api="{request.query.get("api", "")}"'
        sdk = f'<script src="/sdk/nudge.js" {key} async></script>'
        strict = "csp" in request.query
        script = "" if strict else f"<script>{_QUEUE_STUB}{request.query.get('before', '')}</script>"
        html = f"<!doctype html><title>Shop</title><body><button>Shop</button>{script}{sdk}"
        headers = {"Content-Security-Policy": POLICY} if strict else {}
        return web.Response(text=html, content_type="text/html", headers=headers)

    async def _empty(self, request: web.Request) -> web.Response:
        return web.Response(text="<!doctype html><title>Elsewhere</title>", content_type="text/html")

    async def _script(self, request: web.Request) -> web.Response:
        name = "sdk.js" if request.path.startswith("/sdk") else "sw.js"
        return web.Response(body=SERVED[name].encode(), content_type="text/javascript")

    async def _api(self, request: web.Request) -> web.Response:
        began = monotonic()
        text = await request.text()
        body = json.loads(text) if text else None
        with self._arrived:
            self.requests.append(
                Request(
                    request.method,
                    request.path,
                    body,
                    {k.lower(): v for k, v in request.headers.items()},
                    monotonic(),
                )
            )
            queued = self._answers.get(request.path)
            answer = queued.popleft() if queued else self._success(request, body)
            self._arrived.notify_all()
        while monotonic() < began + self.delay:  # which a test may end early
            await asyncio.sleep(0.02)
        if not answer.status and request.transport:
            request.transport.abort()
        text = "" if answer.body is None else json.dumps(answer.body)
        return web.Response(
            text=text, status=answer.status, headers=answer.headers, content_type="application/json"
        )

    def _success(self, request: web.Request, body: Any) -> Answer:
        if request.path == "/api/v1/inbox/":
            return Answer(200, {"messages": self.inbox})
        if (
            request.path.startswith(("/t/", "/api/v1/consents/", "/api/v1/events/beacon/"))
            or request.method == "DELETE"
        ):
            return Answer(204)
        if request.path == "/api/v1/push/config/":
            return Answer(200, {"public_key": self.vapid_key})
        if request.path == "/api/v1/subscriptions/":
            return Answer(201, {"id": 1, "state": "active"})
        return Answer(202, {"accepted": len(body["events"]), "duplicates": 0, "rejected": []})
