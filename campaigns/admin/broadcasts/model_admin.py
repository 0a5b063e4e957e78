"""Broadcasts in the admin: the list with its figures, the form, the launch, and what is done with one under way."""

import uuid

from django.contrib import admin, messages
from django.core.exceptions import PermissionDenied
from django.db import transaction
from django.http import Http404, HttpRequest, HttpResponse, HttpResponseRedirect
from django.shortcuts import get_object_or_404
from django.template.response import TemplateResponse
from django.urls import path, reverse
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy, ngettext
from django.views.decorators.http import require_POST
from unfold.admin import ModelAdmin
from unfold.decorators import action, display
from unfold.enums import ActionVariant
from unfold.views import ChangeList

from campaigns import audience, broadcasts
from campaigns.admin.broadcasts import live
from campaigns.admin.broadcasts.forms import TEMPLATES, BroadcastForm, CopyForm, LaunchForm, TestForm
from campaigns.broadcasts import holding
from campaigns.models import Broadcast
from crm.admin.base import leave_dialog
from crm.rules.errors import RuleError
from delivery import outbox
from delivery.models import Delivery

State = Broadcast.State
DOINGS = {
    "undo": (broadcasts.undo, gettext_lazy("Taken back; it is a draft again.")),
    "pause": (broadcasts.pause, gettext_lazy("Paused. Nothing goes out until it is resumed.")),
    "resume": (broadcasts.resume, gettext_lazy("Resumed.")),
    "cancel": (broadcasts.cancel, gettext_lazy("Cancelled. What has not gone out never does.")),
}


class BroadcastChangeList(ChangeList):
    """Counts deliveries for the page's broadcasts only, in one query."""

    def get_results(self, request: HttpRequest) -> None:
        super().get_results(request)
        rows = list(self.result_list)
        found = audience.figures([row for row in rows if row.audience is not None])
        for row in rows:
            row.figures = found.get(row.pk)
        self.result_list = rows


