"""How long events stay."""

from typing import Any

from django import forms
from django.contrib import admin, messages
from django.http import HttpRequest
from django.utils.translation import gettext as _now
from django.utils.translation import gettext_lazy as _
from unfold.admin import ModelAdmin
from unfold.decorators import display
from unfold.widgets import UnfoldAdminTextInputWidget

from crm import retention
from crm.admin.base import BigTableAdmin, ReadOnly
from crm.models import EventRetention, Removal


class RetentionForm(forms.ModelForm):
    class Meta:
        model = EventRetention
        fields = ("name", "days")
        widgets = {"name": UnfoldAdminTextInputWidget}

    def clean_name(self) -> str:
        """Without blanks around; empty is for all others."""
        return self.cleaned_data["name"].strip()


@admin.register(EventRetention)
class EventRetentionAdmin(ModelAdmin):
    form = RetentionForm
    list_display = ["__str__", "days", "would_go", "changed_at"]
    list_empty = _(
        "Events stay for good. Say here after how many days which go; the first ones go in the next night."
    )
    ordering = ["name"]
    sortable_by = []
    actions = None

    @display(description=_("would go now"))
    def would_go(self, rule: EventRetention) -> str:
        """How many events are over their time at this moment."""
        return _shown(retention.doomed(rule.name, rule.days))

    def save_model(self, request: HttpRequest, obj: EventRetention, form: Any, change: bool) -> None:
        """Say what will go, and what counts further back, while it can still be changed."""
        super().save_model(request, obj, form, change)
        count = retention.doomed(obj.name, obj.days)
        messages.info(
            request,
            _now("%(count)s events of “%(name)s” are over this time; they go in the next night.")
            % {"count": _shown(count), "name": obj},
        )
        if cut := retention.cut_short(obj.name, obj.days):
            messages.warning(
                request,
                _now("These look further back, and will count less: %s.") % ", ".join(cut[:20]),
            )


@admin.register(Removal)
class RemovalAdmin(ReadOnly, BigTableAdmin):
    list_display = ["day", "name", "rows", "older_than"]
    list_display_links = None
    list_empty = _("What the rules for events removed stands here, day by day.")
    ordering = ["-day", "name"]
    sortable_by = []
    actions = None


def _shown(count: int) -> str:
    if count > retention.COUNTED:
        return _now("more than %d") % retention.COUNTED
    return str(count)
