"""What the tests of this app share."""

from collections.abc import Iterator

import pytest

from crm import partitions
from delivery import channels
from delivery.channels.memory import Memory
from delivery.policies import guards
from tests.push.service import PushService


@pytest.fixture
def memory() -> Iterator[Memory]:
    """The remembering channel, empty."""
    channel = channels.get("memory")
    assert isinstance(channel, Memory)
    channel.reset()
    yield channel
    channel.reset()


@pytest.fixture(autouse=True)
def _no_guards(monkeypatch: pytest.MonkeyPatch) -> None:
    """Other apps' guards stay out of these tests."""
    monkeypatch.setattr(guards, "_guards", [])


@pytest.fixture
def push(settings) -> Iterator[PushService]:
    """A local push service that we may call."""
    with PushService() as service:
        settings.NUDGE_PUSH_HOSTS = [service.host]
        yield service


@pytest.fixture(autouse=True)
def _partitions() -> None:
    """A test's partitions of the log go when it is rolled back."""
    partitions.forget()
