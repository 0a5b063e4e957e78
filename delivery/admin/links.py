"""The settings of links: own short domain, what is counted, the words for the sites' own analytics."""

from typing import Any

from django import forms
from django.contrib import admin
from django.db import models
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect
from django.utils.translation import gettext_lazy as _
from unfold.admin import ModelAdmin
from unfold.widgets import UnfoldAdminTextareaWidget, UnfoldAdminTextInputWidget

from delivery import channels
from delivery.models import LinkSettings


class HostsField(forms.CharField):
    """Names of sites, one a line."""

    widget = UnfoldAdminTextareaWidget(attrs={"rows": 3, "dir": "ltr"})

    def prepare_value(self, value: Any) -> Any:
        return "\n".join(value) if isinstance(value, list) else value

    def to_python(self, value: Any) -> Any:
        if isinstance(value, list):
            return value
        return [line.strip() for line in str(value or "").replace(",", "\n").splitlines() if line.strip()]

    def has_changed(self, initial: Any, data: Any) -> bool:
        return self.to_python(initial) != self.to_python(data)


class LinkForm(forms.ModelForm):
    """The settings, with a box for each channel whose links can be counted."""

    class Meta:
        model = LinkSettings
        exclude: tuple[str, ...] = ()  # the admin names the fields

    own_hosts = HostsField(
        label=_("Own sites"),
        required=False,
        help_text=_(
            "One a line, such as example.com, with all that ends with it. Their links carry the words below."
        ),
    )
    untouched_hosts = HostsField(
        label=_("Links that open apps"),
        required=False,
        help_text=_(
            "One a line: sites whose links stay as they are, since a phone opens them in an app, and what addresses of"
            " your apps begin with, such as shop://, so that emails may lead there. Gmail follows links of sites only."
        ),
    )
    untracked_channels = forms.MultipleChoiceField(
        label=_("Do not count clicks in"),
        required=False,
        choices=lambda: [
            (kind, channel.label) for kind, channel in channels.everything().items() if channel.tracks_links
        ],
        widget=forms.CheckboxSelectMultiple,
    )


@admin.register(LinkSettings)
class LinkSettingsAdmin(ModelAdmin):
    form = LinkForm
    formfield_overrides = {models.TextField: {"widget": UnfoldAdminTextInputWidget}}
    fieldsets = [
        (None, {"fields": ["short_domain", "untracked_channels", "track_opens", "untouched_hosts"]}),
        (
            _("Words for your own analytics"),
            {"fields": ["own_hosts", ("utm_source", "utm_medium"), ("utm_campaign", "utm_content")]},
        ),
    ]

    def has_add_permission(self, request: HttpRequest) -> bool:
        """There is one."""
        return False

    def has_delete_permission(self, request: HttpRequest, obj: LinkSettings | None = None) -> bool:
        """There is always one."""
        return False

    def changelist_view(self, request: HttpRequest, extra_context: Any = None) -> HttpResponse:
        """Go straight to the one there is."""
        return redirect("admin:delivery_linksettings_change", 1)

    def get_object(self, request: HttpRequest, object_id: str, from_field: Any = None) -> LinkSettings | None:
        """The settings, also as long as nobody saved them."""
        return LinkSettings.load() if str(object_id) == "1" else None
