"""CRM connections: the list, connecting one, watching its syncs, its settings and its field mapping."""

from collections.abc import Callable
from functools import wraps
from typing import Any

import msgspec
from django.contrib import admin, messages
from django.contrib.humanize.templatetags.humanize import naturaltime
from django.core.exceptions import PermissionDenied
from django.db.models import Count, OuterRef, Q, Subquery
from django.http import Http404, HttpRequest, HttpResponse, HttpResponseNotAllowed
from django.shortcuts import redirect, render
from django.template.response import TemplateResponse
from django.urls import path
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy
from unfold.admin import ModelAdmin
from unfold.decorators import display

from crm import connectors
from crm.admin.connection_forms import MappingForm, SettingsForm
from crm.connectors.base import ConnectorError
from crm.models import Connection, SourceRecord, SyncReject, SyncRun
from crm.sync import mapping as mappings
from crm.sync import schedule, setup
from crm.sync.mapping import MappingError

TEMPLATES = "admin/crm/connection"
STATES = {
    "paused": ("warning", gettext_lazy("paused")),
    "failed": ("danger", gettext_lazy("last sync failed")),
    "running": ("info", gettext_lazy("syncing")),
    "queued": ("info", gettext_lazy("waiting")),
    "succeeded": ("success", gettext_lazy("up to date")),
    "": ("info", gettext_lazy("new")),
}
RECENT = 5


def state_of(connection: Connection, latest: str) -> str:
    """A key of STATES. A run that is on outranks everything else."""
    if latest in (SyncRun.State.RUNNING, SyncRun.State.QUEUED):
        return latest
    return connection.state if connection.state == Connection.State.PAUSED else latest


