"""Calls from providers: `/callbacks/<key>/`. Each is proven by the account's provider, then taken in once."""

from django.conf import settings
from django.db import transaction
from django.http import HttpRequest, HttpResponse
from django.urls import path
from django.utils import timezone
from django.views.decorators.csrf import csrf_exempt
from django.views.decorators.http import require_http_methods

from delivery import accounts, inbound, reports
from delivery.models import Account
from delivery.providers.base import Call, NotGenuine, ProviderError

BODY_LIMIT = 5 * 1024 * 1024  # bytes: the batches of an email service are large


@csrf_exempt
@require_http_methods(["GET", "POST"])
def receive(request: HttpRequest, key: str) -> HttpResponse:
    """Take in what an account's provider tells.

    A call that is not proven to be the provider's is answered with 401 and leaves nothing, and so is one to an account
    that is not there: nobody learns which ones are. Anything that goes wrong with us is answered with 500, so that
    the provider calls again.
    """
    now = timezone.now()
    body = request.read(BODY_LIMIT + 1)
    if len(body) > BODY_LIMIT:
        return _plain("Too large.", 413)
    account = Account.objects.filter(callback_key=key).first()
    if account is None:
        return _refused()
    call = Call(
        method=request.method or "",
        url=settings.NUDGE_PUBLIC_URL + request.get_full_path(),
        headers={name.lower(): value for name, value in request.headers.items()},
        query=request.GET.dict(),
        body=body,
        address=request.META.get("REMOTE_ADDR", ""),
    )
    try:
        heard = accounts.provider(account).hear(accounts.sender(account), call)
    except NotGenuine:
        return _refused()
    except ProviderError:
        return _plain("The account's settings are incomplete.", 503)
    with transaction.atomic():
        reports.apply(account, heard.reports, now)
        if heard.inbound:
            inbound.apply(account.pk, account.channel, heard.inbound, now)
    return HttpResponse(heard.answer, content_type=heard.content_type)


def _refused() -> HttpResponse:
    return _plain("This call does not come from a provider that is set up here.", 401)


def _plain(text: str, status: int) -> HttpResponse:
    return HttpResponse(text, status=status, content_type="text/plain; charset=utf-8")


urlpatterns = [path("<str:key>/", receive, name="provider-callback")]
