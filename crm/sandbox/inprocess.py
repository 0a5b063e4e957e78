"""The sandbox in a thread of the calling process: for tests and benchmarks.

with running_sandbox(contacts=200) as sandbox:
    HubSpot(access_token="any", host=sandbox.url)
    sandbox.hubspot.contacts.records      # the store itself
    sandbox.control.faults, .journal      # what /_control shows
    sandbox.writer.set_rate(20)           # records keep changing from now on; 0 stops that
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterable, Iterator
from contextlib import contextmanager

from aiohttp import web

from crm.sandbox.server import Sandbox

START_SECONDS = 30


class RunningSandbox(Sandbox):
    """A sandbox that listens at `url`."""

    url: str
    port: int


@contextmanager
def running_sandbox(
    contacts: int = 5000,
    seed: int = 1,
    host: str = "127.0.0.1",
    port: int = 0,
    vendors: Iterable[str] | None = None,
) -> Iterator[RunningSandbox]:
    """Serve on a free port (or `port`) until the block ends; OSError if the port is taken.

    `vendors` names the CRMs to serve; all by default.
    """
    sandbox = RunningSandbox(contacts, seed, vendors)
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever, name="crm-sandbox", daemon=True)
    thread.start()
    try:
        started = asyncio.run_coroutine_threadsafe(sandbox.start(host, port), loop)
        runner, bound = started.result(START_SECONDS)
        sandbox.url, sandbox.port = f"http://{host}:{bound}", bound
        try:
            yield sandbox
        finally:
            asyncio.run_coroutine_threadsafe(_stop(runner), loop).result(START_SECONDS)
    finally:
        loop.call_soon_threadsafe(loop.stop)
        thread.join(START_SECONDS)
        loop.close()


async def _stop(runner: web.AppRunner) -> None:
    """End the server and what it has not finished, such as a reply that a fault holds back."""
    await runner.cleanup()
    unfinished = asyncio.all_tasks() - {asyncio.current_task()}
    for task in unfinished:
        task.cancel()
    await asyncio.gather(*unfinished, return_exceptions=True)
