"""Stores and other places in and out."""

from typing import Any

from django.http import HttpResponse
from django.utils.translation import gettext_lazy as _
from drf_spectacular.utils import OpenApiExample, OpenApiParameter, OpenApiResponse, extend_schema
from rest_framework import serializers
from rest_framework.request import Request

from crm import places, places_rows
from crm.api import filters, keyed, paging, schemas
from crm.api.views import encoded
from crm.models import Place

_STORE = {
    "slug": "old-town",
    "name": "Old Town",
    "kind": "store",
    "latitude": 52.2497,
    "longitude": 21.0122,
    "radius": 150,
    "address": "Rynek 1, Warszawa",
}
_STORED = {
    **_STORE,
    "cooldown_minutes": 60,
    "active": True,
    "attributes": {},
    "source": "api",
    "created_at": "2026-01-05T09:12:00Z",
    "updated_at": "2026-01-31T12:00:00Z",
}
_READS = "A key that may not read gets the short name and the state alone."
_SLUG = OpenApiParameter(
    "slug",
    {"type": "string", "minLength": 1, "maxLength": 100, "pattern": "^[-a-zA-Z0-9_]+$"},
    OpenApiParameter.PATH,
    description="The place's short name.",
)


class PlaceFields(serializers.Serializer):
    """Fields left out stay as they are. Attributes are merged name by name; null removes one."""

    name = serializers.CharField(required=False, max_length=200)
    kind = serializers.CharField(
        required=False, allow_null=True, max_length=50, help_text=_("Such as store.")
    )
    latitude = schemas.Decimal(required=False, help_text=_("-90 to 90."))
    longitude = schemas.Decimal(required=False, help_text=_("-180 to 180."))
    radius = schemas.Decimal(required=False, help_text=_("Metres, from 1."))
    cooldown_minutes = schemas.Decimal(
        required=False, help_text=_("Whole minutes; who comes back sooner does not enter anew.")
    )
    address = serializers.CharField(required=False, allow_null=True, max_length=500)
    active = serializers.BooleanField(required=False)
    attributes = serializers.DictField(required=False, help_text=_("Your own fields: any JSON values."))


class PlaceInput(PlaceFields):
    """A new place needs name, latitude and longitude."""

    slug = serializers.RegexField(
        "^[-a-zA-Z0-9_]*$",
        required=False,
        allow_null=True,
        allow_blank=True,
        max_length=100,
        help_text=_("Made of the name if left out."),
    )


class PlaceOutput(PlaceInput):
    source = serializers.CharField(help_text=_("Who changed it last."))
    created_at = serializers.DateTimeField()
    updated_at = serializers.DateTimeField()


class PlaceChanged(serializers.Serializer):
    slug = serializers.CharField()
    state = serializers.ChoiceField(choices=["created", "updated", "unchanged"])
    place = PlaceOutput(required=False, help_text=_("As it is now; for keys that may read."))


class Places(serializers.Serializer):
    places = serializers.ListField(child=PlaceInput(), min_length=1, max_length=schemas.MAX_ROWS)


class PlacePage(serializers.Serializer):
    places = PlaceOutput(many=True)
    next_cursor = serializers.CharField(
        allow_null=True, help_text=_("Send it as `cursor`; null on the last page.")
    )


class PlaceFilters(filters.Filters):
    """What places can be filtered by."""

    kind = filters.TextFilter(help_text=_("Exactly, such as store."))
    active = filters.BooleanFilter()
    updated_since = filters.InstantFilter(
        field_name="updated_at", lookup_expr="gte", help_text=_("RFC 3339, inclusive.")
    )


def as_json(place: Place) -> dict[str, Any]:
    """The place as the API gives it."""
    names = ("slug", *places_rows.FIELDS, "source", "created_at", "updated_at")
    return {name: getattr(place, name) for name in names}


KIND = keyed.Kind(Place, "place", "places", "slug", places.patch, places.upsert, as_json, PlaceFilters)


def _changed(state: str, status: int) -> OpenApiExample:
    value = {"slug": "old-town", "state": state, "place": _STORED}
    return OpenApiExample(state.title(), value=value, response_only=True, status_codes=[str(status)])


_CHANGES = {
    200: OpenApiResponse(PlaceChanged, description="It existed; `state` says whether anything changed."),
    201: OpenApiResponse(PlaceChanged, description="Created."),
}


