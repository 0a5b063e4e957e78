"""Idempotency keys: a POST that is repeated because its answer got lost has its effect once.

After draft-ietf-httpapi-idempotency-key-header. The effect and the answer commit together: a worker that dies
leaves neither. What two requests with one key race for is an advisory lock of PostgreSQL, which ends with the
transaction, so that nothing stays locked either. Only answers of success are kept: a refused request did nothing,
and its repetition is judged anew.
"""

import hashlib
from collections.abc import Callable
from datetime import datetime, timedelta

from django.db import connection, transaction
from django.http import HttpResponse, HttpResponseBase
from django.utils import timezone
from django.utils.translation import gettext as _
from rest_framework.request import Request

from crm.api.errors import ApiError
from crm.models import IdempotentAnswer

HEADER = "Idempotency-Key"
MAX_LENGTH = 255
KEPT = timedelta(hours=48)
REPLAYED = "Idempotent-Replayed"


def key(request: Request) -> str | None:
    """What the header says; None without it.

    Raises:
        ApiError: 400, it is empty, too long, or not printable ASCII.
    """
    text = request.META.get("HTTP_IDEMPOTENCY_KEY")
    if text is None:
        return None
    text = text.strip()
    if not (0 < len(text) <= MAX_LENGTH and text.isascii() and text.isprintable()):
        detail = _("%(header)s has 1 to %(most)d printable ASCII characters.")
        raise ApiError(400, "invalid_value", detail % {"header": HEADER, "most": MAX_LENGTH}, field=HEADER)
    return text


def once(
    request: Request, text: str, answer: Callable[[], HttpResponseBase], now: datetime | None = None
) -> HttpResponseBase:
    """`answer()`, or what it was when this API key sent the same request under the same idempotency key.

    Raises:
        ApiError: 422 when the key came with another request before, 409 while that one is still under way.
    """
    now = now or timezone.now()
    sent = request._request.body
    name = _digest(str(request.auth.pk), request.method or "", request.path, text)
    wanted = _digest(request.META.get("QUERY_STRING", ""), sent)
    with transaction.atomic():
        if not _ours(name):
            detail = _("A request with this key is still under way; repeat it in a moment.")
            raise ApiError(409, "idempotency_in_progress", detail, field=HEADER)
        known = IdempotentAnswer.objects.filter(key=name).first()
        if known and known.created_at > now - KEPT:
            return _replayed(known, wanted)
        response = answer()
        if 200 <= response.status_code < 300:
            _keep(name, wanted, response, now)
        else:
            transaction.set_rollback(True)
    return response


def _replayed(known: IdempotentAnswer, wanted: bytes) -> HttpResponse:
    if bytes(known.request) != wanted:
        detail = _("This key was used for another request; take a new one for each.")
        raise ApiError(422, "idempotency_mismatch", detail, field=HEADER)
    response = HttpResponse(known.body["text"], status=known.status)
    if known.body["type"]:
        response["Content-Type"] = known.body["type"]
    else:
        del response["Content-Type"]
    response[REPLAYED] = "true"
    return response


def _keep(name: bytes, wanted: bytes, response: HttpResponseBase, now: datetime) -> None:
    body = {"type": response.get("Content-Type", ""), "text": response.content.decode()}  # type: ignore[attr-defined]
    IdempotentAnswer.objects.update_or_create(
        key=name,
        defaults={"request": wanted, "status": response.status_code, "body": body, "created_at": now},
    )


def _ours(name: bytes) -> bool:
    """Whether no other transaction works under this key; it stays ours until ours ends."""
    with connection.cursor() as cursor:
        number = int.from_bytes(name[:8], signed=True)
        cursor.execute("SELECT pg_try_advisory_xact_lock(%s)", [number])
        return bool(cursor.fetchone()[0])


def _digest(*parts: str | bytes) -> bytes:
    found = hashlib.sha256()
    for part in parts:
        raw = part.encode() if isinstance(part, str) else part
        found.update(len(raw).to_bytes(8))
        found.update(raw)
    return found.digest()


def forget(now: datetime | None = None) -> int:
    """Delete answers older than KEPT; return how many."""
    now = now or timezone.now()
    return IdempotentAnswer.objects.filter(created_at__lte=now - KEPT).delete()[0]
