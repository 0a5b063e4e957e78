"""Giving up on a server that says nothing at all.

A client library waits without end for an answer. One thread of the process looks after all lines on which something
is waited for, and ends when there have been none for a while: a timer for each question would cost more than asking.
"""

import os
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress

LOOKS = 0.1  # seconds between two looks
IDLE = 10.0  # seconds without a question, after which nobody looks any more

_lines: dict[object, tuple[float, int]] = {}
_lock = threading.Lock()  # so that no socket is shut that got the same number later
_watcher: threading.Thread | None = None


@contextmanager
def cut_after(number: int, seconds: float) -> Iterator[None]:
    """Shut a socket if the block takes longer; what waits then fails as with a server that is gone.

    Args:
        number: the socket's file descriptor.
        seconds: how long the block may take, and LOOKS more at most.
    """
    asked = object()
    with _lock:
        _lines[asked] = (time.monotonic() + seconds, number)
        _look_after()
    try:
        yield
    finally:
        with _lock:
            _lines.pop(asked, None)


def _look_after() -> None:
    global _watcher
    if _watcher is None or not _watcher.is_alive():  # in a process that was forked it is not
        _watcher = threading.Thread(target=_watch, name="silence", daemon=True)
        _watcher.start()


def _watch() -> None:
    global _watcher
    idle_since = time.monotonic()
    while True:
        time.sleep(LOOKS)
        now = time.monotonic()
        with _lock:
            if _lines:
                idle_since = now
            elif now - idle_since > IDLE:
                _watcher = None
                return
            for asked, (until, number) in list(_lines.items()):
                if now > until:
                    del _lines[asked]
                    with suppress(OSError), socket.socket(fileno=os.dup(number)) as line:
                        line.shutdown(socket.SHUT_RDWR)


def _forked() -> None:
    global _lock
    _lock = threading.Lock()
    _lines.clear()


os.register_at_fork(after_in_child=_forked)
