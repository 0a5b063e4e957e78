"""A Chromium with fresh visitors, and the stand-in API. The browser ends with its module: while Playwright runs, its
event loop sits in this thread, beside which Django's ORM refuses to work."""

from collections.abc import Callable, Iterator

import pytest
from playwright.sync_api import Browser, BrowserContext, sync_playwright

from tests.push.loopthread import WAIT
from tests.push.requirements import require
from tests.sdk.stub import Stub

ARGUMENTS = [
    "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
    "--disable-component-update", "--disable-sync", "--disable-dev-shm-usage",
]  # fmt: skip


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """Chromium, headless."""
    require("chromium")
    with sync_playwright() as playwright:
        running = playwright.chromium.launch(executable_path="/usr/bin/chromium", args=ARGUMENTS)
        yield running
        running.close()


@pytest.fixture
def visitor(browser: Browser) -> Iterator[Callable[..., BrowserContext]]:
    """Makes visitors: browser contexts with a storage of their own, notifications granted."""
    made: list[BrowserContext] = []

    def make(**options: object) -> BrowserContext:
        context = browser.new_context(**options)
        context.grant_permissions(["notifications"])
        context.set_default_timeout(WAIT * 1000)
        made.append(context)
        return context

    yield make
    for context in made:
        context.close()


@pytest.fixture(scope="module")
def stub() -> Iterator[Stub]:
    """One server per module."""
    with Stub() as running:
        yield running


@pytest.fixture
def api(stub: Stub) -> Stub:
    """The server, with nothing left of the test before."""
    stub.reset()
    return stub