def _posted(view: Callable[..., HttpResponse]) -> Callable[..., HttpResponse]:
    """Refuse anything but POST: what changes something must not be a link."""

    @wraps(view)
    def guarded(self: Any, request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponse:
        if request.method != "POST":
            return HttpResponseNotAllowed(["POST"])
        return view(self, request, *args, **kwargs)

    return guarded


@admin.register(Connection)
class ConnectionAdmin(ModelAdmin):
    """A list and, instead of one change form, a page that shows how the syncs go."""

    list_display = ["title", "shown_state", "last_run", "next_sync_at", "contacts", "open_rejects"]
    ordering = ["name"]
    sortable_by = ["title"]
    actions = None
    list_empty = gettext_lazy(
        "Connect a CRM, and its contacts become profiles that segments and flows can use; changes"
        " follow every few minutes."
    )

    # --- List ------------------------------------------------------------------------------------------
    def get_queryset(self, request: HttpRequest) -> Any:
        """With the latest run and the number of contacts and rejects."""
        latest = SyncRun.objects.filter(connection=OuterRef("pk")).order_by("-pk")
        records = SourceRecord.objects.filter(connection=OuterRef("pk"), state=SourceRecord.State.LIVE)
        return (
            super()
            .get_queryset(request)
            .annotate(
                latest_state=Subquery(latest.values("state")[:1]),
                latest_at=Subquery(latest.exclude(finished_at=None).values("finished_at")[:1]),
                record_count=Subquery(
                    records.order_by().values("connection").annotate(n=Count("pk")).values("n")[:1]
                ),
                reject_count=Count("rejects", filter=Q(rejects__resolved_at=None)),
            )
        )

    @display(description=gettext_lazy("connection"), ordering="name", header=True)
    def title(self, connection: Connection) -> list[Any]:
        """Its name and the CRM's."""
        kind = connectors.kinds().get(connection.kind)
        return [connection.name, kind.label if kind else connection.kind]

    @display(description=gettext_lazy("state"), label={key: style for key, (style, _label) in STATES.items()})
    def shown_state(self, connection: Connection) -> tuple[str, Any]:
        """A chip."""
        state = state_of(connection, connection.latest_state or "")
        return state, STATES[state][1]

    @display(description=gettext_lazy("last sync"), empty_value=gettext_lazy("never"))
    def last_run(self, connection: Connection) -> str | None:
        """How long ago."""
        return naturaltime(connection.latest_at) if connection.latest_at else None

    @display(description=gettext_lazy("contacts"))
    def contacts(self, connection: Connection) -> int:
        """Records that live in the CRM and here."""
        return connection.record_count or 0

    @display(description=gettext_lazy("rejected"))
    def open_rejects(self, connection: Connection) -> int:
        """Records that could not be taken."""
        return connection.reject_count

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        """Disconnecting is done on the connection's page, in bulk; the admin's own way lists every record."""
        return False

    # --- Pages -----------------------------------------------------------------------------------------
    def get_urls(self) -> list[Any]:
        """The pages below a connection."""
        pages = {
            "panel": self.panel_view,
            "settings": self.settings_view,
            "mapping": self.mapping_view,
            "sync": self.sync_view,
            "pause": self.pause_view,
            "remove": self.remove_view,
        }
        wrap = self.admin_site.admin_view
        return [
            path("test/", wrap(self.test_view), name="crm_connection_test"),
            *(
                path(f"<int:pk>/{name}/", wrap(view), name=f"crm_connection_{name}")
                for name, view in pages.items()
            ),
            *super().get_urls(),
        ]

    def _connection(self, request: HttpRequest, pk: int, change: bool = True) -> Connection:
        connection = Connection.objects.filter(pk=pk).first()
        if connection is None:
            raise Http404
        allowed = self.has_change_permission if change else self.has_view_permission
        if not allowed(request, connection):
            raise PermissionDenied
        return connection

    def _page(self, request: HttpRequest, template: str, title: Any, **context: Any) -> TemplateResponse:
        shared = self.admin_site.each_context(request)
        context = {**shared, "opts": self.opts, "title": title, **context}
        return TemplateResponse(request, f"{TEMPLATES}/{template}", context)

    def add_view(self, request: HttpRequest, form_url: str = "", extra_context: Any = None) -> HttpResponse:
        """Choose the CRM, enter its credentials, try them, connect."""
        if not self.has_add_permission(request):
            raise PermissionDenied
        kinds = connectors.kinds()
        kind = kinds.get(request.POST.get("kind") or request.GET.get("kind") or next(iter(kinds)))
        if kind is None:
            raise Http404
        form = SettingsForm(kind, request.POST or None)
        error = ""
        if request.method == "POST" and form.is_valid():
            name, slug = form.cleaned_data["name"], form.cleaned_data["slug"]
            try:
                connection = setup.create(
                    kind.kind,
                    name,
                    slug,
                    form.config(),
                    form.credentials(),
                    request.user.get_username(),
                    form.cleaned_data["interval_minutes"],
                )
            except ConnectorError as failure:
                error = str(failure)
            else:
                self.log_addition(request, connection, [{"added": {}}])
                messages.success(request, _("Connected. The first sync starts now."))
                return redirect("admin:crm_connection_change", connection.pk)
        return self._page(
            request, "form.html", _("Connect a CRM"), form=form, kind=kind, kinds=kinds.values(), error=error
        )

    def change_view(
        self, request: HttpRequest, object_id: str, form_url: str = "", extra_context: Any = None
    ) -> HttpResponse:
        """How the syncs go, and what can be done."""
        if not object_id.isdecimal():
            raise Http404
        connection = self._connection(request, int(object_id), change=False)
        return self._page(
            request,
            "page.html",
            connection.name,
            connection=connection,
            kind=connectors.kinds().get(connection.kind),
            may_change=self.has_change_permission(request, connection),
            **self._progress(connection),
        )

    def panel_view(self, request: HttpRequest, pk: int) -> HttpResponse:
        """The part of the page that is asked for again and again."""
        connection = self._connection(request, pk, change=False)
        context = {"connection": connection, **self._progress(connection)}
        return render(request, f"{TEMPLATES}/panel.html", context)

    def _progress(self, connection: Connection) -> dict[str, Any]:
        runs = list(SyncRun.objects.filter(connection=connection).order_by("-pk")[:RECENT])
        latest = runs[0] if runs else None
        state = state_of(connection, latest.state if latest else "")
        percent = None
        if latest and latest.state == SyncRun.State.RUNNING and latest.expected:
            percent = min(100, 100 * latest.read // latest.expected)
        return {
            "latest": latest,
            "runs": runs,
            "state": state,
            "state_label": STATES[state][1],
            "state_style": STATES[state][0],
            "busy": state in ("running", "queued"),
            "percent": percent,
            "contacts": SourceRecord.objects.filter(
                connection=connection, state=SourceRecord.State.LIVE
            ).count(),
            "rejects": SyncReject.objects.filter(connection=connection, resolved_at=None).count(),
        }

    # --- Doing -----------------------------------------------------------------------------------------
    @_posted
    def test_view(self, request: HttpRequest) -> HttpResponse:
        """Try credentials as entered, and say in a sentence how it went."""
        pk = request.POST.get("connection", "")
        connection = self._connection(request, int(pk)) if pk.isdecimal() else None
        if connection is None and not self.has_add_permission(request):
            raise PermissionDenied
        kind = connectors.kinds().get(connection.kind if connection else request.POST.get("kind", ""))
        if kind is None:
            raise Http404
        form = SettingsForm(kind, request.POST, connection)
        form.is_valid()
        wrong = [name for name in kind.Form().fields if name in form.errors]
        try:
            if wrong:
                labels = ", ".join(str(form.fields[name].label) for name in wrong)
                raise ConnectorError(_("Fill in first: %s.") % labels)
            result, works = kind(form.config(), form.credentials()).test(), True
        except ConnectorError as failure:
            result, works = str(failure), False
        return render(request, f"{TEMPLATES}/test_result.html", {"result": result, "works": works})

    @_posted
    def sync_view(self, request: HttpRequest, pk: int) -> HttpResponse:
        """Queue a run."""
        connection = self._connection(request, pk)
        full = request.POST.get("mode") == SyncRun.Mode.FULL
        mode = SyncRun.Mode.FULL if full else SyncRun.Mode.INCREMENTAL
        schedule.request_sync(connection, mode, request.user.get_username())
        text = _("Everything will be read again.") if full else _("The sync starts now.")
        messages.success(request, text)
        return redirect("admin:crm_connection_change", pk)

    @_posted
    def pause_view(self, request: HttpRequest, pk: int) -> HttpResponse:
        """Pause the schedule, or go on."""
        connection = self._connection(request, pk)
        paused = connection.state == Connection.State.PAUSED
        connection.state = Connection.State.ACTIVE if paused else Connection.State.PAUSED
        connection.save(update_fields=["state"])
        self.log_change(request, connection, [{"changed": {"fields": ["state"]}}])
        messages.success(request, _("The schedule goes on.") if paused else _("The schedule is paused."))
        return redirect("admin:crm_connection_change", pk)

    @_posted
    def remove_view(self, request: HttpRequest, pk: int) -> HttpResponse:
        """Disconnect."""
        connection = self._connection(request, pk)
        if not super().has_delete_permission(request, connection):
            raise PermissionDenied
        self.log_deletions(request, [connection])
        setup.remove(connection)
        messages.success(request, _("Disconnected “%s”. The profiles are kept.") % connection.name)
        return redirect("admin:crm_connection_changelist")

    def settings_view(self, request: HttpRequest, pk: int) -> HttpResponse:
        """Name, interval, credentials."""
        connection = self._connection(request, pk)
        kind = connectors.kinds().get(connection.kind)
        if kind is None:
            raise Http404
        form = SettingsForm(kind, request.POST or None, connection)
        if request.method == "POST" and form.is_valid():
            connection = form.save(commit=False)
            connection.config = form.config()
            setup.set_credentials(connection, form.credentials())
            fields = ["name", "interval_minutes", "config", "credentials"]
            connection.save(update_fields=fields)
            self.log_change(request, connection, [{"changed": {"fields": form.changed_data}}])
            messages.success(request, _("Saved."))
            return redirect("admin:crm_connection_change", pk)
        title = _("Settings of %s") % connection.name
        return self._page(request, "form.html", title, form=form, kind=kind, connection=connection)

    def mapping_view(self, request: HttpRequest, pk: int) -> HttpResponse:
        """Which CRM field becomes what."""
        connection = self._connection(request, pk)
        error = ""
        try:
            connector = connectors.connector(connection)
            name = connector.objects[0].name
            fields = connector.fields(name)
        except (ConnectorError, KeyError) as failure:
            name, fields, error = "", [], str(failure)
        try:
            held = mappings.parse(connection.mapping.get(name))
        except MappingError as failure:
            held, error = mappings.Mapping(), str(failure)
        form = MappingForm(fields, held, request.POST if request.method == "POST" else None)
        if request.method == "POST" and not form.error and not error:
            if form.mapping != held:
                connection.mapping = {**connection.mapping, name: msgspec.to_builtins(form.mapping)}
                connection.save(update_fields=["mapping"])
                self.log_change(request, connection, [{"changed": {"fields": ["mapping"]}}])
                schedule.request_sync(connection, SyncRun.Mode.FULL, request.user.get_username())
                messages.success(request, _("Saved. Everything is read again with the new mapping."))
            return redirect("admin:crm_connection_change", pk)
        mapped, others = form.rows()
        return self._page(
            request,
            "mapping.html",
            _("Field mapping of %s") % connection.name,
            connection=connection,
            mapped=mapped,
            others=others,
            error=form.error or error,
        )
