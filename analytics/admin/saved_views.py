"""Taking a report away as a file, and keeping it under a name."""

from typing import Any
from urllib.parse import parse_qsl

from django.contrib import messages
from django.core.exceptions import PermissionDenied
from django.http import FileResponse, Http404, HttpRequest, HttpResponse, StreamingHttpResponse
from django.shortcuts import redirect
from django.utils.http import content_disposition_header
from django.utils.translation import gettext as _

from analytics.exports import files, logged
from analytics.models.saved import EXPORT
from analytics.reporting import query as queries
from analytics.reporting import registry
from analytics.reporting.shapes import Report
from analytics.saved import store

FORMS = ("csv", "xlsx")
ADD = "analytics.add_savedreport"


def may_export(user: Any, report: Report) -> bool:
    """Whether this user may take this report away as a file."""
    return bool(user.has_perm(report.permission) and user.has_perm(EXPORT))


def may_save(user: Any, report: Report) -> bool:
    """Whether this user may keep this report under a name."""
    return bool(user.has_perm(report.permission) and user.has_perm(ADD))


def export(request: HttpRequest, slug: str, form: str) -> HttpResponse:
    """A report as a file: all of it as a workbook, or the table that `table` names (the first one) as CSV.

    `excel=1` puts a byte order mark before the CSV, by which Excel knows its letters.
    """
    report = _report(slug)
    if form not in FORMS:
        raise Http404
    if not may_export(request.user, report):
        raise PermissionDenied
    if request.method not in ("GET", "HEAD"):
        return HttpResponse(status=405, headers={"Allow": "GET, HEAD"})
    try:
        found = files.made(report, queries.parse(report, request.GET.dict()))
    except queries.QueryError as error:
        messages.error(request, str(error))
        return redirect("admin:report", slug)
    name = f"{report.slug}-{found.at:%Y-%m-%d}"
    response: HttpResponse | StreamingHttpResponse | FileResponse
    if form == "xlsx":
        logged.record(request, found, form)
        response = FileResponse(files.workbook_of(found), content_type=files.XLSX_TYPE)
    else:
        table = files.table_called(found.sheet, request.GET.get("table", ""))
        if table is None:
            raise Http404
        logged.record(request, found, form, table=table.slug)
        text = files.csv_of(table, excel=request.GET.get("excel") == "1")
        response = StreamingHttpResponse(text, content_type=files.CSV_TYPE)
        name = f"{name}-{table.slug}"
    response["Content-Disposition"] = content_disposition_header(True, f"{name}.{form}")
    response["Cache-Control"] = "no-store"
    return response  # type: ignore[return-value]


def save(request: HttpRequest, slug: str) -> HttpResponse:
    """Keep what is shown (`parameters`, as in its address) under `name`; `shared` is "everyone" or "private"."""
    report = _report(slug)
    if not may_save(request.user, report):
        raise PermissionDenied
    if request.method != "POST":
        return HttpResponse(status=405, headers={"Allow": "POST"})
    params = dict(parse_qsl(request.POST.get("parameters", "")))
    try:
        saved = store.keep(
            request.user,  # type: ignore[arg-type]
            slug,
            params,
            request.POST.get("name", ""),
            shared=request.POST.get("shared") == "everyone",
        )
    except queries.QueryError as error:
        messages.error(request, str(error))
        return redirect("admin:report", slug)
    except store.NotSaved as error:
        messages.error(request, str(error))
        return redirect(store.url(slug, params))
    messages.success(request, _("“%s” is saved.") % saved.name)
    return redirect(store.url(slug, saved.params))


def _report(slug: str) -> Report:
    report = registry.reports().get(slug)
    if report is None:
        raise Http404
    return report