@admin.register(Broadcast)
class BroadcastAdmin(ModelAdmin):
    """List, form and launch. What was launched can be paused, resumed and cancelled, not changed."""

    form = BroadcastForm
    list_display = [
        "title", "state_chip", "progress", "people", "sent", "waiting", "not_sent", "failed", "expired", "launched_at",
    ]  # fmt: skip
    list_filter = ["state"]
    search_fields = ["name"]
    list_select_related = ["segment", "message"]
    ordering = ["-pk"]
    list_per_page = 25
    list_before_template = f"{TEMPLATES}/list_before.html"
    change_form_outer_before_template = f"{TEMPLATES}/page.html"
    actions_detail = ["launch", "test", "duplicate"]
    fieldsets = [
        (None, {"fields": ["name", "message", "channel", "segment", "exclusions"]}),
        (gettext_lazy("When"), {"fields": ["when", "day", "time", "repeat", "weekdays", "last_day"]}),
        (gettext_lazy("Pace"), {"fields": ["per_minute", "priority", "when_limited", "holdout_percent"]}),
    ]

    class Media:
        js = ["nudge/admin/broadcasts.js"]

    def get_changelist(self, request, **kwargs):
        return BroadcastChangeList

    def changelist_view(self, request, extra_context=None):
        none = not Broadcast.objects.exists()
        return super().changelist_view(request, {**(extra_context or {}), "no_broadcasts": none})

    def get_urls(self):
        def view(function):
            return self.admin_site.admin_view(function)

        return [
            path("<int:pk>/live/", view(self.live), name="campaigns_broadcast_live"),
            path("<int:pk>/do/<slug:what>/", view(require_POST(self.do)), name="campaigns_broadcast_do"),
            *super().get_urls(),
        ]

    @display(description=gettext_lazy("broadcast"), ordering="name", header=True)
    def title(self, broadcast):
        return [broadcast.name, f"{broadcast.message} → {broadcast.segment}"]

    @display(description=gettext_lazy("state"), ordering="state", label=live.LIGHTS)
    def state_chip(self, broadcast):
        return broadcast.state, broadcast.get_state_display()

    @display(description=gettext_lazy("done"))
    def progress(self, broadcast):
        return "–" if broadcast.figures is None else f"{broadcast.figures.percent} %"

    @display(description=gettext_lazy("audience"), ordering="audience")
    def people(self, broadcast):
        return "–" if broadcast.audience is None else broadcast.audience

    def _figure(self, broadcast, name: str):
        return "–" if broadcast.figures is None else getattr(broadcast.figures, name)

    @display(description=gettext_lazy("sent"))
    def sent(self, broadcast):
        return self._figure(broadcast, "sent")

    @display(description=gettext_lazy("waiting"))
    def waiting(self, broadcast):
        found = broadcast.figures
        return "–" if found is None else found.waiting + found.unqueued

    @display(description=gettext_lazy("not sent by rule"))
    def not_sent(self, broadcast):
        return self._figure(broadcast, "suppressed")

    @display(description=gettext_lazy("failed"))
    def failed(self, broadcast):
        return self._figure(broadcast, "failed")

    @display(description=gettext_lazy("expired"))
    def expired(self, broadcast):
        return self._figure(broadcast, "expired")

    # --- Who may -----------------------------------------------------------------------------------------
    def has_change_permission(self, request, obj=None):
        allowed = super().has_change_permission(request, obj)
        return allowed and (obj is None or obj.state == State.DRAFT)

    def has_launch_permission(self, request, object_id=None):
        """Launching, and stopping what was launched, is a right of its own: it writes to people."""
        return request.user.has_perm("campaigns.launch_broadcast")

    def has_test_permission(self, request, object_id=None):
        """Whoever may change broadcasts."""
        return request.user.has_perm("campaigns.change_broadcast")

    def has_duplicate_permission(self, request, object_id=None):
        """Whoever may make broadcasts and see this one."""
        return self.has_add_permission(request) and self.has_view_permission(request)

    def has_delete_permission(self, request, obj=None):
        """Drafts, and what was stopped before anybody was written to; the rest is history."""
        allowed = super().has_delete_permission(request, obj)
        untouched = obj is None or obj.state == State.DRAFT
        return allowed and (
            untouched or (obj.state == State.CANCELLED and obj.audience is None and not obj.repeat)
        )

    def get_actions(self, request):
        # Deleting many at once would not look at each one's state.
        actions = super().get_actions(request)
        actions.pop("delete_selected", None)
        return actions

    def get_actions_detail(self, request, object_id):
        found = super().get_actions_detail(request, object_id)
        # What is no number, no broadcast has: the page says so.
        if not object_id.isdecimal() or Broadcast.objects.filter(pk=object_id, state=State.DRAFT).exists():
            return found
        return [each for each in found if "launch" not in each.action_name and "test" not in each.action_name]

    # --- One broadcast -----------------------------------------------------------------------------------
    def save_model(self, request, obj, form, change):
        """Only what the form is about, and only while it is a draft: it may have been launched meanwhile."""
        if not change:
            super().save_model(request, obj, form, change)
            return
        if holding.alone(obj.pk).state != State.DRAFT:
            raise PermissionDenied
        obj.save(update_fields=[name for name in form.cleaned_data if name != "exclusions"])

    def change_view(self, request, object_id, form_url="", extra_context=None):
        broadcast = self.get_object(request, object_id)
        values = dict(extra_context or {})
        if broadcast and broadcast.state != State.DRAFT:
            values |= live.context(broadcast)
            values["may_launch"] = self.has_launch_permission(request)
        return super().change_view(request, object_id, form_url, values)

    def live(self, request: HttpRequest, pk: int) -> HttpResponse:
        """The figures now; when the state has changed the whole page is shown anew."""
        broadcast = get_object_or_404(Broadcast.objects.select_related("message", "segment"), pk=pk)
        if not self.has_view_permission(request, broadcast):
            raise PermissionDenied
        response = TemplateResponse(request, f"{TEMPLATES}/live.html", live.context(broadcast))
        if request.GET.get("state") != broadcast.state:
            response["HX-Refresh"] = "true"
        return response

    def do(self, request: HttpRequest, pk: int, what: str) -> HttpResponse:
        """Take back, pause, resume or cancel."""
        broadcast = get_object_or_404(Broadcast, pk=pk)
        if not (self.has_launch_permission(request) and self.has_view_permission(request, broadcast)):
            raise PermissionDenied
        if what not in DOINGS:
            raise Http404
        service, words = DOINGS[what]
        try:
            with transaction.atomic():
                service(pk)
                self.log_change(request, broadcast, str(words))
        except broadcasts.StateError as error:
            messages.error(request, str(error))
        else:
            messages.success(request, words)
        return HttpResponseRedirect(reverse("admin:campaigns_broadcast_change", args=[pk]))

    @action(
        description=gettext_lazy("Launch…"),
        icon="rocket_launch",
        url_path="launch",
        variant=ActionVariant.PRIMARY,
        permissions=["launch"],
        attrs={"data-testid": "broadcast-launch"},
        dialog={
            "title": gettext_lazy("Launch the broadcast?"),
            "form_class": LaunchForm,
            "form_submit_text": gettext_lazy("Launch now"),
        },
    )
    def launch(self, request: HttpRequest, form: LaunchForm, object_id: int) -> HttpResponse:
        """Let it go out, at once or at its time."""
        broadcast, check = form.broadcast, form.check
        if not self.has_view_permission(request, broadcast):
            raise PermissionDenied
        size = check.reach.size if check.reach else 0
        try:
            with transaction.atomic():
                broadcasts.plan(broadcast.pk, request.user)
                self.log_change(request, broadcast, _("Launched to %d people.") % size)
        except (broadcasts.LaunchError, RuleError) as error:
            messages.error(request, str(error))
        else:
            words = ngettext("Launched to %d person.", "Launched to %d people.", size) % size
            messages.success(request, words)
        return leave_dialog(request, reverse("admin:campaigns_broadcast_change", args=[broadcast.pk]))

    @action(
        description=gettext_lazy("Send a test…"),
        icon="send",
        url_path="test",
        permissions=["test"],
        dialog={
            "title": gettext_lazy("Send a test"),
            "description": gettext_lazy(
                "The message, filled in for this person. They must have agreed to the channel."
            ),
            "form_class": TestForm,
            "form_submit_text": gettext_lazy("Send"),
        },
    )
    def test(self, request: HttpRequest, form: TestForm, object_id: int) -> HttpResponse:
        """Queue the message for one person, outside of the broadcast's figures."""
        broadcast, person = form.broadcast, form.cleaned_data["person"]
        if not self.has_view_permission(request, broadcast):
            raise PermissionDenied
        outbox.queue(
            [
                outbox.DeliveryRequest(
                    cause=f"test:{uuid.uuid4()}",
                    message_id=broadcast.message_id,
                    profile_id=person.pk,
                    channel=form.cleaned_data["channel"],
                    origin_type=Delivery.Origin.TEST,
                    priority=1,
                )
            ]
        )
        messages.success(request, _("The test to %s is on its way.") % person.display_name)
        return leave_dialog(request, reverse("admin:campaigns_broadcast_change", args=[broadcast.pk]))

    @action(
        description=gettext_lazy("Duplicate…"),
        icon="content_copy",
        url_path="duplicate",
        permissions=["duplicate"],
        dialog={
            "title": gettext_lazy("Duplicate"),
            "description": gettext_lazy("A draft with the same settings."),
            "form_class": CopyForm,
            "form_submit_text": gettext_lazy("Duplicate"),
        },
    )
    def duplicate(self, request: HttpRequest, form: CopyForm, object_id: int) -> HttpResponse:
        """A draft with the same settings."""
        if not self.has_view_permission(request, form.broadcast):
            raise PermissionDenied
        made = broadcasts.duplicate(form.broadcast.pk, form.cleaned_data["name"])
        self.log_addition(request, made, _("Copied from “%s”.") % form.broadcast.name)
        return leave_dialog(request, reverse("admin:campaigns_broadcast_change", args=[made.pk]))
