"""What is not known is as little as can be: of what a dead sender held, or was sent while the database was away."""

from datetime import datetime, timedelta
from time import monotonic

import pytest
from django.db import OperationalError, connection, connections
from django.utils import timezone

from delivery import dispatch
from delivery.channels.base import Outcome, Parcel, Result
from delivery.channels.memory import Memory, accept
from delivery.dispatch import lasting as lasting_module
from delivery.dispatch import lease as lease_module
from delivery.dispatch.claim import claim
from delivery.dispatch.lanes import Lane
from delivery.dispatch.lease import LEASE, Lease
from delivery.dispatch.recovery import UNKNOWN, recover
from delivery.models import Attempt, Delivery
from tests.delivery import world
from tests.delivery.world import NOW

MEMORY = Lane("memory")  # what it has sent nobody replaces
LATER = NOW + LEASE + timedelta(seconds=1)
State = Delivery.State


def crowd(size: int, now: datetime = NOW) -> list[Delivery]:
    return world.queue(world.message(), [world.person(number) for number in range(size)], now=now)


@pytest.mark.django_db
class TestADeadSender:
    def test_what_it_had_not_begun_is_sent_by_the_next_one(self, memory: Memory, monkeypatch) -> None:
        monkeypatch.setattr(lease_module, "AHEAD", 2)
        crowd(5)
        claimed = claim(MEMORY, NOW, 1000)
        lease = Lease(claimed.parcels, claimed.leased_at, claimed.marked)
        handed_out = next(lease.parcels())

        assert dispatch.run(LATER).recovered == 5
        assert world.states() == {State.SENT: 3, State.FAILED: 2}
        unknown = Delivery.objects.filter(state=State.FAILED, reason=UNKNOWN)
        assert handed_out.delivery in unknown
        assert not {parcel.delivery for parcel in memory.sent} & set(unknown)
        # One attempt each: what nobody began was none.
        assert Attempt.objects.count() == 5

    def test_one_that_only_slept_begins_nothing_more(self, memory: Memory, monkeypatch) -> None:
        monkeypatch.setattr(lease_module, "AHEAD", 1)
        crowd(3)
        claimed = claim(MEMORY, NOW, 1000)
        parcels = Lease(claimed.parcels, claimed.leased_at, claimed.marked).parcels()
        next(parcels)
        dispatch.run(LATER)

        assert list(parcels) == []
        assert len(memory.sent) == 2

    def test_what_was_answered_is_written_down_soon(self, memory: Memory, monkeypatch) -> None:
        class Died(BaseException):
            pass

        def answer(parcel: Parcel) -> Result:
            if len(memory.sent) == 3:
                raise Died
            return accept(parcel)

        monkeypatch.setattr("delivery.dispatch.recording.SOON", -1.0)
        memory.answer = answer
        crowd(5)
        with pytest.raises(Died):
            dispatch.run(NOW)
        assert world.states() == {State.SENT: 2, State.SENDING: 3}

    def test_slow_services_get_fewer_at_once(self, memory: Memory, monkeypatch) -> None:
        clock = [0.0]
        monkeypatch.setattr(lease_module, "monotonic", lambda: clock[0])
        crowd(40)
        claimed = claim(MEMORY, NOW, 1000)
        sizes: list[int] = []
        monkeypatch.setattr(Lease, "_mark", lambda _lease, parcels: sizes.append(len(parcels)))
        for _parcel in Lease(claimed.parcels, 0.0, marked=True).parcels():
            clock[0] += 0.02
        assert sizes == [8, 16, 8, 8]

    def test_where_a_device_replaces_it_nothing_is_marked(self, memory: Memory, monkeypatch) -> None:
        monkeypatch.setattr(Memory, "repeatable", True)
        crowd(2)
        claimed = claim(MEMORY, NOW, 1000)
        assert not claimed.marked
        next(Lease(claimed.parcels, claimed.leased_at, claimed.marked).parcels())
        recover(LATER, 1000)
        assert world.states() == {State.QUEUED: 2}


@pytest.mark.django_db(transaction=True)
class TestALostConnection:
    @pytest.fixture(autouse=True)
    def _at_once(self, monkeypatch) -> None:
        monkeypatch.setattr(lasting_module, "PAUSE", 0.01)

    def cut(self) -> None:
        """End this thread's connection, as a database that starts anew does."""
        other = connections.create_connection("default")
        with other.cursor() as cursor:
            cursor.execute("SELECT pg_terminate_backend(%s)", [connection.connection.info.backend_pid])
        other.close()

    def test_answers_that_came_meanwhile_are_recorded(self, memory: Memory) -> None:
        def answer(parcel: Parcel) -> Result:
            if len(memory.sent) == 3:
                self.cut()
            return accept(parcel)

        memory.answer = answer
        crowd(5, timezone.now())
        assert dispatch.run().sent == 5
        assert world.states() == {State.SENT: 5}

    def test_nothing_more_is_begun_while_nobody_can_say_whether_to_stop(
        self, memory: Memory, monkeypatch
    ) -> None:
        monkeypatch.setattr("delivery.policies.emergency.ASK_EVERY", 0.0)

        def answer(parcel: Parcel) -> Result:
            if len(memory.sent) == 3:
                self.cut()
            return accept(parcel)

        memory.answer = answer
        crowd(5, timezone.now())
        assert dispatch.run().sent == 3
        assert world.states() == {State.SENT: 3, State.QUEUED: 2}
        assert dispatch.run().sent == 2
        assert len(memory.sent) == len({parcel.delivery.pk for parcel in memory.sent}) == 5

    def test_a_fault_at_the_breakers_costs_no_answer(self, memory: Memory, monkeypatch) -> None:
        def broken(*_: object) -> None:
            raise OperationalError("gone")

        monkeypatch.setattr("delivery.dispatch._tell", broken)
        memory.answer = lambda parcel: Result(parcel.number, Outcome.REFUSED, 400)
        crowd(2, timezone.now())
        assert dispatch.run().failed == 2

    def test_who_waits_for_too_long_gives_up(self) -> None:
        def broken() -> None:
            raise OperationalError("gone")

        with pytest.raises(OperationalError):
            lasting_module.lasting(broken, until=monotonic())
