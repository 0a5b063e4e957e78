"""Snippets: texts that messages share, in each language, with what uses them."""

from typing import Any

from django import forms
from django.contrib import admin, messages
from django.db.models import QuerySet
from django.forms.models import BaseInlineFormSet
from django.http import HttpRequest
from django.utils.html import format_html, format_html_join
from django.utils.safestring import SafeString
from django.utils.translation import gettext, ngettext
from django.utils.translation import gettext_lazy as _
from unfold.admin import ModelAdmin, StackedInline
from unfold.decorators import display
from unfold.widgets import UnfoldAdminTextareaWidget, UnfoldAdminTextInputWidget

from delivery.admin import writing
from delivery.admin.contents import LocaleField
from delivery.content import liquid, snippets
from delivery.models import Snippet, SnippetText


class TextForm(forms.ModelForm):
    """One language's words."""

    locale = LocaleField(
        label=_("Language"), required=False, help_text=_("Empty: for everybody without a better match.")
    )

    class Meta:
        model = SnippetText
        fields = ["locale", "text"]
        widgets = {"text": UnfoldAdminTextareaWidget(attrs={"rows": 4, "dir": "auto"})}

    def clean_text(self) -> str:
        """A text that can be filled in, and that holds no other snippet."""
        text = self.cleaned_data["text"]
        if snippets.named([text]):
            raise forms.ValidationError(gettext("A snippet can't hold another one."))
        try:
            liquid.parse(text, html=True)
        except liquid.TemplateError as error:
            raise forms.ValidationError(str(error)) from error
        return text


class TextFormSet(BaseInlineFormSet):
    def clean(self) -> None:
        """One text per language."""
        super().clean()
        seen: set[str] = set()
        for form in self.forms:
            if not hasattr(form, "cleaned_data") or form.cleaned_data.get("DELETE"):
                continue
            locale = form.cleaned_data.get("locale", "")
            if locale in seen and (form.has_changed() or form.instance.pk):
                form.add_error("locale", gettext("There is a text for this language already."))
            seen.add(locale)


class TextInline(StackedInline):
    model = SnippetText
    form, formset = TextForm, TextFormSet
    extra, min_num = 0, 1
    verbose_name, verbose_name_plural = _("language"), _("Texts")
    ordering = ("locale",)


@admin.register(Snippet)
class SnippetAdmin(ModelAdmin):
    list_display = ["title", "languages", "used", "updated_at"]
    list_display_links = ["title"]
    search_fields = ["name", "slug", "texts__text"]
    sortable_by = ["title", "updated_at"]
    inlines = [TextInline]
    fields = ["name", "slug", "used_by"]
    show_full_result_count = False
    warn_unsaved_form = True
    list_empty = _("Write once what many messages say, such as the foot of your emails.")

    def formfield_for_dbfield(self, db_field: Any, request: HttpRequest, **kwargs: Any) -> Any:
        """Names fit on a line."""
        if db_field.name in ("name", "slug"):
            kwargs["widget"] = UnfoldAdminTextInputWidget
        return super().formfield_for_dbfield(db_field, request, **kwargs)

    def get_queryset(self, request: HttpRequest) -> QuerySet:
        """With their texts, and what uses them looked up once."""
        request.snippet_uses = snippets.uses()
        self._uses = request.snippet_uses
        return super().get_queryset(request).prefetch_related("texts")

    def get_readonly_fields(self, request: HttpRequest, obj: Snippet | None = None) -> list[str]:
        """The short name of one that is used stays: messages name it."""
        return ["used_by", "slug"] if obj and snippets.uses().get(obj.slug) else ["used_by"]

    @display(description=_("snippet"), header=True, ordering="name")
    def title(self, snippet: Snippet) -> list[str]:
        """Name, and how messages call it."""
        return [snippet.name, f"{{{{ snippets.{snippet.slug} }}}}"]

    @display(description=_("languages"))
    def languages(self, snippet: Snippet) -> str:
        """Languages it is written in."""
        return (
            ", ".join(
                sorted(
                    writing.name_of(text.locale) if text.locale else gettext("everybody")
                    for text in snippet.texts.all()
                )
            )
            or "–"
        )

    @display(description=_("used by"))
    def used(self, snippet: Snippet) -> str:
        """How many messages use it."""
        count = len(self._uses.get(snippet.slug, ()))
        return ngettext("%d message", "%d messages", count) % count if count else "–"

    @display(description=_("Used by"))
    def used_by(self, snippet: Snippet) -> SafeString | str:
        """The messages that use it, with links."""
        uses = snippets.uses().get(snippet.slug, []) if snippet.pk else []
        if not uses:
            return gettext("Nothing yet.")
        items = format_html_join(
            "", '<li><a class="text-link" href="{}">{}</a></li>', ((use.url, use.text) for use in uses)
        )
        return format_html("<ul>{}</ul>", items)

    def has_delete_permission(self, request: HttpRequest, obj: Snippet | None = None) -> bool:
        """Not while messages use it: they could not be sent any more."""
        allowed = super().has_delete_permission(request, obj)
        return allowed and not (obj and snippets.uses().get(obj.slug))

    def delete_queryset(self, request: HttpRequest, queryset: QuerySet) -> None:
        """Delete those that nothing uses, and say which stay."""
        uses = snippets.uses()
        kept = [snippet.name for snippet in queryset if uses.get(snippet.slug)]
        if kept:
            messages.warning(request, gettext("Messages still use: %s") % ", ".join(kept))
        queryset.exclude(slug__in=list(uses)).delete()
