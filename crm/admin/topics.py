"""Topics: what people can take or leave, in the languages they read."""

from typing import Any

from django import forms
from django.conf import settings
from django.contrib import admin
from django.http import HttpRequest
from django.utils.translation import get_language_info
from django.utils.translation import gettext_lazy as _
from unfold.admin import ModelAdmin
from unfold.decorators import display
from unfold.widgets import UnfoldAdminTextareaWidget, UnfoldAdminTextInputWidget

from crm import topics
from crm.models import Topic

PARTS = {"name": topics.MAX_NAME, "description": topics.MAX_DESCRIPTION}


def languages() -> list[str]:
    """The languages of the preference page besides the usual one."""
    return [code for code, _name in settings.LANGUAGES if code != settings.LANGUAGE_CODE]


def _field(language: str, part: str) -> forms.CharField:
    name = get_language_info(language)["name_local"]
    label = _("Name (%s)") if part == "name" else _("Description (%s)")
    widget = UnfoldAdminTextInputWidget if part == "name" else UnfoldAdminTextareaWidget
    attrs = {"lang": language, "dir": "auto", **({} if part == "name" else {"rows": 2})}
    return forms.CharField(
        label=label % name, required=False, max_length=PARTS[part], widget=widget(attrs=attrs)
    )


class BaseTopicForm(forms.ModelForm):
    """A topic with a field for each translation; languages that have none stay as they are."""

    class Meta:
        model = Topic
        fields = (
            *("name", "slug", "description", "position", "shown"),
            *("needs_yes", "double_opt_in", "legal_basis"),
        )
        widgets = {
            "name": UnfoldAdminTextInputWidget(),
            "description": UnfoldAdminTextareaWidget(attrs={"rows": 2}),
        }

    def __init__(self, *args: Any, **kwargs: Any):
        super().__init__(*args, **kwargs)
        for language in languages():
            for part in PARTS:
                if (name := f"{part}_{language}") in self.fields:
                    self.fields[name].initial = self.instance.translations.get(language, {}).get(part, "")

    def clean(self) -> dict[str, Any]:
        """Put the translations together."""
        cleaned = super().clean() or self.cleaned_data
        translations = dict(self.instance.translations)
        for language in languages():
            words = {part: cleaned.get(f"{part}_{language}", "") for part in PARTS}
            translations[language] = {part: text for part, text in words.items() if text}
        self.instance.translations = {language: words for language, words in translations.items() if words}
        return cleaned


TopicForm = type(
    "TopicForm",
    (BaseTopicForm,),
    {f"{part}_{language}": _field(language, part) for language in languages() for part in PARTS},
)


@admin.register(Topic)
class TopicAdmin(ModelAdmin):
    form = TopicForm
    list_display = ["title", "position", "shown", "needs_yes", "double_opt_in", "legal_basis", "in_languages"]
    list_display_links = ["title"]
    search_fields = ["name", "slug"]
    prepopulated_fields = {"slug": ["name"]}
    warn_unsaved_form = True
    list_empty = _(
        "Give people something to choose from, such as news and offers: who may leave a topic stays reachable."
    )
    fieldsets = [
        (None, {"fields": [("name", "slug"), "description", ("position", "shown")]}),
        (_("Consent"), {"fields": [("needs_yes", "double_opt_in"), "legal_basis"]}),
        (
            _("Translations"),
            {"fields": [f"{part}_{language}" for language in languages() for part in PARTS]},
        ),
    ]

    @display(description=_("topic"), header=True, ordering="name")
    def title(self, topic: Topic) -> list[str]:
        """Name and short name."""
        return [topic.name, topic.slug]

    @display(description=_("translated into"))
    def in_languages(self, topic: Topic) -> str:
        """The languages it has a name in."""
        found = [code for code, words in sorted(topic.translations.items()) if words.get("name")]
        return ", ".join(found) or "–"

    def get_readonly_fields(self, request: HttpRequest, obj: Topic | None = None) -> list[str]:
        """A topic keeps its short name: messages and answers refer to it."""
        return ["slug"] if obj else []

    def get_prepopulated_fields(self, request: HttpRequest, obj: Topic | None = None) -> dict[str, Any]:
        """Only while it can be chosen."""
        return {} if obj else self.prepopulated_fields
