"""The pages of all reports: one frame that shows any sheet."""

from typing import Any
from urllib.parse import urlencode

from django.contrib import admin
from django.core.exceptions import PermissionDenied
from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404, redirect
from django.template.response import TemplateResponse
from django.urls import reverse
from django.utils import timezone
from django.utils.cache import patch_vary_headers
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy
from unfold.widgets import UnfoldAdminSelect2Widget

from analytics import saved
from analytics.admin import filters, reporting_charts, reporting_shown, saved_views
from analytics.reporting import query as asking
from analytics.reporting import writing
from analytics.reporting.query import Query
from analytics.reporting.registry import GROUPS, reports, seen_by
from analytics.reporting.shapes import Report
from analytics.rollups import rebuild
from campaigns.models import Flow
from delivery.models import Message

GROUP_NAMES = {
    "messages": gettext_lazy("Messages"),
    "people": gettext_lazy("People"),
    "money": gettext_lazy("Money"),
    "quality": gettext_lazy("Quality"),
}

# Where what a report is about can be changed, by the report's subject.
SUBJECTS = {
    "message": ("admin:delivery_message_change", gettext_lazy("Open the message"), "messages"),
    "flow": ("admin:campaigns_flow_builder", gettext_lazy("Open the builder"), "flows"),
    "broadcast": ("admin:campaigns_broadcast_change", gettext_lazy("Open the broadcast"), "broadcasts"),
}


def index(request: HttpRequest) -> HttpResponse:
    """All reports that this user may see, but those which are about a single row."""
    seen = seen_by(request.user)
    if not seen:
        raise PermissionDenied
    groups = [
        (GROUP_NAMES[group], [report for report in seen if report.group == group and not report.subject])
        for group in GROUPS
    ]
    return page(request, "index", title=_("Reports"), groups=[found for found in groups if found[1]])


def show(request: HttpRequest, slug: str) -> HttpResponse:
    """One report, asked by the address."""
    report = allowed(request, slug)
    given = request.GET.dict()
    query, problems = filters.understood(report, given)
    bar = filters.bar(report, given, query, problems)
    about = next((chip.value for chip in bar.chips if chip.name == report.subject), "")
    context = {
        "title": f"{report.title}: {about}" if about else report.title,
        "report": report,
        "bar": bar,
        "elsewhere": _elsewhere(report, query),
        "outside": [f"#problem-{name}" for name in bar.names] + ["#report-count"],
        "kept": {name: given[name] for name in ("sort",) if given.get(name)},
        "media": UnfoldAdminSelect2Widget().media if bar.searchable else None,
        "now": timezone.now(),
        "state": rebuild.status(),
    }
    if query:
        context |= _found(request, report, query, given)
    response = page(request, "page", **context)
    if query and request.headers.get("HX-Request"):
        response["HX-Push-Url"] = f"{request.path}{_address(report, query, given)}"
    patch_vary_headers(response, ["HX-Request"])
    return response


def messages(request: HttpRequest) -> HttpResponse:
    """Where the report of all messages used to be."""
    return _moved(request, "messages")


def message(request: HttpRequest, pk: int) -> HttpResponse:
    """Where a message's report used to be."""
    return _moved(request, "message", message=get_object_or_404(Message, pk=pk).pk)


def flows(request: HttpRequest) -> HttpResponse:
    """Where the report of all flows used to be."""
    return _moved(request, "flows")


def flow(request: HttpRequest, pk: int) -> HttpResponse:
    """Where a flow's report used to be."""
    return _moved(request, "flow", flow=get_object_or_404(Flow, pk=pk).pk)


def allowed(request: HttpRequest, slug: str) -> Report:
    """The report of this name, if there is one and the user may see it."""
    report = reports().get(slug)
    if report is None:
        raise Http404
    if not request.user.has_perm(report.permission):
        raise PermissionDenied
    return report


def page(request: HttpRequest, template: str, **context: Any) -> HttpResponse:
    """A page of reports in the admin's frame."""
    request.current_app = admin.site.name
    return TemplateResponse(
        request, f"admin/analytics/reporting/{template}.html", {**admin.site.each_context(request), **context}
    )


def _found(request: HttpRequest, report: Report, query: Query, given: dict[str, str]) -> dict[str, Any]:
    sheet = report.build(query)
    of = reporting_shown.frame(report, query, request.user, given)
    params = asking.params(report, query)
    tables = reporting_shown.all_shown(sheet.tables, of)
    return {
        "query": query,
        "period": "" if report.timeless else writing.period_in_words(query),
        "unequal": writing.unequal(query),
        "filtered": writing.written_filters(writing.filters_in_words(report, query)),
        "cards": reporting_shown.cards(sheet, of),
        "charts": [reporting_charts.drawn(chart) for chart in sheet.charts],
        "tables": tables,
        "warnings": sheet.warnings,
        "notes": sheet.notes,
        "exports": _exports(request, report, params, tables),
        "parameters": urlencode(params),
        "may_save": saved_views.may_save(request.user, report),
        "saved": saved.listing(request.user, report.slug),
        "all_saved": request.user.has_perm("analytics.view_savedreport"),
    }


def _elsewhere(report: Report, query: Query | None) -> list[tuple[str, str]]:
    """From a report about one row to the row, and to the report of all, as (label, address)."""
    if not report.subject:
        return []
    name, label, slug = SUBJECTS[report.subject]
    found = []
    if query:
        found.append((str(label), reverse(name, args=[getattr(query.filters, report.subject)])))
    if every := reports().get(slug):
        found.append((_("All: %s") % every.title, reverse("admin:report", args=[slug])))
    return found


def _exports(
    request: HttpRequest, report: Report, params: dict[str, str], tables: list[reporting_shown.Shown]
) -> list[tuple[str, str, str]]:
    """Files to take away, as (icon, label, address)."""
    if not saved_views.may_export(request.user, report):
        return []

    def link(form: str, **more: str) -> str:
        found = reverse("admin:report_export", args=[report.slug, form])
        return f"{found}?{urlencode(params | more)}" if params | more else found

    found = [("table_view", _("Excel: all of it"), link("xlsx"))]
    for shown in tables:
        if shown.number:
            words = _("CSV: %s") % shown.table.title
            found.append(("csv", words, link("csv", table=shown.table.slug)))
    return found


def _address(report: Report, query: Query, given: dict[str, str]) -> str:
    kept = {name: given[name] for name in reporting_shown.PARAMETERS if given.get(name)}
    found = urlencode(asking.params(report, query) | kept)
    return f"?{found}" if found else ""


def _moved(request: HttpRequest, slug: str, **more: int) -> HttpResponse:
    found = urlencode({**{name: str(value) for name, value in more.items()}, **request.GET.dict()})
    return redirect(reverse("admin:report", args=[slug]) + (f"?{found}" if found else ""))
