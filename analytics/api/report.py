"""Any report out, and the list of what there is."""

from collections.abc import Iterator
from typing import Any
from urllib.parse import urlencode

from django.http import HttpResponse, StreamingHttpResponse
from django.utils.cache import get_conditional_response, patch_vary_headers
from django.utils.translation import gettext as _
from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import OpenApiResponse, extend_schema
from rest_framework.exceptions import NotFound
from rest_framework.renderers import BaseRenderer, JSONRenderer
from rest_framework.request import Request

from analytics.api import answers, examples, freshness, report_shapes
from analytics.exports import files, flat
from analytics.reporting import columns as figures
from analytics.reporting import query as queries
from analytics.reporting import registry, writing
from analytics.reporting.query import Query
from analytics.reporting.shapes import Kind, Report
from analytics.reports import kept
from analytics.reports.definitions import DEFINITIONS, RATES
from crm import masking
from crm.api import paging, schemas
from crm.api.auth import READ, READ_MASKED
from crm.api.errors import ApiError
from crm.api.profile_json import hides
from crm.api.views import ApiView, encoded

CSV = "text/csv"
OWN = ("format", "table", "limit", "cursor")  # parameters that are not part of the question
PERIOD = ("period", "from", "to", "compare")
_MONEY = {"revenue", "earned", "revenue_per_message"}


class CsvRenderer(BaseRenderer):
    """Lets `format=csv` and `Accept: text/csv` be chosen; the view writes the file itself."""

    media_type = CSV
    format = "csv"


def find(slug: str) -> Report:
    """The report called `slug`.

    Raises:
        NotFound: there is none.
    """
    report = registry.reports().get(slug)
    if report is None:
        raise NotFound(_("There is no report called “%s”.") % slug)
    return report


def question(request: Request, report: Report, *own: str) -> Query:
    """What the parameters ask of a report; those that it does not take are refused.

    Raises:
        ApiError: 400, naming the parameter.
    """
    taken = {*own, *report.takes, *(choice.name for choice in report.choices)}
    if not report.timeless:
        taken |= set(PERIOD) if report.compares else set(PERIOD) - {"compare"}
    given = request.GET.dict()
    for name in given:
        if name not in taken:
            detail = _("This report has no parameter “%(name)s”. It has: %(taken)s.")
            words = {"name": name, "taken": ", ".join(sorted(taken))}
            raise ApiError(400, "unknown_parameter", detail % words, field=name)
    try:
        return queries.parse(report, {name: text for name, text in given.items() if name not in own})
    except queries.QueryError as error:
        name, detail = next(iter(error.problems.items()))
        raise ApiError(400, "invalid_value", detail, field=name) from error


def unchanged(request: Request, tag: str) -> HttpResponse | None:
    """304 for who has this answer already; None for others."""
    response = get_conditional_response(request._request, etag=tag)
    return None if response is None else told(response, tag)  # type: ignore[arg-type]


def told(response: Any, tag: str) -> Any:
    """The answer with its tag, to be asked for again with If-None-Match."""
    response["ETag"] = tag
    response["Cache-Control"] = "private, no-cache"
    patch_vary_headers(response, ("Accept", "Accept-Language", "Authorization"))
    return response


class ReportsView(ApiView):
    scopes = {"GET": {READ, READ_MASKED}}

    @extend_schema(
        operation_id="reports_list",
        tags=["reports"],
        summary="List the reports",
        description="Each with its filters and what can be chosen, and what the usual figures mean.",
        responses={
            200: OpenApiResponse(report_shapes.Catalogue, description="All reports there are."),
            304: OpenApiResponse(description="You have this answer already."),
            **schemas.errors(401, 403),
        },
        examples=examples.of("The first report", examples.CATALOGUE),
    )
    def get(self, request: Request) -> HttpResponse:
        """The catalogue."""
        tag = freshness.etag("catalogue")
        return unchanged(request, tag) or told(encoded(catalogue()), tag)


