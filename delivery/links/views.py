"""Where tracked links lead: on to their target, or to a page that says why not. And the tiny picture."""

import base64

from django.conf import settings
from django.db import Error, OperationalError
from django.http import HttpRequest, HttpResponse
from django.shortcuts import render
from django.utils import timezone
from django.utils.encoding import iri_to_uri
from django.views.decorators.http import require_safe

from delivery import clicks
from delivery.links import hits, tokens, utm
from delivery.models import LinkSettings

PICTURE = base64.b64decode("R0lGODlhAQABAIAAAAAAAP///yH5BAEAAAAALAAAAAABAAEAAAIBRAA7")
RETRY = 30  # seconds
_PURPOSES = ("Sec-Purpose", "Purpose", "X-Purpose", "X-Moz")


@require_safe
def follow(request: HttpRequest, token: str) -> HttpResponse:
    """GET /l/<token>: note the click and redirect. HEAD redirects and counts nothing.

    Where it leads is kept with the message, so only what we sent ourselves is redirected to. While the database
    can't be reached nobody knows where that is, and the page asks to try again.
    """
    try:
        delivery_id, link = tokens.read(token)
        target = hits.follow(
            delivery_id,
            link,
            request.headers.get("User-Agent", ""),
            _purpose(request),
            counts=request.method == "GET",
        )
        if target is None:
            return _page(request, "unknown", 404)
        url = target.url
        if request.method == "GET" and not target.test:
            url = _recognisable(url, delivery_id)
    except tokens.BadToken:
        return _page(request, "unknown", 404)
    except OperationalError:
        return _page(request, "later", 503)
    response = HttpResponse(status=302)
    response["Location"] = iri_to_uri(url)
    return _private(response)


@require_safe
def picture(request: HttpRequest, token: str) -> HttpResponse:
    """GET /o/<token>.gif: note that the email was opened. It is always a picture, whatever happens to the note."""
    try:
        if request.method == "GET":
            delivery_id, _link = tokens.read(token, "open")
            hits.follow(delivery_id, None, request.headers.get("User-Agent", ""), _purpose(request))
    except (tokens.BadToken, Error):
        pass
    return _private(HttpResponse(PICTURE, content_type="image/gif"))


def _recognisable(target: str, delivery_id: int) -> str:
    """Add to an address of an own site what tells its script who comes (delivery/clicks.py)."""
    if not settings.NUDGE_LINK_VISITORS:
        return target
    sites = LinkSettings.load().own_hosts
    if not utm.belongs(utm.host_of(target), sites):
        return target
    return utm.tagged(target, {clicks.PARAMETER: clicks.make(delivery_id, timezone.now())})


def _purpose(request: HttpRequest) -> str:
    return " ".join(filter(None, (request.headers.get(name, "") for name in _PURPOSES)))


def _page(request: HttpRequest, name: str, status: int) -> HttpResponse:
    response = render(request, f"links/{name}.html", status=status)
    if status == 503:
        response["Retry-After"] = str(RETRY)
    return _private(response)


def _private(response: HttpResponse) -> HttpResponse:
    response["Cache-Control"] = "no-store, private"
    response["Referrer-Policy"] = "no-referrer"
    response["X-Robots-Tag"] = "noindex, nofollow"
    return response
