"""The list of addresses nobody may write to."""

from collections.abc import Sequence
from typing import Any

import msgspec
from django.http import HttpResponse
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy
from drf_spectacular.utils import OpenApiExample, OpenApiResponse, extend_schema
from rest_framework import serializers
from rest_framework.request import Request

from crm import suppressions
from crm.api import filters, paging, schemas
from crm.api.auth import READ, WRITE
from crm.api.errors import ApiError
from crm.api.views import ApiView, decoded, encoded
from crm.ingest import Rejected
from crm.models import Suppression
from crm.normalise import Rejection


class _Row(msgspec.Struct):
    address: str
    channel: str | None = None
    reason: str | None = None


class _Body(msgspec.Struct):
    suppressions: list[msgspec.Raw]


class EntrySchema(serializers.Serializer):
    """An address; emails are compared in lower case, phone numbers as E.164."""

    address = serializers.CharField(max_length=suppressions.MAX_ADDRESS)
    channel = serializers.CharField(
        required=False,
        allow_null=True,
        max_length=suppressions.MAX_CHANNEL,
        help_text=gettext_lazy("Such as email or sms; all, unless told."),
    )
    reason = serializers.CharField(required=False, allow_null=True, max_length=suppressions.MAX_REASON)


class EntriesSchema(serializers.Serializer):
    suppressions = serializers.ListField(child=EntrySchema(), min_length=1, max_length=schemas.MAX_ROWS)


class EntriesResultSchema(serializers.Serializer):
    added = serializers.IntegerField()
    known = serializers.IntegerField(help_text=gettext_lazy("On the list before; their first reason stays."))
    rejected = schemas.RejectedRow(many=True)


class SuppressionSchema(serializers.Serializer):
    id = serializers.IntegerField()
    channel = serializers.CharField()
    address = serializers.CharField()
    reason = serializers.CharField(allow_blank=True)
    source = serializers.CharField(allow_blank=True)
    created_at = serializers.DateTimeField()


class SuppressionPageSchema(serializers.Serializer):
    suppressions = SuppressionSchema(many=True)
    next_cursor = serializers.CharField(allow_null=True)


class SuppressionFilters(filters.Filters):
    """By address and channel."""

    channel = filters.TextFilter(help_text=gettext_lazy("Such as email; all for those of every channel."))
    address = filters.NormalFilter(
        normal=lambda text: suppressions.entry("", text).address, help_text=gettext_lazy("The whole address.")
    )


class SuppressionsView(ApiView):
    scopes = {"GET": {READ}, "POST": {WRITE}, "DELETE": {WRITE}}

    @extend_schema(
        operation_id="suppressions_list",
        tags=["consent"],
        summary="Addresses nobody may write to",
        parameters=[*filters.parameters(SuppressionFilters), *paging.PARAMETERS],
        responses={200: OpenApiResponse(SuppressionPageSchema, description="One page.")},
        examples=[
            OpenApiExample(
                "One address",
                value={
                    "suppressions": [
                        {
                            "id": 1,
                            "channel": "email",
                            "address": "ada@example.com",
                            "reason": "complaint",
                            "source": "api",
                            "created_at": "2026-01-31T12:00:00Z",
                        }
                    ],
                    "next_cursor": None,
                },
                response_only=True,
                status_codes=["200"],
            )
        ],
    )
    def get(self, request: Request) -> HttpResponse:
        """One page of the list."""
        query = filters.filtered(request, Suppression.objects.all(), SuppressionFilters)
        return encoded(paging.page(request, query, "suppressions", _as_json))

    @extend_schema(
        operation_id="suppressions_create",
        tags=["consent"],
        summary="Put addresses on the list",
        description="No message goes to them, whatever the consent says. A bad row is listed in `rejected`.",
        request=EntriesSchema,
        responses={
            200: OpenApiResponse(EntriesResultSchema, description="Done; see `rejected` for what was not."),
            **schemas.errors(413, 415),
        },
        examples=[
            OpenApiExample(
                "A complaint",
                value={
                    "suppressions": [
                        {"channel": "email", "address": "Ada@example.com", "reason": "complaint"}
                    ]
                },
                request_only=True,
            ),
            OpenApiExample(
                "Added",
                value={"added": 1, "known": 0, "rejected": []},
                response_only=True,
                status_codes=["200"],
            ),
        ],
    )
    def post(self, request: Request) -> HttpResponse:
        """Add the good rows."""
        entries, refused = _entries(self.parsed(request, _Body).suppressions)
        added = suppressions.add(entries, "api")
        return encoded({"added": added, "known": len(entries) - added, "rejected": refused})

    @extend_schema(
        operation_id="suppressions_delete",
        tags=["consent"],
        summary="Take addresses off the list",
        # OpenAPI 3.0 has no bodies for DELETE.
        description='The body is `{"suppressions": [{"channel": "…", "address": "…"}]}`, as for POST: addresses do '
        "not belong into URLs. What is not on the list is fine.",
        request=None,
        responses={
            204: OpenApiResponse(description="None of them is on the list."),
            **schemas.errors(413, 415),
        },
    )
    def delete(self, request: Request) -> HttpResponse:
        """Remove them all, or none where a row can't be read."""
        entries, refused = _entries(self.parsed(request, _Body).suppressions)
        if refused:
            field = f"suppressions[{refused[0].index}].{refused[0].field}".rstrip(".")
            raise ApiError(400, refused[0].code, refused[0].detail, field=field)
        suppressions.remove(entries)
        return HttpResponse(status=204)


def _entries(raws: Sequence[msgspec.Raw]) -> tuple[list[suppressions.Entry], list[Rejected]]:
    if not 1 <= len(raws) <= schemas.MAX_ROWS:
        detail = _("Send 1 to %d addresses at a time.") % schemas.MAX_ROWS
        raise ApiError(400, "invalid_batch", detail, field="suppressions")
    entries: list[suppressions.Entry] = []
    refused: list[Rejected] = []
    for place, raw in enumerate(raws):
        try:
            row = decoded(bytes(raw), _Row)
            entries.append(suppressions.entry(row.channel, row.address, row.reason))
        except Rejection as error:
            refused.append(Rejected(place, error.code, error.detail, error.field))
        except ApiError as error:
            refused.append(Rejected(place, error.detail.code, str(error.detail), error.more.get("field", "")))
    return entries, refused


def _as_json(row: Suppression) -> dict[str, Any]:
    return {
        "id": row.pk,
        "channel": row.channel,
        "address": row.address,
        "reason": row.reason,
        "source": row.source,
        "created_at": row.created_at,
    }
