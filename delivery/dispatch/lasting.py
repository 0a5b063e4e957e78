"""Database work that must not be lost because the database went away for a moment."""

import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from time import monotonic, sleep
from typing import TypeVar

from django.db import InterfaceError, OperationalError, connection

logger = logging.getLogger(__name__)
Result = TypeVar("Result")

PAUSE = 0.5  # seconds between tries
LOST = (OperationalError, InterfaceError)


def lasting(work: Callable[[], Result], until: float) -> Result:
    """Do `work`, on new connections for as long as it fails by the database's fault; it may be done twice.

    Args:
        until: by the monotonic clock; what fails later is raised. So it is within somebody else's transaction.
    """
    while True:
        try:
            return work()
        except LOST:
            if connection.in_atomic_block or monotonic() > until:
                raise
            logger.warning("The database can't be reached; trying again")
            connection.close()
            sleep(PAUSE)


@contextmanager
def spared() -> Iterator[None]:
    """Go on without what the block asks of the database when it can't be reached."""
    try:
        yield
    except LOST:
        if connection.in_atomic_block:
            raise
        logger.warning("The database can't be reached; going on without")
        connection.close()
