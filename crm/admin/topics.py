"""Topics: what people can take or leave, in the languages they read."""

from typing import Any

from django.conf import settings
from django.contrib import admin
from django.http import HttpRequest
from django.utils.translation import gettext_lazy as _
from unfold.admin import ModelAdmin
from unfold.decorators import display
from unfold.widgets import UnfoldAdminTextareaWidget, UnfoldAdminTextInputWidget

from crm import topics
from crm.admin.translated import Part, TranslatedForm, with_fields
from crm.models import Topic

PARTS = {
    "name": Part(_("Name (%s)"), topics.MAX_NAME, long=False),
    "description": Part(_("Description (%s)"), topics.MAX_DESCRIPTION),
}


def languages() -> list[str]:
    """The languages of the preference page besides the usual one."""
    return [code for code, _name in settings.LANGUAGES if code != settings.LANGUAGE_CODE]


@with_fields
class TopicForm(TranslatedForm):
    """A topic with a field for each translation; languages that have none stay as they are."""

    store = "translations"
    parts = PARTS
    languages = languages()

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
