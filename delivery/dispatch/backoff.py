"""When to try again."""

import random
from datetime import datetime, timedelta

FIRST = timedelta(seconds=30)
LONGEST = timedelta(hours=1)
CONFIGURATION = timedelta(minutes=15)


def next_try(attempts: int, now: datetime, expires_at: datetime, wanted: timedelta | None = None) -> datetime:
    """Return when to try a delivery again after `attempts` tries (1 or more).

    The provider's wish counts as the least; without one the wait doubles from 30 s up to an hour. A quarter of
    jitter keeps a batch from coming back as one. Never later than `expires_at`, where it ends as expired.
    """
    wait = wanted if wanted is not None else min(FIRST * 2 ** min(attempts - 1, 10), LONGEST)
    return min(now + wait * random.uniform(1.0, 1.25) + timedelta(seconds=1), expires_at)  # noqa: S311 - no secret


def next_configuration_try(now: datetime, expires_at: datetime) -> datetime:
    """Return when to try again after the provider refused our key or account: an operator has to act first."""
    return min(now + CONFIGURATION * random.uniform(0.75, 1.25), expires_at)  # noqa: S311 - no secret
