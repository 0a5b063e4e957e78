"""The switch that stops everything: at once, also what is claimed already, and what has not expired goes on."""

from datetime import timedelta

import pytest
from django.contrib.auth.models import User

from crm.models import Alert, AuditEntry
from delivery import dispatch
from delivery.channels.memory import Memory, accept
from delivery.models import Attempt, EmergencyStop
from delivery.policies import emergency
from tests.delivery import world
from tests.delivery.world import NOW

pytestmark = pytest.mark.django_db


@pytest.fixture
def boss() -> User:
    return User.objects.create_user("boss")


def test_nothing_leaves_and_what_has_not_expired_goes_on(memory: Memory, boss: User) -> None:
    ann = world.person()
    [short] = world.queue(world.message("short", expires_after_hours=1), [ann])
    [long] = world.queue(world.message("long", expires_after_hours=9), [ann])
    assert emergency.press(boss, reason="wrong price")
    assert not emergency.press(boss)
    assert dispatch.run(NOW).idle
    assert not memory.sent
    assert Alert.objects.get(resolved_at=None).title == "Sending is stopped"
    assert emergency.release(boss)
    assert not emergency.release(boss)
    dispatch.run(NOW + timedelta(hours=2))
    states = []
    for delivery in (short, long):
        delivery.refresh_from_db()
        states.append(delivery.state)
    assert states == ["expired", "sent"]
    assert not Alert.objects.filter(resolved_at=None).exists()
    entries = AuditEntry.objects.filter(action__startswith="sending.").order_by("pk")
    assert [(entry.action, entry.actor) for entry in entries] == [
        ("sending.stopped", "boss"),
        ("sending.resumed", "boss"),
    ]


def test_a_channel_alone_can_be_stopped(memory: Memory, boss: User) -> None:
    emergency.press(boss, "webpush")
    world.queue(world.message(), [world.person()])
    assert dispatch.run(NOW).sent == 1
    emergency.press(boss, "memory")
    world.queue(world.message("two"), [world.person(2)])
    assert dispatch.run(NOW).idle
    assert emergency.stopped() == {"webpush", "memory"}


def test_a_batch_that_is_claimed_stops_before_the_next_message(
    memory: Memory, boss: User, monkeypatch
) -> None:
    monkeypatch.setattr(emergency, "ASK_EVERY", 0.0)
    deliveries = world.queue(world.message(), [world.person(number) for number in range(6)])

    def press_at_the_third(parcel):
        if len(memory.sent) == 3:
            emergency.press(boss)
        return accept(parcel)

    memory.answer = press_at_the_third
    dispatch.run(NOW)
    assert len(memory.sent) == 3
    assert world.states() == {"sent": 3, "queued": 3}
    assert Attempt.objects.count() == 3
    emergency.release(boss)
    dispatch.run(NOW)
    assert world.states() == {"sent": 6}
    assert len({parcel.delivery.pk for parcel in memory.sent}) == len(deliveries)


def test_a_sender_asks_within_a_second(boss: User, django_assert_num_queries, monkeypatch) -> None:
    assert emergency.ASK_EVERY < 1
    clock = [0.0]
    monkeypatch.setattr(emergency, "monotonic", lambda: clock[0])
    watch = emergency.Watch("memory")
    with django_assert_num_queries(4):
        for _tick in range(1000):
            assert not watch()
            clock[0] += 0.001
    EmergencyStop.objects.create(channel="memory")
    clock[0] += 0.25
    assert watch()
