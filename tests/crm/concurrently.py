"""Running things at once, on database connections of their own."""

import threading
import time
from collections.abc import Callable, Sequence
from typing import Any

from django.db import connection, connections


def run(*calls: Callable[[], Any], seconds: float = 60) -> list[Any]:
    """Start all `calls` together and return their results in order; an error in one is raised here."""
    results: list[Any] = [None] * len(calls)
    errors: list[Exception] = []
    ready = threading.Barrier(len(calls))

    def work(index: int, call: Callable[[], Any]) -> None:
        try:
            ready.wait(seconds)
            results[index] = call()
        except Exception as error:
            errors.append(error)
        finally:
            connections.close_all()

    threads = [threading.Thread(target=work, args=pair, daemon=True) for pair in enumerate(calls)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(seconds)
        assert not thread.is_alive(), "a call never ended"
    if errors:
        raise errors[0]
    return results


def chunks(rows: Sequence[Any], size: int) -> list[Sequence[Any]]:
    """`rows` in pieces of at most `size`."""
    return [rows[start : start + size] for start in range(0, len(rows), size)]


def until_readable(seconds: float = 60) -> None:
    """Return when all that is committed now can be read from the event log.

    The log waits for the oldest transaction of the whole server, where other tests may run as well.
    """
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_snapshot_xmax(pg_current_snapshot())::text::bigint")
        [committed] = cursor.fetchone()
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            cursor.execute("SELECT pg_snapshot_xmin(pg_current_snapshot())::text::bigint")
            if cursor.fetchone()[0] >= committed:
                return
            cursor.execute("SELECT pg_sleep(0.05)")
    raise AssertionError("a transaction on this server does not end")
