"""The looks of the preference page, a preview of it in each language, and the way to a person's own page."""

from typing import Any

from django import forms
from django.conf import settings
from django.contrib import admin
from django.core.exceptions import PermissionDenied
from django.db import models
from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404, redirect
from django.urls import URLPattern, path, reverse
from django.utils import translation
from django.utils.html import format_html, format_html_join
from django.utils.translation import get_language_info, gettext_lazy
from django.utils.translation import gettext as _
from django.views.decorators.http import require_POST, require_safe
from unfold.admin import ModelAdmin
from unfold.decorators import display
from unfold.widgets import UnfoldAdminTextInputWidget

from crm import audit
from crm.admin.translated import Part, TranslatedForm, with_fields
from crm.models import Profile
from delivery.models import PreferencePage
from delivery.preferences import choices, colours, links, views

MAX_LOGO = 300 * 1024  # bytes
# The first bytes of pictures that can hold no script (WHATWG MIME Sniffing, section 6.1).
_PICTURES = {
    b"\x89PNG\r\n\x1a\n": "image/png",
    b"\xff\xd8\xff": "image/jpeg",
    b"GIF8": "image/gif",
}
TEXTS = {
    "title": Part(gettext_lazy("Heading (%s)"), 120, long=False),
    "intro": Part(gettext_lazy("Introduction (%s)"), 1000),
    "goodbye": Part(gettext_lazy("After unsubscribing (%s)"), 1000),
    "footer": Part(gettext_lazy("Imprint at the foot (%s)"), 2000),
}


def languages() -> list[str]:
    """The languages of the page."""
    return [code for code, _name in settings.LANGUAGES]


@with_fields
class LooksForm(TranslatedForm):
    """The looks, with a field for each text in each language."""

    store = "texts"
    parts = TEXTS
    languages = languages()

    logo_file = forms.FileField(
        label=gettext_lazy("Logo"),
        required=False,
        widget=forms.ClearableFileInput(attrs={"accept": "image/png,image/jpeg,image/gif,image/webp"}),
        help_text=gettext_lazy("PNG, JPEG, GIF or WebP of at most 300 KB."),
    )
    website = forms.URLField(
        label=gettext_lazy("Website"),
        required=False,
        max_length=500,
        assume_scheme="https",
        widget=UnfoldAdminTextInputWidget,
    )
    logo_url = forms.URLField(
        label=gettext_lazy("Address of the logo"),
        required=False,
        max_length=500,
        assume_scheme="https",
        widget=UnfoldAdminTextInputWidget,
        help_text=gettext_lazy("Instead of a file."),
    )
    no_logo = forms.BooleanField(label=gettext_lazy("Remove the logo"), required=False)

    class Meta:
        model = PreferencePage
        fields = ("name", "website", "logo_url", "accent")

    def clean_accent(self) -> str:
        """A colour that people can read as a link on the white page (WCAG 2.2, 1.4.3)."""
        accent = self.cleaned_data["accent"].strip().lower()
        if not colours.is_colour(accent):
            raise forms.ValidationError(_("Write a colour such as #4338ca."))
        ratio = colours.contrast(accent, colours.WHITE)
        if ratio < colours.ENOUGH:
            raise forms.ValidationError(
                _(
                    "This is too pale to be read on white: its contrast is %(ratio).1f to 1, and 4.5 is needed."
                )
                % {"ratio": ratio}
            )
        return accent

    def clean_logo_url(self) -> str:
        """Only over HTTPS: the page is."""
        url = self.cleaned_data["logo_url"]
        if url and not url.startswith("https://"):
            raise forms.ValidationError(_("Begin with https://."))
        return url

    def clean_logo_file(self) -> Any:
        """A picture, and no other file under its name."""
        sent = self.cleaned_data["logo_file"]
        if not sent:
            return None
        if sent.size > MAX_LOGO:
            raise forms.ValidationError(_("The picture is larger than 300 KB."))
        content = sent.read()
        kind = next((kind for start, kind in _PICTURES.items() if content.startswith(start)), "")
        if content[:4] == b"RIFF" and content[8:12] == b"WEBP":
            kind = "image/webp"
        if not kind:
            raise forms.ValidationError(_("This is no PNG, JPEG, GIF or WebP picture."))
        return content, kind

    def clean(self) -> dict[str, Any]:
        """Put logo and texts together."""
        cleaned = super().clean()
        if cleaned.get("logo_file"):
            self.instance.logo, self.instance.logo_type = cleaned["logo_file"]
        elif cleaned.get("no_logo"):
            self.instance.logo, self.instance.logo_type = None, ""
        return cleaned


@admin.register(PreferencePage)
class PreferencePageAdmin(ModelAdmin):
    form = LooksForm
    warn_unsaved_form = True
    readonly_fields = ["previews"]
    formfield_overrides = {models.TextField: {"widget": UnfoldAdminTextInputWidget}}
    fieldsets = [
        (
            None,
            {"fields": [("name", "website"), ("logo_file", "no_logo"), ("logo_url", "accent"), "previews"]},
        ),
        *(
            (get_language_info(language)["name_local"], {"fields": [f"{part}_{language}" for part in TEXTS]})
            for language in languages()
        ),
    ]

    def has_add_permission(self, request: HttpRequest) -> bool:
        """There is one, and it is made when it is first looked at."""
        return False

    def has_delete_permission(self, request: HttpRequest, obj: PreferencePage | None = None) -> bool:
        """Nobody: people need the page."""
        return False

    def get_urls(self) -> list[URLPattern]:
        """The previews, and the way to a person's page."""
        wrap = self.admin_site.admin_view
        return [
            path(
                "preview/<str:language>/",
                wrap(require_safe(self.preview_view)),
                name="delivery_preferencepage_preview",
            ),
            path(
                "open/<int:pk>/",
                wrap(require_POST(self.open_view)),
                name="delivery_preferencepage_open",
            ),
            *super().get_urls(),
        ]

    def changelist_view(self, request: HttpRequest, extra_context: Any = None) -> HttpResponse:
        """To the one there is."""
        if not self.has_view_permission(request):
            raise PermissionDenied
        looks, _made = PreferencePage.objects.get_or_create(only=True)
        return redirect("admin:delivery_preferencepage_change", looks.pk)

    @display(description=gettext_lazy("preview"))
    def previews(self, looks: PreferencePage) -> str:
        """A link for each language; they show what was saved."""
        return format_html(
            "{}<p>{}</p>",
            format_html_join(
                " · ",
                '<a class="text-link" href="{}" target="_blank" rel="noopener" lang="{}">{}</a>',
                (
                    (
                        reverse("admin:delivery_preferencepage_preview", args=[code]),
                        code,
                        get_language_info(code)["name_local"],
                    )
                    for code in languages()
                ),
            ),
            _("As saved, for an example of a person."),
        )

    def preview_view(self, request: HttpRequest, language: str) -> HttpResponse:
        """The page as people see it in a language."""
        if not self.has_view_permission(request):
            raise PermissionDenied
        if language not in languages():
            raise Http404
        with translation.override(language):
            offer = choices.example(language)
            return views.page(request, "page", preview=True, **views.form(offer, None))

    def open_view(self, request: HttpRequest, pk: int) -> HttpResponse:
        """A person's own page, for who may change what people want; what is done there is recorded as ours."""
        if not request.user.has_perm("crm.change_preference"):
            raise PermissionDenied
        profile = get_object_or_404(Profile, pk=pk)
        audit.record(request, "preferences.opened", profile)
        return redirect(links.for_staff(profile.pk))
