"""Sending by several threads: how much is begun, and what is not begun any more."""

import contextlib
import threading
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

from delivery.channels.base import Address, Outcome, Parcel, Result
from delivery.email import workers


def parcels(count: int, taken: list[int]) -> Iterator[Parcel]:
    for number in range(count):
        taken.append(number)
        yield Parcel(number, SimpleNamespace(pk=number), Address("a@example.com"), None)  # type: ignore[arg-type]


def sending(send: Any) -> Any:
    @contextlib.contextmanager
    def worker() -> Iterator[Any]:
        yield send

    return worker


def accepted(parcel: Parcel) -> Result:
    return Result(parcel.number, Outcome.ACCEPTED, 250)


def test_a_slow_service_has_nothing_waiting() -> None:
    taken: list[int] = []
    go = threading.Semaphore(0)

    def send(parcel: Parcel) -> Result:
        go.acquire(timeout=10)
        return accepted(parcel)

    results = workers.spread(parcels(9, taken), 3, sending(send))
    timer = threading.Timer(0.3, go.release)
    timer.start()
    next(results)
    assert len(taken) == 3, "one for each thread"
    timer = threading.Timer(0.3, go.release, (9,))
    timer.start()
    assert len(list(results)) == 8


def test_a_quick_one_is_given_more_than_it_is_at() -> None:
    taken: list[int] = []
    most = 0
    for done, result in enumerate(workers.spread(parcels(500, taken), 3, sending(accepted)), start=1):
        assert result.outcome == Outcome.ACCEPTED
        most = max(most, len(taken) - done + 1)
    assert done == len(taken) == 500
    assert 3 < most <= 3 + 3 * workers.AHEAD


def test_what_waited_too_long_is_not_begun(monkeypatch: Any) -> None:
    monkeypatch.setattr(workers, "STALE", -1.0)
    begun: list[Parcel] = []
    results = list(workers.spread(parcels(5, []), 2, sending(begun.append)))
    assert [result.outcome for result in results] == [Outcome.RETRY] * 5
    assert begun == []
