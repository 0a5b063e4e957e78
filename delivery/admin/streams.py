"""Event streams: which other systems are told of what happens, and how they take it."""

from typing import Any

from django import forms
from django.contrib import admin, messages
from django.core.exceptions import PermissionDenied
from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import redirect
from django.template.response import TemplateResponse
from django.urls import URLPattern, path
from django.utils.html import format_html
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy, ngettext
from unfold.admin import ModelAdmin
from unfold.decorators import display
from unfold.widgets import (
    UnfoldAdminCheckboxSelectMultipleWidget,
    UnfoldAdminSelectMultipleWidget,
    UnfoldAdminTextInputWidget,
    UnfoldBooleanSwitchWidget,
)

from crm import audit, masking
from delivery import streams, webhook_hosts
from delivery.models import EventStream, Message
from delivery.streams import told

SHOWN = 20  # calls
STYLES = {"active": "success", "failing": "danger", "paused": "warning"}


class StreamForm(forms.ModelForm):
    """Where to, and what of."""

    names = forms.MultipleChoiceField(
        label=gettext_lazy("Events"),
        choices=list(told.NAMES.items()),
        widget=UnfoldAdminCheckboxSelectMultipleWidget,
    )
    of_messages = forms.ModelMultipleChoiceField(
        Message.objects.order_by("name"),
        label=gettext_lazy("Only of these messages"),
        required=False,
        widget=UnfoldAdminSelectMultipleWidget,
        help_text=gettext_lazy("None chosen: of all messages."),
    )

    class Meta:
        model = EventStream
        fields = ("name", "url", "names", "api_only", "tells_numbers")
        labels = {"url": gettext_lazy("Address"), "tells_numbers": gettext_lazy("Tell customer numbers")}
        help_texts = {
            "url": gettext_lazy(
                "Is called with POST and JSON, such as https://shop.example.com/nudge/events."
            ),
            "api_only": gettext_lazy("Events that belong to no message are left out then."),
            "tells_numbers": gettext_lazy(
                "As external_id; without them people are told by Nudge's own number alone. Emails and phones are "
                "never told."
            ),
        }
        widgets = {
            "name": UnfoldAdminTextInputWidget(attrs={"autocomplete": "off"}),
            "url": UnfoldAdminTextInputWidget(attrs={"dir": "ltr", "autocomplete": "off"}),
            "api_only": UnfoldBooleanSwitchWidget(),
            "tells_numbers": UnfoldBooleanSwitchWidget(),
        }

    def __init__(self, *args: Any, **kwargs: Any):
        super().__init__(*args, **kwargs)
        self.url_before = self.instance.url
        if self.instance.pk:
            self.initial["of_messages"] = self.instance.message_ids
        if masking.hidden():  # a stream must not tell what its maker may not see
            del self.fields["tells_numbers"]

    def clean_url(self) -> str:
        """An address that may be called."""
        try:
            webhook_hosts.look_at(self.cleaned_data["url"])
        except webhook_hosts.BadAddress as error:
            raise forms.ValidationError(str(error)) from error
        return self.cleaned_data["url"]

    def filled(self) -> EventStream:
        """The stream as the form says, not stored."""
        stream = super().save(commit=False)
        chosen = {message.pk for message in self.cleaned_data["of_messages"]}
        gone = set(stream.message_ids) - set(Message.objects.values_list("pk", flat=True))
        # Were a deleted message dropped as the last one, the stream would tell of all of them.
        stream.message_ids = sorted(chosen or gone)
        if masking.hidden() and stream.url != self.url_before:
            stream.tells_numbers = False
        return stream


