"""Reports out."""

from collections.abc import Mapping
from datetime import datetime
from decimal import Decimal
from typing import Any

import msgspec
from django.http import HttpResponse
from django.utils.translation import gettext as _
from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import OpenApiExample, OpenApiParameter, OpenApiResponse, extend_schema
from rest_framework.exceptions import NotFound
from rest_framework.request import Request

from analytics.api import freshness, shapes
from analytics.api.answers import whole
from analytics.api.report import told, unchanged
from analytics.reports import flows, messages, overview
from campaigns.models import Flow
from crm.api import filters, schemas
from crm.api.auth import READ
from crm.api.errors import ApiError
from crm.api.views import ApiView, encoded
from delivery.models import Message

MAX_DAYS = 366
COUNTS = (
    *("audience", "waiting", "sent", "delivered", "opened", "clicked", "dismissed", "read"),
    *("bounced", "complained", "unsubscribed", "lost", "machine_opened", "machine_clicked"),
    *("converted", "people_converted", "suppressed", "failed", "expired"),
)
RATES = {
    "delivery_rate": "delivered",
    "open_rate": "opened",
    "click_rate": "clicked",
    "conversion_rate": "people_converted",
    "bounce_rate": "bounced",
    "complaint_rate": "complained",
    "unsubscribe_rate": "unsubscribed",
}
_PERIOD = [
    OpenApiParameter(
        "since",
        OpenApiTypes.DATETIME,
        description="From the day of this moment on, in the account's time zone. RFC 3339.",
    ),
    OpenApiParameter(
        "until",
        OpenApiTypes.DATETIME,
        description="To the day of the moment just before this, which counts whole. RFC 3339.",
    ),
]
_FIGURES = {
    "audience": 1000,
    "waiting": 12,
    "sent": 950,
    "delivered": 871,
    "opened": 140,
    "clicked": 133,
    "dismissed": 290,
    "read": 0,
    "bounced": 4,
    "complained": 1,
    "unsubscribed": 3,
    "lost": 2,
    "machine_opened": 18,
    "machine_clicked": 6,
    "converted": 31,
    "people_converted": 29,
    "suppressed": 30,
    "failed": 5,
    "expired": 3,
    "revenue": [{"currency": "EUR", "value": 1240.5}],
    "delivery_rate": 0.9168,
    "open_rate": 0.1474,
    "click_rate": 0.14,
    "conversion_rate": 0.0305,
    "bounce_rate": 0.0042,
    "complaint_rate": 0.0011,
    "unsubscribe_rate": 0.0032,
}
_SAME = {304: OpenApiResponse(description="You have this answer already.")}
_WELCOME = {"slug": "welcome", "name": "Welcome"}
_WORDS = {"sent": "Accepted by the push service, mail server or provider."}


def _example(name: str, value: dict[str, Any]) -> list[OpenApiExample]:
    return [OpenApiExample(name, value=value, response_only=True, status_codes=["200"])]


class MessageReport(ApiView):
    scopes = {"GET": {READ}}

    @extend_schema(
        operation_id="reports_messages_retrieve",
        tags=["reports"],
        summary="What came of one message",
        description="Counts deliveries by the day they were sent, or settled not to be, in the account's zone (those"
        " that wait by the day they were queued), and what came of them since. Test sends do not count.",
        parameters=_PERIOD,
        responses={
            200: OpenApiResponse(shapes.MessageReport, description="The figures, with their definitions."),
            **_SAME,
            **schemas.errors(400, 401, 403, 404),
        },
        examples=_example(
            "A welcome message",
            {
                "message": _WELCOME,
                "since": None,
                "until": None,
                "figures": _FIGURES,
                "reasons": {"suppressed": {"no consent": 30}, "failed": {"410 Gone": 5}},
                "definitions": _WORDS,
            },
        ),
    )
    def get(self, request: Request, slug: str) -> HttpResponse:
        """The report of the message called `slug`."""
        since, until = _period(self, request)
        row = Message.objects.filter(slug=slug).first()
        if row is None:
            raise NotFound(_("There is no message called “%s”.") % slug)
        tag = freshness.etag("message", row.pk, since, until)
        if (known := unchanged(request, tag)) is not None:
            return known
        figures = messages.report(row, since, until)
        answer = {
            "message": _name(row),
            "since": since,
            "until": until,
            "figures": as_json(figures),
            "reasons": figures.reasons,
            "definitions": _words(messages.DEFINITIONS),
        }
        return told(encoded(answer), tag)


