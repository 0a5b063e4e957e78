"""Each channel is sent apart: what one waits for, no other waits for."""

from datetime import timedelta
from typing import Any

import pytest
from celery import current_app
from django.utils import timezone

from delivery import dispatch, tasks
from delivery.channels.memory import Memory
from delivery.dispatch import lanes
from delivery.dispatch.lanes import Lane
from delivery.models import Delivery
from tests.delivery import pretend, world

pytestmark = pytest.mark.django_db


@pytest.fixture(autouse=True)
def carrier(monkeypatch: pytest.MonkeyPatch) -> pretend.Carrier:
    return pretend.install(monkeypatch)


@pytest.fixture
def started(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The tasks that were handed to the broker."""
    names: list[str] = []
    monkeypatch.setattr(current_app, "send_task", lambda name, **_more: names.append(name))
    return names


def queue(channel: str, number: int = 1, **more: Any) -> Delivery:
    person = world.person(Delivery.objects.count(), channels=[channel])
    message = world.message(f"{channel}-{number}", channel=channel, content={"text": "Hi"})
    [made] = world.queue(message, [person], channel, **{"now": timezone.now(), **more})
    return made


def test_each_channel_in_which_something_is_due_gets_a_task(memory: Memory, started: list[str]) -> None:
    pretend.account()
    queue("memory")
    queue("pretend")
    queue("pretend", 2, due_at=timezone.now() + timedelta(hours=1))
    tasks.dispatch()
    assert started == ["delivery.send.pretend"]
    assert world.states() == {"sent": 1, "queued": 2}
    tasks.send("pretend")
    assert world.states() == {"sent": 2, "queued": 1}
    started.clear()
    tasks.dispatch()
    assert started == [], "nothing is due"


def test_a_channel_that_is_not_installed_any_more_holds_nobody_up(memory: Memory, started: list[str]) -> None:
    gone = queue("memory", 2)
    Delivery.objects.filter(pk=gone.pk).update(channel="absent")
    queue("memory")
    tasks.dispatch()
    assert world.states() == {"suppressed": 1, "sent": 1}
    assert started == []


def test_transactional_messages_go_first(carrier: pretend.Carrier) -> None:
    pretend.account()
    first, second = queue("pretend"), queue("pretend", 2)
    Delivery.objects.filter(pk=second.pk).update(transactional=True)
    assert lanes.due(timezone.now()) == [Lane("pretend", True), Lane("pretend", False)]
    tasks.send("pretend")
    assert [pk for _account, pk in carrier.asked] == [second.pk, first.pk]


def test_draining_waits_for_the_pace_and_sends_all(carrier: pretend.Carrier) -> None:
    pretend.account(per_second=10.0)
    for number in range(13):
        queue("pretend", number)
    dispatch.drain(Lane("pretend"), 10)
    assert world.states() == {"sent": 13}


def test_draining_ends_when_the_account_rests_or_time_is_over(carrier: pretend.Carrier) -> None:
    account = pretend.account(trips=1, held_until=timezone.now() + timedelta(hours=1))
    queue("pretend")
    dispatch.drain(Lane("pretend"), 5)
    assert carrier.asked == []
    account.trips, account.held_until = 0, None
    account.save()
    dispatch.drain(Lane("pretend"), 0)
    assert carrier.asked == []


def test_what_is_stored_while_the_last_look_is_taken_is_not_left_for_the_sweep(
    carrier: pretend.Carrier, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its wake-up finds the lane's place taken and ends."""
    pretend.account()
    queue("pretend")
    real, late = dispatch.run_lane, []

    def run_lane(lane: Lane) -> dispatch.DispatchResult:
        result = real(lane)
        if result.idle and not late:
            late.append(queue("pretend", 2))
        return result

    monkeypatch.setattr(dispatch, "run_lane", run_lane)
    dispatch.drain(Lane("pretend"), 10)
    assert world.states() == {"sent": 2}
