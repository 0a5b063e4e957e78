"""Importing files: the page that takes one, the dry run, and the start. Everything else is a connection's pages."""

from collections.abc import Callable
from typing import Any

import msgspec
from django.contrib import messages
from django.core.exceptions import PermissionDenied
from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.template.response import TemplateResponse
from django.urls import path
from django.utils.translation import gettext as _
from django.utils.translation import ngettext

from crm import connectors, uploads
from crm.admin import connection_steps as steps
from crm.admin.asking import ask
from crm.admin.export_rows import whole_rows
from crm.admin.import_form import ABOUT, ENCODINGS, READINGS, FileForm
from crm.connectors.base import ConnectorError
from crm.connectors.file import File
from crm.models import Connection, SyncRun
from crm.sync import drafts, schedule, setup
from crm.sync.engine import AlreadyRunningError
from crm.sync.mapping import MappingError
from crm.sync.rehearsal import Rehearsal, rehearse

TEMPLATES = "admin/crm/import"
PATIENCE = 25.0  # seconds for a dry run
READ = "read"  # what a button asks for that only looks at the file


class Line(msgspec.Struct):
    """A rejected record of a dry run, to be shown: `row` is the file's line, if it is one."""

    record_id: str
    field: str
    detail: str
    raw: dict[str, Any]
    row: int | None = None


class Told(msgspec.Struct):
    """What would become of one kind of records."""

    found: Any
    counts: list[tuple[str, int, str]]  # name, number, words
    read: int
    whole: bool
    rejected: list[Line]
    hidden: int


class Imports:
    """Mixin for the connection's ModelAdmin, before the wizard, some of whose steps make no sense for files."""

    _connection: Callable[..., Connection]
    has_add_permission: Callable[..., bool]
    log_addition: Callable[..., Any]
    log_change: Callable[..., Any]

    def get_urls(self) -> list[Any]:
        """The pages of files, and the dry run of any connection."""
        pages = {"upload": self.upload_view, "start": self.start_view, "rehearse": self.rehearse_view}
        wrap = self.admin_site.admin_view
        return [
            path("import/", wrap(self.import_view), name="crm_connection_import"),
            *(
                path(f"<int:pk>/{name}/", wrap(view), name=f"crm_connection_{name}")
                for name, view in pages.items()
            ),
            *super().get_urls(),
        ]

    # --- The file --------------------------------------------------------------------------------------
    def import_view(self, request: HttpRequest) -> HttpResponse:
        """A new file: people or products."""
        if not self.has_add_permission(request):
            raise PermissionDenied
        form = self._form(request, None)
        if request.method == "POST" and form.is_valid() and self._settled(request):
            about = form.cleaned_data["about"]
            try:
                mapping = {about: setup.suggested(File(form.config(), {}), about)}
            except ConnectorError as failure:
                form.add_error(None, str(failure))
            else:
                name, slug = form.identity()
                draft = drafts.begin(File.kind, name, slug, form.config(), {})
                draft.mapping = mapping
                draft.save(update_fields=["mapping"])
                self.log_addition(request, draft, [{"added": {}}])
                return redirect(steps.after(draft, "upload"))
        return self._file_page(request, form, _("Import people or products"))

    def upload_view(self, request: HttpRequest, pk: int) -> HttpResponse:
        """A newer file for what was imported before; of a draft also how it is read."""
        connection = self._file(request, pk)
        form = self._form(request, connection)
        if request.method == "POST" and form.is_valid() and self._settled(request):
            try:
                self._take(connection, form)
            except ConnectorError as failure:
                form.add_error(None, str(failure))
            else:
                self.log_change(request, connection, [{"changed": {"fields": ["file"]}}])
                if form.started:
                    return redirect("admin:crm_connection_start", pk)
                return redirect(steps.after(connection, "upload"))
        title = _("Newer file for %s") if form.started else _("File of %s")
        return self._file_page(request, form, title % connection.name)

    def _form(self, request: HttpRequest, connection: Connection | None) -> FileForm:
        posted = (request.POST, request.FILES) if request.method == "POST" else ()
        return FileForm(request.user, connection, request.GET.get("about", ""), *posted)

    def _settled(self, request: HttpRequest) -> bool:
        """Whether all was asked, and not only a file sent to look into."""
        asked_again = request.POST.get("op") == READ or READINGS in request.POST or request.FILES
        return "seen" in request.POST and not asked_again

    def _take(self, connection: Connection, form: FileForm) -> None:
        config, about = form.config(), form.cleaned_data["about"]
        if form.started:
            setup.change_settings(connection, config)
            return
        mapping = connection.mapping
        if about not in mapping or config["upload"] != connection.config.get("upload"):
            mapping = {about: setup.suggested(File(config, {}), about)}
        connection.config, connection.mapping = config, mapping
        connection.name = form.cleaned_data["name"] or connection.name
        connection.save(update_fields=["config", "mapping", "name"])

    def _file_page(self, request: HttpRequest, form: FileForm, title: str) -> HttpResponse:
        look, connection = form.look, form.connection
        if request.POST.get("op") == READ and look:
            form.cleaned_data["key"] = ""  # it is proposed anew for what the file is about now
        mapped = {
            name for part in (connection.mapping if connection else {}).values() for name in part["fields"]
        }
        return self._own_page(
            request,
            "file.html",
            title,
            form=form,
            look=look,
            shown=form.chosen,
            connection=connection,
            started=form.started,
            abouts=list(ABOUT.items()),
            encodings=list(ENCODINGS.items()),
            limit=uploads.LIMIT,
            limit_mb=uploads.LIMIT // 1024**2,
            usable=bool(look and look.columns and not form.non_field_errors()),
            missing=sorted(mapped - set(look.columns)) if look and look.columns and form.started else [],
            steps=steps.bar(connection, "upload", File),
        )

    def _own_page(self, request: HttpRequest, template: str, title: str, **context: Any) -> HttpResponse:
        context = {**self.admin_site.each_context(request), "opts": self.opts, "title": title, **context}
        return TemplateResponse(request, f"{TEMPLATES}/{template}", context)

    def _file(self, request: HttpRequest, pk: int) -> Connection:
        connection = self._connection(request, pk)
        if connection.kind != File.kind:
            raise Http404
        return connection

    # --- Dry run and start ------------------------------------------------------------------------------
    def start_view(self, request: HttpRequest, pk: int) -> HttpResponse:
        """The last step of a file: what would happen, and making it happen."""
        connection = self._file(request, pk)
        if request.method == "POST" and not steps.unready(connection):
            by = request.user.get_username()
            if connection.state == Connection.State.DRAFT:
                drafts.start(connection, by)
            else:
                schedule.request_sync(connection, SyncRun.Mode.FULL, by)
            self.log_change(request, connection, "Import requested")
            messages.success(request, _("The import starts now."))
            return redirect("admin:crm_connection_change", pk)
        return self._trial_page(request, connection, _("Import of %s") % connection.name)

    def rehearse_view(self, request: HttpRequest, pk: int) -> HttpResponse:
        """A dry run of any connection: the page, and by POST what would happen."""
        connection = self._connection(request, pk)
        if request.method != "POST":
            return self._trial_page(request, connection, _("Dry run of %s") % connection.name)
        told, error = self._rehearsed(connection)
        if request.headers.get("HX-Request"):
            return render(request, f"{TEMPLATES}/told.html", {"told": told, "error": error})
        title = _("Dry run of %s") % connection.name
        return self._trial_page(request, connection, title, told=told, error=error)

    def _trial_page(
        self, request: HttpRequest, connection: Connection, title: str, **context: Any
    ) -> HttpResponse:
        is_file = connection.kind == File.kind
        place = "start" if is_file else "schedule"
        context = {"told": None, "error": "", "unready": steps.unready(connection), **context}
        return self._own_page(
            request,
            "start.html",
            title,
            connection=connection,
            is_file=is_file,
            back=steps.before(connection, place),
            steps=steps.bar(connection, place),
            **context,
        )

    def _rehearsed(self, connection: Connection) -> tuple[list[Told], str]:
        """What would happen, or why that can't be told."""
        unready = steps.unready(connection)
        if unready:
            return [], unready
        try:
            return ask(lambda: _told(connection), PATIENCE), ""
        except (ConnectorError, AlreadyRunningError) as failure:
            return [], str(failure)
        except MappingError as failure:
            return [], _("The field mapping can't be used: %s") % failure

    # --- Steps that files do not have --------------------------------------------------------------------
    def settings_view(self, request: HttpRequest, pk: int) -> HttpResponse:
        """Of a file: its own page."""
        if self._connection(request, pk).kind == File.kind:
            return redirect("admin:crm_connection_upload", pk)
        return super().settings_view(request, pk)

    def objects_view(self, request: HttpRequest, pk: int) -> HttpResponse:
        """Of a file: chosen with it."""
        if self._connection(request, pk).kind == File.kind:
            return redirect("admin:crm_connection_upload", pk)
        return super().objects_view(request, pk)

    def writeback_view(self, request: HttpRequest, pk: int) -> HttpResponse:
        """Of a file: nothing."""
        if self._connection(request, pk).kind == File.kind:
            raise Http404
        return super().writeback_view(request, pk)

    def schedule_view(self, request: HttpRequest, pk: int) -> HttpResponse:
        """Of a file: the start."""
        if self._connection(request, pk).kind == File.kind:
            return redirect("admin:crm_connection_start", pk)
        return super().schedule_view(request, pk)


