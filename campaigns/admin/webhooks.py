"""What flows asked other systems and CRMs to do, and the key that calls are signed with."""

from typing import Any

from django.contrib import admin, messages
from django.core.exceptions import PermissionDenied
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect
from django.template.response import TemplateResponse
from django.urls import URLPattern, path
from django.utils.html import format_html
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy
from unfold.decorators import display

from campaigns.flows import webhook_keys
from campaigns.models import CrmWrite, WebhookCall
from crm import audit
from crm.admin.base import BigTableAdmin, ReadOnly
from delivery import webhook_signing

STATES = {
    "waiting": "info",
    "answered": "success",
    "written": "success",
    "failed": "danger",
    "refused": "danger",
    "expired": "warning",
    "nobody": "warning",
}
KEY = "campaigns.change_webhookkey"


class Journal(ReadOnly, BigTableAdmin):
    """Rows of one run each, the latest first."""

    ordering = ["-pk"]
    list_select_related = ["flow", "profile"]

    @display(description=gettext_lazy("state"), label=STATES)
    def shown_state(self, row: Any) -> tuple[str, str]:
        """As a coloured word."""
        return row.state, row.get_state_display()


@admin.register(WebhookCall)
class WebhookCallAdmin(Journal):
    list_display = [
        "asked_at",
        "flow",
        "step",
        "profile",
        "address",
        "shown_state",
        "status_code",
        "attempts",
    ]
    list_filter = ["state", "flow", "host"]
    list_select_related = ["flow", "profile", "host"]
    change_list_template = "admin/campaigns/webhook/change_list.html"
    fields = [
        *("flow", "step", "profile", "url", "method", "headers", "body", "state", "awaited", "attempts"),
        *("status_code", "reply", "error", "asked_at", "due_at", "expires_at", "finished_at"),
    ]

    @display(description=gettext_lazy("host"))
    def address(self, call: WebhookCall) -> Any:
        """Whom it calls."""
        return format_html('<bdi dir="ltr">{}</bdi>', call.host.origin.partition("//")[2])

    def get_urls(self) -> list[URLPattern]:
        """The page of the key."""
        view = self.admin_site.admin_view(self.key_view)
        return [path("key/", view, name="campaigns_webhook_key"), *super().get_urls()]

    def changelist_view(self, request: HttpRequest, extra_context: dict[str, Any] | None = None) -> Any:
        """With the way to the key, for those who may see it."""
        return super().changelist_view(
            request, {**(extra_context or {}), "may_see_key": request.user.has_perm(KEY)}
        )

    def key_view(self, request: HttpRequest) -> HttpResponse:
        """Show the secrets that sign calls, and replace them."""
        if not request.user.has_perm(KEY):
            raise PermissionDenied
        if request.method == "POST":
            webhook_keys.replace()
            audit.record(request, "webhook_key_replaced")
            messages.success(request, _("Calls are signed with a new key; for a day with the old one, too."))
            return redirect("admin:campaigns_webhook_key")
        context = {
            **self.admin_site.each_context(request),
            "opts": self.opts,
            "title": _("Key of webhooks"),
            "secrets": [webhook_signing.PREFIX + key for key in webhook_keys.present()],
        }
        response = TemplateResponse(request, "admin/campaigns/webhook/key.html", context)
        response["Cache-Control"] = "no-store"
        return response


@admin.register(CrmWrite)
class CrmWriteAdmin(Journal):
    list_display = ["asked_at", "flow", "step", "profile", "connection", "shown_state", "attempts", "error"]
    list_filter = ["state", "flow", "connection"]
    list_select_related = ["flow", "profile", "connection"]
    fields = [
        *("flow", "step", "profile", "connection", "wanted", "state", "error", "attempts"),
        *("asked_at", "due_at", "finished_at"),
    ]
