"""The admin's home: what happened lately, what runs, what needs somebody."""

import time
from datetime import date
from typing import Any

import msgspec
from django.contrib import admin
from django.contrib.humanize.templatetags.humanize import naturaltime
from django.core.cache import cache
from django.db import connection
from django.db.models import Count, IntegerField, OuterRef, Subquery
from django.db.models.functions import Coalesce
from django.http import HttpRequest
from django.urls import reverse
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy, ngettext

from analytics.admin import charts, periods
from analytics.admin.figures import Figure, compared, figure
from analytics.admin.reports import FLOW_CHIPS, heads, message_cells
from analytics.reports import messages as message_reports
from analytics.reports import overview
from analytics.reports.flows import DEFINITIONS as FLOW_DEFINITIONS
from analytics.written import amounts, count, money, percent
from campaigns.models import Enrollment, Flow
from crm.models import Alert, Connection, SyncRun
from delivery.admin.rules import stop_state
from delivery.models import Message

BEST = 5
ALERTS = 5
FLOWS = 8
SLOW = 0.3  # seconds; figures that take longer are kept for a while
KEEP = 30  # seconds
BEST_COLUMNS = ("sent", "opened", "clicked", "converted", "revenue")
SYNC_CHIPS = {"queued": "", "running": "", "succeeded": "good", "failed": "bad"}

admin.site.index_template = "admin/analytics/home.html"
admin.site.index_title = gettext_lazy("Home")


class Figures(msgspec.Struct):
    """What the home counts for a period; worth keeping when it took long."""

    overview: overview.Overview
    messages: dict[int, message_reports.Figures]


def dashboard(request: HttpRequest, context: dict[str, Any]) -> dict[str, Any]:
    """Add to the home's context what this person may see."""
    may = request.user.has_perm
    period = periods.chosen(request, everything=False)
    context |= {
        "title": _("Home"),
        "period": period,
        "steps": first_steps(request),
        "alerts": _alerts() if may("crm.view_alert") else None,
        "flows": _flows() if may("campaigns.view_flow") else None,
        "flow_heads": heads(("inside", "entered"), FLOW_DEFINITIONS),
        "syncs": _syncs() if may("crm.view_connection") else None,
        **stop_state(request),
    }
    if may("delivery.view_message"):
        found = _figures(int(period.key))
        context |= {
            "figures": home_figures(found.overview),
            "chart": _chart(found.overview),
            "best": _best(found.messages),
            "best_heads": heads(BEST_COLUMNS, message_reports.DEFINITIONS),
        }
    return context


def home_figures(found: overview.Overview) -> list[Figure]:
    """The cards: each with its change against the period before."""
    now, before, definitions = found.now, found.before, overview.DEFINITIONS
    shown = [
        compared(figure(key, getattr(now, key), definitions), getattr(now, key), getattr(before, key))
        for key in ("sent", "opened", "clicked", "converted")
    ]
    # One card for each currency: sums of different ones can't be added.
    for currency in sorted(now.revenue, key=lambda code: -now.revenue[code]):
        amount = now.revenue[currency]
        card = figure("revenue", money(amount, currency), definitions)
        shown.append(compared(card, float(amount), float(before.revenue.get(currency, 0))))
    if not now.revenue:
        card = figure("revenue", "–", definitions)
        if before.revenue:
            card.note = _("%s in the period before") % " · ".join(amounts(before.revenue))
        shown.append(card)
    shown.append(
        compared(figure("new_profiles", now.new_profiles, definitions), now.new_profiles, before.new_profiles)
    )
    share = percent(found.reachable / found.profiles) if found.profiles else ""
    note = _("%s of all profiles") % share if share else ""
    shown.append(figure("reachable", found.reachable, definitions, note=note))
    shown.append(compared(figure("left", now.left, definitions), now.left, before.left, rising_is="bad"))
    return shown


