"""What the ledger's list offers besides rows: totals, how channels get on, sending failed ones again, files."""

from typing import Any

from django.contrib import messages
from django.contrib.admin.options import IncorrectLookupParameters
from django.core.exceptions import PermissionDenied
from django.db.models import Count, Q, QuerySet
from django.http import Http404, HttpRequest, HttpResponse, QueryDict
from django.shortcuts import redirect
from django.template.response import TemplateResponse
from django.urls import URLPattern, path, reverse
from django.utils.translation import gettext as _
from django.utils.translation import ngettext
from django.views.decorators.http import require_http_methods, require_safe

from crm import masking
from crm.admin.export_rows import Column, Table
from crm.admin.exports import Exports
from delivery import channels, ledger, links
from delivery.admin.keyset import NEWER, OLDER, KeysetChangeList
from delivery.links import bots, qr, tokens
from delivery.models import Delivery, LinkHit

LIST = "admin:delivery_delivery_changelist"
TEMPLATES = "admin/delivery/ledger"
RESEND = "delivery.resend_delivery"


class DeliveryTable(Table):
    """Deliveries as lines of a file."""

    class Meta:
        model = Delivery
        fields = export_order = (
            *(
                "id",
                "channel",
                "variant",
                "locale",
                "state",
                "reason",
                "attempts",
                "origin_type",
                "origin_id",
            ),
            *("origin_step", "queued_at", "due_at", "expires_at", "sent_at", "delivered_at"),
        )

    def columns(self, rows: QuerySet) -> Any:
        """Which message, to whom."""
        yield Column("message", lambda delivery: delivery.message.slug)
        yield Column("profile", lambda delivery: delivery.profile_id)
        yield Column("email", lambda delivery: delivery.profile.email)
        yield Column("phone", lambda delivery: delivery.profile.phone)

    def with_related(self, rows: QuerySet) -> QuerySet:
        """With messages and people."""
        return rows.select_related("message", "profile").defer("context", "content")


