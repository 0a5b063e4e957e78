"""The catalogue in and out."""

from decimal import Decimal
from typing import Any

from django.http import HttpResponse
from django.utils.translation import gettext_lazy as _
from drf_spectacular.utils import OpenApiExample, OpenApiParameter, OpenApiResponse, extend_schema
from rest_framework import serializers
from rest_framework.request import Request

from crm import catalogue
from crm.api import filters, keyed, paging, schemas
from crm.api.views import encoded
from crm.models import Product

_CUP = {
    "sku": "CUP-1",
    "name": "Cup",
    "price": 12.5,
    "currency": "EUR",
    "stock": 40,
    "category": "Kitchen",
    "url": "https://shop.example/cup",
    "image_url": "https://shop.example/cup.webp",
    "attributes": {"colour": "blue"},
}
_STORED = {
    **_CUP,
    "description": "",
    "active": True,
    "source": "api",
    "created_at": "2026-01-05T09:12:00Z",
    "updated_at": "2026-01-31T12:00:00Z",
}
_READS = "A key that may not read gets the number and the state alone."
_SKU = OpenApiParameter(
    "sku",
    {"type": "string", "minLength": 1, "maxLength": 512},
    OpenApiParameter.PATH,
    description="Your product number.",
)


class ProductFields(serializers.Serializer):
    """Fields left out stay as they are; null clears one. Attributes are merged name by name."""

    name = serializers.CharField(required=False, allow_null=True, max_length=1000)
    price = schemas.Decimal(
        required=False, allow_null=True, help_text=_("Four decimal places; exact if sent as text.")
    )
    currency = serializers.CharField(required=False, allow_null=True, max_length=3, help_text=_("ISO 4217."))
    stock = schemas.Decimal(
        required=False, allow_null=True, help_text=_("null if nobody counts it; 0 is sold out.")
    )
    category = serializers.CharField(required=False, allow_null=True, max_length=1000)
    description = serializers.CharField(required=False, allow_null=True, max_length=10_000)
    url = serializers.CharField(required=False, allow_null=True, max_length=2000)
    image_url = serializers.CharField(required=False, allow_null=True, max_length=2000)
    active = serializers.BooleanField(required=False, help_text=_("Whether it is for sale."))
    attributes = serializers.DictField(required=False, help_text=_("Your own fields: any JSON values."))


class ProductInput(ProductFields):
    sku = schemas.NumberOrText(max_length=512, help_text=_("Your product number."))


class ProductOutput(ProductInput):
    source = serializers.CharField(help_text=_("Who changed it last."))
    created_at = serializers.DateTimeField()
    updated_at = serializers.DateTimeField()


class ProductChanged(serializers.Serializer):
    sku = serializers.CharField()
    state = serializers.ChoiceField(choices=["created", "updated", "unchanged"])
    product = ProductOutput(required=False, help_text=_("As it is now; for keys that may read."))


class Products(serializers.Serializer):
    products = serializers.ListField(child=ProductInput(), min_length=1, max_length=schemas.MAX_ROWS)


class ProductPage(serializers.Serializer):
    products = ProductOutput(many=True)
    next_cursor = serializers.CharField(
        allow_null=True, help_text=_("Send it as `cursor`; null on the last page.")
    )


class ProductFilters(filters.Filters):
    """By what an index can find."""

    category = filters.TextFilter(help_text=_("Exactly."))
    active = filters.BooleanFilter(help_text=_("Whether it is for sale."))
    sku = filters.TextFilter(help_text=_("Your product number."))
    updated_since = filters.InstantFilter(
        field_name="updated_at", lookup_expr="gte", help_text=_("RFC 3339, inclusive.")
    )


def as_json(product: Product) -> dict[str, Any]:
    """The product as the API gives it."""
    names = ("sku", *catalogue.FIELDS, "source", "created_at", "updated_at")
    values = {name: getattr(product, name) for name in names}
    return {name: _number(value) if isinstance(value, Decimal) else value for name, value in values.items()}


def _number(value: Decimal) -> int | float:
    return int(value) if value == value.to_integral_value() else float(value)


KIND = keyed.Kind(
    Product, "product", "products", "sku", catalogue.patch, catalogue.upsert, as_json, ProductFilters
)


def _changed(state: str, status: int) -> OpenApiExample:
    value = {"sku": "CUP-1", "state": state, "product": _STORED}
    return OpenApiExample(state.title(), value=value, response_only=True, status_codes=[str(status)])


_CHANGES = {
    200: OpenApiResponse(ProductChanged, description="It existed; `state` says whether anything changed."),
    201: OpenApiResponse(ProductChanged, description="Created."),
}


