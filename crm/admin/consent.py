"""Consent, to look at; suppressed addresses, to keep."""

from django import forms
from django.contrib import admin
from django.db import models
from django.http import HttpRequest
from django.utils.translation import gettext_lazy as _
from unfold.admin import ModelAdmin
from unfold.decorators import display
from unfold.widgets import UnfoldAdminSelectWidget, UnfoldAdminTextInputWidget

from crm.admin.base import BigTableAdmin, ReadOnly
from crm.admin.connection_fields import CHANNELS
from crm.models import Consent, ConsentChange, Suppression


class AnswersAdmin(ReadOnly, BigTableAdmin):
    list_display = ["profile", "key", "kind", "shown_state", "source", "changed_at"]
    list_select_related = ["profile"]
    ordering = ["-pk"]
    sortable_by = []
    actions = None

    @display(description=_("state"), label={"subscribed": "success", "unsubscribed": "danger"})
    def shown_state(self, answer: Consent | ConsentChange) -> tuple[str, str]:
        """A green or red chip."""
        return answer.state, answer.get_state_display()


admin.site.register([Consent, ConsentChange], AnswersAdmin)


class SuppressionForm(forms.ModelForm):
    channel = forms.ChoiceField(label=_("Channel"), choices=CHANNELS.items(), widget=UnfoldAdminSelectWidget)

    def clean_address(self) -> str:
        """Compared as profiles keep addresses: emails in lower case."""
        address = self.cleaned_data["address"].strip()
        return address.lower() if "@" in address else address


@admin.register(Suppression)
class SuppressionAdmin(ModelAdmin):
    form = SuppressionForm
    list_display = ["address", "channel", "reason", "created_at"]
    search_fields = ["address__istartswith"]
    ordering = ["-pk"]
    list_empty = _(
        "Addresses that complained or must never be written to; no flow or broadcast reaches them."
    )
    fields = ["channel", "address", "reason"]
    formfield_overrides = {models.TextField: {"widget": UnfoldAdminTextInputWidget}}

    def has_change_permission(self, request: HttpRequest, obj: models.Model | None = None) -> bool:
        """Nobody: remove it and add another."""
        return False
