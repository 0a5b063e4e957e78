"""What syncs have done, and the records they could not take."""

from typing import Any

from django.contrib import admin, messages
from django.http import HttpRequest, HttpResponse
from django.urls import reverse
from django.utils.html import format_html
from django.utils.translation import gettext_lazy as _
from unfold.contrib.filters.admin import ChoicesDropdownFilter, RelatedDropdownFilter
from unfold.decorators import action, display
from unfold.forms import BaseDialogForm

from crm.admin.base import BigTableAdmin, ReadOnly, leave_dialog, pretty
from crm.admin.connection_health import took
from crm.admin.export_rows import RejectTable
from crm.admin.exports import Exports
from crm.admin.retrying import retry
from crm.models import Connection, SyncReject, SyncRun

COUNTS = ["read", "created", "updated", "unchanged", "merged", "deleted", "rejected", "written"]
FIGURES = ["held", "calls", "budget_used", "budget_limit", "lag_seconds"]
RUN_STYLES = {"queued": "info", "running": "info", "succeeded": "success", "failed": "danger"}


@admin.register(SyncRun)
class SyncRunAdmin(ReadOnly, BigTableAdmin):
    """Reports; newest first."""

    list_display = ["title", "shown_state", "started_at", "duration", *COUNTS]
    list_filter = [("connection", RelatedDropdownFilter), ("state", ChoicesDropdownFilter)]
    list_select_related = ["connection"]
    list_empty = _("Connect a CRM, or press “Sync now” on a connection's page.")
    ordering = ["-pk"]
    sortable_by = []
    actions = None
    fields = [
        *("connection", "mode", "state", "error", "notes", "requested_by"),
        *("queued_at", "started_at", "finished_at", "duration", "expected", *COUNTS, *FIGURES),
        *("position_before", "position_after"),
    ]
    readonly_fields = fields

    @display(description=_("sync"), header=True)
    def title(self, run: SyncRun) -> list[Any]:
        """Which connection and what was read."""
        return [run.connection.name, run.get_mode_display()]

    @display(description=_("state"), label=RUN_STYLES)
    def shown_state(self, run: SyncRun) -> tuple[str, Any]:
        """A chip."""
        return run.state, run.get_state_display()

    @display(description=_("took"))
    def duration(self, run: SyncRun) -> str:
        """From start to end, or to the last sign of life."""
        return took(run)

    @display(description=_("position before"))
    def position_before(self, run: SyncRun) -> str:
        """The CRM cursor at the start."""
        return pretty(run.cursor_before)

    @display(description=_("position after"))
    def position_after(self, run: SyncRun) -> str:
        """The CRM cursor at the end."""
        return pretty(run.cursor_after)


class OpenFilter(admin.SimpleListFilter):
    """Rejects that still wait; the default."""

    title = _("state")
    parameter_name = "resolved"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, Any]]:
        """What to choose from besides the open ones."""
        return [("yes", _("taken meanwhile")), ("all", _("all"))]

    def choices(self, changelist: Any) -> Any:
        """The open ones in place of "All"."""
        shown = list(super().choices(changelist))
        shown[0]["display"] = _("open")
        return shown

    def queryset(self, request: HttpRequest, queryset: Any) -> Any:
        """The chosen ones."""
        if self.value() == "all":
            return queryset
        return queryset.filter(resolved_at__isnull=self.value() != "yes")


@admin.register(SyncReject)
class SyncRejectAdmin(Exports, ReadOnly, BigTableAdmin):
    """Why a record is not here, with the record as it came."""

    table = RejectTable

    list_display = ["record", "detail", "field", "attempts", "last_seen", "shown_state"]
    list_filter = [OpenFilter, ("connection", RelatedDropdownFilter)]
    list_select_related = ["connection"]
    list_before_template = "admin/crm/connection/rejects_intro.html"
    list_empty = _("Everything the CRM sent could be taken.")
    search_fields = ["record_id__exact", "code__exact"]
    ordering = ["-last_seen", "-pk"]
    sortable_by = []
    actions = ["try_again", "export_chosen"]
    actions_detail = ["try_this_again"]
    fields = [
        *("connection", "object", "record_id", "detail", "field", "code", "attempts"),
        *("first_seen", "last_seen", "resolved_at", "source_run", "raw_record"),
    ]
    readonly_fields = fields

    def has_export_permission(self, request: HttpRequest) -> bool:
        """Who may export people, or change the connections that records come from."""
        return self.has_view_permission(request) and (
            request.user.has_perm("crm.export_profile") or request.user.has_perm("crm.change_connection")
        )

    def has_retry_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        """Whoever may sync the connection."""
        return request.user.has_perm("crm.change_connection")

    @display(description=_("record"), header=True)
    def record(self, reject: SyncReject) -> list[Any]:
        """Its id in the CRM."""
        return [f"{reject.object} {reject.record_id}", reject.connection.name]

    @display(description=_("state"), label={"open": "danger", "resolved": "success"})
    def shown_state(self, reject: SyncReject) -> tuple[str, Any]:
        """A chip."""
        return ("resolved", _("taken meanwhile")) if reject.resolved_at else ("open", _("open"))

    @display(description=_("run"))
    def source_run(self, reject: SyncReject) -> str:
        """The run that met it last."""
        if reject.run_id is None:
            return "–"
        url = reverse("admin:crm_syncrun_change", args=[reject.run_id])
        return format_html('<a class="text-link" href="{}">{}</a>', url, reject.run_id)

    @display(description=_("record as received"))
    def raw_record(self, reject: SyncReject) -> str:
        """Indented; characters that can't be stored are shown as �."""
        return pretty(reject.raw)

    @admin.action(description=_("Try again"), permissions=["retry"])
    def try_again(self, request: HttpRequest, rejects: Any) -> None:
        """Sync the connections of the chosen records; every run tries all open rejects again."""
        self._retry(request, rejects)

    @action(
        description=_("Try again"),
        icon="refresh",
        url_path="try-again",
        permissions=["retry"],
        dialog={
            "title": _("Try this record again?"),
            "description": _(
                "The connection is synced now. Records that are in order in the CRM by now are taken."
            ),
            "form_class": BaseDialogForm,
            "form_submit_text": _("Try again"),
        },
    )
    def try_this_again(self, request: HttpRequest, form: BaseDialogForm, object_id: int) -> HttpResponse:
        """The same for one record."""
        self._retry(request, SyncReject.objects.filter(pk=object_id))
        return leave_dialog(request, reverse("admin:crm_syncreject_change", args=[object_id]))

    def _retry(self, request: HttpRequest, rejects: Any) -> None:
        chosen = Connection.objects.filter(pk__in=rejects.order_by().values("connection"))
        for connection in chosen:
            retry(connection, rejects.filter(connection=connection), request.user.get_username())
        messages.success(request, _("The open records are tried again now."))
