"""The keys that calls of flows are signed with (delivery/webhook_signing.py)."""

from datetime import datetime, timedelta

from django.db import connection, transaction
from django.db.models import Q
from django.utils import timezone

from campaigns.models import WebhookKey
from delivery import webhook_signing

OVERLAP = timedelta(days=1)  # both keys sign, so that receivers can change over


def present(now: datetime | None = None) -> list[str]:
    """The secrets that sign now (base64), the newest first; the first one is made when it is needed."""
    now = now or timezone.now()
    found = _signing(now)
    if any(key.signs_until is None for key in found):
        return [key.secret for key in found]
    with transaction.atomic():
        _one_at_a_time()
        if not WebhookKey.objects.filter(signs_until=None).exists():
            _make()
    return [key.secret for key in _signing(now)]


@transaction.atomic
def replace(now: datetime | None = None) -> WebhookKey:
    """Make a new key; the old one signs beside it for a day."""
    now = now or timezone.now()
    _one_at_a_time()
    WebhookKey.objects.filter(signs_until=None).update(signs_until=now + OVERLAP)
    return _make()


def _signing(now: datetime) -> list[WebhookKey]:
    return list(WebhookKey.objects.filter(Q(signs_until=None) | Q(signs_until__gt=now)).order_by("-pk"))


def _one_at_a_time() -> None:
    with connection.cursor() as cursor:
        cursor.execute("LOCK TABLE campaigns_webhookkey IN SHARE ROW EXCLUSIVE MODE")


def _make() -> WebhookKey:
    return WebhookKey.objects.create(secret=webhook_signing.make())
