"""Computed attributes: what is worked out about people from what they did."""

from typing import Any

import django_filters
import msgspec
from django.http import HttpResponse
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy
from drf_spectacular.utils import OpenApiExample, OpenApiParameter, OpenApiResponse, extend_schema
from rest_framework import serializers
from rest_framework.request import Request

from crm.api import filters, paging, schemas
from crm.api.auth import READ, WRITE
from crm.api.errors import ApiError
from crm.api.views import ApiView, encoded
from crm.computed import definitions
from crm.computed.kinds import kinds, parse
from crm.models import ComputedAttribute
from crm.rules.errors import RuleError

_DEFINITION = {
    "kind": "sum",
    "event": "purchase",
    "property": "total",
    "where": [{"property": "category", "op": "eq", "value": "shoes"}],
    "last_days": 90,
}
_STORED = {
    "slug": "spent_on_shoes",
    "name": "Spent on shoes",
    "definition": _DEFINITION,
    "type": "number",
    "state": "live",
    "complete": True,
    "progress": 1.0,
    "error": "",
    "computed_at": "2026-01-31T12:00:00Z",
    "created_at": "2026-01-31T11:59:00Z",
}


class _New(msgspec.Struct, forbid_unknown_fields=True):
    name: str
    slug: str
    definition: dict[str, Any]
    start: bool = True


class _Change(msgspec.Struct, forbid_unknown_fields=True):
    name: str | None = None
    definition: dict[str, Any] | None = None


class ComputedChangeSchema(serializers.Serializer):
    """What is left out stays as it is. Another definition is computed for everybody anew."""

    name = serializers.CharField(required=False, max_length=definitions.LONGEST_NAME)
    definition = serializers.DictField(
        required=False,
        help_text=gettext_lazy(
            "`kind` says what is computed, `event` names the events, `where` keeps those that fit, `last_days` "
            "those of so many times 24 hours. The other fields depend on the kind; a mistake is answered with its path."
        ),
    )


class NewComputedSchema(ComputedChangeSchema):
    slug = serializers.RegexField("^[a-z][a-z0-9_]{0,49}$")
    name = serializers.CharField(max_length=definitions.LONGEST_NAME)
    definition = serializers.DictField()
    start = serializers.BooleanField(
        required=False, default=True, help_text=gettext_lazy("False keeps it as a draft.")
    )


class ComputedSchema(serializers.Serializer):
    slug = serializers.CharField()
    name = serializers.CharField()
    definition = serializers.DictField()
    type = serializers.ChoiceField(choices=["number", "text", "moment"], allow_null=True)
    state = serializers.ChoiceField(choices=ComputedAttribute.State.choices)
    complete = serializers.BooleanField(
        help_text=gettext_lazy("Whether it was computed for everybody, so that profiles show it.")
    )
    progress = serializers.FloatField(min_value=0, max_value=1)
    error = serializers.CharField(allow_blank=True)
    computed_at = serializers.DateTimeField(allow_null=True)
    created_at = serializers.DateTimeField()


class ComputedPageSchema(serializers.Serializer):
    computed_attributes = ComputedSchema(many=True)
    next_cursor = serializers.CharField(allow_null=True)


class ComputedFilters(filters.Filters):
    """What the list can be filtered by."""

    state = django_filters.ChoiceFilter(choices=ComputedAttribute.State.choices)


_SLUG = OpenApiParameter(
    "slug",
    {"type": "string", "pattern": "^[a-z][a-z0-9_]*$"},
    OpenApiParameter.PATH,
    description="Its short name.",
)
_IN_USE = "“Spent on shoes” is used by the segment “Shoe lovers”."
_USED = OpenApiResponse(
    schemas.Error,
    description="A segment, flow or message uses it; the detail tells which.",
    examples=[OpenApiExample("in_use", value={"error": {"code": "in_use", "detail": _IN_USE}})],
)


def _answer(status: int) -> OpenApiExample:
    return OpenApiExample("An attribute", value=_STORED, response_only=True, status_codes=[str(status)])


