"""Consent, to look at; topics, terms and suppressed addresses, to keep."""

from typing import Any

from django import forms
from django.contrib import admin
from django.db import models
from django.http import HttpRequest, HttpResponse
from django.urls import reverse
from django.utils.translation import gettext_lazy as _
from unfold.admin import ModelAdmin
from unfold.contrib.filters.admin import ChoicesDropdownFilter
from unfold.decorators import display
from unfold.widgets import UnfoldAdminSelectWidget, UnfoldAdminTextInputWidget

from crm import masking, suppressions
from crm.admin.base import BigTableAdmin, ReadOnly
from crm.admin.connection_fields import CHANNELS
from crm.admin.export_rows import Table
from crm.admin.exports import Exports
from crm.models import ChannelTerms, Consent, ConsentChange, ListImport, Suppression
from crm.normalise import Rejection

_COLOURS = {"subscribed": "success", "pending": "warning", "unsubscribed": "danger"}


class ImportLists:
    """Mixin for a ModelAdmin: a link above the list to import a file into it."""

    imports: str

    def changelist_view(self, request: HttpRequest, extra_context: Any = None) -> HttpResponse:
        """With the link, for who may."""
        url = ""
        if request.user.has_perm("crm.add_listimport"):
            url = f"{reverse('admin:crm_listimport_add')}?kind={self.imports}"
        return super().changelist_view(request, {**(extra_context or {}), "import_url": url})


class AnswersAdmin(ReadOnly, BigTableAdmin):
    list_display = ["profile", "key", "kind", "shown_state", "legal_basis", "source", "changed_at"]
    list_filter = [
        ("state", ChoicesDropdownFilter),
        ("kind", ChoicesDropdownFilter),
        ("legal_basis", ChoicesDropdownFilter),
    ]
    list_select_related = ["profile"]
    ordering = ["-pk"]
    sortable_by = []
    actions = None

    @display(description=_("state"), label=_COLOURS)
    def shown_state(self, answer: Consent | ConsentChange) -> tuple[str, str]:
        """A coloured chip."""
        return answer.state, answer.get_state_display()


@admin.register(Consent)
class ConsentAdmin(ImportLists, AnswersAdmin):
    imports = ListImport.Kind.CONSENTS
    change_list_template = "admin/crm/export/change_list.html"


admin.site.register(ConsentChange, AnswersAdmin)


@admin.register(ChannelTerms)
class ChannelTermsAdmin(ModelAdmin):
    list_display = ["name", "double_opt_in", "legal_basis"]
    list_empty = _("Without terms of its own a channel needs a yes that counts at once.")

    @display(description=_("channel"), ordering="channel")
    def name(self, terms: ChannelTerms) -> str:
        """As marketers know it."""
        return str(CHANNELS.get(terms.channel, terms.channel))

    def formfield_for_dbfield(self, db_field: models.Field, request: HttpRequest, **kwargs: Any) -> Any:
        """The channels there are."""
        if db_field.name == "channel":
            return forms.ChoiceField(
                label=_("Channel"), choices=CHANNELS.items(), widget=UnfoldAdminSelectWidget
            )
        return super().formfield_for_dbfield(db_field, request, **kwargs)


class SuppressionForm(forms.ModelForm):
    channel = forms.ChoiceField(
        label=_("Channel"),
        choices=[(Suppression.ALL, _("every channel")), *CHANNELS.items()],
        widget=UnfoldAdminSelectWidget,
    )

    def clean(self) -> dict[str, Any]:
        """The address as it is compared: emails in lower case, phone numbers as E.164."""
        cleaned = super().clean() or self.cleaned_data
        try:
            kept = suppressions.entry(cleaned.get("channel"), cleaned.get("address"), cleaned.get("reason"))
        except Rejection as rejection:
            self.add_error(rejection.field if rejection.field in self.fields else None, rejection.detail)
            return cleaned
        return cleaned | {"address": kept.address}


class SuppressionTable(Table):
    """The list of addresses nobody may write to."""

    class Meta:
        model = Suppression
        fields = export_order = ("channel", "address", "reason", "source", "created_at")


@admin.register(Suppression)
class SuppressionAdmin(ImportLists, Exports, BigTableAdmin):
    imports = ListImport.Kind.SUPPRESSIONS
    table = SuppressionTable
    export_permission = "crm.export_suppression"
    form = SuppressionForm
    list_display = ["address", "channel", "reason", "source", "created_at"]
    list_display_links = None
    search_fields = ["address__istartswith"]
    ordering = ["-pk"]
    sortable_by = []
    actions = ["delete_selected", "export_chosen"]
    list_empty = _(
        "Addresses that complained or must never be written to; no flow or broadcast reaches them."
    )
    fields = ["channel", "address", "reason"]
    formfield_overrides = {models.TextField: {"widget": UnfoldAdminTextInputWidget}}

    def get_search_fields(self, request: HttpRequest) -> list[str]:
        """Who may not see addresses may not try them either."""
        return self.search_fields if masking.sees_contacts(request.user) else []

    def has_export_permission(self, request: HttpRequest) -> bool:
        """All addresses are only for who may see them."""
        return super().has_export_permission(request) and masking.sees_contacts(request.user)

    def has_change_permission(self, request: HttpRequest, obj: models.Model | None = None) -> bool:
        """Nobody: remove it and add another."""
        return False

    def save_model(self, request: HttpRequest, obj: Suppression, form: forms.ModelForm, change: bool) -> None:
        """Note where it came from."""
        obj.source = "admin"
        super().save_model(request, obj, form, change)
