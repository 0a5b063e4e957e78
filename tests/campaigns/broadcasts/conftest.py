"""Broadcasts by the channel that remembers, in pieces of a few people."""

from datetime import UTC, datetime, timedelta

import pytest

from campaigns.broadcasts import expanding
from campaigns.models import Broadcast, Segment
from delivery import channels
from tests.delivery import world

NOW = datetime(2026, 3, 2, 9, 0, tzinfo=UTC)
SECOND, MINUTE, HOUR, DAY = (timedelta(**{unit: 1}) for unit in ("seconds", "minutes", "hours", "days"))


@pytest.fixture(autouse=True)
def small_pieces(monkeypatch):
    monkeypatch.setattr(expanding, "PEOPLE", 3)


@pytest.fixture
def memory():
    channel = channels.get("memory")
    channel.reset()
    yield channel
    channel.reset()


def everybody() -> Segment:
    return Segment.objects.get_or_create(
        slug="everybody", defaults={"name": "Everybody", "rule": {"all": []}}
    )[0]


def draft(**fields) -> Broadcast:
    """A broadcast to everybody by the channel that remembers."""
    message = fields.pop("message", None) or world.message("news")
    return Broadcast.objects.create(
        **{"name": "News", "message": message, "segment": everybody(), "channel": "memory", **fields}
    )


def people(number: int, **fields) -> list:
    return [world.person(place, **fields) for place in range(1, number + 1)]
