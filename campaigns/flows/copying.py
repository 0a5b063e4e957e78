"""New flows: short names for them, and drafts copied from others."""

import copy

from django.db import IntegrityError, transaction

from campaigns.models import Flow
from crm import slugs

TRIES = 5


def free_slug(name: str) -> str:
    """A short name for `name` that no flow has yet."""
    return slugs.of_name(Flow, name, "flow")


def duplicate(flow: Flow, name: str) -> Flow:
    """Make a flow with a copy of this one's draft. Nobody is in it, and nothing of it is live."""
    for attempt in range(TRIES):
        try:
            with transaction.atomic():
                return Flow.objects.create(
                    slug=free_slug(name),
                    name=name,
                    description=flow.description,
                    draft=copy.deepcopy(flow.draft),
                )
        except IntegrityError:  # somebody else took the short name meanwhile
            if attempt == TRIES - 1:
                raise
    raise AssertionError("unreachable")
