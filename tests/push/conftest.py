"""Fixtures for web push; import them in another folder's conftest to use them there."""

from collections.abc import Iterator

import pytest

from tests.push.firefox import Firefox
from tests.push.requirements import require
from tests.push.sender import Sender
from tests.push.service import PushService
from tests.push.site import Site


@pytest.fixture(scope="module")
def push_service() -> Iterator[PushService]:
    """A running local push service."""
    with PushService() as service:
        yield service


@pytest.fixture(scope="module")
def firefox(push_service: PushService) -> Iterator[Firefox]:
    """A Firefox that subscribes at `push_service`; one per test module, for a start takes seconds."""
    require("firefox-esr")
    with Firefox(push_service) as browser:
        yield browser


@pytest.fixture(scope="module")
def site() -> Iterator[Site]:
    """A small site with a service worker."""
    with Site() as running:
        yield running


@pytest.fixture(scope="session")
def sender() -> Sender:
    """An application server with a VAPID key."""
    return Sender()
