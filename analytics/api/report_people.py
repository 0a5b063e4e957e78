"""Whom a number of a report is about."""

from datetime import datetime
from typing import Any

import msgspec
from django.http import HttpResponse
from django.utils.translation import gettext as _
from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import OpenApiParameter, OpenApiResponse, extend_schema
from msgspec import UNSET, UnsetType
from rest_framework.exceptions import NotFound
from rest_framework.request import Request

from analytics.api import answers, examples, report_shapes
from analytics.api.report import find, question
from analytics.reporting import behind
from analytics.reporting.query import Query
from analytics.reporting.shapes import Report
from analytics.reports import people
from campaigns.api import common, shapes
from campaigns.api import examples as segment_examples
from campaigns.api.common import SegmentApi
from campaigns.api.lists import filling_json
from campaigns.api.segments import new_slug, not_made, title
from campaigns.models import ListJob
from campaigns.segments.lists import ListError
from crm.api import paging, schemas
from crm.api.auth import READ, WRITE
from crm.api.errors import ApiError
from crm.api.views import ApiView, encoded
from crm.models import Identifier

_COLUMN = OpenApiParameter(
    "column",
    OpenApiTypes.STR,
    required=True,
    enum=sorted(people.COLUMNS),
    description="The number: `people` of a report's column.",
)
_FILLING = {
    "id": 7,
    "list": "january",
    "mode": "add",
    "state": "running",
    "rows": 0,
    "added": 0,
    "removed": 0,
    "known": 0,
    "rejected": 0,
    "error": "",
    "created_at": "2026-01-31T12:00:00Z",
    "ended_at": None,
}


class _Snapshot(msgspec.Struct, forbid_unknown_fields=True):
    name: str
    slug: str | UnsetType = UNSET


class ReportPeopleView(ApiView):
    scopes = {"GET": {READ}}

    @extend_schema(
        operation_id="reports_people",
        tags=["reports"],
        summary="List whom a number is about",
        description="The deliveries that a column counts, the latest first, with our number and your customer number of"
        " each person. Narrow it by the filters, and by what `narrows` of a row says. Only for keys that may read"
        " people; the audit log keeps that they were read.",
        parameters=[_COLUMN, *report_shapes.QUESTION, *paging.PARAMETERS],
        responses={
            200: OpenApiResponse(report_shapes.ReportPeoplePage, description="One page."),
            **schemas.errors(400, 401, 403, 404),
        },
        examples=examples.of("The last page", examples.PEOPLE),
    )
    def get(self, request: Request, slug: str) -> HttpResponse:
        """A page of the people behind a number."""
        report, column = _number(self, request, slug)
        query = _question(request, report, "column", "limit", "cursor")
        cursor = answers.unpacked(request.GET.get("cursor", ""), report)
        if cursor and (cursor.table != column or not cursor.key.isdecimal() or len(cursor.key) > 18):
            raise ApiError(400, "invalid_cursor", _("This is not a cursor of this list."), field="cursor")
        found = people.page(
            column, query.period, query.filters, int(cursor.key) if cursor else None, paging.limit(request)
        )
        behind.looked_at(request, report, query, column, len(found.rows))
        following = answers.packed(report, column, str(found.next)) if found.next is not None else None
        return encoded({"people": _people(found.rows), "next_cursor": following})


class ReportPeopleSnapshotView(SegmentApi):
    scopes = {"POST": {WRITE}}

    @extend_schema(
        operation_id="reports_people_snapshot",
        tags=["reports"],
        summary="Make a list of whom a number is about",
        description="Everybody whom `people/` tells with the same parameters, each once, as of now. The list is filled"
        " in the background; `segments/{slug}/fillings/` tells how far it is. Being on a list is no consent.",
        parameters=[_COLUMN, *report_shapes.QUESTION],
        request=shapes.SnapshotInput,
        responses={
            202: OpenApiResponse(shapes.Filling, description="Begun; `list` is the short name of the list."),
            **schemas.errors(400, 401, 403, 404, 409, 413, 415),
        },
        examples=[
            segment_examples.request("Who clicked", {"name": "Clicked in January", "slug": "january"}),
            segment_examples.answer("Begun", _FILLING, 202),
        ],
    )
    def post(self, request: Request, slug: str) -> HttpResponse:
        """Make the list and begin."""
        report, column = _number(self, request, slug)
        query = _question(request, report, "column")
        sent = self.parsed(request, _Snapshot)
        short = "" if sent.slug is UNSET else new_slug(sent.slug)
        common.limited(request)
        try:
            _made, job = behind.save(
                request, report, query, column, common.author(request), title(sent.name), short
            )
        except ListError as error:
            raise not_made(error, short) from error
        return encoded(filling_json(ListJob.objects.select_related("list").get(pk=job.pk)), 202)


def _number(view: ApiView, request: Request, slug: str) -> tuple[Report, str]:
    """The report, and the column of the number that is asked for.

    Raises:
        NotFound: there is none, or it does not tell.
        ApiError: 400, there is no such number.
    """
    report = find(slug)
    if report.timeless or not report.takes:
        raise NotFound(_("This report does not tell whom its numbers are about."))
    column = view.parameter(request, "column")
    if column not in people.COLUMNS:
        words = _("Write one of %s.") % ", ".join(sorted(people.COLUMNS))
        raise ApiError(400, "invalid_value", words, field="column")
    return report, column


def _question(request: Request, report: Report, *own: str) -> Query:
    return question(request, msgspec.structs.replace(behind.narrowed(report), subject=""), *own)


def _people(rows: list[people.Person]) -> list[dict[str, Any]]:
    numbers = {row.profile_id for row in rows}
    named = Identifier.objects.filter(profile__in=numbers, kind="external_id").order_by("value")
    names: dict[int, list[str]] = {}
    for number, value in named.values_list("profile_id", "value"):
        names.setdefault(number, []).append(value)

    def one(row: people.Person) -> dict[str, int | list[str] | datetime]:
        return {
            "id": row.profile_id,
            "external_ids": names.get(row.profile_id, []),
            "delivery": row.delivery_id,
            "at": row.at,
        }

    return [one(row) for row in rows]
