"""The audit log: who looked at what, and who changed it.

What the admin changes is taken over from Django's own log by a trigger (migration 0018, its names in campaigns 0015),
whatever code wrote it there, so nothing has to be recorded twice. The rest is recorded here. An entry holds no personal
data of customers: their numbers, and in `detail` codes, counts and names of fields.
"""

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from datetime import datetime, timedelta
from typing import Any

from django.contrib.auth.models import AbstractBaseUser
from django.db import connection, models, transaction
from django.utils import timezone

from crm import limits
from crm.models import ApiKey, AuditEntry

# What has a name of its own that tells nothing about a customer.
NAMED = frozenset(
    {
        *("auth.user", "auth.group", "crm.apikey", "crm.connection", "crm.eventretention", "crm.topic"),
        *("crm.computedattribute", "crm.place", "crm.product", "campaigns.segment", "campaigns.flow"),
        *(
            "campaigns.broadcast",
            "campaigns.experiment",
            "delivery.message",
            "delivery.eventstream",
            "django_celery_beat.periodictask",
        ),
    }
)
SWEEP_ROWS = 10_000
_request: ContextVar[Any] = ContextVar("audited_request", default=None)
_LONGEST = 200  # characters of a name


@contextmanager
def during(request: Any) -> Iterator[None]:
    """While a request is answered, what is recorded without an actor is this request's doing."""
    token = _request.set(request)
    try:
        yield
    finally:
        _request.reset(token)


def record(by: Any, action: str, target: Any = None, **detail: Any) -> None:
    """Add one entry, in the caller's transaction.

    Args:
        by: a request (of the admin or the API), a user, an ApiKey, the name of a management command, or None:
            whoever the present request is from, if there is one.
        action: a code such as "profile.viewed".
        target: a model's instance, or (label such as "crm.profile", number).
        detail: JSON-able; codes, counts and names of fields, never a customer's data.
    """
    record_each(by, action, [target], **detail)


def record_each(by: Any, action: str, targets: Iterable[Any], **detail: Any) -> None:
    """Add one entry for each target, by one statement; see `record`."""
    who = _actor(by)
    AuditEntry.objects.bulk_create(
        [AuditEntry(**who, **_object(target), action=action, detail=detail) for target in targets],
        batch_size=1000,
    )


def _actor(by: Any) -> dict[str, Any]:
    if by is None:
        by = _request.get()
    meta = getattr(by, "META", None)
    address = limits.peer(by) if meta is not None else ""
    if meta is not None:
        key = getattr(by, "auth", None)
        by = key if isinstance(key, ApiKey) else getattr(by, "user", None)
    kind, number, name = AuditEntry.Actor.NOBODY, None, ""
    if isinstance(by, ApiKey):
        kind, number, name = AuditEntry.Actor.KEY, by.pk, by.name
    elif isinstance(by, str):
        kind, name = AuditEntry.Actor.COMMAND, by
    elif isinstance(by, AbstractBaseUser):
        kind, number, name = AuditEntry.Actor.USER, by.pk, by.get_username()
    return {"actor_type": kind, "actor_id": number, "actor": name, "address": address or ""}


def _object(target: Any) -> dict[str, str]:
    if target is None:
        return {}
    if isinstance(target, models.Model):
        label = target._meta.label_lower
        name = str(target)[:_LONGEST] if label in NAMED else ""
        return {"object_type": label, "object_id": str(target.pk), "object_repr": name}
    label, number = target
    return {"object_type": label, "object_id": str(number)}


def forget_old(days: int, now: datetime | None = None) -> int:
    """Delete entries older than `days` (0: none ever), in short transactions; return how many went."""
    if not days:
        return 0
    before = (now or timezone.now()) - timedelta(days=days)
    total = 0
    while True:
        with transaction.atomic(), connection.cursor() as cursor:
            cursor.execute("SELECT set_config('nudge.audit_retention', 'on', true)")
            cursor.execute(
                "DELETE FROM crm_auditentry WHERE id IN "
                "(SELECT id FROM crm_auditentry WHERE at < %s ORDER BY at LIMIT %s)",
                [before, SWEEP_ROWS],
            )
            gone = cursor.rowcount
            # Inside a longer transaction the permission would otherwise stay on until its end.
            cursor.execute("SELECT set_config('nudge.audit_retention', '', true)")
        total += gone
        if gone < SWEEP_ROWS:
            return total
