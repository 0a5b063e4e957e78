"""Sending rules: the account's, those of topics and messages, who would be held back now, and the emergency stop."""

from typing import Any

from django.contrib import admin, messages
from django.core.exceptions import PermissionDenied
from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404, redirect
from django.template.response import TemplateResponse
from django.urls import URLPattern, path, reverse
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy
from django.views.decorators.http import require_POST
from unfold.admin import ModelAdmin

from crm.models import Topic
from delivery.admin import rules_check
from delivery.admin.rules_forms import CapInline, HoursInline, PersonForm, RulesForm, StopForm, may_stop
from delivery.models import EmergencyStop, Message, SendingRules
from delivery.policies import approval, emergency, rules, wording
from delivery.policies.approval import ApprovalError

PAGE = "admin:delivery_sendingrules_changelist"
TEMPLATES = "admin/delivery/rules"
_NARROW = [
    (
        None,
        {
            "fields": [
                ("own_quiet", "own_windows"),
                ("only_own_caps", "when_capped"),
                ("collision", "collision_hours"),
                "adults_only",
            ]
        },
    )
]
_WIDE = [
    (None, {"fields": ["when_capped", ("collision", "collision_hours")]}),
    (gettext_lazy("Held out"), {"fields": ["global_holdout_percent"]}),
    (
        gettext_lazy("For adults only"),
        {
            "fields": [("adult_age", "skip_unknown_age")],
            "description": gettext_lazy("For the messages and topics that are marked so."),
        },
    ),
]