class ProductsView(keyed.ListView):
    kind = KIND

    @extend_schema(
        operation_id="products_list",
        tags=["products"],
        summary="List products",
        description="In the order in which they came, or with `updated_since` by the time of the last change.",
        parameters=[*filters.parameters(ProductFilters), *paging.PARAMETERS],
        responses={200: OpenApiResponse(ProductPage, description="One page.")},
        examples=[
            OpenApiExample(
                "The last page",
                value={"products": [_STORED], "next_cursor": None},
                response_only=True,
                status_codes=["200"],
            )
        ],
    )
    def get(self, request: Request) -> HttpResponse:
        """One page."""
        return self.listed(request)

    @extend_schema(
        operation_id="products_upsert",
        tags=["products"],
        summary="Create or change one product",
        description=f"People who asked for, saved or viewed it are told when it is back in stock or cheaper. {_READS}",
        request=ProductInput,
        responses={**_CHANGES, **schemas.errors(*schemas.WRITE_ERRORS)},
        examples=[
            OpenApiExample("A product", value=_CUP, request_only=True),
            _changed("updated", 200),
            _changed("created", 201),
        ],
    )
    def post(self, request: Request) -> HttpResponse:
        """Upsert."""
        return self.stored(request, self.parsed(request, dict[str, Any]))


class ProductsBulkView(keyed.BulkView):
    kind = KIND

    @extend_schema(
        operation_id="products_bulk",
        tags=["products"],
        summary="Create or change up to 1,000 products",
        description="Each row is judged alone: a bad one is listed in `rejected`, those beside it are stored.",
        request=Products,
        responses={
            200: OpenApiResponse(
                schemas.ProfilesResult, description="Done; see `rejected` for what was not."
            ),
            **schemas.errors(*schemas.WRITE_ERRORS),
        },
        examples=[
            OpenApiExample(
                "Two products",
                value={"products": [_CUP, {"sku": "CUP-2", "stock": 0}]},
                request_only=True,
            ),
            OpenApiExample(
                "One taken, one refused",
                value={
                    "created": 1,
                    "updated": 0,
                    "unchanged": 0,
                    "rejected": [
                        {"index": 1, "code": "missing_field", "detail": "sku is missing.", "field": "sku"}
                    ],
                },
                response_only=True,
                status_codes=["200"],
            ),
        ],
    )
    def post(self, request: Request) -> HttpResponse:
        """Store the good ones."""
        return self.taken(request)


class ProductView(keyed.OneView):
    kind = KIND

    @extend_schema(
        operation_id="products_get",
        tags=["products"],
        summary="One product",
        parameters=[_SKU],
        responses={
            200: OpenApiResponse(ProductOutput, description="The product."),
            **schemas.errors(404),
        },
        examples=[OpenApiExample("A product", value=_STORED, response_only=True, status_codes=["200"])],
    )
    def get(self, request: Request, sku: str) -> HttpResponse:
        """The product."""
        return encoded(as_json(self.one(sku)))

    @extend_schema(
        operation_id="products_put",
        tags=["products"],
        summary="Create or replace one product",
        description=f"Fields left out become empty. {_READS}",
        parameters=[_SKU],
        request=ProductFields,
        responses={**_CHANGES, **schemas.errors(*schemas.WRITE_ERRORS)},
        examples=[
            OpenApiExample("A cup", value={"name": "Cup", "price": 12.5}, request_only=True),
            _changed("updated", 200),
            _changed("created", 201),
        ],
    )
    def put(self, request: Request, sku: str) -> HttpResponse:
        """Replace it as a whole."""
        return self.stored(request, self.given(request, sku), whole=True)

    @extend_schema(
        operation_id="products_patch",
        tags=["products"],
        summary="Change some of a product",
        description=_READS,
        parameters=[_SKU],
        request=ProductFields,
        responses={
            200: OpenApiResponse(ProductChanged, description="`state` says whether anything changed."),
            **schemas.errors(*schemas.WRITE_ERRORS, 404),
        },
        examples=[
            OpenApiExample("Cheaper", value={"price": 9.9}, request_only=True),
            _changed("updated", 200),
        ],
    )
    def patch(self, request: Request, sku: str) -> HttpResponse:
        """Change the fields that are given."""
        return self.changed(request, sku)

    @extend_schema(
        operation_id="products_delete",
        tags=["products"],
        summary="Take a product from sale",
        description="It stays in the catalogue as not `active`: people have bought it, and messages speak of it.",
        parameters=[_SKU],
        responses={204: OpenApiResponse(description="No longer for sale."), **schemas.errors(404)},
    )
    def delete(self, request: Request, sku: str) -> HttpResponse:
        """Not for sale any more."""
        self.one(sku)
        catalogue.retire([sku], keyed.SOURCE)
        return HttpResponse(status=204)
