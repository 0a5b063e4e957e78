"""Problems that a person has to look at."""

from collections.abc import Sequence
from datetime import datetime, timedelta

from django.db import transaction
from django.db.models import Case, F, Q, Value, When
from django.db.models.functions import Now

from crm.models import Alert

MAILED_AGAIN_AFTER = timedelta(hours=1)


def raise_alert(key: str, title: str, detail: str) -> None:
    """Show `title` to the operators until it is resolved; the same `key` again only counts up.

    Args:
        key: what it is about, such as "webpush:configuration:<origin>".
        title: what happened, one line.
        detail: what to do about it.
    """
    Alert.objects.bulk_create([Alert(key=key, title=title, detail=detail, count=0)], ignore_conflicts=True)
    # One that comes and goes is mailed once an hour at most.
    comes_back = When(resolved_at__isnull=False, mailed_at__lt=Now() - MAILED_AGAIN_AFTER, then=Value(None))
    Alert.objects.filter(key=key).update(
        title=title,
        detail=detail,
        count=F("count") + 1,
        last_at=Now(),
        mailed_at=Case(comes_back, default=F("mailed_at")),
        resolved_at=None,
    )


@transaction.atomic
def to_mail(now: datetime, limit: int = 50) -> list[Alert]:
    """Return open alerts that nobody was sent yet, and count them as sent: `not_mailed` takes that back."""
    found = list(
        Alert.objects.select_for_update(skip_locked=True)
        .filter(resolved_at=None, mailed_at=None)
        .order_by("first_at")[:limit]
    )
    Alert.objects.filter(pk__in=[alert.pk for alert in found]).update(mailed_at=now)
    return found


def not_mailed(alerts: Sequence[Alert]) -> None:
    """Note that these could not be sent, so that they are tried again."""
    Alert.objects.filter(pk__in=[alert.pk for alert in alerts]).update(mailed_at=None)


def resolve(key: str) -> None:
    """Mark the alert about `key` as no longer true."""
    Alert.objects.filter(key=key, resolved_at=None).update(resolved_at=Now())


def resolve_all(key: str) -> None:
    """Mark the alert about `key` and those about its parts, `key:…`, as no longer true."""
    about = Q(key=key) | Q(key__startswith=f"{key}:")
    Alert.objects.filter(about, resolved_at=None).update(resolved_at=Now())


def resolve_quiet(beginning: str, ending: str, before: datetime) -> None:
    """Mark the alerts whose keys begin and end like this as no longer true, unless they came again since `before`."""
    about = Q(key__startswith=beginning, key__endswith=ending, last_at__lt=before)
    Alert.objects.filter(about, resolved_at=None).update(resolved_at=Now())
