"""Records of a CRM that refused what we wrote into them."""

from typing import Any

from django.contrib import admin
from django.db.models import QuerySet
from django.http import HttpRequest
from django.urls import reverse
from django.utils import timezone
from django.utils.html import format_html
from django.utils.translation import gettext_lazy as _
from unfold.contrib.filters.admin import RelatedDropdownFilter
from unfold.decorators import display

from crm.admin.base import BigTableAdmin, ReadOnly, pretty
from crm.models import Connection, WrittenRecord
from crm.sync import schedule


@admin.register(WrittenRecord)
class WrittenRecordAdmin(ReadOnly, BigTableAdmin):
    """The refused ones; what was taken is nothing to look at."""

    list_display = ["record", "error", "person", "due_at"]
    list_filter = [("connection", RelatedDropdownFilter)]
    list_select_related = ["connection"]
    list_empty = _("The CRMs have taken everything that was written back.")
    ordering = ["-pk"]
    sortable_by = []
    actions = ["write_again"]
    fields = ["connection", "object", "record_id", "person", "error", "due_at", "taken_before"]
    readonly_fields = fields

    def get_queryset(self, request: HttpRequest) -> QuerySet:
        """Without those that are in order."""
        return super().get_queryset(request).exclude(error="")

    def has_retry_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        """Whoever may sync the connection."""
        return request.user.has_perm("crm.change_connection")

    @display(description=_("record"), header=True)
    def record(self, row: WrittenRecord) -> list[Any]:
        """Its id in the CRM."""
        return [f"{row.object} {row.record_id}", row.connection.name]

    @display(description=_("person"))
    def person(self, row: WrittenRecord) -> str:
        """Leads to the profile."""
        url = reverse("admin:crm_profile_change", args=[row.profile_id])
        return format_html('<a class="text-link" href="{}">{}</a>', url, row.profile_id)

    @display(description=_("what the CRM took before"))
    def taken_before(self, row: WrittenRecord) -> str:
        """Field by field."""
        return pretty(row.values)

    @admin.action(description=_("Write again now"), permissions=["retry"])
    def write_again(self, request: HttpRequest, rows: QuerySet) -> None:
        """Make the chosen records due, and sync their connections."""
        chosen = list(Connection.objects.filter(pk__in=rows.order_by().values("connection")))
        rows.update(due_at=timezone.now())
        for connection in chosen:
            schedule.request_sync(connection, by=request.user.get_username())
