"""Calls from CRMs: they say which records to look at, and are never believed beyond that."""

from datetime import datetime, timedelta

from django.conf import settings
from django.db.models import Q
from django.http import HttpRequest, HttpResponse
from django.utils import timezone
from django.views.decorators.csrf import csrf_exempt
from django.views.decorators.http import require_POST

from crm import connectors, wake
from crm.connectors.base import ConnectorError, HookRefused, HookRequest
from crm.models import Connection, SyncHint
from crm.sync import hints

BODY_LIMIT = 1024 * 1024  # bytes


@csrf_exempt
@require_POST
def receive(request: HttpRequest, slug: str) -> HttpResponse:
    """Remember the records that a CRM calls about, and let the worker look at them.

    Whether the call is the CRM's, its connector tells by signature or secret; otherwise it is answered with 401
    and nothing is stored. So is a call about a connection that is not there: nobody learns which ones are.
    A paused connection's calls wait for it.
    """
    received_at = timezone.now()
    body = request.read(BODY_LIMIT + 1)
    if len(body) > BODY_LIMIT:
        return _plain("Too large.", 413)
    connection = Connection.objects.filter(slug=slug).exclude(state=Connection.State.DRAFT).first()
    if connection is None or connection.kind not in connectors.kinds():
        return _refused()
    call = HookRequest(
        method=request.method or "",
        url=settings.NUDGE_PUBLIC_URL + request.get_full_path(),
        headers={name.lower(): value for name, value in request.headers.items()},
        body=body,
        received_at=received_at,
    )
    try:
        answer = connectors.connector(connection).hook(call)
    except HookRefused:
        return _refused()
    except ConnectorError:
        return _plain("The connection's settings are incomplete.", 503)
    _note(connection, received_at)
    known = SyncHint.objects.filter(connection=connection, received_at__lte=received_at)
    first = not known.exclude(kind__in=hints.WAITING).exists()
    if hints.add(connection, answer.hints, received_at) and first:
        wake.on_commit("crm.tasks.sync_due", "sync")  # no more of them in a storm: the sweep finds the others
    return HttpResponse(answer.body, content_type=answer.content_type)


def _note(connection: Connection, at: datetime) -> None:
    """That the CRM calls at all; a storm of calls writes it once a minute."""
    Connection.objects.filter(
        Q(called_at=None) | Q(called_at__lt=at - timedelta(minutes=1)), pk=connection.pk
    ).update(called_at=at)


def _refused() -> HttpResponse:
    return _plain("This call does not come from a CRM that is connected here.", 401)


def _plain(text: str, status: int) -> HttpResponse:
    return HttpResponse(text, status=status, content_type="text/plain; charset=utf-8")
