"""Whom a report's number is about, page by page."""

from collections.abc import Mapping
from typing import Any
from urllib.parse import parse_qsl, urlencode

import msgspec
from django.contrib import admin, messages
from django.core.exceptions import PermissionDenied
from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import redirect
from django.urls import reverse
from django.utils.translation import gettext as _

from analytics.admin.reporting import allowed, page
from analytics.reporting import behind, writing
from analytics.reporting import query as asking
from analytics.reporting.columns import LABELS
from analytics.reporting.query import FILTERS, Query
from analytics.reporting.shapes import Report
from analytics.reports import figures, people
from analytics.reports.definitions import DEFINITIONS
from analytics.written import count
from campaigns.models import Segment
from campaigns.segments import lists
from crm.models import Profile
from delivery.models import Delivery

ROWS = 50


class Somebody(msgspec.Struct):
    """A delivery with its person."""

    profile: Profile
    delivery: Delivery
    at: Any
    profile_link: str
    delivery_link: str


def show(request: HttpRequest, slug: str) -> HttpResponse:
    """The people behind the number `column` of the question that the address asks."""
    if not request.user.has_perm("crm.view_profile"):
        raise PermissionDenied
    report = allowed(request, slug)
    given = request.GET.dict()
    before = given.get("before", "")
    if before and not _is_number(before):
        raise Http404
    query, column = _question(report, given)
    found = people.page(column, query.period, query.filters, int(before) if before else None, ROWS)
    number = getattr(figures.total(query.period, query.filters), column)
    params = asking.params(behind.narrowed(report), query) | {"column": column}
    behind.looked_at(request, report, query, column, len(found.rows))
    return page(
        request,
        "people",
        title=report.title,
        report=report,
        column={"label": LABELS[column], "definition": DEFINITIONS[column]},
        # What is counted of those sent, is listed by when it was sent.
        when=_("Sent") if column in people.OF_SENT else _("When"),
        period=writing.period_in_words(query),
        chips=writing.filters_in_words(behind.narrowed(report), query),
        rows=_rows(request, found.rows),
        counted=count(number),
        missing=max(number - len(found.rows), 0) if not before and found.next is None else 0,
        back=_back(report, query),
        first="" if not before else f"?{urlencode(params)}",
        later=f"?{urlencode(params | {'before': found.next})}" if found.next else "",
        parameters=urlencode(params),
        list_name=behind.called(report, query, column) if _may_save(request) else "",
        name_length=behind.NAME_LENGTH,
    )


def save(request: HttpRequest, slug: str) -> HttpResponse:
    """Make a list called `name` of the people behind a number (`parameters`, as in the page's address)."""
    if not (request.user.has_perm("crm.view_profile") and _may_save(request)):
        raise PermissionDenied
    report = allowed(request, slug)
    if request.method != "POST":
        return HttpResponse(status=405, headers={"Allow": "POST"})
    query, column = _question(report, dict(parse_qsl(request.POST.get("parameters", ""))))
    params = asking.params(behind.narrowed(report), query) | {"column": column}
    name = request.POST.get("name", "").replace("\x00", "")
    try:
        made, job = behind.save(request, report, query, column, request.user.get_username(), name)
    except lists.ListError as error:
        messages.error(request, str(error))
        return redirect(f"{reverse('admin:report_people', args=[slug])}?{urlencode(params)}")
    admin.site.get_model_admin(Segment).log_addition(request, made, [{"added": {}}])
    return redirect("admin:campaigns_list_job", job.pk)


def _may_save(request: HttpRequest) -> bool:
    """Who may make lists, and see how one is filled."""
    segments = admin.site.get_model_admin(Segment)
    return bool(segments.has_add_permission(request) and segments.has_view_permission(request))


def _question(report: Report, given: Mapping[str, str]) -> tuple[Query, str]:
    """What is asked, and the number's column.

    Raises:
        Http404: there is no such number.
    """
    column = given.get("column", "")
    if column not in people.COLUMNS:
        raise Http404
    try:
        return asking.parse(behind.narrowed(report), given), column
    except asking.QueryError as error:
        raise Http404(str(error)) from error


def _rows(request: HttpRequest, found: list[people.Person]) -> list[Somebody]:
    profiles = Profile.objects.in_bulk([person.profile_id for person in found])
    deliveries = Delivery.objects.select_related("message").in_bulk([person.delivery_id for person in found])
    sees_deliveries = request.user.has_perm("delivery.view_delivery")
    return [
        Somebody(
            profile=profiles[person.profile_id],
            delivery=deliveries[person.delivery_id],
            at=person.at,
            profile_link=reverse("admin:crm_profile_change", args=[person.profile_id]),
            delivery_link=reverse("admin:delivery_delivery_change", args=[person.delivery_id])
            if sees_deliveries
            else "",
        )
        for person in found
        if person.profile_id in profiles and person.delivery_id in deliveries
    ]


def _back(report: Report, query: Query) -> dict[str, str]:
    """The report's address, with what it takes of the question."""
    params = asking.params(behind.narrowed(report), query)
    kept = {name: value for name, value in params.items() if name not in FILTERS or name in report.takes}
    link = reverse("admin:report", args=[report.slug])
    return {"link": f"{link}?{urlencode(kept)}" if kept else link, "label": str(report.title)}


def _is_number(text: str) -> bool:
    return text.isascii() and text.isdecimal() and len(text) < 19