class FlowReport(ApiView):
    scopes = {"GET": {READ}}

    @extend_schema(
        operation_id="reports_flows_retrieve",
        tags=["reports"],
        summary="How people get through a flow",
        description="Totals are of all versions; the steps are those of the live version.",
        responses={
            200: OpenApiResponse(shapes.FlowReport, description="The funnel."),
            **_SAME,
            **schemas.errors(401, 403, 404),
        },
        examples=_example(
            "A welcome flow",
            {
                "flow": {"slug": "welcome-series", "name": "Welcome series", "state": "live"},
                "totals": {"entered": 1000, "inside": 100, "completed": 880, "exited": 20},
                "steps": [
                    {
                        "key": "hello",
                        "kind": "message",
                        "label": "Message",
                        "summary": "Welcome",
                        "depth": 1,
                        "reached": 1000,
                        "here": 0,
                        "share": 1.0,
                        "branches": {},
                        "message": _FIGURES,
                    }
                ],
                "elsewhere": 0,
                "definitions": {"entered": "Runs through the flow, in all its versions."},
            },
        ),
    )
    def get(self, request: Request, slug: str) -> HttpResponse:
        """The funnel of the flow called `slug`."""
        row = Flow.objects.select_related("live_version").filter(slug=slug).first()
        if row is None:
            raise NotFound(_("There is no flow called “%s”.") % slug)
        tag = freshness.etag("flow", row.pk)
        if (known := unchanged(request, tag)) is not None:
            return known
        funnel = flows.funnel(row)
        answer = {
            "flow": {"slug": row.slug, "name": row.name, "state": row.state},
            "totals": funnel.totals,
            "steps": [_step(line) for line in funnel.steps],
            "elsewhere": funnel.elsewhere,
            "definitions": _words(flows.DEFINITIONS | messages.DEFINITIONS),
        }
        return told(encoded(answer), tag)


class OverviewReport(ApiView):
    scopes = {"GET": {READ}}

    @extend_schema(
        operation_id="reports_overview_retrieve",
        tags=["reports"],
        summary="The last days at a glance",
        description="As on the admin's home: sums of the last days, today included, and of as many days before.",
        parameters=[OpenApiParameter("days", OpenApiTypes.INT, description=f"1 to {MAX_DAYS}, else 30.")],
        responses={
            200: OpenApiResponse(shapes.Overview, description="Sums, and a line for each day."),
            **_SAME,
            **schemas.errors(400, 401, 403),
        },
        examples=_example(
            "A quiet day",
            {
                "days": 1,
                "now": {
                    "sent": 40,
                    "opened": 6,
                    "clicked": 6,
                    "converted": 1,
                    "new_profiles": 3,
                    "left": 0,
                    "revenue": [{"currency": "EUR", "value": 39.9}],
                },
                "before": {
                    "sent": 38,
                    "opened": 5,
                    "clicked": 5,
                    "converted": 0,
                    "new_profiles": 2,
                    "left": 1,
                    "revenue": [],
                },
                "series": [{"day": "2026-01-31", "sent": 40, "opened": 6, "clicked": 6, "converted": 1}],
                "profiles": 5000,
                "reachable": 870,
                "definitions": {"sent": "Messages accepted by push services and providers in these days."},
            },
        ),
    )
    def get(self, request: Request) -> HttpResponse:
        """The overview of `days` days."""
        text = self.parameter(request, "days") or "30"
        days = int(text) if text.isascii() and text.isdecimal() and len(text) < 5 else 0
        if not 1 <= days <= MAX_DAYS:
            detail = _("Write a whole number from 1 to %d.") % MAX_DAYS
            raise ApiError(400, "invalid_value", detail, field="days")
        tag = freshness.etag("overview", days)
        if (known := unchanged(request, tag)) is not None:
            return known
        found = overview.overview(days=days)
        answer = {
            "days": days,
            "now": _totals(found.now),
            "before": _totals(found.before),
            "series": [_day(day) for day in found.series],
            "profiles": found.profiles,
            "reachable": found.reachable,
            "definitions": _words(overview.DEFINITIONS),
        }
        return told(encoded(answer), tag)


def as_json(figures: messages.Figures) -> dict[str, Any]:
    """Figures as the API gives them; rates are shares of `sent`, null where nothing was sent."""
    return {
        **{key: whole(getattr(figures, key)) for key in COUNTS},
        "revenue": _revenue(figures.revenue),
        **{key: _rounded(figures.rate(counted)) for key, counted in RATES.items()},
    }


def _rounded(share: float | None) -> float | None:
    return None if share is None else round(share, 6)


def _revenue(sums: Mapping[str, Decimal]) -> list[dict[str, Any]]:
    return [{"currency": currency, "value": float(value)} for currency, value in sorted(sums.items())]


def _totals(totals: overview.Totals) -> dict[str, Any]:
    return {
        **msgspec.structs.asdict(totals),
        "converted": whole(totals.converted),
        "revenue": _revenue(totals.revenue),
    }


def _day(day: overview.Day) -> dict[str, Any]:
    return {**msgspec.structs.asdict(day), "converted": whole(day.converted)}


def _step(line: flows.StepLine) -> dict[str, Any]:
    shown = msgspec.structs.asdict(line)
    del shown["icon"]
    return {
        **shown,
        "share": _rounded(line.share),
        "message": as_json(line.message) if line.message else None,
    }


def _name(row: Message) -> dict[str, str]:
    return {"slug": row.slug, "name": row.name}


def _words(definitions: Mapping[str, Any]) -> dict[str, str]:
    return {key: str(text) for key, text in definitions.items()}


def _period(view: ApiView, request: Request) -> tuple[datetime | None, datetime | None]:
    texts = {name: view.parameter(request, name) for name in ("since", "until")}
    since, until = (filters.instant(text, name) if text else None for name, text in texts.items())
    if since and until and since >= until:
        raise ApiError(400, "invalid_value", _("`until` must be later than `since`."), field="until")
    return since, until
