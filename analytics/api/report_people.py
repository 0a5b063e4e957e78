"""Whom a number of a report is about."""

from datetime import datetime
from typing import Any

import msgspec
from django.http import HttpResponse
from django.utils.translation import gettext as _
from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import OpenApiParameter, OpenApiResponse, extend_schema
from rest_framework.exceptions import NotFound
from rest_framework.request import Request

from analytics.api import answers, examples, report_shapes
from analytics.api.report import find, question
from analytics.reporting.query import FILTERS
from analytics.reports import people
from crm.api import paging, schemas
from crm.api.auth import READ
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


class ReportPeopleView(ApiView):
    scopes = {"GET": {READ}}

    @extend_schema(
        operation_id="reports_people",
        tags=["reports"],
        summary="List whom a number is about",
        description="The deliveries that a column counts, the latest first, with our number and your customer number of"
        " each person. Narrow it by the filters, and by what `narrows` of a row says. Only for keys that may read"
        " people.",
        parameters=[_COLUMN, *report_shapes.QUESTION, *paging.PARAMETERS],
        responses={
            200: OpenApiResponse(report_shapes.ReportPeoplePage, description="One page."),
            **schemas.errors(400, 401, 403, 404),
        },
        examples=examples.of("The last page", examples.PEOPLE),
    )
    def get(self, request: Request, slug: str) -> HttpResponse:
        """A page of the people behind a number."""
        report = find(slug)
        if report.timeless or not report.takes:
            raise NotFound(_("This report does not tell whom its numbers are about."))
        column = self.parameter(request, "column")
        if column not in people.COLUMNS:
            raise ApiError(
                400,
                "invalid_value",
                _("Write one of %s.") % ", ".join(sorted(people.COLUMNS)),
                field="column",
            )
        # A number may be about less than what its report can be narrowed to.
        narrowed = msgspec.structs.replace(report, takes=FILTERS, subject="")
        query = question(request, narrowed, "column", "limit", "cursor")
        cursor = answers.unpacked(request.GET.get("cursor", ""), report)
        if cursor and (cursor.table != column or not cursor.key.isdecimal() or len(cursor.key) > 18):
            raise ApiError(400, "invalid_cursor", _("This is not a cursor of this list."), field="cursor")
        found = people.page(
            column, query.period, query.filters, int(cursor.key) if cursor else None, paging.limit(request)
        )
        following = answers.packed(report, column, str(found.next)) if found.next is not None else None
        return encoded({"people": _people(found.rows), "next_cursor": following})


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
