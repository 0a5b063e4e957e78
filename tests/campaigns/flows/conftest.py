import uuid
from datetime import UTC, datetime, timedelta

import pytest

from campaigns.flows import engine, publish, reading
from campaigns.models import Flow
from crm import identity, log
from delivery.models import Message, MessageContent
from tests.reading import drain

NOW = datetime(2026, 5, 4, 10, 0, tzinfo=UTC)


class World:
    """A shop with a message, a clock and the doors a flow is entered by."""

    def __init__(self):
        self.now = NOW
        self.message = Message.objects.create(slug="hello", name="Hello")
        MessageContent.objects.create(
            message=self.message, channel="webpush", content={"title": "Hello", "body": "Welcome"}
        )

    def person(self, name: str) -> int:
        return identity.resolve([identity.Reference(external_id=name)], self.now)[0]

    def happens(self, profile_id: int, name: str, at: datetime | None = None, **properties) -> None:
        log.append([log.NewEvent(uuid.uuid4(), profile_id, name, at or self.now, properties, "test")])

    def flow(self, steps, trigger="signed_up", slug="welcome", **parts) -> Flow:
        trigger = {"kind": "event", "name": trigger} if isinstance(trigger, str) else trigger
        flow = Flow.objects.create(
            slug=slug, name=slug.title(), draft={"trigger": trigger, "steps": steps, **parts}
        )
        # Events are stored with the database's clock, so a flow of the test's time has been live long before.
        publish.publish(flow.pk, now=NOW - timedelta(days=1000))
        flow.refresh_from_db()
        return flow

    def run(self, **later) -> None:
        """Let time pass, then do what the worker does until nothing is left to do."""
        self.now += timedelta(**later)
        drain(reading.CURSOR, lambda: reading.read(self.now))
        while engine.advance(self.now):
            pass

    def names(self, profile_id: int) -> list[str]:
        from crm.models import Event

        return list(
            Event.objects.filter(profile_id=profile_id).order_by("txid", "seq").values_list("name", flat=True)
        )


@pytest.fixture
def world(transactional_db):
    return World()
