"""The event log, to look at."""

from typing import Any

from django.contrib import admin
from django.db.models import QuerySet
from django.http import HttpRequest, HttpResponse
from django.urls import reverse
from django.utils.html import format_html
from django.utils.translation import gettext_lazy as _
from unfold.contrib.filters.admin import TextFilter
from unfold.decorators import display

from crm.admin.base import BigTableAdmin, DayRangeFilter, ReadOnly, pretty
from crm.models import Event


class NameFilter(TextFilter):
    title = _("name")
    parameter_name = "event"

    def queryset(self, request: HttpRequest, queryset: QuerySet) -> QuerySet:
        """Events called exactly this."""
        name = (self.value() or "").replace("\x00", "").strip()
        return queryset.filter(name=name) if name else queryset


@admin.register(Event)
class EventAdmin(ReadOnly, BigTableAdmin):
    change_list_template = "admin/crm/export/change_list.html"
    list_display = ["name", "person", "occurred_at", "clock", "source", "summary"]
    list_filter = [NameFilter, ("occurred_at", DayRangeFilter)]
    list_select_related = ["profile"]
    list_empty = _(
        "Whatever people do is written here. Put the SDK on your website, or send events to the API."
    )
    ordering = ["-txid", "-seq"]
    sortable_by = []
    actions = None
    fields = ["name", "person", "occurred_at", "clock", "received_at", "source", "pretty_properties", "id"]
    readonly_fields = fields

    def changelist_view(self, request: HttpRequest, extra_context: Any = None) -> HttpResponse:
        """With the way to the files of events, for who may import."""
        url = reverse("admin:crm_eventfile_changelist") if request.user.has_perm("crm.import_event") else ""
        return super().changelist_view(request, {**(extra_context or {}), "import_url": url})

    @display(description=_("person"))
    def person(self, event: Event) -> str:
        """The person's name, leading to their page."""
        url = reverse("admin:crm_profile_change", args=[event.profile_id])
        return format_html(
            '<a class="text-link" href="{}"><bdi>{}</bdi></a>', url, event.profile.display_name
        )

    @display(description=_("details"))
    def summary(self, event: Event) -> str:
        """The first properties in one line."""
        plain = {
            key: value for key, value in event.properties.items() if isinstance(value, str | int | float)
        }
        text = " · ".join(f"{key}: {str(value)[:40]}" for key, value in list(plain.items())[:3])
        return format_html("<bdi>{}</bdi>", text)

    @display(description=_("properties"))
    def pretty_properties(self, event: Event) -> str:
        """All properties as indented JSON."""
        return pretty(event.properties)
