"""A topic's page, with the rules of sending that hold for it."""

from typing import Any

from django.contrib import admin
from django.http import HttpRequest
from django.utils.safestring import SafeString
from django.utils.translation import gettext_lazy as _
from unfold.decorators import display

from crm.admin.topics import TopicAdmin as PlainTopicAdmin
from crm.models import Topic
from delivery.admin import rule_section

admin.site.unregister(Topic)


@admin.register(Topic)
class TopicAdmin(PlainTopicAdmin):
    def get_fieldsets(self, request: HttpRequest, obj: Topic | None = None) -> Any:
        """The rules come last."""
        return [*super().get_fieldsets(request, obj), (_("Sending rules"), {"fields": ["what_holds"]})]

    def get_readonly_fields(self, request: HttpRequest, obj: Topic | None = None) -> list[str]:
        """They are changed on a page of their own."""
        return [*super().get_readonly_fields(request, obj), "what_holds"]

    @display(description=_("what holds"))
    def what_holds(self, topic: Topic) -> SafeString | str:
        """In sentences."""
        return rule_section.of_topic(topic)
