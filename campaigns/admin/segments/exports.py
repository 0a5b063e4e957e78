"""Taking the members of a segment away as a file: which columns, how it goes on, and the file itself."""

from typing import Any

from django.core.exceptions import PermissionDenied
from django.http import Http404, HttpRequest, HttpResponse, StreamingHttpResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.template.response import TemplateResponse
from django.urls import path
from django.utils import timezone
from django.utils.http import content_disposition_header
from django.utils.text import slugify

from campaigns.models import MemberExport, Segment
from campaigns.segments import export_rows, exporting
from crm import masking

TEMPLATES = "admin/campaigns/export"
LATEST = 10
State = MemberExport.State


class ExportsMixin:
    """For SegmentAdmin."""

    def get_urls(self):
        """The pages of exports."""
        pages = {
            "": self.member_export_view,
            "status/": self.member_export_status_view,
            "cancel/": self.member_export_cancel_view,
            "file/": self.member_export_file_view,
        }
        wrap = self.admin_site.admin_view
        own = [
            path(
                f"exports/<int:pk>/{route}",
                wrap(view),
                name=f"campaigns_member_export{'_' if route else ''}{route.rstrip('/')}",
            )
            for route, view in pages.items()
        ]
        first = path("<int:pk>/export/", wrap(self.segment_export_view), name="campaigns_segment_export")
        return [first, *own, *super().get_urls()]

    def may_export(self, request: HttpRequest) -> bool:
        """Seeing a page of people is one thing, taking them all away another; a file holds contact data."""
        may = request.user.has_perms([exporting.PERMISSION, "crm.view_profile"])
        return may and not masking.hidden()

    def segment_export_view(self, request: HttpRequest, pk: int) -> HttpResponse:
        """Choose the columns; then it is written."""
        segment = get_object_or_404(Segment, pk=pk)
        if not (self.has_view_permission(request, segment) and self.may_export(request)):
            raise PermissionDenied
        chosen, problem = list(export_rows.USUAL), ""
        groups = export_rows.columns()
        if request.method == "POST":
            chosen = request.POST.getlist("columns")
            chosen += [f"{export_rows.ATTRIBUTE}{name}" for name in request.POST.get("more", "").split()]
            try:
                export = exporting.start(segment, chosen, request.user.get_username())
            except export_rows.UnknownColumns as error:
                problem = str(error)
            else:
                return redirect("admin:campaigns_member_export", export.pk)
        context = {
            "groups": [
                (label, [(name, called, name in chosen) for name, called in choices])
                for label, choices in groups
            ],
            "problem": problem,
            "exports": segment.exports.order_by("-pk")[:LATEST],
        }
        return self._export_page(request, "start.html", segment, context)

    def member_export_view(self, request: HttpRequest, pk: int) -> HttpResponse:
        """How it goes on, and the file when it is ready."""
        export = self._export(request, pk)
        return self._export_page(request, "progress.html", export.segment, _shown(export))

    def member_export_status_view(self, request: HttpRequest, pk: int) -> HttpResponse:
        """The part of the page that refreshes itself."""
        return render(request, f"{TEMPLATES}/status.html", _shown(self._export(request, pk)))

    def member_export_cancel_view(self, request: HttpRequest, pk: int) -> HttpResponse:
        """End it and throw away what was written."""
        if request.method != "POST":
            raise Http404
        exporting.cancel(self._export(request, pk))
        return redirect("admin:campaigns_member_export", pk)

    def member_export_file_view(self, request: HttpRequest, pk: int) -> HttpResponse:
        """The file."""
        export = self._export(request, pk)
        try:
            pieces = exporting.content(export)
        except exporting.ExportGone:
            return redirect("admin:campaigns_member_export", pk)
        response = StreamingHttpResponse(pieces, content_type="text/csv; charset=utf-8")
        stem = slugify(export.segment.slug) or "segment"
        name = f"{stem}-{timezone.localtime(export.created_at):%Y-%m-%d}.csv"
        response["Content-Disposition"] = content_disposition_header(True, name)
        response["Cache-Control"] = "no-store"
        return response

    def _export(self, request: HttpRequest, pk: int) -> MemberExport:
        export = get_object_or_404(MemberExport.objects.select_related("segment"), pk=pk)
        if not (self.has_view_permission(request, export.segment) and self.may_export(request)):
            raise PermissionDenied
        return export

    def _export_page(
        self, request: HttpRequest, template: str, segment: Segment, context: dict[str, Any]
    ) -> HttpResponse:
        context = {
            **self.admin_site.each_context(request),
            "opts": self.opts,
            "title": segment.name,
            "segment": segment,
            "segment_tab": "members",
            **context,
        }
        return TemplateResponse(request, f"{TEMPLATES}/{template}", context)


def _shown(export: MemberExport) -> dict[str, Any]:
    running = export.state == State.RUNNING
    share = export.rows / export.total if export.total else 0.0
    left = export.seconds / share - export.seconds if share and running else None
    return {
        "export": export,
        "segment": export.segment,
        "running": running,
        "ready": export.state == State.DONE,
        "percent": 100 if export.state == State.DONE else min(99, int(share * 100)),
        "seconds_left": round(left) if left is not None else None,
        "stale": running and (timezone.now() - (export.worked_at or export.created_at)).total_seconds() > 60,
    }
