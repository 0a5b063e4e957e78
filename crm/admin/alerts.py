"""Problems that a person has to look at, the open ones on top."""

from typing import Any

from django.contrib import admin, messages
from django.db.models import F
from django.http import HttpRequest, HttpResponse
from django.urls import reverse
from django.utils.translation import gettext_lazy as _
from unfold.admin import ModelAdmin
from unfold.decorators import action, display
from unfold.forms import BaseDialogForm

from crm import alerts
from crm.admin.base import ReadOnly, leave_dialog
from crm.models import Alert


@admin.register(Alert)
class AlertAdmin(ReadOnly, ModelAdmin):
    list_display = ["title", "state", "count", "first_at", "last_at"]
    list_empty = _(
        "Nothing needs you. When a push service refuses our key or a CRM its token, it is said "
        "here and on the home page."
    )
    ordering = [F("resolved_at").desc(nulls_first=True), "-last_at"]
    sortable_by = []
    actions = None
    actions_row = ["resolve"]
    actions_detail = ["resolve"]
    fields = ["title", "detail", "status", "count", "first_at", "last_at", "resolved_at"]
    readonly_fields = fields

    @display(description=_("state"), label={"open": "danger", "resolved": "success"})
    def state(self, alert: Alert) -> tuple[str, Any]:
        """A chip."""
        return ("resolved", _("resolved")) if alert.resolved_at else ("open", _("open"))

    @display(description=_("state"))
    def status(self, alert: Alert) -> Any:
        """The state in words."""
        return self.state(alert)[1]

    def has_resolve_permission(self, request: HttpRequest, object_id: Any = None) -> bool:
        """Whoever may change alerts."""
        return request.user.has_perm("crm.change_alert")

    @action(
        description=_("Mark as resolved"),
        icon="check",
        url_path="resolve",
        permissions=["resolve"],
        dialog={
            "title": _("Is this resolved?"),
            "description": _("It opens again by itself if it happens again."),
            "form_class": BaseDialogForm,
            "form_submit_text": _("Mark as resolved"),
        },
    )
    def resolve(self, request: HttpRequest, form: BaseDialogForm, object_id: int) -> HttpResponse:
        """Close the alert."""
        alert = self.get_object(request, object_id)
        if alert:
            alerts.resolve(alert.key)
            self.log_change(request, alert, [{"changed": {"fields": ["resolved_at"]}}])
            messages.success(request, _("Marked as resolved: %s") % alert.title)
        return leave_dialog(request, reverse("admin:crm_alert_changelist"))
