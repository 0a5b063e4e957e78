"""Importing files of events: the file, what its columns mean, and how it goes on."""

import csv
from collections.abc import Iterator
from typing import Any
from zoneinfo import available_timezones

from django.contrib import admin, messages
from django.core.exceptions import PermissionDenied
from django.http import Http404, HttpRequest, HttpResponse, StreamingHttpResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.template.response import TemplateResponse
from django.urls import path
from django.utils import timezone
from django.utils.http import content_disposition_header
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy, ngettext
from unfold.admin import ModelAdmin
from unfold.decorators import display

from crm import audit, event_files, event_rows, masking, tables, uploads
from crm.admin.base import ReadOnly
from crm.admin.import_form import ENCODINGS
from crm.event_rows import Columns
from crm.models import EventFile

TEMPLATES = "admin/crm/event_file"
PERMISSION = "crm.import_event"
SHOWN_REJECTS = 20
ROLES = {
    event_rows.NAME: gettext_lazy("What happened"),
    event_rows.TIME: gettext_lazy("When it happened"),
    "external_id": gettext_lazy("Person: customer number"),
    "email": gettext_lazy("Person: email"),
    "anonymous_id": gettext_lazy("Person: visitor's id"),
    event_rows.ID: gettext_lazy("Number of the event"),
    event_rows.PROPERTIES: gettext_lazy("Properties, as a JSON object"),
    event_rows.PROPERTY: gettext_lazy("A property of this name"),
    event_rows.IGNORE: gettext_lazy("Leave it out"),
}
State = EventFile.State


class _Echo:
    """A file that gives back what is written to it, for csv.writer."""

    def write(self, text: str) -> str:
        return text


@admin.register(EventFile)
class EventFileAdmin(ReadOnly, ModelAdmin):
    list_display = ["name", "state_label", "created_at", "created_by", "rows", "stored", "known", "rejected"]
    ordering = ["-pk"]
    sortable_by = []
    actions = None
    list_empty = gettext_lazy("Files of events that you import are listed here.")

    def has_view_permission(self, request: HttpRequest, obj: EventFile | None = None) -> bool:
        """Who may import."""
        return request.user.has_perm(PERMISSION)

    def has_add_permission(self, request: HttpRequest) -> bool:
        """Who may import."""
        return request.user.has_perm(PERMISSION)

    def has_module_permission(self, request: HttpRequest) -> bool:
        """Who may import."""
        return request.user.has_perm(PERMISSION)

    @display(
        description=gettext_lazy("state"),
        label={"done": "success", "running": "info", "failed": "danger", "cancelled": "warning"},
    )
    def state_label(self, file: EventFile) -> tuple[str, str]:
        """The state, coloured."""
        return file.state, file.get_state_display()

    def get_urls(self) -> list[Any]:
        """The pages of one file."""
        pages = {
            "preview": self.preview_view,
            "status": self.status_view,
            "start": self.start_view,
            "cancel": self.cancel_view,
            "discard": self.discard_view,
            "rejected": self.rejected_view,
        }
        wrap = self.admin_site.admin_view
        own = [
            path(f"<int:pk>/{name}/", wrap(view), name=f"crm_eventfile_{name}")
            for name, view in pages.items()
        ]
        return [*own, *super().get_urls()]

    # --- The file ----------------------------------------------------------------------------------------------
    def add_view(self, request: HttpRequest, form_url: str = "", extra_context: Any = None) -> HttpResponse:
        """Choose a file."""
        if not self.has_add_permission(request):
            raise PermissionDenied
        problem = ""
        if request.method == "POST":
            sent = request.FILES.get("file")
            problem = _("Choose a file.")
            if sent is not None:
                try:
                    file = event_files.keep(sent.name, sent.chunks(), request.user.get_username())
                except (uploads.UploadError, tables.TableError) as error:
                    problem = str(error)
                else:
                    audit.record(request, "events.uploaded", file)
                    return redirect("admin:crm_eventfile_change", file.pk)
        return self._page(
            request,
            "upload.html",
            _("Import events"),
            problem=problem,
            limit=uploads.LIMIT,
            limit_mb=uploads.LIMIT // 1024**2,
        )

    def change_view(
        self, request: HttpRequest, object_id: str, form_url: str = "", extra_context: Any = None
    ) -> HttpResponse:
        """What its columns mean, until it is started; then how it goes on."""
        if not object_id.isdecimal():
            raise Http404
        file = self._file(request, int(object_id))
        if file.state != State.DRAFT:
            return self._page(request, "progress.html", file.name, **_shown(request, file))
        return self._columns_page(request, file, _held(file), "")

    def _columns_page(
        self, request: HttpRequest, file: EventFile, found: Columns, problem: str
    ) -> HttpResponse:
        try:
            names = event_files.columns(file)
        except tables.TableError as error:
            names, problem = [], str(error)
        return self._page(
            request,
            "columns.html",
            file.name,
            file=file,
            columns=[(name, found.roles.get(name, event_rows.PROPERTY)) for name in names],
            roles=list(ROLES.items()),
            found=found,
            problem=problem,
            encodings=[each for each in ENCODINGS.items() if each[0] != "utf-16"],
            zones=sorted(available_timezones()),
        )

    def preview_view(self, request: HttpRequest, pk: int) -> HttpResponse:
        """What the first rows would become, with the columns as the form has them."""
        file = self._draft(request, pk)
        context: dict[str, Any] = {"file": file, "sees": _sees(request, file)}
        try:
            _described(request, file)
            context["preview"] = preview = event_files.preview(file)
            context["untimed"] = any(
                not event["problem"] and not event.get("occurred_at") for event in preview.events
            )
        except (ValueError, tables.TableError) as error:
            context["problem"] = str(error)
        return render(request, f"{TEMPLATES}/preview.html", context)

    # --- Running -----------------------------------------------------------------------------------------------
    def start_view(self, request: HttpRequest, pk: int) -> HttpResponse:
        """Start it, or let it go on."""
        file = self._file(request, pk, "POST")
        if file.state == State.DRAFT:
            try:
                _described(request, file)
            except (ValueError, tables.TableError) as error:
                return self._columns_page(request, file, _posted(request, file), str(error))
        if event_files.start(file):
            audit.record(request, "events.imported", file)
        elif file.upload is None:
            messages.error(request, _("The file is no longer kept; upload it again."))
        return redirect("admin:crm_eventfile_change", pk)

    def cancel_view(self, request: HttpRequest, pk: int) -> HttpResponse:
        """End it; what was stored stays."""
        file = self._file(request, pk, "POST")
        if event_files.cancel(file):
            audit.record(request, "events.import_cancelled", file)
            messages.info(request, _("The import was cancelled; what was stored stays."))
        return redirect("admin:crm_eventfile_change", pk)

    def discard_view(self, request: HttpRequest, pk: int) -> HttpResponse:
        """Throw away a file that was not started."""
        file = self._draft(request, pk)
        if file.upload:
            file.upload.delete()
        EventFile.objects.filter(pk=pk, state=State.DRAFT).delete()
        return redirect("admin:crm_eventfile_changelist")

    def status_view(self, request: HttpRequest, pk: int) -> HttpResponse:
        """The part of the page that refreshes itself."""
        return render(request, f"{TEMPLATES}/status.html", _shown(request, self._file(request, pk)))

    def rejected_view(self, request: HttpRequest, pk: int) -> StreamingHttpResponse:
        """The rows that were not taken, with reasons, as CSV to correct and import again."""
        file = self._file(request, pk)
        if not _sees(request, file):
            raise PermissionDenied
        audit.record(request, "events.rejects_exported", file, rows=file.rejected)
        writer = csv.writer(_Echo())

        def lines() -> Iterator[str]:
            yield "\ufeff"  # by which Excel knows UTF-8
            for row in event_files.rejects(file):
                yield writer.writerow(row)

        response = StreamingHttpResponse(lines(), content_type="text/csv; charset=utf-8")
        stem = file.name.partition(".")[0]
        response["Content-Disposition"] = content_disposition_header(True, f"{stem} rejected.csv")
        return response

    def _file(self, request: HttpRequest, pk: int, method: str = "") -> EventFile:
        if not request.user.has_perm(PERMISSION):
            raise PermissionDenied
        if method and request.method != method:
            raise Http404
        return get_object_or_404(EventFile.objects.select_related("upload"), pk=pk)

    def _draft(self, request: HttpRequest, pk: int) -> EventFile:
        file = self._file(request, pk, "POST")
        if file.state != State.DRAFT:
            raise Http404
        return file

    def _page(self, request: HttpRequest, template: str, title: str, **context: Any) -> HttpResponse:
        context = {**self.admin_site.each_context(request), "opts": self.opts, "title": title, **context}
        return TemplateResponse(request, f"{TEMPLATES}/{template}", context)


