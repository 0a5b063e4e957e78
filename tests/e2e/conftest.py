import json
import tempfile
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.push.conftest import firefox, push_service
from tests.stack import Stack, free_ports

__all__ = ["firefox", "push_service"]


class Product:
    """The running product as a developer reaches it: over REST, with a key of their own."""

    def __init__(self, stack: Stack):
        self.stack = stack
        self.url = stack.url
        self.key = stack.manage("api_key", "create", "e2e", "--scope", "read", "--scope", "write").strip()

    def api(self, method: str, path: str, body: object = None) -> tuple[int, dict]:
        """Call the REST API; gives status and JSON."""
        request = urllib.request.Request(
            f"{self.url}/api/v1/{path}",
            json.dumps(body).encode() if body is not None else None,
            {"Authorization": f"Bearer {self.key}", "Content-Type": "application/json"},
            method=method,
        )
        try:
            with urllib.request.urlopen(request, timeout=30) as answer:
                return answer.status, json.load(answer)
        except urllib.error.HTTPError as error:
            return error.code, json.loads(error.read() or b"{}")

    def figures(self, message: str) -> dict:
        """The message report's figures."""
        status, report = self.api("GET", f"reports/messages/{message}/")
        assert status == 200, report
        return report["figures"]


@pytest.fixture(scope="module")
def stack(push_service) -> Iterator[Stack]:
    """The whole product with demo data, whose pushes go to the local push service."""
    with tempfile.TemporaryDirectory(prefix="nudge-e2e-", ignore_cleanup_errors=True) as folder:
        environment = {"NUDGE_DEMO": "1", "NUDGE_PUSH_HOSTS": push_service.host}
        with Stack(Path(folder) / "data", free_ports(2), environment) as running:
            yield running


@pytest.fixture(scope="module")
def product(stack) -> Product:
    return Product(stack)
