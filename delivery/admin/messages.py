"""Messages: what marketers write, with a preview as a real person."""

from typing import Any, NamedTuple

from django import forms
from django.contrib import admin, messages
from django.contrib.postgres.aggregates import ArrayAgg
from django.core.exceptions import PermissionDenied
from django.db import models
from django.db.models import Exists, OuterRef, QuerySet
from django.http import Http404, HttpRequest, HttpResponse, JsonResponse
from django.shortcuts import redirect
from django.template.response import TemplateResponse
from django.urls import URLPattern, path, reverse
from django.utils.translation import gettext
from django.utils.translation import gettext_lazy as _
from django.views.decorators.http import require_POST, require_safe
from unfold.admin import ModelAdmin
from unfold.decorators import action, display
from unfold.widgets import UnfoldAdminSelectWidget, UnfoldAdminTextInputWidget

from crm.admin.base import leave_dialog
from crm.models import Topic
from delivery import authoring, channels, copying, usage, versions
from delivery.admin import (
    contents,
    deleting,
    duplicating,
    fillins,
    preview,
    printing,
    rule_section,
    trying,
    version_pages,
    writing,
)
from delivery.models import Delivery, Message, MessageVersion


class MessageForm(forms.ModelForm):
    """A message, with the topics there are; one that is gone stays on offer where it is used."""

    class Meta:
        model = Message
        exclude: tuple[str, ...] = ()  # the admin names the fields

    topic = forms.ChoiceField(
        label=_("Topic"),
        required=False,
        widget=UnfoldAdminSelectWidget,
        help_text=_("People can leave a topic without leaving the channel."),
    )

    seen_version = forms.IntegerField(required=False, widget=forms.HiddenInput)

    def __init__(self, *args: Any, **kwargs: Any):
        super().__init__(*args, **kwargs)
        self.conflict: Conflict | None = None
        if "holdout_percent" in self.fields:
            self.fields["holdout_percent"].required = False
        if "topic" not in self.fields:  # for those who may only look
            return
        self.initial.setdefault("seen_version", self.instance.version)
        known = dict(Topic.objects.values_list("slug", "name"))
        used = self.instance.topic
        gone = [(used, used)] if used and used not in known else []
        self.fields["topic"].choices = [("", _("No topic")), *known.items(), *gone]

    def clean_holdout_percent(self) -> int:
        """Empty is nobody."""
        return self.cleaned_data["holdout_percent"] or 0

    def _post_clean(self) -> None:
        """With the limits that hold for messages however they are written."""
        super()._post_clean()
        for field, sentence in authoring.wrong_numbers(self.instance):
            if field in self.fields and field not in self.errors:
                self.add_error(field, sentence)

    def clean(self) -> dict[str, Any]:
        """Refuse to write over what somebody else saved since the page was opened; what was typed stays on the page."""
        cleaned = super().clean() or self.cleaned_data
        if self.instance.pk is None:
            return cleaned
        held = Message.objects.select_for_update().values_list("version", flat=True)
        self.instance.version = held.get(pk=self.instance.pk)
        seen = cleaned.pop("seen_version", None)
        if seen is not None and seen != self.instance.version:
            self.conflict = Conflict.since(self.instance, seen)
            self.data = self.data.copy()
            self.data[self.add_prefix("seen_version")] = str(self.instance.version)
            raise forms.ValidationError(
                _(
                    "Somebody else saved this message while you were writing. Nothing of yours is lost: look below."
                )
            )
        return cleaned


FIRST_VERSION = 1


