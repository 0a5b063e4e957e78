"""What browsers report about pushes; the signed token of the push is all the authority they need."""

from abc import ABC, abstractmethod
from datetime import datetime
from typing import Annotated, Any

import msgspec
from django.db import InterfaceError, OperationalError
from django.http import HttpRequest, HttpResponse, JsonResponse
from django.views import View

from analytics import tracking
from crm import subscriptions
from delivery import pushhosts, spool_drain
from delivery.links import hits

MAX_BODY = 32_768
MAX_REPORTS = 100
RETRY = 30  # seconds
FULL = "There is no room for reports now; send it again later."


class Report(msgspec.Struct):
    """Something happened to a push."""

    token: str
    kind: str
    at: datetime | None = None


class Arrival(msgspec.Struct):
    """Somebody came to a page by a link of a message; `click` is what its address told."""

    click: str


class Change(msgspec.Struct):
    """A browser renewed its push subscription, or lost it."""

    old_endpoint: str
    subscription: subscriptions.PushSubscription | None = None


class Refused(Exception):
    """What the answer says: status, detail, and further fields of the error."""

    def __init__(self, status: int, detail: str, **more: Any):
        super().__init__(detail)
        self.status, self.more = status, more


class DeviceView(ABC, View):
    """Takes a small JSON document by POST, from any site: a service worker runs on the customer's own."""

    http_method_names = ["post", "options"]
    decoder: msgspec.json.Decoder[Any]

    def post(self, request: HttpRequest) -> HttpResponse:
        """Parse, handle, answer 204; 400 names what is wrong, and 503 asks to come again."""
        length = request.META.get("CONTENT_LENGTH") or "0"
        if not length.isdecimal() or int(length) > MAX_BODY:
            return _refuse("The report is too large.", 413)
        try:
            self.handle(self.decoder.decode(request.body))
        except Refused as refused:
            return _refuse(str(refused), refused.status, **refused.more)
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

    @abstractmethod
    def handle(self, body: Any) -> None:
        """Do what the report asks for; ValueError when it can't be right."""


class PushReport(DeviceView):
    """POST /t/push/: one report, or up to 100 of them. The database is asked nothing."""

    decoder = msgspec.json.Decoder(
        Report | Annotated[list[Report], msgspec.Meta(min_length=1, max_length=MAX_REPORTS)]
    )

    def handle(self, body: Report | list[Report]) -> None:
        """Keep all reports that can be right; one by itself must be."""
        told, wrong = [], []
        for place, report in enumerate([body] if isinstance(body, Report) else body):
            try:
                told.append(tracking.read(report.token, report.kind, report.at))
            except tracking.BadReport as error:
                wrong.append({"index": place, "detail": str(error)})
        if told and not tracking.keep(*told):
            raise Refused(503, FULL)
        if wrong:
            more = {} if isinstance(body, Report) else {"accepted": len(told), "rejected": wrong}
            raise Refused(400, str(wrong[0]["detail"]), **more)


class Landed(DeviceView):
    """POST /t/landed/: told by the page behind a link. The database is asked nothing."""

    decoder = msgspec.json.Decoder(Arrival)

    def handle(self, body: Arrival) -> None:
        """Keep it beside the click."""
        hit = hits.landed(body.click, self.request.META.get("HTTP_USER_AGENT", ""))
        if hit is None:
            raise Refused(400, "The click is not one of ours, or was long ago.")
        if not spool_drain.keep(hits.KIND, hit):
            raise Refused(503, FULL)


class PushChanged(DeviceView):
    """POST /t/push/changed/: the old endpoint is a secret between the browser and us, so it proves who asks."""

    decoder = msgspec.json.Decoder(Change)

    def handle(self, body: Change) -> None:
        """See subscriptions.replace; an unknown endpoint is nothing to do."""
        if "\x00" in body.old_endpoint:
            return  # PostgreSQL can't even compare with it
        try:
            subscriptions.replace(body.old_endpoint, body.subscription, pushhosts.allowed)
        except (OperationalError, InterfaceError) as error:
            raise Refused(503, "The server is busy; send it again later.") from error


def _refuse(detail: str, status: int = 400, **more: Any) -> HttpResponse:
    code = "unavailable" if status == 503 else "bad_report"
    response = _open(JsonResponse({"error": {"code": code, "detail": detail, **more}}, status=status))
    if status == 503:
        response["Retry-After"] = str(RETRY)
    return response


def _open(response: HttpResponse) -> HttpResponse:
    # No cookies are looked at, so any site may be let in.
    response["Access-Control-Allow-Origin"] = "*"
    return response