class LedgerPages(Exports):
    """Mixin for the ledger's ModelAdmin."""

    table = DeliveryTable
    export_permission = "delivery.export_delivery"
    change_list_template = f"{TEMPLATES}/change_list.html"
    list_before_template = f"{TEMPLATES}/before_list.html"

    def get_urls(self) -> list[URLPattern]:
        """The parts of the page, and the ways on."""
        wrap = self.admin_site.admin_view
        own = [
            ("totals/", require_safe(self.totals_view), "totals"),
            ("queues/", require_safe(self.queues_view), "queues"),
            ("resend/", require_http_methods(["GET", "HEAD", "POST"])(self.resend_view), "resend"),
            ("<int:pk>/qr/<int:link>.svg", require_safe(self.qr_view), "qr"),
        ]
        return [
            path(route, wrap(view), name=f"delivery_delivery_{name}") for route, view, name in own
        ] + super().get_urls()

    def get_changelist(self, request: HttpRequest, **kwargs: Any) -> type[KeysetChangeList]:
        """The list that reads only the page that is shown."""
        return KeysetChangeList

    def changelist_view(self, request: HttpRequest, extra_context: Any = None) -> HttpResponse:
        """With the ways on, for who may."""
        more = {
            "totals_url": reverse("admin:delivery_delivery_totals"),
            "queues_url": reverse("admin:delivery_delivery_queues"),
            "resend_url": reverse("admin:delivery_delivery_resend") if self.may_resend(request) else "",
        }
        return super().changelist_view(request, {**(extra_context or {}), **more})

    def may_resend(self, request: HttpRequest) -> bool:
        """Looking at what failed is one thing, writing to all these people again another."""
        return self.has_view_permission(request) and request.user.has_perm(RESEND)

    def wanted(self, request: HttpRequest) -> tuple[QuerySet, QueryDict]:
        """The rows; of a list without a filter it would be everything that was ever sent."""
        rows, shown = self.listed(request)
        if not shown:
            messages.warning(request, _("Choose a message, a channel, a state or days first."))
            raise IncorrectLookupParameters
        return rows, shown

    def listed(self, request: HttpRequest) -> tuple[QuerySet, QueryDict]:
        """The rows of the list's filters, whichever page of it is shown, and the filters."""
        request.GET = request.GET.copy()
        for name in (OLDER, NEWER):
            request.GET.pop(name, None)
        return super().wanted(request)

    def totals_view(self, request: HttpRequest) -> HttpResponse:
        """How many of the list's deliveries are in which state."""
        self._check(request)
        try:
            rows, shown = self.listed(request)
        except IncorrectLookupParameters:
            raise Http404 from None
        found = ledger.totals(rows)
        labels = dict(Delivery.State.choices)
        states = [(labels[state], number) for state, number in found.states.items() if number]
        return TemplateResponse(
            request, f"{TEMPLATES}/totals.html", {"totals": found, "states": states, "filtered": bool(shown)}
        )

    def queues_view(self, request: HttpRequest) -> HttpResponse:
        """How each channel gets on."""
        self._check(request)
        known = channels.everything()
        found = [(known[queue.channel].label, queue) for queue in ledger.queues()]
        return TemplateResponse(
            request,
            f"{TEMPLATES}/queues.html",
            {"queues": found, "url": reverse("admin:delivery_delivery_queues"), "cap": ledger.CAP},
        )

    def resend_view(self, request: HttpRequest) -> HttpResponse:
        """Say how many of the list failed and can be sent again; then do it."""
        if not self.may_resend(request):
            raise PermissionDenied
        try:
            rows, shown = self.listed(request)
        except IncorrectLookupParameters:
            return redirect(LIST)
        back = f"{reverse(LIST)}?{shown.urlencode()}"
        if request.method == "POST":
            unknown = request.POST.get("unknown") == "on"
            count = ledger.resend(rows, request, unknown, filters=sorted(shown))
            if count:
                text = ngettext("%d message is sent again.", "%d messages are sent again.", count) % count
                messages.success(request, text)
            else:
                messages.warning(request, _("There is nothing left to send again."))
            return redirect(back)
        context = {
            **self.admin_site.each_context(request),
            "opts": self.opts,
            "title": _("Send failed messages again"),
            "found": ledger.resendable(rows),
            "most": ledger.MOST,
            "filtered": bool(shown),
            "back": back,
        }
        return TemplateResponse(request, f"{TEMPLATES}/resend.html", context)

    def qr_view(self, request: HttpRequest, pk: int, link: int) -> HttpResponse:
        """A tracked link of a delivery as a QR code, to be downloaded."""
        self._check(request)
        delivery = Delivery.objects.filter(pk=pk).only("pk", "links").first()
        if delivery is None or masking.hidden() or link >= len(delivery.links):
            raise Http404
        response = HttpResponse(qr.svg(address(pk, link)), content_type="image/svg+xml")
        response["Content-Disposition"] = f'attachment; filename="link-{pk}-{link}.svg"'
        return response

    def _check(self, request: HttpRequest) -> None:
        if not self.has_view_permission(request):
            raise PermissionDenied


def address(delivery_id: int, link: int, base: str = "") -> str:
    """The tracked link as it was sent."""
    return f"{base or links.current().base}/l/{tokens.make(delivery_id, link)}"


def followed(delivery: Delivery) -> list[dict[str, Any]]:
    """A delivery's links, where they lead and how often people and machines followed each; two queries."""
    base = links.current().base
    machine = Q(verdict=LinkHit.Verdict.MACHINE)
    hits = {
        row["link"]: row
        for row in LinkHit.objects.filter(delivery=delivery)
        .exclude(purpose=bots.LANDED)
        .values("link")
        .annotate(
            people=Count("pk", filter=~machine & ~Q(verdict="")),
            machines=Count("pk", filter=machine),
            pending=Count("pk", filter=Q(verdict="")),
        )
    }
    rows = [
        {
            "target": target,
            "address": address(delivery.pk, number, base),
            "qr": reverse("admin:delivery_delivery_qr", args=[delivery.pk, number]),
            **hits.get(number, {}),
        }
        for number, target in enumerate(delivery.links if isinstance(delivery.links, list) else [])
    ]
    if None in hits:
        rows.append({"target": _("opened"), **hits[None]})
    return rows
