"""The one row of settings for all flows."""

from typing import Any

from django.contrib import admin
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.urls import reverse
from unfold.admin import ModelAdmin

from campaigns.models import FlowSettings


@admin.register(FlowSettings)
class FlowSettingsAdmin(ModelAdmin):
    """Whether a second person approves."""

    fields = ["approval_required"]

    def has_add_permission(self, request: HttpRequest) -> bool:
        """Nobody: there is one row."""
        return False

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        """Nobody: there is one row."""
        return False

    def get_object(self, request: HttpRequest, object_id: str, from_field: str | None = None) -> Any:
        """The settings, also before they were saved."""
        return FlowSettings.load() if object_id == "1" else None

    def changelist_view(self, request: HttpRequest, extra_context: Any = None) -> HttpResponse:
        """Straight to the row."""
        return HttpResponseRedirect(reverse("admin:campaigns_flowsettings_change", args=[1]))
