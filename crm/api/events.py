"""Events in."""

from collections.abc import Callable

from django.http import HttpResponse
from drf_spectacular.utils import OpenApiExample, OpenApiResponse, extend_schema
from rest_framework.request import Request

from crm import ingest, limits
from crm.api import schemas
from crm.api.auth import BROWSER, WRITE
from crm.api.cors import BrowserAccess
from crm.api.errors import ApiError
from crm.api.event_list import EventListing
from crm.api.profile_json import READS
from crm.api.views import ApiView, encoded

_REQUEST = OpenApiExample(
    "A visitor logs in and buys",
    request_only=True,
    value={
        "events": [
            {
                "id": "0f5c9a52-3f1e-4f53-9f0e-6d1f4f3b8a11",
                "name": "purchase",
                "profile": {"email": "ada@example.com", "anonymous_id": "b0c7"},
                "occurred_at": "2026-01-31T12:00:00Z",
                "properties": {"total": 59.9, "currency": "EUR"},
            }
        ]
    },
)
ANSWER = OpenApiExample(
    "One stored, one refused",
    response_only=True,
    status_codes=["202"],
    value={
        "accepted": 1,
        "duplicates": 0,
        "rejected": [
            {"index": 1, "code": "invalid_time", "detail": "Write the time like …", "field": "occurred_at"}
        ],
    },
)


class EventsView(EventListing, BrowserAccess, ApiView):
    scopes = {"GET": READS, "POST": {WRITE, BROWSER}}
    repeatable = False  # each event's id does that

    @extend_schema(
        operation_id="events_create",
        tags=["events"],
        summary="Record events",
        description="Each event is judged alone: a bad one is listed in `rejected`, those beside it are stored. "
        "Repeat a request that got no answer with the same ids and times: nothing is stored twice. An event without a "
        "time, or with one still to come, gets the time of arrival, and a `clock` that says so. If `sent_at` is more "
        "than five minutes off our clock, the sender's clock is wrong: all times are moved by as much. A `patch` "
        "changes the event's profile before the event is stored, in one transaction; from a browser it only fills "
        "what is empty. Public keys are limited in requests and events per second: 429 says when to go on.",
        request=schemas.Events,
        responses={
            202: OpenApiResponse(schemas.EventsResult, description="Taken; see `rejected` for what was not."),
            **schemas.errors(*schemas.WRITE_ERRORS),
        },
        examples=[_REQUEST, ANSWER],
    )
    def post(self, request: Request) -> HttpResponse:
        """Hand the body to `crm.ingest` as it is."""
        return answer(request, self.raw)


def answer(request: Request, read: Callable[[Request], bytes]) -> HttpResponse:
    """Take the events of a request, unless its caller has sent too much.

    Args:
        read: gives the request's JSON.

    Raises:
        ApiError: 400 for what is no batch, 429.
    """
    key, address = request.auth, limits.address(request)
    limits.check("events", key, address)
    try:
        batch = ingest.split(read(request))
        limits.check("event rows", key, address, len(batch.rows))
        result = ingest.take(batch, "sdk" if BROWSER in key.scopes else "api", key=key)
    except ingest.BadBatch as error:
        raise ApiError(400, "invalid_batch", error.detail) from error
    return encoded(result, status=202)
