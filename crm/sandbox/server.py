"""The sandbox's HTTP server: every vendor's API and the control API on one port."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import AsyncIterator, Callable, Iterable
from email.utils import formatdate
from typing import Any, cast

from aiohttp import web

from crm.sandbox import control, misbehaviour, push
from crm.sandbox.control import Control
from crm.sandbox.faults import Fault
from crm.sandbox.hubspot import HubSpot
from crm.sandbox.misbehaviour import HUNG_UP
from crm.sandbox.salesforce import Salesforce
from crm.sandbox.store import Clock
from crm.sandbox.vendor import Vendor
from crm.sandbox.writer import Writer
from crm.sandbox.zoho import Zoho

VENDORS: dict[str, type] = {cls.name: cls for cls in (HubSpot, Salesforce, Zoho)}

# The front of a CRM refuses longer URLs; the parser must accept more, so that we and not it answer.
URL_LIMIT = 16 * 1024
PARSER_LINE_LIMIT = 1024 * 1024
BODY_LIMIT = 32 * 1024 * 1024
SHUTDOWN_SECONDS = 0.2
TOO_LONG = "<html><head><title>414</title></head><body><h1>414 Request-URI Too Large</h1></body></html>"


class Sandbox:
    """One CRM sandbox: stores, control state and the aiohttp application that serves them.

    `vendors` names the CRMs to serve (default: all); each has about `contacts` people, the same in each.
    """

    def __init__(self, contacts: int = 5000, seed: int = 1, vendors: Iterable[str] | None = None) -> None:
        self.clock = Clock()
        self.vendors: dict[str, Vendor] = {
            name: VENDORS[name](self.clock, contacts, seed)
            for name in (VENDORS if vendors is None else dict.fromkeys(vendors))
        }
        self.writer = Writer(self.vendors, seed)
        self.control = Control(self.clock, self.vendors, self.writer)

    @property
    def hubspot(self) -> HubSpot:
        """The HubSpot portal; KeyError if it is not served."""
        return cast(HubSpot, self.vendors["hubspot"])

    @property
    def salesforce(self) -> Salesforce:
        """The Salesforce org; KeyError if it is not served."""
        return cast(Salesforce, self.vendors["salesforce"])

    @property
    def zoho(self) -> Zoho:
        """The Zoho CRM account; KeyError if it is not served."""
        return cast(Zoho, self.vendors["zoho"])

    def vendor_of(self, path: str) -> Vendor | None:
        """The vendor that answers this path: the one with the longest prefix of it."""
        found = [
            (len(prefix), vendor)
            for vendor in self.vendors.values()
            for prefix in vendor.prefixes
            if path.startswith(prefix)
        ]
        return max(found, key=lambda pair: pair[0])[1] if found else None

    def application(self) -> web.Application:
        """A fresh application over this sandbox's state."""
        app = web.Application(
            middlewares=[self._journal, self._misbehave, self._answer], client_max_size=BODY_LIMIT
        )
        for vendor in self.vendors.values():
            app.add_routes(vendor.routes())
        app.add_routes([*self.control.routes(), *push.routes()])
        app.cleanup_ctx.append(self._beside)
        return app

    async def _beside(self, app: web.Application) -> AsyncIterator[None]:
        """Run the writer and the vendors' own tasks as long as the server."""
        work = [self.writer.run, *(task for vendor in self.vendors.values() for task in vendor.tasks())]
        tasks = [asyncio.create_task(run()) for run in work]
        yield
        for task in tasks:
            task.cancel()
        for outcome in await asyncio.gather(*tasks, return_exceptions=True):
            if isinstance(outcome, Exception):  # a writer that died in silence would pass for a quiet CRM
                raise outcome

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
                response.headers.setdefault("Date", formatdate(self.clock.now() / 1000, usegmt=True))
            return response
        finally:
            vendor = self.vendor_of(request.path)
            self.control.note(vendor.name if vendor else None, request.method, request.raw_path, status)

    @web.middleware
    async def _misbehave(self, request: web.Request, handler: Any) -> web.StreamResponse:
        """Apply the fault script."""
        if request.path.startswith(control.PREFIX):
            return await handler(request)
        method, path = request.method, request.raw_path
        fault = self.control.fault_for(method, path)
        if fault is None:
            response = await handler(request)
        else:
            await asyncio.sleep(fault.delay_seconds)
            if fault.drop:
                return misbehaviour.hang_up(request)
            response = await self._faulty(fault, request, handler)
        for rule in self.control.faults:
            if rule.repeat and rule is not fault and rule.matches(method, path):
                misbehaviour.remember(rule, response)
        return response if fault is None else await misbehaviour.deliver(request, fault, response)

    async def _faulty(self, fault: Fault, request: web.Request, handler: Any) -> web.StreamResponse:
        if fault.replaces:
            return misbehaviour.scripted(fault, self._voice(request.path), request.path)
        if fault.repeat and fault.last is not None:
            return misbehaviour.repeated(fault.last)
        return await handler(request)

    def _voice(self, path: str) -> Vendor:
        """Whose words answer a path; the first vendor's where nobody owns it."""
        return self.vendor_of(path) or next(iter(self.vendors.values()))

    @web.middleware
    async def _answer(self, request: web.Request, handler: Any) -> web.StreamResponse:
        """Refuse overlong URLs; answer what no handler answered in the vendor's own words."""
        if len(request.raw_path) > URL_LIMIT:
            return web.Response(text=TOO_LONG, status=414, content_type="text/html")
        try:
            return await handler(request)
        except web.HTTPException as error:
            return self._voice(request.path).error_response(error.status, request.path)


def serve(
    host: str,
    port: int,
    contacts: int,
    seed: int,
    *,
    vendors: Iterable[str] | None = None,
    writes_per_second: float = 0.0,
    ready: Callable[[str, int], None] | None = None,
) -> None:
    """Serve until SIGTERM or SIGINT; `ready(url, contacts)` tells that it listens. OSError if it cannot."""
    sandbox = Sandbox(contacts, seed, vendors)
    sandbox.writer.set_rate(writes_per_second)
    asyncio.run(_serve(sandbox, host, port, contacts, ready or _announce))


async def _serve(
    sandbox: Sandbox, host: str, port: int, contacts: int, ready: Callable[[str, int], None]
) -> None:
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    runner, bound = await sandbox.start(host, port)
    try:
        ready(f"http://{host}:{bound}", contacts)
        await stop.wait()
    finally:
        await runner.cleanup()


def _announce(url: str, contacts: int) -> None:
    print(f"CRM sandbox ready on {url} with {contacts} contacts", flush=True)
