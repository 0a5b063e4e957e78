"""Waking background work after a commit, without flooding the broker or holding up a request."""

import logging
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

import msgspec
from celery import current_app
from django.db import transaction

logger = logging.getLogger(__name__)

QUIET_SECONDS = 0.1
LONGEST_QUIET_SECONDS = 1.0  # where one call follows upon another
EXPIRES_SECONDS = 30

_lock = threading.Lock()
_sending = (
    threading.Lock()
)  # a new process's first two calls at once would set the broker's connection up twice


class _Pace(msgspec.Struct):
    """When a task was or will be started last, and how many seconds later it may be started again."""

    start: float
    quiet: float


_paces: dict[str, _Pace] = {}
_looking: ContextVar[frozenset[str]] = ContextVar("looking", default=frozenset())


def on_commit(task: str, queue: str) -> None:
    """Start Celery task `task` in `queue` after the present transaction commits.

    Calls close together become one now and one a moment later, since the task finds all that is due; while they
    go on, the moments grow longer, as a call costs as much as storing a hundred events. A broker that is down is
    only logged: the sweep that runs every few seconds finds the same work.
    """
    transaction.on_commit(lambda: _plan(task, queue))


@contextmanager
def looking(task: str) -> Iterator[None]:
    """Start no `task` for what the block stores: it is that task, and looks once more before it ends."""
    token = _looking.set(_looking.get() | {task})
    try:
        yield
    finally:
        _looking.reset(token)


def _plan(task: str, queue: str) -> None:
    if task in _looking.get():
        return
    with _lock:
        now = time.monotonic()
        pace = _paces.get(task)
        if pace is not None and pace.start > now:
            return  # one that starts after this commit is on its way
        if pace is None or pace.start + pace.quiet <= now:
            pace = _paces[task] = _Pace(now, QUIET_SECONDS)
        else:
            pace.start += pace.quiet
            pace.quiet = min(2 * pace.quiet, LONGEST_QUIET_SECONDS)
        start_at = pace.start
    # A thread, because the broker may be slow; not a daemon, so that a command that ends waits for it.
    threading.Timer(start_at - now, _send, [task, queue]).start()


def _send(task: str, queue: str) -> None:
    try:
        with _sending:
            current_app.send_task(task, queue=queue, expires=EXPIRES_SECONDS, ignore_result=True)
    except Exception as error:
        logger.warning("Could not wake %s (%s); the next sweep will do its work.", task, type(error).__name__)
