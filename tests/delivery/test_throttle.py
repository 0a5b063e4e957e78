"""How fast an account may send, by whatever number of dispatchers."""

import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from datetime import timedelta

import pytest
from django.db import connection
from django.db.models import QuerySet

from delivery import dispatch, throttle
from delivery.dispatch import lanes
from delivery.dispatch.lanes import Lane
from delivery.models import Account, Delivery
from tests.delivery import pretend, world
from tests.delivery.world import NOW

LANE = Lane("pretend")
DISPATCHERS = 4


@pytest.fixture(autouse=True)
def carrier(monkeypatch: pytest.MonkeyPatch) -> pretend.Carrier:
    return pretend.install(monkeypatch)


def crowd(count: int) -> None:
    people = [world.person(number, channels=["pretend"]) for number in range(count)]
    world.queue(world.message(channel="pretend", content={"text": "Hi"}), people, "pretend")


@pytest.mark.django_db
@pytest.mark.parametrize("rate", [0.5, 20.0])
def test_no_stretch_of_time_has_more_than_its_share(rate: float, carrier: pretend.Carrier) -> None:
    pretend.account(per_second=rate)
    crowd(30)
    times: list[float] = []
    for tick in range(13):
        before = len(carrier.asked)
        dispatch.run(NOW + timedelta(seconds=tick / 10))
        times += [tick / 10] * (len(carrier.asked) - before)
    for place, first in enumerate(times):
        for count, last in enumerate(times[place:], start=1):
            assert count <= rate * (last - first) + max(1, rate) + 1e-6
    assert len(times) >= min(30, int(rate * 1.2)), "and what fits goes"
    assert Delivery.objects.filter(state="deferred").count() == 0, "the rest keeps its place"


@pytest.mark.django_db
def test_it_tells_when_one_fits_again(carrier: pretend.Carrier) -> None:
    pretend.account(per_second=2.0)
    crowd(5)
    assert dispatch.run_lane(LANE, NOW).sent == 2
    result = dispatch.run_lane(LANE, NOW)
    assert (result.sent, result.wait) == (0, 0.5)


@pytest.mark.django_db
def test_at_a_high_pace_some_are_waited_for(carrier: pretend.Carrier) -> None:
    pretend.account(per_second=20.0)
    crowd(30)
    assert dispatch.run_lane(LANE, NOW).sent == 20
    assert dispatch.run_lane(LANE, NOW).wait == pytest.approx(throttle.GATHERED)
    assert dispatch.run_lane(LANE, NOW + timedelta(seconds=throttle.GATHERED)).sent == 5, "and none is lost"


@pytest.fixture
def together(monkeypatch: pytest.MonkeyPatch) -> None:
    """Make dispatchers that can look at an account at the same time do so."""
    barrier = threading.Barrier(DISPATCHERS)
    real = throttle.allowance

    def allowance(*args: object) -> float:
        found = real(*args)  # type: ignore[arg-type]
        with suppress(threading.BrokenBarrierError):
            barrier.wait(0.3)
        return found

    monkeypatch.setattr(throttle, "allowance", allowance)


@pytest.fixture(params=[True, False], ids=["locked", "unlocked"])
def locked(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> bool:
    if not request.param:
        real = QuerySet.select_for_update

        def unlocked(self: QuerySet, *args: object, **more: object) -> QuerySet:
            return self.all() if self.model is Account else real(self, *args, **more)  # type: ignore[arg-type]

        monkeypatch.setattr(QuerySet, "select_for_update", unlocked)
    return bool(request.param)


@pytest.mark.django_db(transaction=True)
def test_many_dispatchers_keep_the_pace_together_and_only_by_the_lock(
    locked: bool, together: None, carrier: pretend.Carrier
) -> None:
    pretend.account(per_second=5.0)
    crowd(30)

    def work() -> None:
        try:
            dispatch.run_lane(LANE, NOW)
        finally:
            connection.close()

    with ThreadPoolExecutor(DISPATCHERS) as pool:
        for done in [pool.submit(work) for _number in range(DISPATCHERS)]:
            done.result()
    assert (len(carrier.asked) == 5) == locked


@pytest.mark.django_db
def test_a_lane_takes_so_many_workers_and_no_more(settings) -> None:
    settings.NUDGE_SENDERS_PER_LANE = 2

    def taken(count: int, lane: Lane) -> list[bool]:
        with ThreadPoolExecutor(1) as pool:
            return pool.submit(_hold, lane, count).result()

    assert taken(1, LANE) == [True]
    assert taken(3, LANE) == [True, True, False]
    with lanes.place(LANE) as mine:
        assert mine
        assert taken(2, LANE) == [True, False]
        assert taken(1, Lane("pretend", True)) == [True], "another lane has places of its own"


def _hold(lane: Lane, count: int) -> list[bool]:
    """Take places on so many connections at once, one inside of the other."""
    try:
        with lanes.place(lane) as mine:
            if count == 1:
                return [mine]
            with ThreadPoolExecutor(1) as pool:
                return [mine, *pool.submit(_hold, lane, count - 1).result()]
    finally:
        connection.close()
