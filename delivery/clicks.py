"""Who came by a link of a message.

The address that a click opens carries a token in the parameter `nudge_c`. The page's script hands it in once and takes
it out of the address bar; the visitor, if not known by then, becomes the person the message was sent to
(crm/proof.py). Who forwards a mail thereby passes their own name on to whoever opens the link in it: the token
expires, lets nobody read anything, and NUDGE_LINK_VISITORS=off leaves it out.
"""

from collections.abc import Collection
from datetime import datetime, timedelta

from django.conf import settings
from django.core import signing
from django.utils import timezone

from delivery import signatures
from delivery.models import Delivery

PARAMETER = "nudge_c"
VALID = timedelta(days=30)
_SALT = "delivery.click"


def make(delivery_id: int, now: datetime | None = None) -> str:
    """Return the token for a delivery's links; "" where visitors are not to be linked."""
    if not settings.NUDGE_LINK_VISITORS:
        return ""
    at = int((now or timezone.now()).timestamp())
    return signatures.signer(_SALT).sign(f"{signing.b62_encode(delivery_id)}-{signing.b62_encode(at)}")


def delivery_of(token: str, now: datetime | None = None) -> int | None:
    """Return the number of the delivery whose link was clicked, without asking the database; None if it is not ours or
    too old."""
    return _read(token, now or timezone.now()) if settings.NUDGE_LINK_VISITORS else None


def people(tokens: Collection[str], now: datetime | None = None) -> dict[str, int]:
    """Return the profiles that messages were sent to, by token, in one query; bad and old tokens are left out."""
    if not settings.NUDGE_LINK_VISITORS:
        return {}
    now = now or timezone.now()
    deliveries = {token: pk for token in tokens if (pk := _read(token, now)) is not None}
    # An erasure leaves the delivery, without its words.
    found = Delivery.objects.filter(pk__in=deliveries.values(), content__isnull=False)
    sent_to = dict(found.values_list("pk", "profile_id"))
    return {token: sent_to[pk] for token, pk in deliveries.items() if pk in sent_to}


def _read(token: str, now: datetime) -> int | None:
    try:
        number, _dash, at = signatures.signer(_SALT).unsign(token).partition("-")
        age = now.timestamp() - signing.b62_decode(at)
        return signing.b62_decode(number) if age <= VALID.total_seconds() else None
    except (signing.BadSignature, ValueError, IndexError):
        return None
