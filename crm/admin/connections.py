"""CRM connections: the list, the page that shows how the syncs of one go, and what can be done there."""

from collections.abc import Callable
from functools import wraps
from typing import Any

from django.contrib import admin, messages
from django.contrib.admin.models import ADDITION, LogEntry
from django.contrib.contenttypes.models import ContentType
from django.contrib.humanize.templatetags.humanize import naturaltime
from django.core.exceptions import PermissionDenied
from django.db.models import Count, OuterRef, Subquery
from django.db.models.functions import Coalesce
from django.http import Http404, HttpRequest, HttpResponse, HttpResponseNotAllowed
from django.shortcuts import redirect, render
from django.template.response import TemplateResponse
from django.urls import path, reverse
from django.utils import timezone
from django.utils.html import format_html
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy, ngettext
from unfold.admin import ModelAdmin
from unfold.decorators import display

from crm import connectors
from crm.admin import connection_health as healths
from crm.admin import connection_steps as steps
from crm.admin.connection_wizard import TEMPLATES, Wizard
from crm.admin.imports import Imports
from crm.admin.retrying import retry
from crm.models import Connection, SourceRecord, SyncHint, SyncReject, SyncRun
from crm.sync import brake, hints, schedule, setup


def _posted(view: Callable[..., HttpResponse]) -> Callable[..., HttpResponse]:
    """Refuse anything but POST: what changes something must not be a link."""

    @wraps(view)
    def guarded(self: Any, request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponse:
        if request.method != "POST":
            return HttpResponseNotAllowed(["POST"])
        return view(self, request, *args, **kwargs)

    return guarded


@admin.register(Connection)
class ConnectionAdmin(Imports, Wizard, ModelAdmin):
    """A list and, instead of one change form, steps to connect a CRM and a page that shows how its syncs go."""

    list_display = ["title", "shown_state", "lag", "records", "open_rejects", "next_run"]
    ordering = ["name"]
    sortable_by = ["title"]
    actions = None
    list_empty = gettext_lazy(
        "Connect a CRM, and its contacts become profiles that segments and flows can use; changes"
        " follow every few minutes."
    )

    # --- List ------------------------------------------------------------------------------------------
    def get_queryset(self, request: HttpRequest) -> Any:
        """With the latest run and the number of records and rejects."""
        mine = {"connection": OuterRef("pk")}
        latest = SyncRun.objects.filter(**mine).order_by("-pk")
        live = SourceRecord.objects.filter(**mine, state=SourceRecord.State.LIVE)
        open_rejects = SyncReject.objects.filter(**mine, resolved_at=None)
        held = SyncHint.objects.filter(**mine, kind__in=hints.WAITING)
        return (
            super()
            .get_queryset(request)
            .annotate(
                latest_state=Subquery(latest.values("state")[:1]),
                record_count=_number_of(live),
                reject_count=_number_of(open_rejects),
                held_count=_number_of(held),
            )
        )

    @display(description=gettext_lazy("connection"), ordering="name", header=True)
    def title(self, connection: Connection) -> list[Any]:
        """Its name and the CRM's."""
        kind = connectors.kinds().get(connection.kind)
        return [connection.name, kind.label if kind else connection.kind]

    @display(
        description=gettext_lazy("state"),
        label={key: style for key, (style, _label) in healths.STATES.items()},
    )
    def shown_state(self, connection: Connection) -> tuple[str, Any]:
        """A chip."""
        held = 0 if brake.agreed(connection, timezone.now()) else connection.held_count
        state = healths.state_of(connection, connection.latest_state or "", held)
        return state, healths.STATES[state][1]

    @display(description=gettext_lazy("complete up to"), empty_value="–")
    def lag(self, connection: Connection) -> str | None:
        """How far behind the CRM."""
        return healths.lag_words(healths.lag(connection)) or None

    @display(description=gettext_lazy("records"))
    def records(self, connection: Connection) -> int:
        """Records that live in the CRM and here."""
        return connection.record_count

    @display(description=gettext_lazy("rejected"))
    def open_rejects(self, connection: Connection) -> int:
        """Records that could not be taken."""
        return connection.reject_count

    @display(description=gettext_lazy("next sync"), empty_value="–")
    def next_run(self, connection: Connection) -> str | None:
        """When, by the schedule."""
        if connection.state == Connection.State.DRAFT:
            url = reverse("admin:crm_connection_change", args=[connection.pk])
            return format_html('<a class="text-link" href="{}">{}</a>', url, _("Continue"))
        if connection.state == Connection.State.PAUSED or connection.next_sync_at is None:
            return None
        return naturaltime(max(connection.next_sync_at, timezone.now()))

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        """Disconnecting is done on the connection's page, in bulk; the admin's own way lists every record."""
        return False

    # --- Pages -----------------------------------------------------------------------------------------
    def get_urls(self) -> list[Any]:
        """The pages below a connection."""
        pages = {
            **{name: getattr(self, f"{name}_view") for name in steps.STEPS},
            "panel": self.panel_view,
            "sync": self.sync_view,
            "pause": self.pause_view,
            "deletions": self.deletions_view,
            "retry": self.retry_view,
            "remove": self.remove_view,
        }
        objects = {"fields": self.fields_view, "preview": self.preview_view, "values": self.values_view}
        wrap = self.admin_site.admin_view
        return [
            path("test/", wrap(self.test_view), name="crm_connection_test"),
            *(
                path(f"<int:pk>/{name}/", wrap(view), name=f"crm_connection_{name}")
                for name, view in pages.items()
            ),
            *(
                path(f"<int:pk>/{name}/<str:object_name>/", wrap(view), name=f"crm_connection_{name}")
                for name, view in objects.items()
            ),
            *super().get_urls(),
        ]

    def _connection(self, request: HttpRequest, pk: int, change: bool = True) -> Connection:
        connection = Connection.objects.filter(pk=pk).first()
        if connection is None:
            raise Http404
        allowed = self.has_change_permission if change else self.has_view_permission
        if not allowed(request, connection) and not self._begun_by(request, connection):
            raise PermissionDenied
        return connection

    def _begun_by(self, request: HttpRequest, connection: Connection) -> bool:
        """Whether it is a draft of this user, who may go on with it; with whose credentials it reads is theirs."""
        if connection.state != Connection.State.DRAFT or not self.has_add_permission(request):
            return False
        added = LogEntry.objects.filter(
            content_type=ContentType.objects.get_for_model(Connection),
            object_id=str(connection.pk),
            action_flag=ADDITION,
        )
        return added.filter(user=request.user.pk).exists()

    def _page(self, request: HttpRequest, template: str, title: Any, **context: Any) -> TemplateResponse:
        shared = self.admin_site.each_context(request)
        context = {**shared, "opts": self.opts, "title": title, **context}
        return TemplateResponse(request, f"{TEMPLATES}/{template}", context)

    def change_view(
        self, request: HttpRequest, object_id: str, form_url: str = "", extra_context: Any = None
    ) -> HttpResponse:
        """How the syncs go, and what can be done; for a draft the step that comes next."""
        if not _is_number(object_id):
            raise Http404
        connection = self._connection(request, int(object_id), change=False)
        may_change = self.has_change_permission(request, connection)
        draft = connection.state == Connection.State.DRAFT
        if draft and (may_change or self._begun_by(request, connection)):
            return redirect(
                f"admin:crm_connection_{'fields' if connection.mapping else 'objects'}", object_id
            )
        kind = connectors.kinds().get(connection.kind)
        return self._page(
            request,
            "page.html",
            connection.name,
            connection=connection,
            kind=kind,
            may_change=may_change,
            may_remove=super().has_delete_permission(request, connection),
            hook_url=healths.hook_url(connection) if may_change and kind and kind.hook_help else "",
            **healths.health(connection),
        )

    def panel_view(self, request: HttpRequest, pk: int) -> HttpResponse:
        """The part of the page that is asked for again and again."""
        connection = self._connection(request, pk, change=False)
        may_change = self.has_change_permission(request, connection)
        context = {"connection": connection, "may_change": may_change, **healths.health(connection)}
        part = "rejects" if request.GET.get("part") == "rejects" else "panel"
        return render(request, f"{TEMPLATES}/{part}.html", context)

    # --- Doing -----------------------------------------------------------------------------------------
    @_posted
    def sync_view(self, request: HttpRequest, pk: int) -> HttpResponse:
        """Queue a run."""
        connection = self._started(request, pk)
        asked = request.POST.get("mode", "")
        full = asked == SyncRun.Mode.FULL
        mode = SyncRun.Mode.FULL if full else SyncRun.Mode.INCREMENTAL
        schedule.request_sync(connection, mode, request.user.get_username(), sweep=asked == "sweep")
        texts = {
            SyncRun.Mode.FULL: _("Everything will be read again."),
            "sweep": _("All record ids will be compared with the CRM's."),
        }
        messages.success(request, texts.get(asked, _("The sync starts now.")))
        self.log_change(request, connection, f"Sync requested: {asked or mode}")
        return redirect("admin:crm_connection_change", pk)

    def _started(self, request: HttpRequest, pk: int) -> Connection:
        connection = self._connection(request, pk)
        if connection.state == Connection.State.DRAFT:
            raise Http404
        return connection

    @_posted
    def pause_view(self, request: HttpRequest, pk: int) -> HttpResponse:
        """Pause the schedule, or go on."""
        connection = self._started(request, pk)
        kind = connectors.kinds().get(connection.kind)
        if kind and not kind.scheduled:
            raise Http404
        paused = connection.state == Connection.State.PAUSED
        connection.state = Connection.State.ACTIVE if paused else Connection.State.PAUSED
        connection.save(update_fields=["state"])
        self.log_change(request, connection, [{"changed": {"fields": ["state"]}}])
        messages.success(request, _("The schedule goes on.") if paused else _("The schedule is paused."))
        return redirect("admin:crm_connection_change", pk)

    @_posted
    def deletions_view(self, request: HttpRequest, pk: int) -> HttpResponse:
        """A person's yes to deletions that were held back."""
        connection = self._started(request, pk)
        brake.allow(connection, request.user.get_username())
        self.log_change(request, connection, "Held deletions allowed")
        messages.success(
            request, _("Agreed: what is gone in the CRM is deleted here, once it was looked up there again.")
        )
        return redirect("admin:crm_connection_change", pk)

    @_posted
    def retry_view(self, request: HttpRequest, pk: int) -> HttpResponse:
        """Read rejected records again: the chosen ones first, or all of them."""
        connection = self._started(request, pk)
        rejects = SyncReject.objects.filter(connection=connection, resolved_at=None)
        if "all" not in request.POST:
            only = request.POST.getlist("only") or request.POST.getlist("reject")
            chosen = [number for number in only if _is_number(number)]
            rejects = rejects.filter(pk__in=chosen)
        count = retry(connection, rejects, request.user.get_username())
        if not count:
            messages.warning(request, _("Choose the records to try again."))
        else:
            self.log_change(request, connection, f"{count} rejected records tried again")
            text = ngettext("%d record is read again now.", "%d records are read again now.", count)
            messages.success(request, text % count)
        return redirect("admin:crm_connection_change", pk)

    @_posted
    def remove_view(self, request: HttpRequest, pk: int) -> HttpResponse:
        """Disconnect, or throw a draft away."""
        connection = self._connection(request, pk)
        draft = connection.state == Connection.State.DRAFT
        if not draft and not super().has_delete_permission(request, connection):
            raise PermissionDenied
        self.log_deletions(request, [connection])
        setup.remove(connection)
        text = _("Threw “%s” away.") if draft else _("Disconnected “%s”. The profiles are kept.")
        messages.success(request, text % connection.name)
        return redirect("admin:crm_connection_changelist")


def _is_number(text: str) -> bool:
    """Whether it can be a row's number."""
    return text.isdecimal() and len(text) < 19


def _number_of(rows: Any) -> Any:
    counted = rows.order_by().values("connection").annotate(n=Count("pk")).values("n")[:1]
    return Coalesce(Subquery(counted), 0)