def _told(connection: Connection) -> list[Told]:
    connector = connectors.connector(connection)
    return [_one(connection, connector, rehearsal) for rehearsal in rehearse(connection)]


def _one(connection: Connection, connector: connectors.Connector, rehearsal: Rehearsal) -> Told:
    rows = dict(whole_rows(connection, {each.record_id for each in rehearsal.rejected}))
    lines = [Line(each.record_id, each.field, each.detail, _filled(each.raw)) for each in rehearsal.rejected]
    for line in lines:
        if row := rows.get(line.record_id):
            line.row, line.raw = row.number, _filled(row.values)
    counts = rehearsal.counts
    words = [
        ("created", counts.created, ngettext("would be new here", "would be new here", counts.created)),
        ("updated", counts.updated, ngettext("would be changed", "would be changed", counts.updated)),
        (
            "unchanged",
            counts.unchanged,
            ngettext("would stay as it is", "would stay as they are", counts.unchanged),
        ),
        ("merged", counts.merged, ngettext("would be merged", "would be merged", counts.merged)),
        (
            "deleted",
            counts.deleted + counts.held,
            ngettext("would go", "would go", counts.deleted + counts.held),
        ),
        ("rejected", counts.rejected, ngettext("could not be taken", "could not be taken", counts.rejected)),
    ]
    return Told(
        found=connector.object_type(rehearsal.object),
        counts=[each for each in words if each[1] or each[0] in ("created", "rejected")],
        read=counts.read,
        whole=rehearsal.whole,
        rejected=sorted(lines, key=lambda line: line.row or 0),
        hidden=max(0, counts.rejected - len(lines)),
    )


def _filled(raw: dict[str, Any]) -> dict[str, Any]:
    """What is not empty, with � for what is no text."""
    return {
        name: value.encode("utf-8", "replace").decode() if isinstance(value, str) else value
        for name, value in raw.items()
        if value not in (None, "")
    }
