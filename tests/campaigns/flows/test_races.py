"""Two workers at the same people: what one of them changes while the other waits for it."""

import threading
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta

from django.db import connection, transaction

from campaigns.flows import waking
from campaigns.models import Enrollment
from crm import log

WAIT_FOR = {
    "key": "w",
    "kind": "wait_for",
    "config": {"events": [{"name": "purchase"}], "timeout": {"amount": 2, "unit": "days"}},
    "branches": [{"name": "Bought", "steps": []}, {"name": "Did not", "steps": []}],
}


@contextmanager
def beside(work: Callable[[], object]) -> Iterator[None]:
    """While the block, which holds locks in a transaction, lasts, `work` waits for it in a connection of its own."""
    raised: list[BaseException] = []

    def run() -> None:
        try:
            work()
        except BaseException as error:
            raised.append(error)
        finally:
            connection.close()

    thread = threading.Thread(target=run)
    with transaction.atomic():
        yield
        thread.start()
        _until_somebody_waits(thread, raised)
    thread.join(30)
    assert not raised, raised


def _until_somebody_waits(thread: threading.Thread, raised: list[BaseException]) -> None:
    until = time.monotonic() + 30
    while time.monotonic() < until and thread.is_alive():
        with connection.cursor() as cursor:
            cursor.execute(
                "SELECT count(*) FROM pg_locks WHERE NOT granted AND pg_backend_pid() = ANY(pg_blocking_pids(pid))"
            )
            if cursor.fetchone()[0]:
                return
        time.sleep(0.01)
    raise AssertionError(f"nobody waits for this transaction: {raised}")


def test_who_comes_to_a_wait_while_the_reader_looks_for_them_is_woken(world):
    ann = world.person("ann")
    flow = world.flow([{"key": "a", "kind": "wait", "config": {"amount": 1, "unit": "hours"}}, WAIT_FOR])
    world.happens(ann, "signed_up")
    world.run()
    run = Enrollment.objects.get()
    now = run.due_at
    event = log.LoggedEvent(uuid.uuid4(), 1, 1, ann, "purchase", now, now, {}, "test")
    wanted = {flow.live_version_id: {"purchase": {"w"}}}
    with beside(lambda: waking.wake(wanted, {"purchase": [event]}, now)):
        # As the engine does, which found the person due and no event yet.
        Enrollment.objects.filter(pk=run.pk).update(step="w", due_at=now + timedelta(days=2))
    run.refresh_from_db()
    assert run.due_at == now
