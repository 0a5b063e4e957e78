"""Importing files of consents and suppressed addresses: the file, and how it goes on."""

from typing import Any

from django.contrib import admin
from django.core.exceptions import PermissionDenied
from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.template.response import TemplateResponse
from django.urls import path
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy
from unfold.admin import ModelAdmin
from unfold.decorators import display

from crm import audit, list_imports, tables, uploads
from crm.admin.base import ReadOnly
from crm.models import ListImport

TEMPLATES = "admin/crm/list_import"
Kind, State = ListImport.Kind, ListImport.State


@admin.register(ListImport)
class ListImportAdmin(ReadOnly, ModelAdmin):
    list_display = ["name", "kind", "state_label", "created_at", "started_by", "rows", "taken", "rejected"]
    ordering = ["-pk"]
    sortable_by = []
    actions = None
    list_empty = gettext_lazy("Files of consents and suppressed addresses that you import are listed here.")

    def has_add_permission(self, request: HttpRequest) -> bool:
        """Who may import."""
        return request.user.has_perm("crm.add_listimport")

    @display(
        description=gettext_lazy("state"),
        label={"done": "success", "running": "info", "waiting": "info", "failed": "danger"},
    )
    def state_label(self, job: ListImport) -> tuple[str, str]:
        """The state, coloured."""
        return job.state, job.get_state_display()

    def get_urls(self) -> list[Any]:
        """With the part of the page that refreshes itself."""
        view = self.admin_site.admin_view(self.status_view)
        return [path("<int:pk>/status/", view, name="crm_listimport_status"), *super().get_urls()]

    def add_view(self, request: HttpRequest, form_url: str = "", extra_context: Any = None) -> HttpResponse:
        """Choose a file."""
        if not self.has_add_permission(request):
            raise PermissionDenied
        kind = request.POST.get("kind") or request.GET.get("kind", "")
        if kind not in Kind.values:
            kind = Kind.CONSENTS.value
        problem = ""
        if request.method == "POST":
            sent = request.FILES.get("file")
            problem = _("Choose a file.")
            if sent is not None:
                try:
                    job = list_imports.begin(kind, sent.name, sent.chunks(), request.user.get_username())
                except (uploads.UploadError, tables.TableError) as error:
                    problem = str(error)
                else:
                    audit.record(request, f"{kind}.imported", job)
                    return redirect("admin:crm_listimport_change", job.pk)
        return self._page(
            request,
            "upload.html",
            _("Import %s") % Kind(kind).label,
            kind=kind,
            problem=problem,
            columns=list(list_imports.COLUMNS[Kind(kind)]),
            limit=uploads.LIMIT,
            limit_mb=uploads.LIMIT // 1024**2,
        )

    def change_view(
        self, request: HttpRequest, object_id: str, form_url: str = "", extra_context: Any = None
    ) -> HttpResponse:
        """How it goes on."""
        if not object_id.isdecimal():
            raise Http404
        job = self._job(request, int(object_id))
        return self._page(request, "progress.html", job.name, **_shown(job))

    def status_view(self, request: HttpRequest, pk: int) -> HttpResponse:
        """The part of the page that refreshes itself."""
        return render(request, f"{TEMPLATES}/status.html", _shown(self._job(request, pk)))

    def _job(self, request: HttpRequest, pk: int) -> ListImport:
        if not self.has_view_permission(request):
            raise PermissionDenied
        return get_object_or_404(ListImport, pk=pk)

    def _page(self, request: HttpRequest, template: str, title: str, **context: Any) -> HttpResponse:
        context = {**self.admin_site.each_context(request), "opts": self.opts, "title": title, **context}
        return TemplateResponse(request, f"{TEMPLATES}/{template}", context)


def _shown(job: ListImport) -> dict[str, Any]:
    return {
        "job": job,
        "running": job.state in (State.WAITING, State.RUNNING),
        "hidden": max(0, job.rejected - len(job.problems)),
    }
