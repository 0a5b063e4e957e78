"""Messages: what marketers write, with a preview as a real person."""

import uuid
from typing import Any

from django import forms
from django.contrib import admin, messages
from django.contrib.postgres.aggregates import ArrayAgg
from django.core.exceptions import PermissionDenied
from django.db import models, transaction
from django.db.models import QuerySet
from django.http import HttpRequest, HttpResponse
from django.template.response import TemplateResponse
from django.urls import URLPattern, path, reverse
from django.utils.translation import gettext_lazy as _
from django.views.decorators.http import require_POST
from unfold.admin import ModelAdmin
from unfold.decorators import action, display
from unfold.forms import BaseDialogForm
from unfold.widgets import UnfoldAdminSelectWidget, UnfoldAdminTextInputWidget

from crm.admin.base import leave_dialog
from crm.models import Topic
from delivery import channels, outbox
from delivery.admin import contents, people, preview
from delivery.models import Delivery, Message


class TestForm(BaseDialogForm):
    """Whom to send a test to."""

    person = forms.CharField(
        label=_("To"),
        widget=UnfoldAdminTextInputWidget,
        help_text=_("Email, phone or customer number of a person with a browser that has subscribed."),
    )
    channel = forms.ChoiceField(label=_("By"), widget=UnfoldAdminSelectWidget)

    def __init__(self, request: HttpRequest, object_id: int | str | None = None, *args: Any, **kwargs: Any):
        kwargs.setdefault("initial", {"person": getattr(request.user, "email", "")})
        super().__init__(request, object_id, *args, **kwargs)
        self.fields["channel"].choices = [
            (kind, channel.label) for kind, channel in channels.everything().items() if channel.listed
        ]

    def clean_person(self) -> Any:
        """Return the profile."""
        found = people.find(self.cleaned_data["person"])
        if found is None:
            raise forms.ValidationError(_("Nobody is known by this."))
        return found


class MessageForm(forms.ModelForm):
    """A message, with the topics there are; one that is gone stays on offer where it is used."""

    topic = forms.ChoiceField(
        label=_("Topic"),
        required=False,
        widget=UnfoldAdminSelectWidget,
        help_text=_("People can leave a topic without leaving the channel."),
    )

    def __init__(self, *args: Any, **kwargs: Any):
        super().__init__(*args, **kwargs)
        if "topic" not in self.fields:  # for those who may only look
            return
        known = dict(Topic.objects.values_list("slug", "name"))
        used = self.instance.topic
        gone = [(used, used)] if used and used not in known else []
        self.fields["topic"].choices = [("", _("No topic")), *known.items(), *gone]


@admin.register(Message)
class MessageAdmin(ModelAdmin):
    form = MessageForm
    list_display = ["title", "by", "languages", "topic", "goal_event", "updated_at"]
    list_display_links = ["title"]
    search_fields = ["name", "slug"]
    sortable_by = ["title", "topic", "updated_at"]
    show_full_result_count = False
    list_per_page = 50
    warn_unsaved_form = True
    list_empty = _(
        "Write what people get, in as many languages as they speak; flows and broadcasts then send it."
    )
    prepopulated_fields = {"slug": ["name"]}
    change_form_template = "admin/delivery/message/change_form.html"
    formfield_overrides = {models.TextField: {"widget": UnfoldAdminTextInputWidget}}
    actions_detail = ["send_test"]
    fieldsets = [
        (None, {"fields": [("name", "slug"), ("topic", "expires_after_hours"), ("important", "confirms")]}),
        (
            _("Goal"),
            {"fields": [("goal_event", "goal_window_hours"), "goal_value_property"], "classes": ["collapse"]},
        ),
    ]

    def get_inlines(self, request: HttpRequest, obj: Message | None) -> list[Any]:
        """An inline for each channel."""
        return contents.inlines()

    def get_queryset(self, request: HttpRequest) -> QuerySet:
        """With channels and languages, in one query."""
        return (
            super()
            .get_queryset(request)
            .annotate(
                kinds=ArrayAgg("contents__channel", distinct=True, default=[]),
                locales=ArrayAgg("contents__locale", distinct=True, default=[]),
            )
        )

    @display(description=_("message"), header=True, ordering="name")
    def title(self, message: Message) -> list[str]:
        """Name and short name."""
        return [message.name, message.slug]

    @display(description=_("by"))
    def by(self, message: Message) -> str:
        """Channels it is written for."""
        known = channels.everything()
        return (
            ", ".join(str(known[kind].label) if kind in known else kind for kind in message.kinds if kind)
            or "–"
        )

    @display(description=_("languages"))
    def languages(self, message: Message) -> str:
        """Languages it is written in."""
        return (
            ", ".join(locale or str(_("everybody")) for locale in message.locales if locale is not None)
            or "–"
        )

    def has_delete_permission(self, request: HttpRequest, obj: Message | None = None) -> bool:
        """Not when it has been sent to somebody: reports and timelines need it."""
        allowed = super().has_delete_permission(request, obj)
        return allowed and not (obj and Delivery.objects.filter(message=obj).exists())

    def get_urls(self) -> list[URLPattern]:
        """The preview, before the pattern that takes every path for a number."""
        view = self.admin_site.admin_view(require_POST(self.preview))
        return [path("preview/", view, name="delivery_message_preview"), *super().get_urls()]

    def render_change_form(
        self, request: HttpRequest, context: dict[str, Any], *args: Any, **kwargs: Any
    ) -> Any:
        """Add what the preview pane needs."""
        if not kwargs.get("obj") or self.has_change_permission(request, kwargs["obj"]):
            context["preview_people"] = people.suggestions()
            context["preview_url"] = reverse("admin:delivery_message_preview")
        return super().render_change_form(request, context, *args, **kwargs)

    def preview(self, request: HttpRequest) -> HttpResponse:
        """The message as it is in the form, as the chosen person would see it."""
        if not (self.has_change_permission(request) or self.has_add_permission(request)):
            raise PermissionDenied
        context = preview.context(request.POST)
        return TemplateResponse(request, "admin/delivery/message/preview.html", context)

    @action(
        description=_("Send a test"),
        icon="send",
        url_path="test",
        permissions=["change"],
        dialog={
            "title": _("Send a test"),
            "description": _(
                "The saved message, filled in for this person. They must have agreed to the channel."
            ),
            "form_class": TestForm,
            "form_submit_text": _("Send"),
        },
    )
    def send_test(self, request: HttpRequest, form: TestForm, object_id: int) -> HttpResponse:
        """Queue it like any other message, and show what becomes of it."""
        message = self.get_object(request, object_id)
        if message is None or not self.has_change_permission(request, message):
            raise PermissionDenied
        profile, cause = form.cleaned_data["person"], f"test:{uuid.uuid4()}"
        event = people.data_for(profile).get("event")
        with transaction.atomic():
            outbox.queue(
                [
                    outbox.DeliveryRequest(
                        cause=cause,
                        message_id=message.pk,
                        profile_id=profile.pk,
                        channel=form.cleaned_data["channel"],
                        origin_type=Delivery.Origin.TEST,
                        context={"event": event} if event else {},
                    )
                ]
            )
            delivery = Delivery.objects.get(cause=cause)
        messages.success(request, _("The test to %s is on its way.") % profile.display_name)
        return leave_dialog(request, reverse("admin:delivery_delivery_change", args=[delivery.pk]))
