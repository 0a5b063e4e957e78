"""Problems that a person has to look at."""

from django.db.models import F, Q
from django.db.models.functions import Now

from crm.models import Alert


def raise_alert(key: str, title: str, detail: str) -> None:
    """Show `title` to the operators until it is resolved; the same `key` again only counts up.

    Args:
        key: what it is about, such as "webpush:configuration:<origin>".
        title: what happened, one line.
        detail: what to do about it.
    """
    Alert.objects.bulk_create([Alert(key=key, title=title, detail=detail, count=0)], ignore_conflicts=True)
    Alert.objects.filter(key=key).update(
        title=title, detail=detail, count=F("count") + 1, last_at=Now(), resolved_at=None
    )


def resolve(key: str) -> None:
    """Mark the alert about `key` as no longer true."""
    Alert.objects.filter(key=key, resolved_at=None).update(resolved_at=Now())


def resolve_all(key: str) -> None:
    """Mark the alert about `key` and those about its parts, `key:…`, as no longer true."""
    about = Q(key=key) | Q(key__startswith=f"{key}:")
    Alert.objects.filter(about, resolved_at=None).update(resolved_at=Now())
