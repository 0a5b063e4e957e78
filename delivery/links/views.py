"""Where tracked links lead: on to their target, or to a page that says why not. And the tiny picture.

Neither waits for the database to take the note, and the picture asks it nothing at all.
"""

import base64

from django.conf import settings
from django.http import HttpRequest, HttpResponse
from django.shortcuts import render
from django.utils import timezone, translation
from django.utils.encoding import iri_to_uri
from django.views.decorators.http import require_safe

from delivery import clicks, spool_drain
from delivery.links import bots, hits, targets, tokens, utm

PICTURE = base64.b64decode("R0lGODlhAQABAIAAAAAAAP///yH5BAEAAAAALAAAAAABAAEAAAIBRAA7")
RETRY = 10  # seconds
AGAIN = "again"  # in the address that the page for waiting comes back with: the click was noted before
_PURPOSES = ("HTTP_SEC_PURPOSE", "HTTP_PURPOSE", "HTTP_X_PURPOSE", "HTTP_X_MOZ")
_PRIVATE = {
    "Cache-Control": "no-store, private",
    "Referrer-Policy": "no-referrer",
    "X-Robots-Tag": "noindex, nofollow",
}


@require_safe
def follow(request: HttpRequest, token: str) -> HttpResponse:
    """GET /l/<token>: note the click and redirect.

    Where it leads is kept with the message, so only what we sent ourselves is redirected to. While the database
    can't tell, a page asks for patience and tries again by itself.
    """
    try:
        delivery_id, link = tokens.read(token)
    except tokens.BadToken:
        return _page(request, "unknown", 404)
    try:
        target = targets.find(delivery_id, link)
    except targets.Unreachable:
        _note(request, delivery_id, link)
        return _page(request, "later", 503, {"seconds": RETRY, "again": f"{request.path}?{AGAIN}"})
    if target is None:
        return _page(request, "unknown", 404)
    _note(request, delivery_id, link)
    url = target.url
    if request.method == "GET" and not target.test:
        url = _recognisable(url, delivery_id, target.sites)
    return HttpResponse(status=302, headers={"Location": iri_to_uri(url), **_PRIVATE})


@require_safe
def picture(request: HttpRequest, token: str) -> HttpResponse:
    """GET /o/<token>.gif: note that the email was opened. It is always a picture; 503 says that nothing was noted."""
    try:
        delivery_id, _link = tokens.read(token, "open")
    except tokens.BadToken:
        return HttpResponse(PICTURE, content_type="image/gif", headers=_PRIVATE)
    if _note(request, delivery_id, None):
        return HttpResponse(PICTURE, content_type="image/gif", headers=_PRIVATE)
    headers = {"Retry-After": str(RETRY), **_PRIVATE}
    return HttpResponse(PICTURE, content_type="image/gif", status=503, headers=headers)


def _note(request: HttpRequest, delivery_id: int, link: int | None) -> bool:
    """Note what was fetched, unless it was before; return False if that is not possible."""
    if AGAIN in request.GET:
        return True
    agent = request.META.get("HTTP_USER_AGENT", "")
    return spool_drain.keep(hits.KIND, hits.fetched(delivery_id, link, agent, _purpose(request)))


def _recognisable(target: str, delivery_id: int, sites: tuple[str, ...]) -> str:
    """Add to an address of an own site what tells its script who comes (delivery/clicks.py)."""
    if not settings.NUDGE_LINK_VISITORS or not utm.belongs(utm.host_of(target), sites):
        return target
    return utm.tagged(target, {clicks.PARAMETER: clicks.make(delivery_id, timezone.now())})


def _purpose(request: HttpRequest) -> str:
    told = [request.META.get(name, "").strip() for name in _PURPOSES]
    if request.method == "HEAD":
        told.append(bots.HEAD)
    return " ".join(word for word in told if word and word != bots.LANDED)


def _page(
    request: HttpRequest, name: str, status: int, words: dict[str, object] | None = None
) -> HttpResponse:
    with translation.override(translation.get_language_from_request(request)):
        response = render(request, f"links/{name}.html", words, status=status)
        response["Content-Language"] = translation.get_language() or settings.LANGUAGE_CODE
    response["Vary"] = "Accept-Language"
    response["Content-Security-Policy"] = (
        "default-src 'none'; style-src 'unsafe-inline'; frame-ancestors 'none'"
    )
    if status == 503:
        response["Retry-After"] = str(RETRY)
    for header, value in _PRIVATE.items():
        response[header] = value
    return response
