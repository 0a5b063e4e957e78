"""How the filling of a list goes on: what a file's columns tell, progress, and what was not taken."""

import csv
from collections.abc import Iterator
from typing import Any

from django.contrib import messages
from django.core.exceptions import PermissionDenied
from django.http import Http404, HttpRequest, HttpResponse, StreamingHttpResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.template.response import TemplateResponse
from django.urls import path
from django.utils import timezone
from django.utils.http import content_disposition_header
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

from campaigns.models import ListJob
from campaigns.segments import list_files, list_names, list_work
from crm import audit, masking, tables
from crm.admin.import_form import ENCODINGS

TEMPLATES = "admin/campaigns/list"
SHOWN_REJECTS = 20
ROLES = {
    "email": gettext_lazy("Person: email"),
    "external_id": gettext_lazy("Person: customer number"),
    "phone": gettext_lazy("Person: phone"),
    "anonymous_id": gettext_lazy("Person: visitor's id"),
    list_names.ID: gettext_lazy("Person: our number"),
}
State = ListJob.State


class _Echo:
    """A file that gives back what is written to it, for csv.writer."""

    def write(self, text: str) -> str:
        return text


class JobsMixin:
    """For SegmentAdmin."""

    def get_urls(self):
        """The pages of one filling."""
        pages = {
            "": self.job_view,
            "preview/": self.job_preview_view,
            "status/": self.job_status_view,
            "start/": self.job_start_view,
            "cancel/": self.job_cancel_view,
            "discard/": self.job_discard_view,
            "rejected/": self.job_rejected_view,
        }
        own = [
            path(
                f"lists/jobs/<int:pk>/{route}",
                self.admin_site.admin_view(view),
                name=f"campaigns_list_job{'_' if route else ''}{route.rstrip('/')}",
            )
            for route, view in pages.items()
        ]
        return [*own, *super().get_urls()]

    def job_view(self, request: HttpRequest, pk: int) -> HttpResponse:
        """What its columns tell, until it is started; then how it goes on."""
        job = self._job(request, pk)
        if job.state == State.DRAFT:
            return self._columns_page(request, job, dict(job.columns), "")
        return self._job_page(request, "progress.html", job, _shown(request, job))

    def _columns_page(
        self, request: HttpRequest, job: ListJob, told: dict[str, str], problem: str
    ) -> HttpResponse:
        if not _sees(request):
            raise PermissionDenied
        try:
            names = list_files.columns(job)
        except tables.TableError as error:
            names, problem = [], str(error)
        roles = {**ROLES, **list_files.records(), list_files.IGNORE: _("Leave it out")}
        context = {
            "columns": [(name, told.get(name, list_files.IGNORE)) for name in names],
            "roles": list(roles.items()),
            "problem": problem,
            "encodings": list(ENCODINGS.items()),
            "excel": job.name.lower().endswith((".xlsx", ".xlsm")),
            "may_create": request.user.has_perm("crm.add_profile"),
        }
        return self._job_page(request, "columns.html", job, context)

    def job_preview_view(self, request: HttpRequest, pk: int) -> HttpResponse:
        """Whom the first rows mean, with the columns as the form has them."""
        job = self._job(request, pk, change=True)
        if job.state != State.DRAFT or not _sees(request):
            raise Http404
        context: dict[str, Any] = {"job": job}
        try:
            self._described(request, job)
            context["preview"] = list_files.preview(job)
        except (ValueError, tables.TableError) as error:
            context["problem"] = str(error)
        return render(request, f"{TEMPLATES}/preview.html", context)

    def job_start_view(self, request: HttpRequest, pk: int) -> HttpResponse:
        """Start it, or let it go on."""
        job = self._job(request, pk, change=True)
        if job.state == State.DRAFT:
            if not _sees(request):
                raise PermissionDenied
            try:
                self._described(request, job)
            except (ValueError, tables.TableError) as error:
                return self._columns_page(request, job, _posted(request, job), str(error))
        if list_work.start(job):
            audit.record(request, "list.filled", job.list, mode=job.mode, kind=job.kind)
        elif job.upload is None:
            messages.error(request, _("The file is no longer kept; upload it again."))
        return redirect("admin:campaigns_list_job", pk)

    def job_cancel_view(self, request: HttpRequest, pk: int) -> HttpResponse:
        """End it; what was done stays."""
        job = self._job(request, pk, change=True)
        if list_work.cancel(job):
            messages.info(request, _("It was cancelled; who was put on the list or taken off stays so."))
        return redirect("admin:campaigns_list_job", pk)

    def job_discard_view(self, request: HttpRequest, pk: int) -> HttpResponse:
        """Throw away a file that was not started."""
        job = self._job(request, pk, change=True)
        list_work.discard(job)
        return redirect("admin:campaigns_segment_members", job.list_id)

    def job_status_view(self, request: HttpRequest, pk: int) -> HttpResponse:
        """The part of the page that refreshes itself."""
        return render(request, f"{TEMPLATES}/status.html", _shown(request, self._job(request, pk)))

    def job_rejected_view(self, request: HttpRequest, pk: int) -> StreamingHttpResponse:
        """The rows that were not taken, with reasons, as CSV to correct and import again."""
        job = self._job(request, pk)
        if not _sees(request):
            raise PermissionDenied
        audit.record(request, "list.rejects_exported", job.list, rows=job.rejected)
        writer = csv.writer(_Echo())

        def lines() -> Iterator[str]:
            yield "\ufeff"  # by which Excel knows UTF-8
            for row in list_files.rejects(job):
                yield writer.writerow(row)

        response = StreamingHttpResponse(lines(), content_type="text/csv; charset=utf-8")
        stem = job.name.partition(".")[0]
        response["Content-Disposition"] = content_disposition_header(True, f"{stem} rejected.csv")
        response["Cache-Control"] = "no-store"
        return response

    def _job(self, request: HttpRequest, pk: int, change: bool = False) -> ListJob:
        """A filling that may be seen; to change it takes a POST and the right to change the list."""
        job = get_object_or_404(ListJob.objects.select_related("list", "upload"), pk=pk)
        if not self.has_view_permission(request, job.list):
            raise PermissionDenied
        if change:
            if request.method != "POST":
                raise Http404
            if not self.has_change_permission(request, job.list):
                raise PermissionDenied
        return job

    def _described(self, request: HttpRequest, job: ListJob) -> None:
        encoding = request.POST.get("encoding", job.encoding)
        job.encoding = encoding if encoding in ENCODINGS else job.encoding
        mode = request.POST.get("mode", job.mode)
        create = bool(request.POST.get("create")) and request.user.has_perm("crm.add_profile")
        list_files.describe(
            job,
            _posted(request, job),
            job.encoding,
            mode if mode in ListJob.Mode.values else job.mode,
            create,
        )

    def _job_page(
        self, request: HttpRequest, template: str, job: ListJob, context: dict[str, Any]
    ) -> HttpResponse:
        context = {
            **self.admin_site.each_context(request),
            "opts": self.opts,
            "title": job.list.name,
            "segment": job.list,
            "segment_tab": "members",
            "job": job,
            **context,
        }
        return TemplateResponse(request, f"{TEMPLATES}/{template}", context)