def _held(file: EventFile) -> Columns:
    return event_files.shape_of(file).columns


def _posted(request: HttpRequest, file: EventFile) -> Columns:
    """What the form says the columns mean: fields role-0, role-1 … in the columns' order."""
    held = _held(file)
    roles = {}
    for number, name in enumerate(event_files.columns(file)):
        role = request.POST.get(f"role-{number}", held.roles.get(name, event_rows.PROPERTY))
        roles[name] = role if role in event_rows.ROLES else event_rows.PROPERTY
    return Columns(roles, request.POST.get("name", held.name).strip(), request.POST.get("zone", held.zone))


def _described(request: HttpRequest, file: EventFile) -> None:
    encoding = request.POST.get("encoding", file.encoding)
    file.encoding = encoding if encoding in ENCODINGS else file.encoding
    event_files.describe(file, _posted(request, file), file.encoding)


def _sees(request: HttpRequest, file: EventFile) -> bool:
    """Whether the reader may see people's data of this file: who uploaded it does."""
    return masking.sees_contacts(request.user) or file.created_by == request.user.get_username()


def _shown(request: HttpRequest, file: EventFile) -> dict[str, Any]:
    """How it goes on, in figures and words."""
    share = file.position / file.size if file.size else 1.0
    rate = file.rows / file.seconds if file.seconds else 0.0
    left = file.seconds / share - file.seconds if share else None
    rejects = list(file.rejects.order_by("row")[:SHOWN_REJECTS])
    if not _sees(request, file):
        for each in rejects:  # a reason repeats what could not be taken
            each.detail = masking.text(each.detail)
    return {
        "file": file,
        "sees": _sees(request, file),
        "running": file.state == State.RUNNING,
        "resumable": file.state in (State.FAILED, State.CANCELLED) and file.upload_id is not None,
        "percent": 100 if file.state == State.DONE else min(99, int(share * 100)),
        "rate": int(rate),
        "left": _duration(left) if left is not None and file.state == State.RUNNING else "",
        "waiting": file.state == State.RUNNING and file.worked_at is None,
        "stale": file.state == State.RUNNING
        and (timezone.now() - (file.worked_at or file.created_at)).total_seconds() > 60,
        "rejects": rejects,
        "hidden": max(0, file.rejected - SHOWN_REJECTS),
    }


def _duration(seconds: float) -> str:
    whole = max(1, round(seconds))
    if whole < 60:
        return ngettext("%d second left", "%d seconds left", whole) % whole
    minutes = round(whole / 60)
    return ngettext("%d minute left", "%d minutes left", minutes) % minutes