def first_steps(request: HttpRequest) -> list[dict[str, Any]]:
    """What a new installation has to do, in order; empty once all is done."""
    with connection.cursor() as cursor:
        cursor.execute(
            """
            SELECT EXISTS (SELECT FROM crm_connection WHERE state <> 'draft'), EXISTS (SELECT FROM crm_device),
                EXISTS (SELECT FROM delivery_message),
                EXISTS (SELECT FROM campaigns_flow WHERE live_version_id IS NOT NULL)
            """
        )
        done = cursor.fetchone()
    if all(done):
        return []
    steps = [
        (
            _("Connect a CRM"),
            _("Contacts come in and stay up to date. Events and profiles can come by the API as well."),
            ("crm.add_connection", "admin:crm_connection_add", _("Connect")),
        ),
        (
            _("Put the SDK on your website"),
            _(
                "Make a key for browsers; visitors can then allow notifications. Done with the first who does."
            ),
            ("crm.add_apikey", "admin:crm_apikey_add", _("Make a key")),
        ),
        (
            _("Write a message"),
            _("With a live preview, in as many languages as your customers speak."),
            ("delivery.add_message", "admin:delivery_message_add", _("Write")),
        ),
        (
            _("Build a flow"),
            _("Such as a welcome series: it starts by itself when somebody allows notifications."),
            ("campaigns.add_flow", "admin:campaigns_flow_add", _("Build")),
        ),
    ]
    return [
        {
            "title": title,
            "text": text,
            "done": ready,
            "link": reverse(url) if request.user.has_perm(permission) else "",
            "verb": verb,
        }
        for ready, (title, text, (permission, url, verb)) in zip(done, steps, strict=True)
    ]


def _figures(days: int) -> Figures:
    key = f"analytics.home.{days}"
    kept = cache.get(key)
    if kept is not None:
        return kept
    began = time.monotonic()
    found = overview.overview(days=days)
    since, until = periods.last_days(days)
    figures = Figures(found, message_reports.by_message(since, until))
    if time.monotonic() - began > SLOW:
        cache.set(key, figures, KEEP)
    return figures


def _chart(found: overview.Overview) -> dict[str, Any]:
    return charts.lines(
        [
            (date.fromisoformat(day.day), {key: getattr(day, key) for key in charts.SERIES})
            for day in found.series
        ]
    )


def _best(found: dict[int, message_reports.Figures]) -> list[tuple[Message, list[tuple[str, str]]]]:
    """The messages that brought most conversions, then clicks."""
    ranked = sorted(
        (pk for pk, figures in found.items() if figures.sent),
        key=lambda pk: (-found[pk].people_converted, -found[pk].clicked, -found[pk].sent, pk),
    )[:BEST]
    names = Message.objects.in_bulk(ranked)
    return [(names[pk], message_cells(found[pk], BEST_COLUMNS)) for pk in ranked if pk in names]


def _flows() -> list[dict[str, Any]]:
    """Flows that run or are paused, those in trouble first."""

    def runs(**which: str) -> Any:
        counted = Enrollment.objects.filter(flow=OuterRef("pk"), **which).order_by().values("flow")
        number = Subquery(counted.annotate(n=Count("pk")).values("n"), output_field=IntegerField())
        return Coalesce(number, 0)

    running = Flow.objects.filter(
        state__in=[Flow.State.LIVE, Flow.State.PAUSED, Flow.State.FINISHING]
    ).annotate(people_inside=runs(state=Enrollment.State.ACTIVE), people_entered=runs())
    rows = [
        {
            "flow": flow,
            "chip": FLOW_CHIPS[flow.state],
            "inside": count(flow.people_inside),
            "entered": count(flow.people_entered),
        }
        for flow in running.order_by("name", "pk")[:200]
    ]
    rows.sort(key=lambda row: (not row["flow"].error, row["flow"].state != Flow.State.LIVE))
    return rows[:FLOWS]


def _syncs() -> list[dict[str, Any]]:
    """Each connection with its latest run."""
    latest = {
        run.connection_id: run
        for run in SyncRun.objects.order_by("connection", "-queued_at").distinct("connection")
    }
    rows = []
    for crm in Connection.objects.exclude(state=Connection.State.DRAFT).order_by("name"):
        run = latest.get(crm.pk)
        row: dict[str, Any] = {"connection": crm, "run": run, "chip": "", "words": _("No sync yet.")}
        if run:
            ended = run.finished_at or run.started_at or run.queued_at
            row["chip"] = SYNC_CHIPS[run.state]
            row["words"] = ngettext(
                "%(ago)s, %(read)s record read", "%(ago)s, %(read)s records read", run.read
            ) % {"ago": naturaltime(ended), "read": count(run.read)}
            if run.state == SyncRun.State.RUNNING and run.expected:
                row["progress"] = min(100, round(100 * run.read / run.expected))
        rows.append(row)
    return rows


def _alerts() -> list[Alert]:
    """The open ones, one more than are shown if there are more."""
    return list(Alert.objects.filter(resolved_at=None).order_by("-last_at")[: ALERTS + 1])
