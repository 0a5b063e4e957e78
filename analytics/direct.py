"""A short way to the addresses that are asked by devices and mail programs: past what only people's pages need."""

from collections.abc import Callable
from typing import Any

from django.core.handlers.exception import convert_exception_to_response
from django.http import Http404, HttpRequest, HttpResponse
from django.urls import get_resolver, include, path

PREFIXES = ("/l/", "/o/", "/t/")

urlpatterns = [path("", include("delivery.links.urls")), path("t/", include("analytics.urls"))]


class TrackingMiddleware:
    """Hands requests for tracked links, pictures and reports to their views; place it after SecurityMiddleware.

    Who asks has a signed token: sessions, users, CSRF and messages mean nothing there, and the few pages among the
    answers bring a language and a content security policy of their own. All of that costs more than the answer.
    """

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponse]):
        self.get_response = get_response
        self._short = convert_exception_to_response(self._answer)
        self._resolver = get_resolver(__name__)

    def __call__(self, request: HttpRequest) -> HttpResponse:
        """Answer it on the shorter way, where that leads there."""
        if request.path_info.startswith(PREFIXES):
            try:
                request.resolver_match = self._resolver.resolve(request.path_info)
            except Http404:
                return self.get_response(request)
            answer: Any = self._short(request)
            return answer
        return self.get_response(request)

    def _answer(self, request: HttpRequest) -> HttpResponse:
        match: Any = request.resolver_match
        answer = match.func(request, *match.args, **match.kwargs)
        if answer.status_code != 204:
            answer.headers.setdefault("Content-Length", str(len(answer.content)))
        answer._has_been_logged = True  # tokens are nothing for Django's log of what was refused
        return answer