@admin.register(SendingRules)
class SendingRulesAdmin(ModelAdmin):
    """One page for all rules; a form for those of each level."""

    form = RulesForm
    inlines = [HoursInline, CapInline]
    warn_unsaved_form = True

    class Media:
        css = {"all": ["nudge/admin/rules.css"]}

    def get_urls(self) -> list[URLPattern]:
        """The switch, and the ways to the rules of a topic or message."""
        wrap = self.admin_site.admin_view
        own = [
            ("stop/", self.stop_view, "stop"),
            ("resume/", require_POST(self.resume_view), "resume"),
            ("of/<str:level>/<int:pk>/", require_POST(self.open_view), "open"),
            ("approve/<int:pk>/", require_POST(self.approve_view), "approve"),
            ("withdraw/<int:pk>/", require_POST(self.withdraw_view), "withdraw"),
        ]
        return [
            path(route, wrap(view), name=f"delivery_sendingrules_{name}") for route, view, name in own
        ] + super().get_urls()

    def has_add_permission(self, request: HttpRequest) -> bool:
        """They are made from the topic or message they are for."""
        return False

    def has_delete_permission(self, request: HttpRequest, obj: SendingRules | None = None) -> bool:
        """The account keeps its rules."""
        allowed = super().has_delete_permission(request, obj)
        return allowed and not (obj is not None and obj.level == "account")

    def get_fieldsets(self, request: HttpRequest, obj: SendingRules | None = None) -> Any:
        """What a level can say."""
        return _NARROW if obj is not None and obj.level != "account" else _WIDE

    def response_post_save_change(self, request: HttpRequest, obj: SendingRules) -> HttpResponse:
        """Back to the page, which says what now holds."""
        return redirect(PAGE)

    def changelist_view(self, request: HttpRequest, extra_context: Any = None) -> HttpResponse:
        """The page: what holds, for whom else, the switch, and a question about one person."""
        if not self.has_view_permission(request):
            raise PermissionDenied
        account = SendingRules.of_account()
        form, checks = None, None
        if request.user.has_perm("crm.view_profile"):
            asked = "person" in request.GET
            form = PersonForm(request.GET if asked else None)
            if asked and form.is_valid():
                found = form.cleaned_data
                checks = rules_check.checks(found["person"], found["message"], found["channel"])
        context = {
            **self.admin_site.each_context(request),
            "title": _("Sending rules"),
            "opts": self.opts,
            "account": account,
            "sentences": wording.sentences(rules.resolve(account, None, None)),
            "others": self._others(),
            "topics": Topic.objects.filter(sending_rules=None),
            "may_change": self.has_change_permission(request),
            "form": form,
            "checks": checks,
            "held": bool(checks) and not all(check.met for check in checks),
            **stop_state(request),
        }
        return TemplateResponse(request, f"{TEMPLATES}/page.html", context)

    def _others(self) -> list[dict[str, Any]]:
        """The rules of topics and messages, in sentences."""
        rows = (
            SendingRules.objects.exclude(topic=None, message=None)
            .select_related("topic", "message")
            .prefetch_related("hours", "caps")
            .order_by("topic__name", "message__name")
        )
        return [
            {
                "rules": row,
                "sentences": wording.sentences(
                    rules.resolve(None, row, None) if row.topic_id else rules.resolve(None, None, row)
                ),
            }
            for row in rows[:200]
        ]

    def stop_view(self, request: HttpRequest) -> HttpResponse:
        """Ask once more, then stop."""
        if not may_stop(request.user):
            raise PermissionDenied
        form = StopForm(request.POST if request.method == "POST" else None)
        if emergency.ALL in emergency.stopped():
            messages.info(request, _("Everything is stopped already."))
            return redirect(PAGE)
        if request.method == "POST" and form.is_valid():
            channel = form.cleaned_data["channel"]
            emergency.press(request, channel, form.cleaned_data["reason"])
            messages.warning(request, _("Stopped: %s. Nothing more leaves.") % emergency.words(channel))
            return redirect(PAGE)
        context = {
            **self.admin_site.each_context(request),
            "title": _("Stop sending?"),
            "opts": self.opts,
            "form": form,
            "back": reverse(PAGE),
        }
        return TemplateResponse(request, f"{TEMPLATES}/stop_page.html", context)

    def resume_view(self, request: HttpRequest) -> HttpResponse:
        """Let go on."""
        if not may_stop(request.user):
            raise PermissionDenied
        channel = request.POST.get("channel", "")
        if emergency.release(request, channel):
            messages.success(
                request, _("Going on: %s. What has expired is not sent any more.") % emergency.words(channel)
            )
        return redirect(PAGE)

    def open_view(self, request: HttpRequest, level: str, pk: int) -> HttpResponse:
        """The rules of a topic or message, made if there are none."""
        if not self.has_change_permission(request):
            raise PermissionDenied
        if level == "topic":
            row, made = SendingRules.objects.get_or_create(topic=get_object_or_404(Topic, pk=pk))
        elif level == "message":
            row, made = SendingRules.objects.get_or_create(message=get_object_or_404(Message, pk=pk))
        else:
            raise Http404
        if made:
            self.log_addition(request, row, [{"added": {}}])
        return redirect("admin:delivery_sendingrules_change", row.pk)

    def approve_view(self, request: HttpRequest, pk: int) -> HttpResponse:
        """Approve a message as part of a service."""
        message = get_object_or_404(Message, pk=pk)
        try:
            approval.approve(request, pk)
        except ApprovalError as error:
            messages.error(request, str(error))
        else:
            messages.success(request, _("Approved. Any change of the message takes the approval back."))
        return redirect("admin:delivery_message_change", message.pk)

    def withdraw_view(self, request: HttpRequest, pk: int) -> HttpResponse:
        """Take the approval back."""
        message = get_object_or_404(Message, pk=pk)
        if not request.user.has_perm(approval.PERMISSION):
            raise PermissionDenied
        if approval.withdraw(request, pk):
            messages.success(request, _("The approval was taken back."))
        return redirect("admin:delivery_message_change", message.pk)


def stop_state(request: HttpRequest) -> dict[str, Any]:
    """What the switch's panel shows, on the page of the rules and on the home: one query."""
    stops = [
        {"stop": stop, "what": emergency.words(stop.channel)}
        for stop in EmergencyStop.objects.select_related("pressed_by").order_by("channel")
    ]
    return {
        "stops": stops,
        "everything_stopped": any(row["stop"].channel == emergency.ALL for row in stops),
        "may_stop": may_stop(request.user),
    }
