"""Broadcasts in the admin: the list with its figures, the form, and the launch."""

from typing import Any

from django import forms
from django.contrib import admin, messages
from django.core.exceptions import PermissionDenied
from django.http import HttpRequest, HttpResponse
from django.urls import reverse
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy, ngettext
from unfold.admin import ModelAdmin
from unfold.decorators import action, display
from unfold.enums import ActionVariant
from unfold.forms import BaseDialogForm
from unfold.views import ChangeList
from unfold.widgets import UnfoldAdminSelectWidget, UnfoldAdminTextInputWidget

from campaigns import audience, broadcasts
from campaigns.models import Broadcast
from campaigns.segments import evaluate
from crm.admin.base import leave_dialog
from crm.rules.errors import RuleError
from delivery import channels
from delivery.admin.reasons import explain
from delivery.models import Delivery, MessageContent

TYPED_ABOVE = 1_000  # people; above this the launch wants the broadcast's name typed
STATES = {Broadcast.State.DRAFT: "info", Broadcast.State.FINISHED: "success"}
TEMPLATES = "admin/campaigns/broadcast"


class BroadcastForm(forms.ModelForm):
    """What to send to whom by which channel."""

    channel = forms.ChoiceField(label=gettext_lazy("Channel"), widget=UnfoldAdminSelectWidget)

    class Meta:
        model = Broadcast
        fields = ["name", "message", "channel", "segment"]
        widgets = {
            "name": UnfoldAdminTextInputWidget,
            "message": UnfoldAdminSelectWidget,
            "segment": UnfoldAdminSelectWidget,
        }
        help_texts = {
            "segment": gettext_lazy("Whoever is in it at the moment of the launch."),
            "name": gettext_lazy("Only you and your colleagues see it."),
        }

    def __init__(self, *args: Any, **kwargs: Any):
        super().__init__(*args, **kwargs)
        if "channel" in self.fields:
            self.fields["channel"].choices = [
                (channel.kind, channel.label) for channel in channels.everything().values() if channel.listed
            ]


