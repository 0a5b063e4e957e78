"""What a segment asked before, how large it was, and counting it anew."""

from typing import Any

from django.db import transaction
from django.http import HttpResponse
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy
from drf_spectacular.utils import OpenApiParameter, OpenApiResponse, extend_schema
from rest_framework.request import Request

from campaigns.api import common, examples, shapes
from campaigns.api.common import SegmentApi
from campaigns.api.segments import answered
from campaigns.models import Segment, SegmentSize, SegmentVersion
from campaigns.segments import refresh, versions
from crm.api import filters, paging, schemas
from crm.api.auth import WRITE
from crm.api.errors import ApiError
from crm.api.profile_json import READS
from crm.api.views import encoded

_VERSION = {
    "number": 1,
    "name": "Polish buyers",
    "rule": examples.RULE,
    "sentence": examples.SENTENCE,
    "by": "ada",
    "at": "2026-01-05T09:12:00Z",
}
_SIZE = {"hour": "2026-01-31T11:00:00Z", "size": 1204, "entered": 12, "departed": 3}
_NUMBER = OpenApiParameter(
    "number", {"type": "integer", "minimum": 0}, OpenApiParameter.PATH, description="Of the version."
)


class SizeFilters(filters.Filters):
    """When."""

    since = filters.InstantFilter(
        field_name="hour", lookup_expr="gte", help_text=gettext_lazy("RFC 3339, inclusive.")
    )
    until = filters.InstantFilter(
        field_name="hour", lookup_expr="lt", help_text=gettext_lazy("RFC 3339, exclusive.")
    )


class VersionsView(SegmentApi):
    scopes = {"GET": READS}

    @extend_schema(
        operation_id="segments_versions",
        tags=["segments"],
        summary="The rules that it has had",
        description="The latest first. A list has none.",
        parameters=[examples.SLUG, *paging.PARAMETERS],
        responses={200: OpenApiResponse(shapes.VersionPage, description="One page."), **schemas.errors(404)},
        examples=[examples.answer("One version", {"versions": [_VERSION], "next_cursor": None})],
    )
    def get(self, request: Request, slug: str) -> HttpResponse:
        """One page of them."""
        query = SegmentVersion.objects.filter(segment=common.segment(slug))
        return encoded(paging.page(request, query, "versions", _version, ("-number",)))


class RestoreView(SegmentApi):
    scopes = {"POST": {WRITE}}

    @extend_schema(
        operation_id="segments_restore",
        tags=["segments"],
        summary="Bring a rule back",
        description="It becomes a new version, so that nothing is lost. Its name stays as it is.",
        parameters=[examples.SLUG, _NUMBER],
        request=None,
        responses={
            200: OpenApiResponse(shapes.SegmentChanged, description="The segment as it is now."),
            400: examples.WRONG_RULE,
            **schemas.errors(404, 409, 413, 415),
        },
        examples=examples.changed("updated", 200),
    )
    @transaction.atomic
    def post(self, request: Request, slug: str, number: int) -> HttpResponse:
        """Save its rule again."""
        segment = common.segment(slug)
        version = (
            SegmentVersion.objects.filter(segment=segment, number=number).first() if number < 2**31 else None
        )
        if version is None:
            raise ApiError(404, "not_found", _("There is no such version."))
        before = segment.version
        now = versions.restore(version, common.author(request))
        return answered(request, now, "unchanged" if now.version == before else "updated")


class CountView(SegmentApi):
    scopes = {"POST": {WRITE}, "DELETE": {WRITE}}
    repeatable = False  # asking twice is asking once

    @extend_schema(
        operation_id="segments_count",
        tags=["segments"],
        summary="Have everybody counted anew",
        description="Members follow by themselves within seconds of what changes them, so this is for when counting "
        "has failed or was stopped, or to be sure. It begins as soon as the worker is free.",
        parameters=[examples.SLUG],
        request=None,
        responses={
            202: OpenApiResponse(
                shapes.Asked, description="It will be counted; `state` is that of the segment."
            ),
            409: examples.conflict("is_a_list", "A list is not counted: its members are put in one by one."),
            **schemas.errors(404),
        },
        examples=[examples.answer("Asked", {"slug": "polish-buyers", "state": "ready"}, 202)],
    )
    def post(self, request: Request, slug: str) -> HttpResponse:
        """Ask for it."""
        segment = common.segment(slug)
        if segment.kind == Segment.Kind.LIST:
            detail = _("A list is not counted: its members are put in one by one.")
            raise ApiError(409, "is_a_list", detail)
        common.limited(request)
        refresh.ask(segment)
        return encoded({"slug": segment.slug, "state": segment.state}, 202)

    @extend_schema(
        operation_id="segments_count_stop",
        tags=["segments"],
        summary="Stop counting",
        description="The members stay as they are. A segment that is not being counted stays as it is.",
        parameters=[examples.SLUG],
        responses={204: OpenApiResponse(description="It stops."), **schemas.errors(404)},
    )
    def delete(self, request: Request, slug: str) -> HttpResponse:
        """Stop it."""
        refresh.cancel(common.segment(slug))
        return HttpResponse(status=204)


class HistoryView(SegmentApi):
    scopes = {"GET": READS}

    @extend_schema(
        operation_id="segments_history",
        tags=["segments"],
        summary="How large it was, hour by hour",
        description="The latest first. Hours in which nobody came or went may be missing.",
        parameters=[examples.SLUG, *filters.parameters(SizeFilters), *paging.PARAMETERS],
        responses={200: OpenApiResponse(shapes.SizePage, description="One page."), **schemas.errors(404)},
        examples=[examples.answer("One hour", {"sizes": [_SIZE], "next_cursor": None})],
    )
    def get(self, request: Request, slug: str) -> HttpResponse:
        """One page of them."""
        query = SegmentSize.objects.filter(segment=common.segment(slug))
        query = filters.filtered(request, query, SizeFilters)
        return encoded(paging.page(request, query, "sizes", _size, ("-hour",)))


def _version(row: SegmentVersion) -> dict[str, Any]:
    return {
        "number": row.number,
        "name": row.name,
        **common.shown_rule(Segment.Kind.RULE, row.rule),
        "by": row.by,
        "at": row.at,
    }


def _size(row: SegmentSize) -> dict[str, Any]:
    return {"hour": row.hour, "size": row.size, "entered": row.entered, "departed": row.departed}
