"""Waking background work after a commit, without flooding the broker or holding up a request."""

import logging
import threading
import time

from celery import current_app
from django.db import transaction

logger = logging.getLogger(__name__)

QUIET_SECONDS = 0.05
EXPIRES_SECONDS = 30

_lock = threading.Lock()
_free_at: dict[str, float] = {}


def on_commit(task: str, queue: str) -> None:
    """Start Celery task `task` in `queue` after the present transaction commits.

    Calls close together become one now and one a moment later, since the task finds all that is due. A
    broker that is down is only logged: the sweep that runs every few seconds finds the same work.
    """
    transaction.on_commit(lambda: _plan(task, queue))


def _plan(task: str, queue: str) -> None:
    with _lock:
        now = time.monotonic()
        free_at = _free_at.get(task, 0.0)
        if free_at > now + QUIET_SECONDS:
            return  # one that starts after this commit is on its way
        start_at = max(now, free_at)
        _free_at[task] = start_at + QUIET_SECONDS
    # A thread, because the broker may be slow; not a daemon, so that a command that ends waits for it.
    threading.Timer(start_at - now, _send, [task, queue]).start()


def _send(task: str, queue: str) -> None:
    try:
        current_app.send_task(task, queue=queue, expires=EXPIRES_SECONDS, ignore_result=True)
    except Exception as error:
        logger.warning("Could not wake %s (%s); the next sweep will do its work.", task, type(error).__name__)