class ReportView(ApiView):
    scopes = {"GET": {READ, READ_MASKED}}
    renderer_classes = [JSONRenderer, CsvRenderer]

    @extend_schema(
        operation_id="reports_retrieve",
        tags=["reports"],
        summary="Ask for a report",
        description="Numbers, and nobody by name: single conversions have our numbers of people. Which parameters a"
        " report takes is in the list of reports; others are refused. Rows come in the order of their keys, `place` is"
        " where the report has them. With `table` or `cursor` only that table comes. As CSV (`format=csv`, or"
        " `Accept: text/csv`) a table comes whole and in the report's order, unless `limit` asks for pages: then"
        " `Link` leads to the next.",
        parameters=report_shapes.PARAMETERS,
        responses={
            (200, "application/json"): OpenApiResponse(report_shapes.ReportSheet, description="The report."),
            (200, CSV): OpenApiResponse(OpenApiTypes.STR, description="One table of it."),
            304: OpenApiResponse(description="You have this answer already."),
            **schemas.errors(400, 401, 403, 404),
        },
        examples=examples.of("Channels in January", examples.CHANNELS, "application/json"),
    )
    def get(self, request: Request, slug: str) -> HttpResponse | StreamingHttpResponse:
        """The report called `slug`."""
        if hides(request):
            masking.hide()
        report = find(slug)
        query = question(request, report, *OWN)
        csv = request.accepted_renderer.format == "csv"
        limit = paging.limit(request)
        cursor = answers.unpacked(request.GET.get("cursor", ""), report)
        table = request.GET.get("table", "") or (cursor.table if cursor else "")
        if cursor and cursor.table != table:
            detail = _("This is a cursor of the table “%s”.") % cursor.table
            raise ApiError(400, "invalid_cursor", detail, field="cursor")
        after = cursor.key if cursor else None
        paged = "limit" in request.GET or cursor is not None
        tag = freshness.etag(
            *("report", report.slug, csv, table, limit, paged, after, masking.hidden()),
            *(answers.asked(report, query), sorted(queries.params(report, query).items())),
            # What is kept for a while, and what goes by the clock, becomes another though no table changes.
            kept.span(),
        )
        if (known := unchanged(request, tag)) is not None:
            return known
        sheet = report.build(query)
        if not (csv or table):
            return told(encoded(answers.sheet(report, query, sheet, limit)), tag)
        found = files.table_called(sheet, table)
        if found is None:
            there = ", ".join(each.slug for each in flat.tables(sheet))
            raise ApiError(
                400, "invalid_value", _("There are the tables: %s.") % (there or "–"), field="table"
            )
        if not csv:
            return told(encoded(answers.one_table(report, query, found, limit, after)), tag)
        text, following = answers.csv(report, found, limit if paged else None, after)
        return told(_file(request, text, following, f"{report.slug}-{found.slug}"), tag)

    def handle_exception(self, exc: Exception) -> Any:
        """Errors are JSON, whatever was asked for."""
        self.request.accepted_renderer = JSONRenderer()
        self.request.accepted_media_type = "application/json"
        return super().handle_exception(exc)


def catalogue() -> dict[str, Any]:
    """All reports, and what their usual figures mean."""
    return {
        "reports": [_listed(report) for report in registry.reports().values()],
        "periods": [{"value": name, "label": str(label)} for name, label in queries.PRESETS.items()],
        "filters": [{"value": name, "label": str(writing.LABELS[name])} for name in sorted(queries.FILTERS)],
        "figures": [
            {
                "key": key,
                "label": str(label),
                "kind": Kind.MONEY if key in _MONEY else Kind.SHARE if key in RATES else Kind.COUNT,
                "definition": str(DEFINITIONS[key]),
            }
            for key, label in figures.LABELS.items()
            if key in DEFINITIONS
        ],
    }


def _listed(report: Report) -> dict[str, Any]:
    return {
        "report": report.slug,
        "title": str(report.title),
        "description": str(report.description),
        "group": report.group,
        "subject": report.subject or None,
        "filters": sorted(report.takes),
        "period": None if report.timeless else report.default,
        "compares": report.compares and not report.timeless,
        "choices": [
            {
                "name": choice.name,
                "label": str(choice.label),
                "options": [{"value": value, "label": str(label)} for value, label in choice.options],
            }
            for choice in report.choices
        ],
    }


def _file(request: Request, text: Iterator[str], following: str | None, name: str) -> StreamingHttpResponse:
    response = StreamingHttpResponse(text, content_type=files.CSV_TYPE)
    response["Content-Disposition"] = f'attachment; filename="{name}.csv"'
    if following:
        params = {**request.GET.dict(), "cursor": following}
        response["Link"] = f'<{request.build_absolute_uri(request.path)}?{urlencode(params)}>; rel="next"'
    return response
