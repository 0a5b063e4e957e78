"""The brand kit: how the company presents itself in all it sends."""

from typing import Any

from django import forms
from django.contrib import admin
from django.db import models
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy
from unfold.admin import ModelAdmin
from unfold.widgets import (
    UnfoldAdminIntegerFieldWidget,
    UnfoldAdminSelectWidget,
    UnfoldAdminTextareaWidget,
    UnfoldAdminTextInputWidget,
)

from delivery.content.brand import NETWORKS
from delivery.models import BrandKit
from delivery.models.brand import check_address
from delivery.preferences import colours

PALETTE = ("accent", "text_colour", "background", "surface")
NARROWEST, WIDEST = 24, 600  # pixels of a logo


class BrandForm(forms.ModelForm):
    """The kit, with a field for each social network."""

    class Meta:
        model = BrandKit
        fields = [
            *("company_name", "postal_address", "website", "logo_url", "logo_width"),
            *PALETTE,
            *("heading_font", "body_font", "sender_name", "sender_email", "reply_to"),
        ]
        widgets = {
            "postal_address": UnfoldAdminTextareaWidget(attrs={"rows": 3, "dir": "auto"}),
            "logo_width": UnfoldAdminIntegerFieldWidget(attrs={"min": NARROWEST, "max": WIDEST}),
            "heading_font": UnfoldAdminSelectWidget,
            "body_font": UnfoldAdminSelectWidget,
            **{name: forms.TextInput(attrs={"type": "color", "class": "brand-colour"}) for name in PALETTE},
        }

    def __init__(self, *args: Any, **kwargs: Any):
        super().__init__(*args, **kwargs)
        for name in NETWORKS:
            if f"social_{name}" in self.fields:
                self.initial.setdefault(f"social_{name}", (self.instance.social_links or {}).get(name, ""))

    def clean_logo_width(self) -> int:
        """What fits into an email."""
        width: int = self.cleaned_data["logo_width"]
        if not NARROWEST <= width <= WIDEST:
            raise forms.ValidationError(
                _("From %(least)d to %(most)d pixels.") % {"least": NARROWEST, "most": WIDEST}
            )
        return width

    def clean(self) -> dict[str, Any]:
        """Check the networks' addresses, and that texts can be read (WCAG 2.2, 1.4.3)."""
        cleaned = super().clean() or self.cleaned_data
        for name in NETWORKS:
            try:
                check_address(cleaned.get(f"social_{name}", ""))
            except forms.ValidationError as error:
                self.add_error(f"social_{name}", error)
        text, surface = cleaned.get("text_colour"), cleaned.get("surface")
        if text and surface:
            ratio = colours.contrast(text.lower(), surface.lower())
            if ratio < colours.ENOUGH:
                self.add_error(
                    "text_colour",
                    _(
                        "This is hard to read: its contrast to what is behind is %(ratio).1f to 1, and 4.5 is needed."
                    )
                    % {"ratio": ratio},
                )
        return cleaned

    def save(self, commit: bool = True) -> Any:
        """Keep the networks that were filled in."""
        self.instance.social_links = {
            name: url for name in NETWORKS if (url := self.cleaned_data.get(f"social_{name}", "").strip())
        }
        return super().save(commit)


for _name, _label in NETWORKS.items():
    BrandForm.base_fields[f"social_{_name}"] = BrandForm.declared_fields[f"social_{_name}"] = forms.CharField(
        label=_label, required=False, max_length=500, widget=UnfoldAdminTextInputWidget(attrs={"dir": "ltr"})
    )


@admin.register(BrandKit)
class BrandAdmin(ModelAdmin):
    form = BrandForm
    formfield_overrides = {models.TextField: {"widget": UnfoldAdminTextInputWidget}}
    fieldsets = [
        (None, {"fields": [("company_name", "website"), "postal_address", ("logo_url", "logo_width")]}),
        (gettext_lazy("Looks"), {"fields": [PALETTE[:2], PALETTE[2:], ("heading_font", "body_font")]}),
        (gettext_lazy("Sender"), {"fields": [("sender_name", "sender_email"), "reply_to"]}),
        (
            gettext_lazy("Social networks"),
            {"fields": [f"social_{name}" for name in NETWORKS], "classes": ["collapse"]},
        ),
    ]

    def has_add_permission(self, request: HttpRequest) -> bool:
        """There is one."""
        return False

    def has_delete_permission(self, request: HttpRequest, obj: BrandKit | None = None) -> bool:
        """There is always one."""
        return False

    def changelist_view(self, request: HttpRequest, extra_context: Any = None) -> HttpResponse:
        """Go straight to the one there is."""
        return redirect("admin:delivery_brandkit_change", 1)

    def get_object(self, request: HttpRequest, object_id: str, from_field: Any = None) -> BrandKit | None:
        """The kit, also as long as nobody saved it."""
        return BrandKit.load() if str(object_id) == "1" else None
