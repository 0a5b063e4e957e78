"""What browsers report about pushes; the signed token of the push is all the authority they need."""

from datetime import datetime
from typing import Any

import msgspec
from django.http import HttpRequest, HttpResponse, JsonResponse
from django.views import View

from analytics import tracking
from crm import subscriptions
from delivery import pushhosts

MAX_BODY = 8192


class Report(msgspec.Struct):
    """Something happened to a push."""

    token: str
    kind: str
    at: datetime | None = None


class Change(msgspec.Struct):
    """A browser renewed its push subscription, or lost it."""

    old_endpoint: str
    subscription: subscriptions.PushSubscription | None = None


class DeviceView(View):
    """Takes one small JSON object by POST, from any site: a service worker runs on the customer's own."""

    http_method_names = ["post", "options"]
    shape: type[msgspec.Struct]

    def post(self, request: HttpRequest) -> HttpResponse:
        """Parse, handle, answer 204; 400 names what is wrong."""
        length = request.META.get("CONTENT_LENGTH") or "0"
        if not length.isdecimal() or int(length) > MAX_BODY:
            return _refuse("The report is too large.", 413)
        try:
            self.handle(msgspec.json.decode(request.body, type=self.shape))
        except (msgspec.DecodeError, RecursionError, ValueError) as error:
            return _refuse(str(error))
        return _open(HttpResponse(status=204))

    def options(self, request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponse:
        """Answer a browser's question before a request from another site."""
        response = _open(HttpResponse(status=204))
        response["Access-Control-Allow-Methods"] = "POST"
        response["Access-Control-Allow-Headers"] = "Content-Type"
        response["Access-Control-Max-Age"] = "86400"
        return response

    def handle(self, body: Any) -> None:
        """Do what the report asks for; ValueError when it can't be right."""
        raise NotImplementedError


class PushReport(DeviceView):
    """POST /t/push/"""

    shape = Report

    def handle(self, body: Report) -> None:
        """See tracking.record."""
        tracking.record(body.token, body.kind, body.at)


class PushChanged(DeviceView):
    """POST /t/push/changed/: the old endpoint is a secret between the browser and us, so it proves who asks."""

    shape = Change

    def handle(self, body: Change) -> None:
        """See subscriptions.replace; an unknown endpoint is nothing to do."""
        if "\x00" in body.old_endpoint:
            return  # PostgreSQL can't even compare with it
        subscriptions.replace(body.old_endpoint, body.subscription, pushhosts.allowed)


def _refuse(detail: str, status: int = 400) -> HttpResponse:
    return _open(JsonResponse({"error": {"code": "bad_report", "detail": detail}}, status=status))


def _open(response: HttpResponse) -> HttpResponse:
    # No cookies are looked at, so any site may be let in.
    response["Access-Control-Allow-Origin"] = "*"
    return response
