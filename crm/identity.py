"""Which profile is meant: resolving references, by the rules of crm/identity_rules.py."""

from collections.abc import Collection, Sequence
from datetime import datetime

from django.db import OperationalError, transaction
from django.utils import timezone
from psycopg.errors import DeadlockDetected

from crm import identity_rules
from crm.merging import merge, winners
from crm.models import Profile
from crm.pg import Contention
from crm.references import ORDER, ErasedPerson, Reference, UnknownProfile, normal
from crm.resolution import SDK, Conflict, Resolution

__all__ = [
    "ORDER",
    "ErasedPerson",
    "Reference",
    "UnknownProfile",
    "existing_ids",
    "merge",
    "normal",
    "plain",
    "resolve",
]

_TRIES = 5


def resolve(
    references: Sequence[Reference],
    now: datetime | None = None,
    proven: Collection[Reference] = (),
    source: str = SDK,
) -> list[int]:
    """Return the profile id each reference means, in order, creating profiles that do not exist yet.

    The surest name that somebody has leads to the profile; a name nobody has goes there too. An anonymous profile
    that is named together with a known person is merged into that person. Two known people are never joined, and
    no name changes hands because a browser says so: that goes to the list of conflicts. What is only claimed, and
    may not lead to anybody by the rules, is collected on an anonymous profile.
    The profiles stay locked against merging and deletion until the caller's transaction ends.

    Args:
        proven: those of `references` that a server, a CRM or a right proof vouches for.
        source: who tells it; from "sdk" people speak for themselves, so who was erased begins anew.

    Raises:
        UnknownProfile: a reference has an `id` that neither exists nor was merged into one that does.
        ErasedPerson: references of others than "sdk" name people who were erased.
        Contention: too many writers claim the same names.
    """
    now = now or timezone.now()
    trusted = frozenset(proven)
    for _ in range(_TRIES):
        try:
            with transaction.atomic():
                return Resolution(references, now, trusted, source).run()
        except (Conflict, DeadlockDetected):
            continue  # COPY raises the driver's own errors
        except OperationalError as error:
            if not isinstance(error.__cause__, DeadlockDetected):
                raise
    raise Contention("Could not claim identifiers; too many writers claim the same ones.")


def plain(reference: Reference, proven: bool) -> bool:
    """Whether the profile that all names of the reference lead to is meant, whatever else the rules say."""
    rules = identity_rules.held()
    return not rules.strict and bool(rules.finding(reference.keys(), proven))


def existing_ids(ids: Sequence[int]) -> set[int]:
    """Those of `ids` that are profiles, or were merged into one."""
    found = set(Profile.objects.filter(pk__in=ids).values_list("pk", flat=True))
    return found | set(winners(set(ids) - found))