class LaunchForm(BaseDialogForm):
    """Shows how many people it is about, and what they get; many people want a typed confirmation."""

    form_before_template = f"{TEMPLATES}/launch.html"

    confirm = forms.CharField(
        label=gettext_lazy("Type the broadcast's name to confirm"),
        required=False,
        widget=UnfoldAdminTextInputWidget(attrs={"autocomplete": "off"}),
    )

    def __init__(self, request: HttpRequest, object_id: int | str | None = None, *args: Any, **kwargs: Any):
        super().__init__(request, object_id, *args, **kwargs)
        found = Broadcast.objects.select_related("message", "segment").filter(pk=object_id)
        self.broadcast = found.first()
        if self.broadcast is None:
            raise PermissionDenied
        self.reach, self.problem = None, ""
        self.contents = list(
            MessageContent.objects.filter(
                message=self.broadcast.message, channel=self.broadcast.channel
            ).order_by("locale", "variant")
        )
        try:
            self.reach = audience.reach(self.broadcast)
        except RuleError as error:
            self.problem = _("The segment's rule has a mistake: %s") % error
        except evaluate.TooSlow:
            self.problem = ""  # it can be launched all the same; only the figures are missing
        if self.broadcast.state != Broadcast.State.DRAFT:
            self.problem = _("This broadcast was launched already; it can't be sent twice.")
        elif not self.contents:
            self.problem = _("The message has no text for this channel. Write it first.")
        if not self.typed:
            del self.fields["confirm"]

    @property
    def typed(self) -> bool:
        """Whether the name has to be typed: for many people, and when nobody knows for how many."""
        return not self.problem and (self.reach is None or self.reach.size > TYPED_ABOVE)

    def get_before_template_context(self, request, object_id=None):
        return {
            "broadcast": self.broadcast,
            "reach": self.reach,
            "problem": self.problem,
            "content": self.contents[0].content if self.contents else None,
            "locales": [content.locale for content in self.contents if content.locale],
        }

    def clean_confirm(self):
        """The name as it is written."""
        if self.cleaned_data["confirm"].strip() != self.broadcast.name.strip():
            raise forms.ValidationError(_("This is not the broadcast's name: “%s”.") % self.broadcast.name)
        return self.cleaned_data["confirm"]

    def clean(self):
        if self.problem:
            raise forms.ValidationError(self.problem)
        return super().clean()


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
    """List, form and launch. What was launched can only be looked at."""

    form = BroadcastForm
    list_display = [
        "title", "state_chip", "people", "sent", "waiting", "not_sent", "failed", "expired", "launched_at",
    ]  # fmt: skip
    list_filter = ["state"]
    search_fields = ["name"]
    list_select_related = ["segment", "message"]
    ordering = ["-pk"]
    list_per_page = 25
    list_before_template = f"{TEMPLATES}/list_before.html"
    change_form_before_template = f"{TEMPLATES}/figures.html"
    actions_detail = ["launch"]

    def get_changelist(self, request, **kwargs):
        return BroadcastChangeList

    def changelist_view(self, request, extra_context=None):
        none = not Broadcast.objects.exists()
        return super().changelist_view(request, {**(extra_context or {}), "no_broadcasts": none})

    @display(description=gettext_lazy("broadcast"), ordering="name", header=True)
    def title(self, broadcast):
        return [broadcast.name, f"{broadcast.message} → {broadcast.segment}"]

    @display(description=gettext_lazy("state"), ordering="state", label=STATES)
    def state_chip(self, broadcast):
        return broadcast.state, broadcast.get_state_display()

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
        return self._figure(broadcast, "waiting")

    @display(description=gettext_lazy("not sent by rule"))
    def not_sent(self, broadcast):
        return self._figure(broadcast, "suppressed")

    @display(description=gettext_lazy("failed"))
    def failed(self, broadcast):
        return self._figure(broadcast, "failed")

    @display(description=gettext_lazy("expired"))
    def expired(self, broadcast):
        return self._figure(broadcast, "expired")

    # --- One broadcast -----------------------------------------------------------------------------------
    def has_change_permission(self, request, obj=None):
        allowed = super().has_change_permission(request, obj)
        return allowed and (obj is None or obj.state == Broadcast.State.DRAFT)

    def has_launch_permission(self, request, object_id=None):
        """Launching is a right of its own: it writes to people."""
        return request.user.has_perm("campaigns.launch_broadcast")

    def has_delete_permission(self, request, obj=None):
        allowed = super().has_delete_permission(request, obj)
        return allowed and (obj is None or obj.state == Broadcast.State.DRAFT)

    def get_actions(self, request):
        # Deleting many at once would not look at each one's state.
        actions = super().get_actions(request)
        actions.pop("delete_selected", None)
        return actions

    def get_actions_detail(self, request, object_id):
        found = super().get_actions_detail(request, object_id)
        draft = Broadcast.objects.filter(pk=object_id, state=Broadcast.State.DRAFT).exists()
        return found if draft else []

    def change_view(self, request, object_id, form_url="", extra_context=None):
        broadcast = self.get_object(request, object_id)
        values = dict(extra_context or {})
        if broadcast and broadcast.audience is not None:
            found = audience.figures([broadcast])[broadcast.pk]
            values["figures"] = found
            values["reasons"] = [
                (Delivery.State(group).label, explain(reason), number)
                for group, reason, number in found.reasons
            ]
        return super().change_view(request, object_id, form_url, values)

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
        """Queue the message for everybody who is in the segment now."""
        broadcast = form.broadcast
        if not self.has_view_permission(request, broadcast):
            raise PermissionDenied
        try:
            size = broadcasts.launch(broadcast.pk, request.user)
        except (broadcasts.LaunchError, RuleError) as error:
            messages.error(request, str(error))
        else:
            self.log_change(request, broadcast, _("Launched to %d people.") % size)
            words = ngettext("Launched to %d person.", "Launched to %d people.", size) % size
            messages.success(request, words)
        return leave_dialog(request, reverse("admin:campaigns_broadcast_change", args=[broadcast.pk]))
