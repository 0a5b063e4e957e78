"""Sending by several threads at once: most of the time of a message is waiting for an answer."""

import queue
import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager

from delivery.channels.base import Outcome, Parcel, Result

Send = Callable[[Parcel], Result]
AHEAD = 8  # parcels for each thread, so that none is idle while the caller writes down results


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
    jobs: queue.SimpleQueue[Parcel | None] = queue.SimpleQueue()
    results: queue.SimpleQueue[Result] = queue.SimpleQueue()
    threads: list[threading.Thread] = []
    coming, begun = iter(parcels), 0
    try:
        while True:
            while begun < AHEAD * count and not stop():
                parcel = next(coming, None)
                if parcel is None:
                    break
                begun += 1
                jobs.put(parcel)
                if len(threads) < count:
                    thread = threading.Thread(target=_run, args=(jobs, results, worker), daemon=True)
                    threads.append(thread)
                    thread.start()
            if not begun:
                return
            begun -= 1
            yield results.get()
    finally:
        for _thread in threads:
            jobs.put(None)
        for thread in threads:
            thread.join()


def _run(
    jobs: "queue.SimpleQueue[Parcel | None]",
    results: "queue.SimpleQueue[Result]",
    worker: Callable[[], AbstractContextManager[Send]],
) -> None:
    with worker() as send:
        while (parcel := jobs.get()) is not None:
            try:
                result = send(parcel)
            except Exception as error:  # one message's fault must not end the thread that others wait for
                result = Result(parcel.number, Outcome.STARTED, None, type(error).__name__)
            results.put(result)