class ComputedAttributesView(ApiView):
    scopes = {"GET": {READ}, "POST": {WRITE}}

    @extend_schema(
        operation_id="computed_attributes_list",
        tags=["computed attributes"],
        summary="List computed attributes",
        parameters=[*filters.parameters(ComputedFilters), *paging.PARAMETERS],
        responses={200: OpenApiResponse(ComputedPageSchema, description="One page.")},
        examples=[
            OpenApiExample(
                "One attribute",
                value={"computed_attributes": [_STORED], "next_cursor": None},
                response_only=True,
                status_codes=["200"],
            )
        ],
    )
    def get(self, request: Request) -> HttpResponse:
        """One page, sorted by the short name."""
        query = filters.filtered(request, ComputedAttribute.objects.all(), ComputedFilters)
        return encoded(paging.page(request, query, "computed_attributes", as_json, ("slug",)))

    @extend_schema(
        operation_id="computed_attributes_create",
        tags=["computed attributes"],
        summary="Define a computed attribute",
        description="It is computed for everybody at once and kept up to date from then on. "
        "The kinds: " + ", ".join(f"`{kind}`" for kind in kinds()) + ".",
        request=NewComputedSchema,
        responses={
            201: OpenApiResponse(ComputedSchema, description="Defined."),
            **schemas.errors(409, 413, 415),
        },
        examples=[
            OpenApiExample(
                "A sum",
                value={"slug": "spent_on_shoes", "name": "Spent on shoes", "definition": _DEFINITION},
                request_only=True,
            ),
            _answer(201),
        ],
    )
    def post(self, request: Request) -> HttpResponse:
        """Define it, unless there is one of this name."""
        new = self.parsed(request, _New)
        try:
            attribute = definitions.create(new.name, new.slug, new.definition, start=new.start)
        except RuleError as error:
            raise _wrong(error) from error
        except definitions.SlugTaken as error:
            raise ApiError(409, "slug_taken", str(error), field="slug") from error
        return encoded(as_json(attribute), status=201)


class ComputedAttributeView(ApiView):
    scopes = {"GET": {READ}, "PATCH": {WRITE}, "DELETE": {WRITE}}

    @extend_schema(
        operation_id="computed_attributes_get",
        tags=["computed attributes"],
        summary="One computed attribute",
        parameters=[_SLUG],
        responses={200: OpenApiResponse(ComputedSchema, description="It."), **schemas.errors(404)},
        examples=[_answer(200)],
    )
    def get(self, request: Request, slug: str) -> HttpResponse:
        """The attribute, with how far it is computed."""
        return encoded(as_json(_existing(slug)))

    @extend_schema(
        operation_id="computed_attributes_change",
        tags=["computed attributes"],
        summary="Change a computed attribute",
        parameters=[_SLUG],
        request=ComputedChangeSchema,
        responses={
            200: OpenApiResponse(ComputedSchema, description="As it is now."),
            409: _USED,
            **schemas.errors(404, 413, 415),
        },
        examples=[OpenApiExample("Rename", value={"name": "Shoe money"}, request_only=True), _answer(200)],
    )
    def patch(self, request: Request, slug: str) -> HttpResponse:
        """Change what is given."""
        attribute, change = _existing(slug), self.parsed(request, _Change)
        try:
            return encoded(as_json(definitions.change(attribute, change.name, change.definition)))
        except RuleError as error:
            raise _wrong(error) from error
        except definitions.InUse as error:
            raise ApiError(409, "in_use", str(error)) from error

    @extend_schema(
        operation_id="computed_attributes_delete",
        tags=["computed attributes"],
        summary="Delete a computed attribute",
        parameters=[_SLUG],
        responses={204: OpenApiResponse(description="Gone."), 409: _USED, **schemas.errors(404)},
    )
    def delete(self, request: Request, slug: str) -> HttpResponse:
        """Delete it, unless something uses it."""
        try:
            definitions.delete(_existing(slug))
        except definitions.InUse as error:
            raise ApiError(409, "in_use", str(error)) from error
        return HttpResponse(status=204)


def as_json(attribute: ComputedAttribute) -> dict[str, Any]:
    """An attribute as the API gives it."""
    try:
        kind = parse(attribute.config).type
    except RuleError:
        kind = None
    return {
        "slug": attribute.slug,
        "name": attribute.name,
        "definition": attribute.config,
        "type": kind,
        "state": attribute.state,
        "complete": attribute.served,
        "progress": round(attribute.progress, 4),
        "error": attribute.error,
        "computed_at": attribute.computed_at,
        "created_at": attribute.created_at,
    }


def _wrong(error: RuleError) -> ApiError:
    return ApiError(400, "invalid_value", error.message, **({"field": error.path} if error.path else {}))


def _existing(slug: str) -> ComputedAttribute:
    attribute = ComputedAttribute.objects.filter(slug=slug).first()
    if attribute is None:
        raise ApiError(404, "not_found", _("There is no such computed attribute."))
    return attribute
