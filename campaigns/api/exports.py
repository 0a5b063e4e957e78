"""Members of a segment as a CSV file, written in the background."""

from typing import Any

import msgspec
from django.http import HttpResponse, StreamingHttpResponse
from django.utils.http import content_disposition_header
from django.utils.translation import gettext as _
from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import OpenApiParameter, OpenApiResponse, extend_schema
from rest_framework.renderers import BaseRenderer, JSONRenderer
from rest_framework.request import Request

from campaigns.api import common, examples, shapes
from campaigns.api.common import SegmentApi
from campaigns.models import MemberExport
from campaigns.segments import exporting
from campaigns.segments.export_rows import UnknownColumns
from crm.api import schemas
from crm.api.auth import READ
from crm.api.errors import ApiError
from crm.api.views import encoded

_EXPORT = {
    "id": 3,
    "segment": "polish-buyers",
    "columns": ["external_id", "email", "attributes.plan", "since"],
    "state": "running",
    "rows": 500,
    "total": 1204,
    "progress": 0.4153,
    "error": "",
    "created_at": "2026-01-31T12:00:00Z",
    "ended_at": None,
    "expires_at": None,
}
_ID = OpenApiParameter(
    "id", {"type": "integer", "minimum": 0}, OpenApiParameter.PATH, description="Of the export."
)


class _Export(msgspec.Struct, forbid_unknown_fields=True):
    columns: list[str] = []


class CsvRenderer(BaseRenderer):
    """Lets a client ask for text/csv; the view makes the answer itself."""

    media_type = "text/csv"
    format = "csv"

    def render(self, data: Any, *args: Any, **kwargs: Any) -> Any:
        """The answer as it is."""
        return data


class ExportsView(SegmentApi):
    scopes = {"POST": {READ}}

    @extend_schema(
        operation_id="segments_export",
        tags=["segments"],
        summary="Have the members written into a CSV file",
        description="It is written in the background and kept, encrypted, for some hours. That it was asked for, and "
        "each time that it is fetched, is kept in the audit log. It needs a key that reads people whole.",
        parameters=[examples.SLUG],
        request=shapes.ExportInput,
        responses={
            202: OpenApiResponse(shapes.Export, description="Begun; ask for it by its `id`."),
            **schemas.errors(404, 413, 415),
        },
        examples=[
            examples.request(
                "Some columns", {"columns": ["external_id", "email", "attributes.plan", "since"]}
            ),
            examples.answer("Begun", {**_EXPORT, "rows": 0, "progress": 0}, 202),
        ],
    )
    def post(self, request: Request, slug: str) -> HttpResponse:
        """Begin."""
        segment = common.segment(slug)
        sent = self.parsed(request, _Export)
        common.limited(request)
        try:
            made = exporting.start(segment, sent.columns, common.author(request))
        except UnknownColumns as error:
            raise ApiError(400, "invalid_value", str(error), field="columns") from error
        return encoded(export_json(_export(made.pk)), 202)


class ExportView(SegmentApi):
    scopes = {"GET": {READ}, "DELETE": {READ}}

    @extend_schema(
        operation_id="segments_export_get",
        tags=["segments"],
        summary="How far an export is",
        parameters=[_ID],
        responses={200: OpenApiResponse(shapes.Export, description="The export."), **schemas.errors(404)},
        examples=[examples.answer("Some way", _EXPORT)],
    )
    def get(self, request: Request, pk: int) -> HttpResponse:
        """The export."""
        return encoded(export_json(_export(pk)))

    @extend_schema(
        operation_id="segments_export_cancel",
        tags=["segments"],
        summary="Stop an export",
        description="What was written is thrown away. One that has ended stays as it is.",
        parameters=[_ID],
        responses={204: OpenApiResponse(description="It is not being written."), **schemas.errors(404)},
    )
    def delete(self, request: Request, pk: int) -> HttpResponse:
        """Cancel it."""
        exporting.cancel(_export(pk))
        return HttpResponse(status=204)


class DownloadView(SegmentApi):
    scopes = {"GET": {READ}}
    renderer_classes = [JSONRenderer, CsvRenderer]

    @extend_schema(
        operation_id="segments_export_download",
        tags=["segments"],
        summary="Fetch the file of an export",
        parameters=[_ID],
        responses={
            (200, "text/csv"): OpenApiResponse(
                OpenApiTypes.STR, description="CSV in UTF-8, with its names first."
            ),
            409: examples.conflict("not_ready", "The file is not ready; its state is running."),
            **schemas.errors(404),
        },
    )
    def get(self, request: Request, pk: int) -> HttpResponse | StreamingHttpResponse:
        """The file, decrypted while it is sent."""
        export = _export(pk)
        try:
            content = exporting.content(export)
        except exporting.ExportGone as error:
            detail = _("The file is not ready; its state is %s.") % export.state
            raise ApiError(409, "not_ready", detail) from error
        response = StreamingHttpResponse(content, content_type="text/csv; charset=utf-8")
        name = f"{export.segment.slug}-{export.created_at:%Y-%m-%d}.csv"
        response["Content-Disposition"] = content_disposition_header(True, name)
        response["Cache-Control"] = "no-store"
        return response


def export_json(export: MemberExport) -> dict[str, Any]:
    """How far an export is."""
    done = export.state == MemberExport.State.DONE
    return {
        "id": export.pk,
        "segment": export.segment.slug,
        "columns": export.columns,
        "state": export.state,
        "rows": export.rows,
        "total": export.total,
        "progress": 1.0 if done else round(min(1.0, export.rows / max(export.total, 1)), 4),
        "error": export.problem,
        "created_at": export.created_at,
        "ended_at": export.ended_at,
        "expires_at": export.expires_at,
    }


def _export(pk: int) -> MemberExport:
    found = MemberExport.objects.select_related("segment").filter(pk=pk).first() if pk < 2**63 else None
    if found is None:
        raise ApiError(404, "not_found", _("There is no such export."))
    return found
