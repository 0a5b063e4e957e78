"""Waking background work after a commit, without flooding the broker."""

import logging
import threading
import time

from celery import current_app
from django.db import transaction

logger = logging.getLogger(__name__)

QUIET_SECONDS = 0.05
EXPIRES_SECONDS = 30

_lock = threading.Lock()
_next: dict[str, float] = {}
_planned: set[str] = set()


def on_commit(task: str, queue: str) -> None:
    """Start Celery task `task` in `queue` after the present transaction commits.

    Calls close together become one at the beginning and one at the end, since the task finds all that is
    due. A broker that is down is only logged: the sweep that runs every few seconds finds the same work.
    """
    transaction.on_commit(lambda: _wake(task, queue))


def _wake(task: str, queue: str) -> None:
    with _lock:
        now = time.monotonic()
        if now < _next.get(task, 0.0):
            if task not in _planned:
                _planned.add(task)
                timer = threading.Timer(_next[task] - now, _late, [task, queue])
                timer.daemon = True
                timer.start()
            return
        _next[task] = now + QUIET_SECONDS
    _send(task, queue)


def _late(task: str, queue: str) -> None:
    with _lock:
        _planned.discard(task)
        _next[task] = time.monotonic() + QUIET_SECONDS
    _send(task, queue)


def _send(task: str, queue: str) -> None:
    try:
        current_app.send_task(task, queue=queue, expires=EXPIRES_SECONDS, ignore_result=True)
    except Exception as error:
        logger.warning("Could not wake %s (%s); the next sweep will do its work.", task, type(error).__name__)
