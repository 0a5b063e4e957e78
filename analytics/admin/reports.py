"""Reports of messages and flows."""

from datetime import timedelta
from typing import Any
from urllib.parse import urlencode

from django.contrib import admin
from django.http import HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404
from django.template.response import TemplateResponse
from django.urls import reverse
from django.utils import timezone
from django.utils.translation import gettext as _
from django.utils.translation import ngettext

from analytics.admin import charts, periods
from analytics.admin.figures import Figure, figure
from analytics.reports import flows as flow_reports
from analytics.reports import messages as message_reports
from analytics.written import amounts, count, percent
from campaigns.models import Flow
from delivery.admin.reasons import explain
from delivery.models import Delivery, Message

MESSAGE_COLUMNS = ("audience", "sent", "delivered", "opened", "clicked", "converted", "revenue")
FLOW_COLUMNS = ("entered", "inside", "completed", "exited")
RATES = {
    "delivered": "delivery_rate",
    "opened": "open_rate",
    "clicked": "click_rate",
    "people_converted": "conversion_rate",
}
# audience = the sum of these
TERMS = ("sent", "waiting", "suppressed", "failed", "expired")
FLOW_CHIPS = {"draft": "", "live": "good", "paused": "warning", "finishing": "warning", "stopped": "bad"}


def messages(request: HttpRequest) -> HttpResponse:
    """All messages with their figures for a period."""
    period = periods.chosen(request)
    found = message_reports.by_message(period.since, period.until)
    rows = [
        {"message": row, "cells": message_cells(figures), "sent": figures.sent}
        for row in Message.objects.order_by("name", "pk")
        for figures in [found.get(row.pk, message_reports.Figures())]
    ]
    rows.sort(key=lambda row: -row["sent"])
    return page(
        request,
        "message_list",
        title=_("Message reports"),
        period=period,
        rows=rows,
        heads=heads(MESSAGE_COLUMNS, message_reports.DEFINITIONS),
        may_add=request.user.has_perm("delivery.add_message"),
    )


def message(request: HttpRequest, pk: int) -> HttpResponse:
    """One message: what became of its audience, and what people did."""
    row = get_object_or_404(Message, pk=pk)
    period = periods.chosen(request, default=periods.ALL)
    figures = message_reports.report(row, period.since, period.until)
    by_locale = message_reports.by_locale(row, period.since, period.until)
    return page(
        request,
        "message",
        title=row.name,
        message=row,
        period=period,
        figures=message_figures(figures),
        audience=figure("audience", figures.audience, message_reports.DEFINITIONS),
        terms=[_term(row, name, figures, period) for name in TERMS],
        empty=not figures.audience,
        reasons=_reasons(figures),
        chart=_chart(row, period),
        locales=[
            (locale, message_cells(found))
            for locale, found in sorted(by_locale.items(), key=lambda item: (-item[1].sent, item[0]))
        ],
        locale_heads=heads(MESSAGE_COLUMNS, message_reports.DEFINITIONS),
        deliveries_url=deliveries_url(row, period) if request.user.has_perm("delivery.view_delivery") else "",
    )


def flows(request: HttpRequest) -> HttpResponse:
    """All flows with their people and what their messages did."""
    period = periods.chosen(request)
    found = flow_reports.summaries(period.since, period.until)
    none = flow_reports.Summary(flow_reports.people.Totals(0, 0, 0, 0), message_reports.Figures())
    rows = []
    for row in Flow.objects.order_by("name", "pk"):
        summary = found.get(row.pk, none)
        cells = [(count(getattr(summary.totals, key)), "") for key in FLOW_COLUMNS]
        cells += message_cells(summary.messages, ("sent", "converted", "revenue"))
        rows.append(
            {"flow": row, "chip": FLOW_CHIPS[row.state], "cells": cells, "entered": summary.totals.entered}
        )
    rows.sort(key=lambda row: -row["entered"])
    definitions = flow_reports.DEFINITIONS | message_reports.DEFINITIONS
    return page(
        request,
        "flow_list",
        title=_("Flow reports"),
        period=period,
        rows=rows,
        heads=heads((*FLOW_COLUMNS, "sent", "converted", "revenue"), definitions),
        may_add=request.user.has_perm("campaigns.add_flow"),
    )


def flow(request: HttpRequest, pk: int) -> HttpResponse:
    """One flow's funnel."""
    row = get_object_or_404(Flow.objects.select_related("live_version"), pk=pk)
    funnel = flow_reports.funnel(row)
    totals = funnel.totals
    return page(
        request,
        "flow",
        title=row.name,
        flow=row,
        chip=FLOW_CHIPS[row.state],
        entered=figure("entered", totals.entered, flow_reports.DEFINITIONS),
        terms=[
            figure(name, getattr(totals, name), flow_reports.DEFINITIONS)
            for name in ("inside", "completed", "exited")
        ],
        steps=[_step(line) for line in funnel.steps],
        elsewhere=figure("elsewhere", funnel.elsewhere, flow_reports.DEFINITIONS)
        if funnel.elsewhere
        else None,
        heads=heads(("reached", "share", "here"), flow_reports.DEFINITIONS),
        empty=not totals.entered,
        never_live=row.live_version is None,
    )


