"""The whole product, a visitor's Firefox and a marketer's Chromium, shared by the tests of a module."""

import json
import tempfile
import urllib.request
from collections.abc import Generator, Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Page, expect, sync_playwright

from tests.conftest import BROWSER_PATIENCE
from tests.push.conftest import firefox, push_service
from tests.push.requirements import require
from tests.stack import Stack, free_ports

__all__ = ["firefox", "push_service"]

PATIENCE = 90  # seconds; a wait ends as soon as it may, so only a failure takes that long


class Product:
    """The running product as a developer reaches it: over REST, with a key of their own."""

    def __init__(self, stack: Stack):
        self.stack = stack
        self.url = stack.url
        self.key = stack.manage("api_key", "create", "e2e", "--scope", "read", "--scope", "write").strip()

    def api(self, method: str, path: str, body: object = None) -> tuple[int, dict]:
        """Call the REST API; gives status and JSON."""
        return call(method, f"{self.url}/api/v1/{path}", body, {"Authorization": f"Bearer {self.key}"})

    def sandbox(self, method: str, path: str, body: object = None) -> tuple[int, dict]:
        """Call the control API of the CRM sandbox; gives status and JSON."""
        return call(method, f"http://127.0.0.1:{self.stack.port + 1}/_control/{path}", body, {})

    def figures(self, message: str) -> dict:
        """The message report's figures."""
        status, report = self.api("GET", f"reports/messages/{message}/")
        assert status == 200, report
        return report["figures"]

    def until_figures(self, message: str, what: str, **expected: int) -> None:
        """Wait until the message's figures are as expected; `what` says what the product is to be aware of."""

        def reached() -> bool:
            figures = self.figures(message)
            return all(figures[name] == value for name, value in expected.items())

        self.stack.until(reached, PATIENCE, f"aware of {what}")


def call(method: str, url: str, body: object, headers: dict[str, str]) -> tuple[int, dict]:
    """Make a request with a JSON body (or none); gives status and JSON, of refusals too."""
    request = urllib.request.Request(
        url,
        json.dumps(body).encode() if body is not None else None,
        {"Content-Type": "application/json", **headers},
        method=method,
    )
    try:
        with urllib.request.urlopen(request, timeout=30) as answer:
            return answer.status, json.loads(answer.read() or b"{}")
    except urllib.error.HTTPError as error:
        return error.code, json.loads(error.read() or b"{}")


@pytest.fixture(scope="module")
def stack(push_service) -> Iterator[Stack]:
    """The whole product with demo data, whose pushes go to the local push service."""
    with tempfile.TemporaryDirectory(prefix="nudge-e2e-", ignore_cleanup_errors=True) as folder:
        environment = {
            "NUDGE_DEMO": "1",
            "NUDGE_PUSH_HOSTS": push_service.host,
            "NUDGE_BROADCAST_UNDO_SECONDS": "1",
        }
        with Stack(Path(folder) / "data", free_ports(2), environment) as running:
            yield running


@pytest.fixture(scope="module")
def product(stack) -> Product:
    return Product(stack)


@pytest.fixture(scope="module")
def page(stack) -> Iterator[Page]:
    """The marketer's Chromium; the module fails on a script's error and on what the content policy refused."""
    require("chromium")
    wrong: list[str] = []
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path="/usr/bin/chromium", args=["--no-sandbox"])
        context = browser.new_context(
            base_url=stack.url, viewport={"width": 1440, "height": 900}, locale="en"
        )
        context.set_default_timeout(PATIENCE * 1000)
        expect.set_options(timeout=PATIENCE * 1000)
        page = context.new_page()
        page.on("pageerror", lambda error: wrong.append(error.stack or str(error)))
        page.on("console", lambda line: wrong.append(line.text) if "Refused" in line.text else None)
        yield page
        expect.set_options(timeout=BROWSER_PATIENCE * 1000)
        browser.close()
    assert wrong == []


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Show with a failure what the product complained about."""
    report = yield
    running = getattr(item, "funcargs", {}).get("stack")
    if report.failed and isinstance(running, Stack):
        lines = [line for line in running.logs(lines=500).splitlines() if " INFO " not in line]
        report.sections.append(("the product's complaints", "\n".join(lines[-60:])))
    return report