class PlacesView(keyed.ListView):
    kind = KIND

    @extend_schema(
        operation_id="places_list",
        tags=["places"],
        summary="List places",
        parameters=[*filters.parameters(PlaceFilters), *paging.PARAMETERS],
        responses={200: OpenApiResponse(PlacePage, description="One page.")},
        examples=[
            OpenApiExample(
                "The last page",
                value={"places": [_STORED], "next_cursor": None},
                response_only=True,
                status_codes=["200"],
            )
        ],
    )
    def get(self, request: Request) -> HttpResponse:
        """One page."""
        return self.listed(request)

    @extend_schema(
        operation_id="places_upsert",
        tags=["places"],
        summary="Create or change one place",
        description="A `location` event (properties `latitude`, `longitude`, if known `accuracy` in metres) within "
        f"its radius gives `entered_place`. {_READS}",
        request=PlaceInput,
        responses={**_CHANGES, **schemas.errors(*schemas.WRITE_ERRORS)},
        examples=[
            OpenApiExample("A store", value=_STORE, request_only=True),
            _changed("updated", 200),
            _changed("created", 201),
        ],
    )
    def post(self, request: Request) -> HttpResponse:
        """Upsert."""
        return self.stored(request, self.parsed(request, dict[str, Any]))


class PlacesBulkView(keyed.BulkView):
    kind = KIND

    @extend_schema(
        operation_id="places_bulk",
        tags=["places"],
        summary="Create or change up to 1,000 places",
        description="Each row is judged alone: a bad one is listed in `rejected`, those beside it are stored.",
        request=Places,
        responses={
            200: OpenApiResponse(
                schemas.ProfilesResult, description="Done; see `rejected` for what was not."
            ),
            **schemas.errors(*schemas.WRITE_ERRORS),
        },
        examples=[
            OpenApiExample("One store", value={"places": [_STORE]}, request_only=True),
            OpenApiExample(
                "Taken",
                value={"created": 1, "updated": 0, "unchanged": 0, "rejected": []},
                response_only=True,
                status_codes=["200"],
            ),
        ],
    )
    def post(self, request: Request) -> HttpResponse:
        """Store the good ones."""
        return self.taken(request)


class PlaceView(keyed.OneView):
    kind = KIND

    @extend_schema(
        operation_id="places_get",
        tags=["places"],
        summary="One place",
        parameters=[_SLUG],
        responses={
            200: OpenApiResponse(PlaceOutput, description="The place."),
            **schemas.errors(404),
        },
        examples=[OpenApiExample("A store", value=_STORED, response_only=True, status_codes=["200"])],
    )
    def get(self, request: Request, slug: str) -> HttpResponse:
        """The place."""
        return encoded(as_json(self.one(slug)))

    @extend_schema(
        operation_id="places_put",
        tags=["places"],
        summary="Create or replace one place",
        description=f"Fields left out get their defaults; name and position are needed. {_READS}",
        parameters=[_SLUG],
        request=PlaceFields,
        responses={**_CHANGES, **schemas.errors(*schemas.WRITE_ERRORS)},
        examples=[
            OpenApiExample(
                "A store",
                value={"name": "Old Town", "latitude": 52.2497, "longitude": 21.0122},
                request_only=True,
            ),
            _changed("updated", 200),
            _changed("created", 201),
        ],
    )
    def put(self, request: Request, slug: str) -> HttpResponse:
        """Replace it as a whole."""
        return self.stored(request, self.given(request, slug), whole=True)

    @extend_schema(
        operation_id="places_patch",
        tags=["places"],
        summary="Change some of a place",
        description=_READS,
        parameters=[_SLUG],
        request=PlaceFields,
        responses={
            200: OpenApiResponse(PlaceChanged, description="`state` says whether anything changed."),
            **schemas.errors(*schemas.WRITE_ERRORS, 404),
        },
        examples=[
            OpenApiExample("A wider circle", value={"radius": 300}, request_only=True),
            _changed("updated", 200),
        ],
    )
    def patch(self, request: Request, slug: str) -> HttpResponse:
        """Change the fields that are given."""
        return self.changed(request, slug)

    @extend_schema(
        operation_id="places_delete",
        tags=["places"],
        summary="Delete a place",
        description="Nobody enters it any more; events that tell of it stay.",
        parameters=[_SLUG],
        responses={204: OpenApiResponse(description="Deleted."), **schemas.errors(404)},
    )
    def delete(self, request: Request, slug: str) -> HttpResponse:
        """Delete it."""
        self.one(slug).delete()
        return HttpResponse(status=204)