class Conflict(NamedTuple):
    """What others saved since a page was opened."""

    latest: MessageVersion | None
    changes: list[versions.Change]

    @classmethod
    def since(cls, message: Message, seen: int) -> "Conflict":
        """Compare the version that a page was opened with to the present one."""
        seen = max(seen, FIRST_VERSION)  # what was there before versions were is the first of them
        found = {
            version.number: version
            for version in MessageVersion.objects.filter(
                message=message, number__in=[seen, message.version]
            ).select_related("saved_by")
        }
        before, after = found.get(seen), found.get(message.version)
        return cls(after, versions.changes(before.state, after.state) if before and after else [])


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
    readonly_fields = ["what_holds"]
    formfield_overrides = {models.TextField: {"widget": UnfoldAdminTextInputWidget}}
    actions_detail = ["send_test", "show_versions", "duplicate"]
    fieldsets = [
        (
            None,
            {
                "fields": [
                    ("name", "slug"),
                    ("topic", "expires_after_hours"),
                    ("important", "confirms"),
                    "seen_version",
                ]
            },
        ),
        (
            _("Sending rules"),
            {
                "fields": [
                    ("transactional", "adults_only"),
                    ("content_group", "tracking"),
                    "holdout_percent",
                    "what_holds",
                ],
                "classes": ["collapse"],
            },
        ),
        (
            _("Goal"),
            {"fields": [("goal_event", "goal_window_hours"), "goal_value_property"], "classes": ["collapse"]},
        ),
    ]

    def get_inlines(self, request: HttpRequest, obj: Message | None) -> list[Any]:
        """The variants, and an inline for each channel."""
        return [contents.VariantInline, *contents.inlines()]

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
            ", ".join(
                writing.name_of(locale) if locale else str(_("everybody"))
                for locale in message.locales
                if locale is not None
            )
            or "–"
        )

    @display(description=_("what holds"))
    def what_holds(self, message: Message) -> str:
        """The rules that decide when and how often it is sent, in words."""
        return rule_section.of_message(message, getattr(message, "seen_by", None))

    def get_object(self, request: HttpRequest, object_id: str, from_field: Any = None) -> Message | None:
        """With who looks at it: what a page offers depends on what they may do."""
        message = super().get_object(request, object_id, from_field)
        if message is not None:
            message.seen_by = request.user
        return message

    def get_readonly_fields(self, request: HttpRequest, obj: Message | None = None) -> Any:
        """The short name stays: flows, rules, programs and what was counted refer to it."""
        return [*self.readonly_fields, "slug"] if obj else self.readonly_fields

    def get_prepopulated_fields(self, request: HttpRequest, obj: Message | None = None) -> Any:
        """Only while the short name can be chosen."""
        return {} if obj else self.prepopulated_fields

    def get_deleted_objects(self, objs: Any, request: HttpRequest) -> Any:
        """What was sent, or is yet to be sent by something, stays, with a link to that; its words and versions go."""
        wanted = list(objs)
        sent = Exists(Delivery.objects.filter(message=OuterRef("pk")))
        known = Message.objects.filter(sent, pk__in=[message.pk for message in wanted])
        protected = [
            gettext("“%s” has been sent: reports and timelines need it.") % name
            for name in known.values_list("name", flat=True)
        ]
        protected += deleting.needed(usage.MESSAGE, wanted)
        names = [message.name for message in wanted]
        return names, {self.opts.verbose_name_plural: len(names)}, set(), protected

    def has_delete_permission(self, request: HttpRequest, obj: Message | None = None) -> bool:
        """Not when it has been sent to somebody: reports and timelines need it."""
        allowed = super().has_delete_permission(request, obj)
        return allowed and not (obj and Delivery.objects.filter(message=obj).exists())

    def get_urls(self) -> list[URLPattern]:
        """The parts of the page, before the pattern that takes every path for a number."""
        wrap = self.admin_site.admin_view
        return [
            path("preview/", wrap(require_POST(self.preview)), name="delivery_message_preview"),
            path("qr.svg", wrap(require_safe(self.qr)), name="delivery_message_qr"),
            path("fill-ins/", wrap(require_safe(self.fill_ins)), name="delivery_message_fill_ins"),
            path("<int:pk>/versions/", wrap(self.versions), name="delivery_message_versions"),
            *super().get_urls(),
        ]

    def render_change_form(
        self, request: HttpRequest, context: dict[str, Any], *args: Any, **kwargs: Any
    ) -> Any:
        """Add what writing needs."""
        message = kwargs.get("obj")
        if not message or self.has_change_permission(request, message):
            context |= writing.context(message)
            context["conflict"] = getattr(context["adminform"].form, "conflict", None)
        return super().render_change_form(request, context, *args, **kwargs)

    def save_model(self, request: HttpRequest, obj: Message, form: Any, change: bool) -> None:
        """Keep what was there before versions were."""
        if change and not obj.version:
            before = Message.objects.get(pk=obj.pk)
            versions.keep(before)
            obj.version = before.version
        if "transactional" in form.changed_data:
            rule_section.marked(obj, request.user)
        super().save_model(request, obj, form, change)

    def save_related(self, request: HttpRequest, form: Any, formsets: Any, change: bool) -> None:
        """Keep this version."""
        super().save_related(request, form, formsets, change)
        versions.keep(form.instance, request.user)

    def preview(self, request: HttpRequest) -> HttpResponse:
        """The message as it is in the form, as the chosen person would see it."""
        self._check_writer(request)
        context = preview.context(request.POST)
        return TemplateResponse(request, "admin/delivery/message/preview.html", context)

    def qr(self, request: HttpRequest) -> HttpResponse:
        """A link of the message as a QR code."""
        self._check_writer(request)
        return printing.picture(request)

    def fill_ins(self, request: HttpRequest) -> HttpResponse:
        """What fits what was typed behind `{{` or `|`, as JSON."""
        self._check_writer(request)
        asked = {name: request.GET.get(name, "").replace("\x00", "")[:200] for name in ("q", "kind", "event")}
        found = fillins.offers(asked["q"], asked["kind"] or "value", asked["event"])
        return JsonResponse({"offers": [offer._asdict() for offer in found]})

    def versions(self, request: HttpRequest, pk: int) -> HttpResponse:
        """The versions of a message, what changed in one, and the way back to it."""
        message = self.get_object(request, str(pk))
        if message is None:
            raise Http404
        if not self.has_view_permission(request, message):
            raise PermissionDenied
        return version_pages.respond(self, request, message)

    def _check_writer(self, request: HttpRequest) -> None:
        if not (self.has_change_permission(request) or self.has_add_permission(request)):
            raise PermissionDenied

    @action(description=_("Versions"), icon="history", url_path="show-versions", permissions=["view"])
    def show_versions(self, request: HttpRequest, object_id: int) -> HttpResponse:
        """Go to the list of versions."""
        return redirect("admin:delivery_message_versions", object_id)

    def has_duplicate_permission(self, request: HttpRequest, object_id: Any = None) -> bool:
        """Whoever may write another one."""
        return self.has_add_permission(request)

    @action(
        description=_("Duplicate"),
        icon="content_copy",
        url_path="duplicate",
        permissions=["duplicate"],
        dialog={
            "title": _("Duplicate the message?"),
            "description": _(
                "A message of its own with the same words and variants. Sending rules and an approval are not copied."
            ),
            "form_class": duplicating.DuplicateForm,
            "form_submit_text": _("Duplicate"),
        },
    )
    def duplicate(
        self, request: HttpRequest, form: duplicating.DuplicateForm, object_id: int
    ) -> HttpResponse:
        """Make another message of it, as it was saved, and open that."""
        message = self.get_object(request, object_id)
        if message is None or not self.has_view_permission(request, message):
            raise PermissionDenied
        try:
            copy = copying.duplicate(message, form.cleaned_data["copy_name"], request.user)
        except authoring.Refused as error:
            messages.error(request, " ".join(sentence for _place, _field, sentence in error.problems))
            return leave_dialog(request, reverse("admin:delivery_message_change", args=[message.pk]))
        self.log_addition(request, copy, gettext("Copied from “%s”.") % message.name)
        messages.success(request, gettext("This is the copy; change what is to differ."))
        return leave_dialog(request, reverse("admin:delivery_message_change", args=[copy.pk]))

    @action(
        description=_("Send a test"),
        icon="send",
        url_path="test",
        permissions=["change"],
        dialog={
            "title": _("Send a test"),
            "description": _(
                "The saved message, filled in for this person. It is marked as a test and counts in no report."
            ),
            "form_class": trying.TestForm,
            "form_submit_text": _("Send"),
        },
    )
    def send_test(self, request: HttpRequest, form: trying.TestForm, object_id: int) -> HttpResponse:
        """Queue it like any other message, and show what becomes of it."""
        message = self.get_object(request, object_id)
        if message is None or not self.has_change_permission(request, message):
            raise PermissionDenied
        delivery = trying.send(message, form.cleaned_data)
        messages.success(request, _("The test to %s is on its way.") % form.recipient)
        return leave_dialog(request, reverse("admin:delivery_delivery_change", args=[delivery.pk]))