def page(request: HttpRequest, template: str, **context: Any) -> HttpResponse:
    """A page of this app in the admin's frame."""
    request.current_app = admin.site.name
    return TemplateResponse(
        request, f"admin/analytics/{template}.html", {**admin.site.each_context(request), **context}
    )


def heads(columns: tuple[str, ...], definitions: Any) -> list[Figure]:
    """The columns' names with their definitions."""
    return [figure(key, "", definitions) for key in columns]


def message_cells(
    figures: message_reports.Figures, columns: tuple[str, ...] = MESSAGE_COLUMNS
) -> list[tuple[str, str]]:
    """The columns' figures as (figure, rate of those sent)."""
    cells = []
    for key in columns:
        if key == "revenue":
            cells.append((" · ".join(amounts(figures.revenue)) or "–", ""))
        else:
            rate = percent(figures.rate(key)) if key in RATES and figures.sent else ""
            cells.append((count(getattr(figures, key)), rate))
    return cells


def message_figures(figures: message_reports.Figures) -> list[Figure]:
    """The figures of what people did, each with its rate."""
    definitions = message_reports.DEFINITIONS
    shown = []
    for key in ("sent", "delivered", "opened", "clicked", "dismissed", "converted"):
        rate = RATES.get("people_converted" if key == "converted" else key)
        note = ""
        if rate and figures.sent:
            note = _("%s of those sent") % percent(figures.rate(key))
        if key == "converted" and figures.sent:
            note = ngettext(
                "%(people)s person, %(rate)s of those sent",
                "%(people)s people, %(rate)s of those sent",
                figures.people_converted,
            ) % {
                "people": count(figures.people_converted),
                "rate": percent(figures.rate("people_converted")),
            }
        words = str(definitions[rate]) if rate else ""
        shown.append(figure(key, getattr(figures, key), definitions, note=note, note_definition=words))
    revenue = amounts(figures.revenue)
    more = " · ".join(revenue[1:])
    shown.append(figure("revenue", revenue[0] if revenue else "–", definitions, note=more))
    return shown


def deliveries_url(row: Message, period: periods.Period, state: str = "") -> str:
    """The list of the message's deliveries, narrowed to a state and to the period's beginning."""
    query = {"message__id__exact": row.pk}
    if state:
        query["state__exact"] = state
    if period.since:
        query["queued_at_from"] = period.since.date().isoformat()
    return f"{reverse('admin:delivery_delivery_changelist')}?{urlencode(query)}"


def _term(row: Message, name: str, figures: message_reports.Figures, period: periods.Period) -> Figure:
    # "Sent" and "waiting" are several states, which the list can't be narrowed to.
    link = deliveries_url(row, period, name) if name in ("suppressed", "failed", "expired") else ""
    return figure(name, getattr(figures, name), message_reports.DEFINITIONS, link=link)


def _reasons(figures: message_reports.Figures) -> list[tuple[str, str, str, str]]:
    """Why deliveries did not go out, as (state, reason in words, reason as stored, number)."""
    labels = dict(Delivery.State.choices)
    return [
        (str(labels[state]), explain(reason) or "–", reason, count(number))
        for state in ("suppressed", "failed", "deferred")
        for reason, number in figures.reasons.get(state, {}).items()
    ]


def _chart(row: Message, period: periods.Period) -> dict[str, Any]:
    found = message_reports.by_day(row, period.since, period.until)
    today = timezone.localdate()
    if period.since and period.until:
        first, last = period.since.date(), (period.until - timedelta(days=1)).date()
    else:
        first, last = min(found, default=today), max([*found, today])
    return charts.lines(
        [
            (day, {key: getattr(figures, key) for key in charts.SERIES} if figures else {})
            for day, figures in charts.every_day(found, first, last)
        ]
    )


def _step(line: flow_reports.StepLine) -> dict[str, Any]:
    taken = sum(line.branches.values())
    return {
        "key": line.key,
        "icon": line.icon,
        "label": line.label,
        "summary": line.summary,
        "depth": line.depth - 1,
        "reached": count(line.reached),
        "here": count(line.here),
        "share": percent(line.share),
        "bar": f"{100 * min(line.share or 0, 1):.2f}%",
        "branches": [
            (name, count(number), percent(number / taken, 0) if taken else "–")
            for name, number in line.branches.items()
        ],
        "message": _step_message(line.message) if line.message else [],
    }


def _step_message(figures: message_reports.Figures) -> list[Figure]:
    """What a message step has sent, each figure with its rate as the note."""
    columns = ("sent", "opened", "clicked", "converted", "revenue")
    return [
        figure(key, value, message_reports.DEFINITIONS, note=rate)
        for key, (value, rate) in zip(columns, message_cells(figures, columns), strict=True)
    ]
