"""People that somebody else is writing about just now: the engine waits for nobody, it comes back to them."""

from collections.abc import Callable, Mapping, Sequence
from datetime import datetime, timedelta

from django.db import OperationalError, connection, transaction
from psycopg.errors import DeadlockDetected, LockNotAvailable

from campaigns.flows.steps.base import Outcome, Person, wait
from crm.pg import Contention

BUSY = "busy"  # the fact that says so
SOON = timedelta(seconds=1)
PATIENCE = "250ms"  # how long one statement waits for a lock
_COLLISIONS = (DeadlockDetected, LockNotAvailable)
_FREE = "SELECT id FROM crm_profile WHERE id = ANY(%s::bigint[]) ORDER BY id FOR UPDATE SKIP LOCKED"


def with_free(
    people: Sequence[Person], now: datetime, work: Callable[[Sequence[Person]], Mapping[int, Outcome]]
) -> dict[int, Outcome]:
    """What `work` decides for those whose profiles can be locked at once; the others are asked again in a moment.

    Each batch of the engine holds its people (FOR KEY SHARE), so two batches that both waited to write about a person
    who is in both would wait for ever.
    """
    with connection.cursor() as cursor:
        cursor.execute(_FREE, [sorted({person.profile_id for person in people})])
        free = {row[0] for row in cursor.fetchall()}
    ours = [person for person in people if person.profile_id in free]
    outcomes = {
        person.enrollment_id: again(person, now) for person in people if person.profile_id not in free
    }
    return outcomes | without_waiting(ours, now, work)


def without_waiting(
    people: Sequence[Person], now: datetime, work: Callable[[Sequence[Person]], Mapping[int, Outcome]]
) -> dict[int, Outcome]:
    """What `work` decides; if it collides with other writers, everybody is asked again in a moment."""
    if not people:
        return {}
    try:
        with transaction.atomic():
            _wait_at_most(PATIENCE)
            outcomes = dict(work(people))
            _wait_at_most("0")  # as long as it takes, as before
            return outcomes
    except (OperationalError, DeadlockDetected, Contention) as error:
        if isinstance(error, OperationalError) and not isinstance(error.__cause__, _COLLISIONS):
            raise
        return {person.enrollment_id: again(person, now) for person in people}


def _wait_at_most(time: str) -> None:
    with connection.cursor() as cursor:
        cursor.execute("SELECT set_config('lock_timeout', %s, true)", [time])


def again(person: Person, now: datetime) -> Outcome:
    """Hold this run for a moment, each for another one, so that two batches do not meet again and again."""
    return wait(now + SOON + timedelta(milliseconds=person.enrollment_id % 1000), reason=BUSY)
