"""What several admin pages share."""

import json
from collections.abc import Callable
from datetime import date, datetime, time, timedelta
from functools import wraps
from typing import Any

from django.contrib.admin import ShowFacets
from django.core.exceptions import PermissionDenied
from django.db.models import Model, QuerySet
from django.http import HttpRequest, HttpResponse, HttpResponseNotAllowed
from django.shortcuts import redirect
from django.urls import reverse
from django.utils import timezone
from django.utils.html import format_html
from unfold.admin import ModelAdmin
from unfold.contrib.filters.admin import RangeDateFilter

from crm.admin.paginator import EstimatedCountPaginator


class BigTableAdmin(ModelAdmin):
    """A list that stays quick with millions of rows."""

    paginator = EstimatedCountPaginator
    show_full_result_count = False
    show_facets = ShowFacets.NEVER
    list_per_page = 25
    list_filter_submit = True


class ReadOnly:
    """Mixin for history: it can be looked at, not changed."""

    def has_add_permission(self, request: HttpRequest) -> bool:
        """Nobody."""
        return False

    def has_change_permission(self, request: HttpRequest, obj: Model | None = None) -> bool:
        """Nobody."""
        return False

    def has_delete_permission(self, request: HttpRequest, obj: Model | None = None) -> bool:
        """Nobody."""
        return False


class DayRangeFilter(RangeDateFilter):
    """From a day to a day, both included, in the reader's time zone."""

    def queryset(self, request: HttpRequest, queryset: QuerySet) -> QuerySet:
        """Rows of these days; a date that is none is ignored."""
        for end, lookup, days in (("from", "gte", 0), ("to", "lt", 1)):
            try:
                day = date.fromisoformat(str(self.used_parameters.get(f"{self.parameter_name}_{end}") or ""))
                midnight = timezone.make_aware(datetime.combine(day + timedelta(days=days), time()))
            except (ValueError, OverflowError):
                continue
            queryset = queryset.filter(**{f"{self.parameter_name}__{lookup}": midnight})
        return queryset


def part_of_form(model_admin: ModelAdmin, view: Callable[..., HttpResponse]) -> Callable[..., HttpResponse]:
    """A view for a part of a form that htmx asks for: only POST, only for whoever may see such objects; a reader whose
    session ended is sent to log in as a whole page."""

    @wraps(view)
    def checked(request: HttpRequest) -> HttpResponse:
        if not model_admin.has_view_permission(request):
            raise PermissionDenied
        if request.method != "POST":
            return HttpResponseNotAllowed(["POST"])
        return view(request)

    inside = model_admin.admin_site.admin_view(checked)

    @wraps(view)
    def outside(request: HttpRequest) -> HttpResponse:
        if request.headers.get("HX-Request") and not model_admin.admin_site.has_permission(request):
            return HttpResponse(headers={"HX-Redirect": reverse("admin:login")})
        return inside(request)

    return outside


def pretty(value: Any) -> str:
    """JSON, indented, as HTML."""
    text = json.dumps(value, indent=2, ensure_ascii=False, sort_keys=True)
    return format_html('<pre class="nudge-json" dir="ltr">{}</pre>', text)


def leave_dialog(request: HttpRequest, url: str) -> HttpResponse:
    """Go to `url` after a dialog's form was taken; the dialog posts by HTMX, which can't follow a plain redirect."""
    if request.headers.get("HX-Request"):
        return HttpResponse(headers={"HX-Redirect": url})
    return redirect(url)
