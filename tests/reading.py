"""Reading the event log to its end."""

import time
from collections.abc import Callable

from django.db import connection

from crm import log


def drain(cursor: str, read: Callable[[], object], seconds: float = 60) -> None:
    """Call `read` until its cursor has nothing left, waiting for transactions that still hide events."""
    deadline = time.monotonic() + seconds
    while True:
        read()
        if not log.lag(cursor):
            return
        assert time.monotonic() < deadline, f"{cursor} did not come to the end of the log"
        time.sleep(0.01)


def settle(seconds: float = 60) -> None:
    """Wait until every stored event may be read: no transaction older than it is open any more."""
    deadline = time.monotonic() + seconds
    while True:
        with connection.cursor() as cursor:
            cursor.execute(
                "SELECT count(*) FROM crm_event WHERE txid >= pg_snapshot_xmin(pg_current_snapshot())::text::bigint"
            )
            if not cursor.fetchone()[0]:
                return
        assert time.monotonic() < deadline, "a transaction stays open"
        time.sleep(0.01)