@admin.register(EventStream)
class EventStreamAdmin(ModelAdmin):
    list_display = ["title", "shown_state", "waits", "last_answer", "last_at"]
    list_display_links = ["title"]
    ordering = ["name"]
    sortable_by = ["title", "last_at"]
    actions = None
    list_empty = gettext_lazy(
        "A stream tells another system of messages that were sent, arrived or were opened, as it happens."
    )

    def get_queryset(self, request: HttpRequest) -> Any:
        """Without secrets, which no list shows."""
        return super().get_queryset(request).defer("secret")

    def get_urls(self) -> list[URLPattern]:
        """The buttons of a stream."""
        wrap = self.admin_site.admin_view
        names = {
            "pause": self.pause_view,
            "resume": self.resume_view,
            "secret": self.secret_view,
            "test": self.test_view,
        }
        return [
            *(
                path(f"<int:pk>/{name}/", wrap(view), name=f"delivery_eventstream_{name}")
                for name, view in names.items()
            ),
            *super().get_urls(),
        ]

    # --- List ------------------------------------------------------------------------------------------
    def changelist_view(self, request: HttpRequest, extra_context: dict[str, Any] | None = None) -> Any:
        """With what waits of all streams of this page, in one query."""
        response = super().changelist_view(request, extra_context)
        listed = getattr(response, "context_data", None) or {}
        if "cl" in listed:
            rows = list(listed["cl"].result_list)
            backlogs = streams.backlogs([row.pk for row in rows])
            for row in rows:
                row.backlog = backlogs[row.pk]
            listed["cl"].result_list = rows
        return response

    @display(description=gettext_lazy("event stream"), header=True, ordering="name")
    def title(self, stream: EventStream) -> list[Any]:
        """Its name and host."""
        return [stream.name, format_html('<bdi dir="ltr">{}</bdi>', _host(stream.url))]

    @display(description=gettext_lazy("state"), label=STYLES)
    def shown_state(self, stream: EventStream) -> tuple[str, str]:
        """A chip."""
        return stream.state, stream.get_state_display()

    @display(description=gettext_lazy("waiting"))
    def waits(self, stream: Any) -> str:
        """How many events wait in calls."""
        return _waiting(stream.backlog.events)

    @display(description=gettext_lazy("last answer"))
    def last_answer(self, stream: EventStream) -> Any:
        """What it said, or why it said nothing."""
        return stream.last_error or stream.last_status or "–"

    # --- Pages -----------------------------------------------------------------------------------------
    def add_view(self, request: HttpRequest, form_url: str = "", extra_context: Any = None) -> HttpResponse:
        """Make a stream; the answer itself shows its secret, for once."""
        if not self.has_add_permission(request):
            raise PermissionDenied
        form = StreamForm(request.POST or None)
        if request.method == "POST" and form.is_valid():
            stream = form.filled()
            secret = streams.create(stream)
            self.log_addition(request, stream, [{"added": {}}])
            return self._secret(request, stream, secret)
        return self._page(request, _("New event stream"), form=form)

    def change_view(
        self, request: HttpRequest, object_id: str, form_url: str = "", extra_context: Any = None
    ) -> HttpResponse:
        """How it does, its latest calls, and its settings for whoever may change them."""
        stream = self.get_object(request, object_id)
        if stream is None:
            raise Http404
        if not self.has_view_permission(request, stream):
            raise PermissionDenied
        form = None
        if self.has_change_permission(request, stream):
            form = StreamForm(request.POST or None, instance=stream)
            if request.method == "POST" and form.is_valid():
                streams.change(form.filled())
                self.log_change(request, stream, [{"changed": {"fields": sorted(form.changed_data)}}])
                messages.success(request, _("“%s” was saved.") % stream.name)
                return redirect("admin:delivery_eventstream_change", stream.pk)
        elif request.method == "POST":
            raise PermissionDenied
        fresh = self.get_object(request, object_id)  # a form that was refused has changed its own
        return self._page(
            request,
            fresh.name,
            form=form,
            stream=fresh,
            style=STYLES[fresh.state],
            waiting=_waiting(streams.backlogs([fresh.pk])[fresh.pk].events),
            unread=streams.unread(fresh.pk),
            calls=fresh.calls.defer("events").order_by("-pk")[:SHOWN],
            may_delete=self.has_delete_permission(request, fresh),
        )

    def delete_model(self, request: HttpRequest, obj: EventStream) -> None:
        """With its place in the log."""
        streams.remove(obj.pk)

    def _page(self, request: HttpRequest, title: str, **more: Any) -> TemplateResponse:
        context = {**self.admin_site.each_context(request), "opts": self.opts, "title": title, **more}
        return TemplateResponse(request, "admin/delivery/streams/page.html", context)

    def _secret(self, request: HttpRequest, stream: EventStream, secret: str) -> TemplateResponse:
        """The page that shows a secret for once: it is readable nowhere else, the session included."""
        audit.record(request, "event_stream_secret_made", stream)
        context = {
            **self.admin_site.each_context(request),
            "opts": self.opts,
            "title": _("Copy the secret now"),
            "stream": stream,
            "secret": secret,
        }
        response = TemplateResponse(request, "admin/delivery/streams/secret.html", context)
        response["Cache-Control"] = "no-store"
        return response

    # --- Buttons ---------------------------------------------------------------------------------------
    def pause_view(self, request: HttpRequest, pk: int) -> HttpResponse:
        """Make no more calls for now."""
        stream = self._posted(request, pk)
        streams.pause(pk)
        return self._told(request, stream, _("The stream is paused. What happens meanwhile waits."))

    def resume_view(self, request: HttpRequest, pk: int) -> HttpResponse:
        """Go on, with or without what happened meanwhile."""
        stream = self._posted(request, pk)
        streams.resume(pk, skip="skip" in request.POST)
        return self._told(request, stream, _("The stream goes on."))

    def secret_view(self, request: HttpRequest, pk: int) -> HttpResponse:
        """Make a new secret and show it for once."""
        stream = self._posted(request, pk)
        secret = streams.renew_secret(pk)
        self.log_change(request, stream, [{"changed": {"fields": ["secret"]}}])
        return self._secret(request, stream, secret)

    def test_view(self, request: HttpRequest, pk: int) -> HttpResponse:
        """Send a test event and tell what the receiver said."""
        stream = self._posted(request, pk)
        call = streams.try_out(stream)
        if call.error:
            messages.error(request, _("The test event was not taken: %s") % call.error)
        else:
            messages.success(request, _("The test event was taken (HTTP %d).") % call.status_code)
        return redirect("admin:delivery_eventstream_change", pk)

    def _told(self, request: HttpRequest, stream: EventStream, words: str) -> HttpResponse:
        self.log_change(request, stream, [{"changed": {"fields": ["state"]}}])
        messages.success(request, words)
        return redirect("admin:delivery_eventstream_change", stream.pk)

    def _posted(self, request: HttpRequest, pk: int) -> EventStream:
        stream = self.get_object(request, str(pk))
        if stream is None:
            raise Http404
        if request.method != "POST" or not self.has_change_permission(request, stream):
            raise PermissionDenied
        return stream


def _waiting(count: int) -> str:
    return ngettext("%d event", "%d events", count) % count


def _host(url: str) -> str:
    try:
        return webhook_hosts.look_at(url).origin.partition("//")[2]
    except webhook_hosts.BadAddress:
        return "–"
