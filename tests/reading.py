"""Reading the event log to its end."""

import time
from collections.abc import Callable

from crm import log


def drain(cursor: str, read: Callable[[], object], seconds: float = 30) -> None:
    """Call `read` until its cursor has nothing left, waiting for transactions that still hide events."""
    deadline = time.monotonic() + seconds
    while True:
        read()
        if not log.lag(cursor):
            return
        assert time.monotonic() < deadline, f"{cursor} did not come to the end of the log"
        time.sleep(0.01)
