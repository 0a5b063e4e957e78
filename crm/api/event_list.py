"""Events out."""

from functools import partial
from typing import Any

from django.http import HttpResponse
from django.utils.translation import gettext_lazy as _
from drf_spectacular.utils import OpenApiExample, OpenApiParameter, OpenApiResponse, extend_schema
from rest_framework.request import Request

from crm import masking
from crm.api import filters, paging, schemas
from crm.api.errors import ApiError
from crm.api.profile_json import READS, hides
from crm.api.profiles import MERGED, PROFILE_ID, existing
from crm.api.views import ApiView, encoded
from crm.models import Event

_ORDER = ("-occurred_at", "id")
_PAGE = OpenApiExample(
    "The last page",
    value={
        "events": [
            {
                "id": "0f5c9a52-3f1e-4f53-9f0e-6d1f4f3b8a11",
                "name": "purchase",
                "profile": 42,
                "occurred_at": "2026-01-31T12:00:00Z",
                "received_at": "2026-01-31T12:00:01Z",
                "properties": {"total": 59.9, "currency": "EUR"},
                "source": "api",
                "clock": "",
            }
        ],
        "next_cursor": None,
    },
    response_only=True,
    status_codes=["200"],
)


class _Period(filters.Filters):
    since = filters.InstantFilter(
        field_name="occurred_at", lookup_expr="gte", help_text=_("RFC 3339, inclusive.")
    )
    until = filters.InstantFilter(
        field_name="occurred_at", lookup_expr="lt", help_text=_("RFC 3339, exclusive.")
    )


class EventFilters(_Period):
    """When and from whom."""

    source = filters.TextFilter(help_text=_("Who sent it, such as api or sdk."))


class ProfileEventFilters(EventFilters):
    """Also by name: a person's events are few."""

    name = filters.TextFilter(help_text=_("Such as purchase."))


def as_json(event: Event, outlined: bool = False) -> dict[str, Any]:
    """An event as the API gives it; `outlined`: without contact data."""
    return {
        "id": event.pk,
        "name": event.name,
        "profile": event.profile_id,
        "occurred_at": event.occurred_at,
        "received_at": event.received_at,
        "properties": masking.data(event.properties) if outlined else event.properties,
        "source": event.source,
        "clock": event.clock,
    }


class EventListing:
    """Mixin for the view of /events/: what it gives out."""

    @extend_schema(
        operation_id="events_list",
        tags=["events"],
        summary="List events of one name",
        description="The latest first. Events that arrive later with a time before your cursor come in no later page: "
        "to follow what happens, ask again with an overlapping `since`, and tell events apart by `id`.",
        parameters=[
            OpenApiParameter(
                "name", {"type": "string", "minLength": 1}, required=True, description="Such as purchase."
            ),
            *filters.parameters(EventFilters),
            *paging.PARAMETERS,
        ],
        responses={200: OpenApiResponse(schemas.EventPage, description="One page.")},
        examples=[_PAGE],
    )
    def get(self, request: Request) -> HttpResponse:
        """One page of the events with a name."""
        name = request.GET.get("name", "")
        if not name:
            raise ApiError(400, "missing_parameter", str(_("Say which events, by name.")), field="name")
        query = filters.filtered(request, Event.objects.filter(name=name), EventFilters)
        return encoded(
            paging.page(request, query, "events", partial(as_json, outlined=hides(request)), _ORDER)
        )


class ProfileEventsView(ApiView):
    scopes = {"GET": READS}

    @extend_schema(
        operation_id="profiles_events",
        tags=["events"],
        summary="List what one person did",
        description="The latest first, and also what was done to them, such as `message_sent`.",
        parameters=[PROFILE_ID, *filters.parameters(ProfileEventFilters), *paging.PARAMETERS],
        responses={200: OpenApiResponse(schemas.EventPage, description="One page."), **schemas.errors(404)},
        examples=[_PAGE, MERGED],
    )
    def get(self, request: Request, pk: int) -> HttpResponse:
        """One page of a person's events."""
        query = Event.objects.filter(profile_id=existing(pk).pk)
        query = filters.filtered(request, query, ProfileEventFilters)
        return encoded(
            paging.page(request, query, "events", partial(as_json, outlined=hides(request)), _ORDER)
        )
