"""A small WebDriver BiDi client (https://w3c.github.io/webdriver-bidi/) with a blocking interface."""

import asyncio
import itertools
from typing import Any

import aiohttp

from tests.push.journal import Journal
from tests.push.loopthread import WAIT, LoopThread

Event = tuple[str, dict[str, Any]]


class BidiError(Exception):
    """The browser refused a command; `code` is the protocol's error code, e.g. "no such frame"."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(f"{code}: {message}")
        self.code = code


class BidiClient:
    """One session with one browser. `events` is the journal of (method, params) of what was subscribed to."""

    def __init__(self, url: str) -> None:
        """`url` is the direct connection, `ws://host:port/session`."""
        self.events: Journal[Event] = Journal(limit=2000)
        self._numbers = itertools.count(1)
        self._pending: dict[int, asyncio.Future[Any]] = {}
        self._thread = LoopThread("bidi")
        try:
            self._thread.run(self._connect(url))
            self.call("session.new", {"capabilities": {}})
        except BaseException:
            self._thread.stop()
            raise

    async def _connect(self, url: str) -> None:
        self._http = aiohttp.ClientSession()
        self._socket = await self._http.ws_connect(url, max_msg_size=0)
        self._reader = asyncio.create_task(self._read())

    async def _read(self) -> None:
        async for frame in self._socket:
            message = frame.json()
            if message["type"] == "event":
                self.events.append((message["method"], message["params"]))
            elif (future := self._pending.pop(message.get("id"), None)) and not future.done():
                if message["type"] == "success":
                    future.set_result(message["result"])
                else:
                    future.set_exception(BidiError(message["error"], message["message"]))
        for future in self._pending.values():
            future.cancel()

    def call(
        self, method: str, params: dict[str, Any] | None = None, timeout: float = WAIT
    ) -> dict[str, Any]:
        """Send one command and return its result; BidiError, or TimeoutError after `timeout` seconds."""

        async def call() -> Any:
            number = next(self._numbers)
            future = self._pending[number] = asyncio.get_running_loop().create_future()
            await self._socket.send_json({"id": number, "method": method, "params": params or {}})
            return await future

        try:
            return self._thread.run(call(), timeout)
        except TimeoutError:
            raise TimeoutError(f"{method} has not answered in {timeout} s") from None

    def evaluate(
        self, context: str, script: str, *, user_activation: bool = False, timeout: float = WAIT
    ) -> Any:
        """Run a script in a browsing context, await its promise, return the value as Python data.

        Nodes come as `{"sharedId": …}`. Raises BidiError("javascript error") when it throws.
        """
        result = self.call(
            "script.evaluate",
            {
                "expression": script,
                "target": {"context": context},
                "awaitPromise": True,
                "userActivation": user_activation,
                "serializationOptions": {"maxDomDepth": 0},
            },
            timeout,
        )
        if result["type"] == "exception":
            raise BidiError("javascript error", result["exceptionDetails"]["text"])
        return to_python(result["result"])

    def close(self) -> None:
        """Hang up and end the thread."""

        async def close() -> None:
            await self._socket.close()
            await self._http.close()

        self._thread.run(close())
        self._thread.stop()


def to_python(remote: dict[str, Any]) -> Any:
    """Python data of a BiDi remote value (section "script.RemoteValue")."""
    kind, value = remote["type"], remote.get("value")
    match kind:
        case "array" | "set" | "nodelist" | "htmlcollection":
            return [to_python(item) for item in value or []]
        case "object" | "map":
            pairs = ((key if isinstance(key, str) else to_python(key), item) for key, item in value or [])
            return {key: to_python(item) for key, item in pairs}
        case "number" if isinstance(value, str):  # NaN, -0, Infinity, -Infinity
            return float(value.replace("Infinity", "inf"))
        case "bigint":
            return int(value or "0")
        case "node":
            return {"sharedId": remote["sharedId"]}
        case "null" | "undefined" | "string" | "number" | "boolean" | "date":
            return value
    return f"<{kind}>"
