"""Sending by several threads at once: most of the time of a message is waiting for an answer."""

import queue
import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager
from time import monotonic

from delivery.channels.base import Outcome, Parcel, Result

Send = Callable[[Parcel], Result]
# Parcels that wait so that no thread is idle while the caller writes down results: so many seconds' worth, and at most
# so many for each thread. What waits is out of the reach of an emergency stop, so a slow service has none waiting.
AHEAD_FOR, AHEAD = 0.1, 7
STALE = 8.0  # seconds after which what waited is not begun: the claim on it may be over before it is through


def spread(
    parcels: Iterable[Parcel],
    count: int,
    worker: Callable[[], AbstractContextManager[Send]],
    stop: Callable[[], bool] = lambda: False,
) -> Iterator[Result]:
    """Yield a Result for each parcel, sent by up to `count` threads.

    Parcels are read as there is room, in the caller's thread. When `stop` says so none is read any more.

    Args:
        worker: what one thread sends with, opened and closed by it.
    """
    jobs: queue.SimpleQueue[tuple[Parcel, float] | None] = queue.SimpleQueue()
    results: queue.SimpleQueue[Result] = queue.SimpleQueue()
    threads: list[threading.Thread] = []
    coming, begun, done, since = iter(parcels), 0, 0, monotonic()
    try:
        while True:
            pace = done / max(monotonic() - since, 1e-3)
            while begun < count + min(AHEAD * count, int(pace * AHEAD_FOR)) and not stop():
                parcel = next(coming, None)
                if parcel is None:
                    break
                begun += 1
                jobs.put((parcel, monotonic()))
                if len(threads) < count:
                    thread = threading.Thread(target=_run, args=(jobs, results, worker), daemon=True)
                    threads.append(thread)
                    thread.start()
            if not begun:
                return
            begun -= 1
            done += 1
            yield results.get()
    finally:
        for _thread in threads:
            jobs.put(None)
        for thread in threads:
            thread.join()


def _run(
    jobs: "queue.SimpleQueue[tuple[Parcel, float] | None]",
    results: "queue.SimpleQueue[Result]",
    worker: Callable[[], AbstractContextManager[Send]],
) -> None:
    with worker() as send:
        while (job := jobs.get()) is not None:
            parcel, since = job
            if monotonic() - since > STALE:
                results.put(Result(parcel.number, Outcome.RETRY, None, "the service was too slow to begin"))
                continue
            try:
                result = send(parcel)
            except Exception as error:  # one message's fault must not end the thread that others wait for
                result = Result(parcel.number, Outcome.STARTED, None, type(error).__name__)
            results.put(result)
