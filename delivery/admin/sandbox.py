"""The sandbox's phone and mailbox: what nobody got, as it would look, and buttons that make the provider report."""

from typing import Any

from django.contrib import admin, messages
from django.core.exceptions import PermissionDenied
from django.db import transaction
from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import redirect
from django.template.loader import render_to_string
from django.template.response import TemplateResponse
from django.urls import URLPattern, path, reverse
from django.utils import timezone
from django.utils.http import url_has_allowed_host_and_scheme
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy
from unfold.admin import ModelAdmin

from crm import app_devices, audit, masking
from crm.admin.base import ReadOnly
from delivery import channels, inbound, reports
from delivery.admin import people
from delivery.models import Account, SandboxItem
from delivery.providers.base import Inbound, Report, Reported

PER_PAGE = 20
SEARCHED = 5000  # of the latest messages
STOP = "stop"
REPORTS = {
    Reported.DELIVERED: gettext_lazy("Delivered"),
    Reported.READ: gettext_lazy("Read"),
    Reported.BOUNCED: gettext_lazy("Bounced"),
    Reported.COMPLAINED: gettext_lazy("Called spam"),
    Reported.UNSUBSCRIBED: gettext_lazy("Unsubscribed"),
}
ANSWERED = ("sms", "whatsapp")  # channels on which people write back


@admin.register(SandboxItem)
class SandboxAdmin(ReadOnly, ModelAdmin):
    """One page: messages by channel, newest first, each as its phone or mailbox shows it."""

    def get_urls(self) -> list[URLPattern]:
        """The buttons."""
        wrap = self.admin_site.admin_view
        return [
            path("phone/", wrap(self.phone_view), name="delivery_sandboxitem_phone"),
            path("<int:pk>/report/", wrap(self.report_view), name="delivery_sandboxitem_report"),
            *super().get_urls(),
        ]

    def changelist_view(self, request: HttpRequest, extra_context: Any = None) -> HttpResponse:
        """The page."""
        if not self.has_view_permission(request):
            raise PermissionDenied
        kinds = sorted(set(Account.objects.filter(provider="sandbox").values_list("channel", flat=True)))
        channel = request.GET.get("channel", "")
        items = SandboxItem.objects.select_related("account", "delivery__message").order_by("-pk")
        if channel in kinds:
            items = items.filter(account__channel=channel)
        term = request.GET.get("q", "").strip()
        if term and not masking.hidden():
            latest = SandboxItem.objects.order_by("-pk").values("pk")[:SEARCHED]
            items = items.filter(pk__in=latest, address__icontains=term)
        if (before := request.GET.get("before", "")).isascii() and before.isdigit():
            items = items.filter(pk__lt=int(before[:18]))
        found = list(items[: PER_PAGE + 1])
        shown = found[:PER_PAGE]
        context = {
            **self.admin_site.each_context(request),
            "opts": self.opts,
            "title": _("Sandbox"),
            "kinds": [(kind, _label(kind)) for kind in kinds],
            "channel": channel,
            "term": term,
            "items": [(item, _shown(item), self._buttons(request, item)) for item in shown],
            "older": shown[-1].pk if len(found) > PER_PAGE else None,
            "may_add_phone": self.may_add_phone(request),
            "people": people.suggestions() if self.may_add_phone(request) else [],
        }
        return TemplateResponse(request, "admin/delivery/sandbox/page.html", context)

    def _buttons(self, request: HttpRequest, item: SandboxItem) -> list[tuple[str, Any]]:
        """What the provider may be made to report of a message."""
        if not request.user.has_perm("delivery.change_sandboxitem"):
            return []
        told: list[tuple[str, Any]] = [(kind.value, label) for kind, label in REPORTS.items()]
        return [*told, (STOP, _("Reply STOP"))] if item.account.channel in ANSWERED else told

    def may_add_phone(self, request: HttpRequest) -> bool:
        """A phone that is not there is one more device of the person, with their yes to pushes."""
        return request.user.has_perms(["delivery.change_sandboxitem", "crm.change_profile"])

    def phone_view(self, request: HttpRequest) -> HttpResponse:
        """Give a person a phone that is not there, so that mobile pushes can be tried without an app."""
        if request.method != "POST" or not self.may_add_phone(request):
            raise PermissionDenied
        person = people.find(request.POST.get("person", ""))
        if person is None:
            messages.error(request, _("Nobody is known by this."))
        else:
            device = app_devices.add_sandbox(person.pk)
            audit.record(request, "sandbox.phone_added", device)
            told = _("%s has a pretended phone now: mobile pushes to them appear here.")
            messages.success(request, told % person.display_name)
        return redirect("admin:delivery_sandboxitem_changelist")

    def report_view(self, request: HttpRequest, pk: int) -> HttpResponse:
        """Make the pretended provider report, by the way that real ones do."""
        if request.method != "POST" or not request.user.has_perm("delivery.change_sandboxitem"):
            raise PermissionDenied
        with masking.hiding(False):
            item = SandboxItem.objects.select_related("account").filter(pk=pk).first()
        if item is None:
            raise Http404
        kind, now = request.POST.get("kind", ""), timezone.now()
        with transaction.atomic():
            if kind == STOP:
                key = f"sandbox-{item.pk}-{now.timestamp()}"
                inbound.apply(
                    item.account_id, item.account.channel, [Inbound(key, item.address, "STOP", now)], now
                )
            elif kind in [each.value for each in REPORTS]:
                report = Report(
                    f"{item.provider_id}:{kind}",
                    item.provider_id,
                    Reported(kind),
                    now,
                    _("told in the sandbox"),
                    item.address,
                )
                reports.apply(item.account, [report], now)
            else:
                raise Http404
        self.log_change(request, item, [{"changed": {"name": _("pretended report"), "object": kind}}])
        messages.success(request, _("The sandbox has told it."))
        back = request.POST.get("back", "")
        if not url_has_allowed_host_and_scheme(back, {request.get_host()}):
            back = reverse("admin:delivery_sandboxitem_changelist")
        return redirect(back)


def _label(kind: str) -> Any:
    known = channels.everything().get(kind)
    return known.label if known else kind


def _shown(item: SandboxItem) -> str:
    """The payload as the phone or mailbox shows it; where the channel has no picture of it, as data."""
    template = getattr(channels.everything().get(item.account.channel), "mock", "")
    if not template:
        return ""
    return render_to_string(template, {"payload": item.payload, "address": item.address})
