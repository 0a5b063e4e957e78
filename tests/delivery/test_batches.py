"""What one slow text, one broken channel or one merge must not do to the rest of a batch."""

import importlib
from collections.abc import Iterable, Iterator
from datetime import timedelta

import pytest

from crm import identity
from crm.models import Alert
from delivery import channels, dispatch
from delivery.channels.base import Outcome, Parcel, Result
from delivery.channels.memory import Memory
from delivery.dispatch import lease as lease_module
from delivery.models import Attempt, Delivery
from tests.delivery import world
from tests.delivery.world import NOW

claim_module = importlib.import_module("delivery.dispatch.claim")  # the package has a function of that name
composing = importlib.import_module("delivery.dispatch.composing")
pytestmark = pytest.mark.django_db
State = Delivery.State


class Clock:
    """A monotonic clock that moves when told."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    found = Clock()
    for module in (claim_module, composing, lease_module):
        monkeypatch.setattr(module, "monotonic", found)
    return found


class Other(Memory):
    """A second channel of the same kind of people."""

    kind = "another"


@pytest.fixture
def another(memory: Memory, monkeypatch: pytest.MonkeyPatch) -> Other:
    found = Other()
    monkeypatch.setitem(channels.everything(), "another", found)
    return found


def two_channels() -> list[Delivery]:
    ann = world.person(channels=("another", "memory"))
    made = []
    for kind in ("another", "memory"):
        message = world.message(kind, channel=kind, content={"text": "Hello"})
        made += world.queue(message, [ann], kind)
    return made


def test_what_waited_too_long_goes_back_to_the_queue(memory: Memory, clock: Clock) -> None:
    """The first one takes two minutes; by then the batch's lease is over for the second one too."""

    def slowly(parcel: Parcel) -> Result:
        clock.now += 119
        return Result(parcel.number, Outcome.ACCEPTED)

    memory.answer = slowly
    first, second = world.queue(world.message(), [world.person(1), world.person(2)])
    dispatch.run(NOW)
    assert [parcel.delivery.pk for parcel in memory.sent] == [first.pk], (
        "somebody else may have taken it over"
    )
    second.refresh_from_db()
    assert (second.state, second.reason) == (State.QUEUED, "")
    assert not Attempt.objects.filter(delivery=second).exists(), "it was never tried"
    assert dispatch.run(NOW).sent == 1
    assert [parcel.delivery.pk for parcel in memory.sent] == [first.pk, second.pk]


def test_a_lease_begins_when_the_texts_are_ready(memory: Memory, clock: Clock, monkeypatch) -> None:
    people = [world.person(number) for number in range(2)]
    world.queue(world.message(), people)
    real = composing._Texts.filled

    def slowly(*args):
        clock.now += 4
        return real(*args)

    monkeypatch.setattr(composing._Texts, "filled", slowly)
    seen = []
    memory.answer = lambda parcel: (
        seen.append(Delivery.objects.get(pk=parcel.delivery.pk).lease_until)
        or Result(parcel.number, Outcome.ACCEPTED)
    )
    dispatch.run(NOW)
    assert seen == [NOW + lease_module.LEASE + timedelta(seconds=8)] * 2


def test_slow_texts_do_not_hold_the_batch_open_for_long(memory: Memory, clock: Clock, monkeypatch) -> None:
    people = [world.person(number) for number in range(5)]
    world.queue(world.message(), people)
    real = composing._Texts.filled

    def slowly(*args):
        clock.now += 4
        return real(*args)

    monkeypatch.setattr(composing._Texts, "filled", slowly)
    assert dispatch.run(NOW).sent == 2
    assert world.states() == {State.SENT: 2, State.QUEUED: 3}
    assert dispatch.run(NOW).sent == 2
    assert dispatch.run(NOW).sent == 1


def test_a_channel_that_fails_before_it_began_costs_nobody_the_message(
    memory: Memory, another: Other, monkeypatch
) -> None:
    """Not even where nothing may be sent twice: what was never begun was certainly not sent."""

    def broken(parcels: Iterable[Parcel], now: object) -> Iterator[Result]:
        raise RuntimeError("no account")

    first, second = two_channels()
    with monkeypatch.context() as patch:
        patch.setattr(another, "send", broken)
        assert dispatch.run(NOW).sent == 1
    assert [parcel.delivery.pk for parcel in memory.sent] == [second.pk]
    first.refresh_from_db()
    assert (first.state, first.reason) == (State.DEFERRED, "the channel failed: RuntimeError")
    assert first.due_at > NOW + timedelta(seconds=20), "no hot loop"
    assert Alert.objects.get(resolved_at=None).key == "delivery:channel:another"
    assert dispatch.run(first.due_at).sent == 1
    assert not Alert.objects.filter(resolved_at=None).exists()


def test_a_channel_that_cannot_tell_addresses_holds_up_no_other(
    memory: Memory, another: Other, monkeypatch
) -> None:
    monkeypatch.setattr(another, "addresses", lambda ids: 1 / 0)
    first, second = two_channels()
    assert dispatch.run(NOW).sent == 1
    first.refresh_from_db()
    assert first.state == State.DEFERRED
    assert NOW < first.due_at < first.expires_at


def test_two_profiles_of_one_person_get_a_broadcast_once(memory: Memory) -> None:
    ann, visitor = world.person(1), world.person(2)
    message = world.message()
    for person in (ann, visitor):
        world.queue(message, [person], origin_type="broadcast", origin_id=3)
    other = world.queue(world.message("other"), [visitor], origin_type="broadcast", origin_id=4)
    identity.merge([(visitor.pk, ann.pk)], "identified", NOW)
    assert world.states() == {State.QUEUED: 2, State.SUPPRESSED: 1}
    assert Delivery.objects.get(state=State.SUPPRESSED).reason == "the same person gets it already"
    assert Delivery.objects.get(pk=other[0].pk).profile_id == ann.pk
    assert dispatch.run(NOW).sent == 2
    assert len(world.events("message_suppressed")) == 1
