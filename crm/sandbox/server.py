"""The sandbox's HTTP server: every vendor's API and the control API on one port."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Callable
from email.utils import formatdate
from typing import Any

from aiohttp import web

from crm.sandbox import control, push
from crm.sandbox.control import Control
from crm.sandbox.faults import Fault
from crm.sandbox.hubspot import HubSpot
from crm.sandbox.hubspot_replies import reply
from crm.sandbox.store import Clock

# The front of a CRM refuses longer URLs; the parser must accept more, so that we and not it answer.
URL_LIMIT = 16 * 1024
PARSER_LINE_LIMIT = 1024 * 1024
BODY_LIMIT = 32 * 1024 * 1024
SHUTDOWN_SECONDS = 0.2
HUNG_UP = web.RequestKey("hung_up", bool)  # set on a request that a fault left without an answer
TOO_LONG = "<html><head><title>414</title></head><body><h1>414 Request-URI Too Large</h1></body></html>"


class Sandbox:
    """One CRM sandbox: stores, control state and the aiohttp application that serves them."""

    def __init__(self, contacts: int = 5000, seed: int = 1) -> None:
        self.clock = Clock()
        self.hubspot = HubSpot(self.clock, contacts, seed)
        self.control = Control(self.clock, self.hubspot)

    def application(self) -> web.Application:
        """A fresh application over this sandbox's state."""
        app = web.Application(
            middlewares=[self._journal, self._misbehave, self._answer], client_max_size=BODY_LIMIT
        )
        app.add_routes([*self.hubspot.routes(), *self.control.routes(), *push.routes()])
        return app

    async def start(self, host: str, port: int) -> tuple[web.AppRunner, int]:
        """Listen; gives the runner, whose `cleanup` stops it, and the port. OSError if it cannot."""
        runner = web.AppRunner(
            self.application(),
            access_log=None,
            shutdown_timeout=SHUTDOWN_SECONDS,
            max_line_size=PARSER_LINE_LIMIT,
            max_field_size=PARSER_LINE_LIMIT,
        )
        await runner.setup()
        try:
            await web.TCPSite(runner, host, port).start()
        except OSError:
            await runner.cleanup()
            raise
        return runner, runner.addresses[0][1]

    @web.middleware
    async def _journal(self, request: web.Request, handler: Any) -> web.StreamResponse:
        """Journal all but control requests, and stamp replies with the sandbox's own clock."""
        if request.path.startswith(control.PREFIX):
            return await handler(request)
        status = None
        try:
            response = await handler(request)
            status = None if HUNG_UP in request else response.status
            if not response.prepared:
                response.headers["Date"] = formatdate(self.clock.now() / 1000, usegmt=True)
            return response
        finally:
            self.control.note(request.method, request.raw_path, status)

    @web.middleware
    async def _misbehave(self, request: web.Request, handler: Any) -> web.StreamResponse:
        """Apply the fault script."""
        if request.path.startswith(control.PREFIX):
            return await handler(request)
        fault = self.control.fault_for(request.method, request.raw_path)
        if fault is None:
            return await handler(request)
        await asyncio.sleep(fault.delay_seconds)
        if fault.drop:
            return _hang_up(request)
        response = await handler(request) if fault.status is None else self._scripted(fault, request.path)
        response.headers.update(fault.headers)
        if fault.truncate is not None:
            return await _cut(request, response, fault.truncate)
        return response

    def _scripted(self, fault: Fault, path: str) -> web.Response:
        if fault.body is None:
            return reply(self.hubspot.error_body(fault.status, path), fault.status)
        if isinstance(fault.body, str):
            return web.Response(text=fault.body, status=fault.status, content_type="text/html")
        return reply(fault.body, fault.status)

    @web.middleware
    async def _answer(self, request: web.Request, handler: Any) -> web.StreamResponse:
        """Refuse overlong URLs; answer what no handler answered in the vendor's own words."""
        if len(request.raw_path) > URL_LIMIT:
            return web.Response(text=TOO_LONG, status=414, content_type="text/html")
        try:
            return await handler(request)
        except web.HTTPException as error:
            return reply(self.hubspot.error_body(error.status, request.path), error.status)


def _hang_up(request: web.Request) -> web.Response:
    """Close the connection; the response given back is never sent, aiohttp only needs one."""
    request[HUNG_UP] = True
    if request.transport is not None:
        request.transport.abort()
    return web.Response()


async def _cut(request: web.Request, response: web.Response, length: int) -> web.StreamResponse:
    """Announce the whole body, send its first bytes, and close the connection."""
    body = response.body if isinstance(response.body, bytes) else b""
    headers = {**response.headers, "Content-Length": str(len(body)), "Connection": "close"}
    partial = web.StreamResponse(status=response.status, headers=headers)
    await partial.prepare(request)
    await partial.write(body[:length])
    if request.transport is not None:
        request.transport.close()
    return partial


def serve(
    host: str, port: int, contacts: int, seed: int, ready: Callable[[str, int], None] | None = None
) -> None:
    """Serve until SIGTERM or SIGINT; `ready(url, contacts)` tells that it listens. OSError if it cannot."""
    asyncio.run(_serve(host, port, contacts, seed, ready or _announce))


async def _serve(host: str, port: int, contacts: int, seed: int, ready: Callable[[str, int], None]) -> None:
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    sandbox = Sandbox(contacts, seed)
    runner, bound = await sandbox.start(host, port)
    try:
        ready(f"http://{host}:{bound}", len(sandbox.hubspot.contacts.records))
        await stop.wait()
    finally:
        await runner.cleanup()


def _announce(url: str, contacts: int) -> None:
    print(f"CRM sandbox ready on {url} with {contacts} contacts", flush=True)
