"""A short way to the addresses that take events: past what only pages with sessions and forms need."""

from collections.abc import Callable

from django.core.handlers.exception import convert_exception_to_response
from django.http import HttpRequest, HttpResponse
from django.middleware.common import CommonMiddleware
from django.middleware.locale import LocaleMiddleware
from django.urls import ResolverMatch, resolve

PATHS = frozenset({"/api/v1/events/", "/api/v1/events/beacon/"})


class DirectMiddleware:
    """Lets a POST of events meet the language and the host's check alone; place it after SecurityMiddleware.

    Its callers have keys: sessions, users, CSRF and messages mean nothing to them, and there is no page in the
    answer for a content security policy to protect. All of that is as dear as judging a hundred events.
    """

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponse]):
        self.get_response = get_response
        self._matches: dict[str, ResolverMatch] = {}
        short = convert_exception_to_response(self._answer)
        for layer in (CommonMiddleware, LocaleMiddleware):
            short = convert_exception_to_response(layer(short))
        self._short = short

    def __call__(self, request: HttpRequest) -> HttpResponse:
        """Answer it on the shorter way, where that leads there."""
        if request.method == "POST" and request.path_info in PATHS:
            return self._short(request)
        return self.get_response(request)

    def _answer(self, request: HttpRequest) -> HttpResponse:
        """What the view says, asked as Django's own handler asks it."""
        path = request.path_info
        match = self._matches.get(path)
        if match is None:
            match = self._matches[path] = resolve(path)
        request.resolver_match = match
        response = match.func(request, *match.args, **match.kwargs)
        return response.render() if hasattr(response, "render") else response
