"""Whom a report's number is about, page by page."""

from typing import Any
from urllib.parse import urlencode

import msgspec
from django.core.exceptions import PermissionDenied
from django.http import Http404, HttpRequest, HttpResponse
from django.urls import reverse
from django.utils.translation import gettext as _

from analytics.admin.reporting import allowed, page
from analytics.reporting import query as asking
from analytics.reporting import writing
from analytics.reporting.columns import LABELS
from analytics.reporting.query import FILTERS, Query
from analytics.reporting.shapes import Report
from analytics.reports import figures, people
from analytics.reports.definitions import DEFINITIONS
from analytics.rollups.columns import COHORT
from analytics.written import count
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
    column, before = given.get("column", ""), given.get("before", "")
    if column not in people.COLUMNS or (before and not _is_number(before)):
        raise Http404
    # A number may be about less than what its report can be narrowed to.
    any_filter = msgspec.structs.replace(report, takes=FILTERS)
    try:
        query = asking.parse(any_filter, given)
    except asking.QueryError as error:
        raise Http404(str(error)) from error
    found = people.page(column, query.period, query.filters, int(before) if before else None, ROWS)
    number = getattr(figures.total(query.period, query.filters), column)
    params = asking.params(any_filter, query) | {"column": column}
    return page(
        request,
        "people",
        title=report.title,
        report=report,
        column={"label": LABELS[column], "definition": DEFINITIONS[column]},
        # What is counted of those sent, is listed by when it was sent.
        when=_("Sent") if column in COHORT else _("When"),
        period=writing.period_in_words(query),
        chips=writing.filters_in_words(any_filter, query),
        rows=_rows(request, found.rows),
        counted=count(number),
        missing=max(number - len(found.rows), 0) if not before and found.next is None else 0,
        back=_back(report, query),
        first="" if not before else f"?{urlencode(params)}",
        later=f"?{urlencode(params | {'before': found.next})}" if found.next else "",
    )


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
    params = asking.params(msgspec.structs.replace(report, takes=FILTERS), query)
    kept = {name: value for name, value in params.items() if name not in FILTERS or name in report.takes}
    link = reverse("admin:report", args=[report.slug])
    return {"link": f"{link}?{urlencode(kept)}" if kept else link, "label": str(report.title)}


def _is_number(text: str) -> bool:
    return text.isascii() and text.isdecimal() and len(text) < 19
