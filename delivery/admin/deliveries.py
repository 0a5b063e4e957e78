"""The outbox, to look at: every message to every person, and what became of it."""

from datetime import datetime
from typing import Any

from django.contrib import admin
from django.db.models import QuerySet
from django.http import HttpRequest
from django.template.loader import render_to_string
from django.urls import reverse
from django.utils.formats import date_format
from django.utils.html import format_html
from django.utils.timezone import localtime
from django.utils.translation import gettext_lazy as _
from unfold.contrib.filters.admin import (
    AutocompleteSelectFilter,
    ChoicesDropdownFilter,
    DropdownFilter,
)
from unfold.decorators import display

from crm.admin.base import BigTableAdmin, DayRangeFilter, ReadOnly, pretty
from delivery import channels
from delivery.admin import ledger, people
from delivery.admin.ledger import LedgerPages
from delivery.admin.reasons import explain
from delivery.models import Attempt, Delivery
from delivery.policies import emergency

State = Delivery.State
COLOURS = {
    State.QUEUED: "info",
    State.DEFERRED: "warning",
    State.SENDING: "info",
    State.SENT: "success",
    State.DELIVERED: "success",
    State.SUPPRESSED: "warning",
    State.FAILED: "danger",
    State.EXPIRED: "danger",
}


class ChannelFilter(DropdownFilter):
    title = _("channel")
    parameter_name = "channel"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, Any]]:
        """The installed channels."""
        return [(kind, channel.label) for kind, channel in channels.everything().items()]

    def queryset(self, request: HttpRequest, queryset: QuerySet) -> QuerySet:
        """Deliveries by this channel."""
        return queryset.filter(channel=self.value()) if self.value() else queryset


@admin.register(Delivery)
class DeliveryAdmin(ReadOnly, LedgerPages, BigTableAdmin):
    list_display = ["message", "person", "by", "chip", "why", "when"]
    list_display_links = ["message"]
    list_filter = [
        ("state", ChoicesDropdownFilter),
        ("message", AutocompleteSelectFilter),
        ChannelFilter,
        ("queued_at", DayRangeFilter),
    ]
    list_select_related = ["profile", "message"]
    search_fields = ["profile__email"]
    search_help_text = _("A person's whole email, phone or customer number.")
    list_empty = _(
        "Every message to every person is listed here once a flow is live or a broadcast is launched."
    )
    ordering = ["-queued_at", "-pk"]  # as the indexes of the filters
    sortable_by = []
    actions = None
    fieldsets = [
        (None, {"fields": ["status", "explanation", "person", "message", "by", "asked_by"]}),
        (_("Content as sent"), {"fields": ["content_as_sent"]}),
        (_("Attempts"), {"fields": ["tried", "told"]}),
        (_("Links"), {"fields": ["followed"]}),
        (
            _("Times"),
            {"fields": ["queued_at", "due_at", "expires_at", "sent_at", "delivered_at", "lease_until"]},
        ),
        (
            _("For support"),
            {"fields": ["id", "cause", "variant", "locale", "reason", "data"], "classes": ["collapse"]},
        ),
    ]
    readonly_fields = [
        *(
            "status",
            "explanation",
            "person",
            "message",
            "by",
            "asked_by",
            "content_as_sent",
            "tried",
            "told",
            "followed",
        ),
        "data",
        *("queued_at", "due_at", "expires_at", "sent_at", "delivered_at", "lease_until"),
        *("id", "cause", "variant", "locale", "reason"),
    ]

    class Media:
        css = {"all": ["nudge/admin/email.css", "nudge/admin/delivery.css"]}

    def get_search_results(
        self, request: HttpRequest, queryset: QuerySet, search_term: str
    ) -> tuple[QuerySet, bool]:
        """By the person, through the index on their identifiers."""
        if not search_term.strip():
            return queryset, False
        profile = people.find(search_term)
        return (queryset.filter(profile=profile) if profile else queryset.none()), False

    @display(description=_("state"), label={state.value: colour for state, colour in COLOURS.items()})
    def chip(self, delivery: Delivery) -> tuple[str, Any]:
        """The state as a chip."""
        return delivery.state, delivery.get_state_display()

    @display(description=_("state"))
    def status(self, delivery: Delivery) -> str:
        """The state in words."""
        return delivery.get_state_display()

    @display(description=_("person"))
    def person(self, delivery: Delivery) -> str:
        """Leads to the person's page."""
        url = reverse("admin:crm_profile_change", args=[delivery.profile_id])
        return format_html(
            '<a class="text-link" href="{}"><bdi>{}</bdi></a>', url, delivery.profile.display_name
        )

    @display(description=_("by"))
    def by(self, delivery: Delivery) -> str:
        """The channel."""
        known = channels.everything().get(delivery.channel)
        return str(known.label) if known else delivery.channel

    @display(description=_("reason"))
    def why(self, delivery: Delivery) -> str:
        """The reason as stored, short; the page of the delivery has it in full."""
        return format_html('<bdi title="{}">{}</bdi>', explain(delivery.reason), delivery.reason[:60])

    @display(description=_("when"))
    def when(self, delivery: Delivery) -> str:
        """Sent at, or due at while it waits."""
        if delivery.sent_at:
            return _at(delivery.sent_at)
        if delivery.state in Delivery.WAITING:
            return format_html("{} {}", _("due"), _at(delivery.due_at))
        return _at(delivery.queued_at)

    @display(description=_("what happened"))
    def explanation(self, delivery: Delivery) -> str:
        """The reason in plain words; of one that waits, also that sending is stopped."""
        if delivery.state in Delivery.WAITING and emergency.holds(delivery.channel):
            return str(
                _("Sending is stopped. It goes out, unless it is too late by then, once that is ended.")
            )
        return explain(delivery.reason) or "–"

    @display(description=_("asked for by"))
    def asked_by(self, delivery: Delivery) -> str:
        """The flow, broadcast, API call or test."""
        return " ".join(
            str(part)
            for part in (delivery.get_origin_type_display(), delivery.origin_id, delivery.origin_step)
            if part not in (None, "")
        )

    @display(description=_("content"))
    def content_as_sent(self, delivery: Delivery) -> str:
        """The filled-in message."""
        if not delivery.content:
            return str(_("Nothing was filled in yet."))
        channel = channels.everything().get(delivery.channel)
        if channel and channel.preview:
            return render_to_string(channel.preview, {"content": delivery.content})
        return pretty(delivery.content)

    @display(description=_("attempts"))
    def tried(self, delivery: Delivery) -> str:
        """Every call to a provider."""
        attempts = (
            Attempt.objects.filter(delivery=delivery).select_related("device", "account").order_by("pk")[:100]
        )
        return render_to_string("admin/delivery/attempts.html", {"attempts": attempts})

    @display(description=_("reports"))
    def told(self, delivery: Delivery) -> str:
        """What the provider told later."""
        reports = delivery.reports.select_related("account").order_by("at", "pk")[:100]
        if not reports:
            return "–"
        return render_to_string("admin/delivery/ledger/reports.html", {"reports": reports})

    @display(description=_("links"))
    def followed(self, delivery: Delivery) -> str:
        """Where its links lead, and who followed them."""
        rows = ledger.followed(delivery)
        if not rows:
            return str(_("None is tracked."))
        return render_to_string("admin/delivery/ledger/links.html", {"links": rows})

    @display(description=_("data for the text"))
    def data(self, delivery: Delivery) -> str:
        """What the text could use."""
        return pretty(delivery.context)


def _at(moment: datetime) -> str:
    return date_format(localtime(moment), "DATETIME_FORMAT")