def _sees(request: HttpRequest) -> bool:
    """Whether the reader may see what files say about people."""
    return masking.sees_contacts(request.user) and request.user.has_perm("crm.view_profile")


def _posted(request: HttpRequest, job: ListJob) -> dict[str, str]:
    """What the form says the columns tell: fields role-0, role-1 … in the columns' order."""
    told = dict(job.columns)
    return {
        name: request.POST.get(f"role-{number}", told.get(name, list_files.IGNORE))
        for number, name in enumerate(list_files.columns(job))
    }


def _shown(request: HttpRequest, job: ListJob) -> dict[str, Any]:
    """How it goes on, in figures and words."""
    size = job.upload.size if job.upload else 0
    share = min(1.0, job.settled_bytes / size) if size else 0.0
    running = job.state == State.RUNNING
    sees = _sees(request)
    rejects = list(job.rejects.order_by("row")[:SHOWN_REJECTS])
    if not sees:
        for each in rejects:  # a reason may repeat what could not be taken
            each.detail = masking.text(each.detail)
    return {
        "job": job,
        "segment": job.list,
        "sees": sees,
        "running": running,
        "resumable": job.state in (State.FAILED, State.CANCELLED)
        and (job.upload_id is not None or job.kind in (ListJob.Kind.SEGMENT, ListJob.Kind.RULE)),
        "percent": 100 if job.state == State.DONE else min(99, int(share * 100)),
        "rate": int(job.rows / job.seconds) if job.seconds > 1 else 0,
        "stale": running and (timezone.now() - (job.worked_at or job.created_at)).total_seconds() > 60,
        "rejects": rejects,
        "hidden_rejects": max(0, job.rejected - len(rejects)) if rejects else 0,
    }
