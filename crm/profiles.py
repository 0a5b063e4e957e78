"""Creating and changing profiles in bulk: a batch of patches in, one outcome per row out.

A batch is read in a few queries, decided in memory row after row (so that two rows about one person act
as if they had come one after the other) and written in bulk; the number of statements does not depend on
its size. Rows that change nothing are not written.
"""

import logging
from collections.abc import Sequence
from datetime import datetime

import msgspec
from django.db import OperationalError, transaction
from django.utils import timezone
from psycopg.errors import DeadlockDetected, UniqueViolation

from crm.normalise import Rejection
from crm.patches import FIELDS, ID, NAMES, ProfilePatch, Row, row, validate
from crm.pg import Contention
from crm.profile_batch import CREATED, REJECTED, UNCHANGED, UPDATED, Batch, ConflictError, Outcome, State

__all__ = [
    "CREATED",
    "FIELDS",
    "ID",
    "NAMES",
    "REJECTED",
    "UNCHANGED",
    "UPDATED",
    "CollisionError",
    "Outcome",
    "ProfilePatch",
    "Rejection",
    "Row",
    "State",
    "UpsertResult",
    "row",
    "upsert",
    "validate",
]

logger = logging.getLogger(__name__)
_TRIES = 5


class UpsertResult(msgspec.Struct):
    """One outcome per row, in the rows' order."""

    outcomes: list[Outcome]

    def count(self, state: str) -> int:
        """How many rows ended as CREATED, UPDATED, UNCHANGED or REJECTED."""
        return sum(outcome.state == state for outcome in self.outcomes)


def upsert(
    rows: Sequence[Row], source: str, now: datetime | None = None, returning: bool = False
) -> UpsertResult:
    """Create or change the profile that each row names.

    A key nobody has yet leads to the profile with the patch's other names, in the order of the identity rules
    (by default external id, then email), unless that profile has another key of the same kind: then the row is
    rejected (`duplicate_external_id`, `duplicate_email`). A name of somebody else is rejected (`email_taken`,
    `external_id_taken`) and the two are put on the list of conflicts; a name that finds nobody by the rules, such
    as a phone by default, may be shared and only names whoever had it first. A number of a merged profile means
    the one that it was merged into. What is told here counts as proven.

    Args:
        source: who sends the rows, such as "api"; rows of CRM records have their key's kind as source.
        returning: people speak for themselves, so those who were erased begin anew; else such rows are rejected.
    """
    if not rows:
        return UpsertResult([])
    now = now or timezone.now()
    for attempt in range(_TRIES):
        try:
            with transaction.atomic():
                batch = Batch(rows, source, returning)
                result = UpsertResult([batch.apply(item) for item in rows])
                batch.write(now)
                return result
        except ConflictError:
            pass
        except (UniqueViolation, DeadlockDetected):
            pass  # COPY raises the driver's own errors
        except OperationalError as error:
            if not isinstance(error.__cause__, DeadlockDetected):
                raise
        logger.info("Profiles from %s collided with another writer; attempt %d.", source, attempt + 1)
    raise CollisionError(f"Profiles from {source} keep colliding with other writers.")


class CollisionError(Contention):
    """Other writers hold what we need; whoever holds something as well should let it go and begin again."""
