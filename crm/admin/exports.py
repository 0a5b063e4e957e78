"""Lists as files: what is shown, or what was chosen, as CSV of any length or as an Excel workbook.

The rows are made by django-import-export's resources. A CSV file streams, a few thousand rows at a time and by
ascending id, so that neither this process nor PostgreSQL ever holds all of them.
"""

from typing import Any

from django import forms
from django.contrib import admin
from django.contrib.admin.options import IncorrectLookupParameters
from django.core.exceptions import PermissionDenied
from django.db.models import QuerySet
from django.http import FileResponse, HttpRequest, HttpResponse, QueryDict, StreamingHttpResponse
from django.shortcuts import redirect
from django.template.response import TemplateResponse
from django.urls import path, reverse
from django.utils import timezone
from django.utils.http import content_disposition_header
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

from crm import audit, masking
from crm.admin.export_rows import Table
from crm.table_writing import csv_text, workbook

XLSX_ROWS = 25_000
CHOSEN = "_chosen"
XLSX_TYPE = "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet"
FORMATS = {
    "csv": gettext_lazy("CSV, for other programs"),
    "excel-csv": gettext_lazy("CSV that Excel opens with all its letters"),
    "xlsx": gettext_lazy("Excel workbook"),
}


class ExportForm(forms.Form):
    """What the file shall be and have."""

    form = forms.ChoiceField(choices=list(FORMATS.items()), initial="csv")
    parts = forms.MultipleChoiceField(required=False)

    def __init__(self, table: type[Table], count: int, data: Any = None):
        super().__init__(data)
        self.fields["parts"].choices = [(name, label) for name, (label, _help) in table.parts.items()]
        self.count = count

    def clean_form(self) -> str:
        """A workbook has room for only so many rows."""
        if self.cleaned_data["form"] == "xlsx" and self.count > XLSX_ROWS:
            raise forms.ValidationError(
                _("An Excel workbook made here holds at most %d rows. Choose CSV for this many.") % XLSX_ROWS
            )
        return self.cleaned_data["form"]


class Exports:
    """Mixin for a ModelAdmin: a link above the list, and an action for chosen rows, that lead to a page.

    What was exported, by whom and by which filter is kept in the audit log before the first row leaves.
    """

    table: type[Table]
    export_permission: str
    contacts = True  # whether its rows hold contact data, which is only for those who may see it
    change_list_template = "admin/crm/export/change_list.html"

    def has_export_permission(self, request: HttpRequest) -> bool:
        """Seeing a list a page at a time is one thing, taking it all away another."""
        may = request.user.has_perm(self.export_permission)
        return self.has_view_permission(request) and may and not (self.contacts and masking.hidden())

    def get_urls(self) -> list[Any]:
        """The page to export from."""
        page = self.admin_site.admin_view(self.export_view)
        name = f"{self.opts.app_label}_{self.opts.model_name}_export"
        return [path("export/", page, name=name), *super().get_urls()]

    def _url(self, page: str) -> str:
        return reverse(f"admin:{self.opts.app_label}_{self.opts.model_name}_{page}")

    def changelist_view(self, request: HttpRequest, extra_context: Any = None) -> HttpResponse:
        """With the link, for who may."""
        url = self._url("export") if self.has_export_permission(request) else ""
        return super().changelist_view(request, {**(extra_context or {}), "export_url": url})

    @admin.action(description=gettext_lazy("Export"), permissions=["export"])
    def export_chosen(self, request: HttpRequest, queryset: QuerySet) -> HttpResponse:
        """To the page, with the chosen rows, or with the list's filter if all of them were."""
        return redirect(f"{self._url('export')}?{self.chosen(request, queryset).urlencode()}")

    def chosen(self, request: HttpRequest, queryset: QuerySet) -> QueryDict:
        """What `wanted` finds the rows of an action by: the chosen ones, or the list's filter if all were chosen."""
        query = request.GET.copy()
        if request.POST.get("select_across") != "1":
            query[CHOSEN] = ",".join(str(pk) for pk in queryset.values_list("pk", flat=True))
        return query

    def export_view(self, request: HttpRequest) -> HttpResponse:
        """Choose the kind of file; then it comes."""
        if not self.has_export_permission(request):
            raise PermissionDenied
        try:
            rows, shown = self.wanted(request)
        except IncorrectLookupParameters:
            return redirect(self._url("changelist"))
        count = rows.count()
        form = ExportForm(self.table, count, request.POST if request.method == "POST" else None)
        if request.method == "POST" and form.is_valid():
            return self._file(request, rows, count, form.cleaned_data)
        return TemplateResponse(
            request,
            "admin/crm/export/page.html",
            {
                **self.admin_site.each_context(request),
                "opts": self.opts,
                "title": _("Export %s") % self.opts.verbose_name_plural,
                "form": form,
                "formats": [
                    (name, label, name == "xlsx" and count > XLSX_ROWS) for name, label in FORMATS.items()
                ],
                "count": count,
                "limit": XLSX_ROWS,
                "parts": [(name, label, words) for name, (label, words) in self.table.parts.items()],
                "chosen": CHOSEN in shown,
                "filtered": bool(shown),
                "back": f"{self._url('changelist')}?{_without(shown, CHOSEN).urlencode()}",
                "url": f"?{request.GET.urlencode()}",
            },
        )

    def wanted(self, request: HttpRequest) -> tuple[QuerySet, QueryDict]:
        """The rows that the list shows with this query, and the query."""
        shown = _without(request.GET, "p", "o", "all")
        chosen = shown.get(CHOSEN)
        if chosen is not None:
            ids = [int(pk) for pk in chosen.split(",") if pk.isdecimal() and len(pk) < 19]
            return self.get_queryset(request).filter(pk__in=ids), shown
        request.GET = shown
        return self.get_changelist_instance(request).queryset, shown

    def _file(self, request: HttpRequest, rows: QuerySet, count: int, choice: dict[str, Any]) -> HttpResponse:
        table = self.table(rows, choice["parts"])
        kind = choice["form"]
        name = f"{self.opts.verbose_name_plural}-{timezone.now():%Y-%m-%d}"
        self._log(request, count, kind, choice["parts"])
        if kind == "xlsx":
            response = FileResponse(workbook(table.lines(rows)), content_type=XLSX_TYPE)
        else:
            text = csv_text(table.lines(rows), kind == "excel-csv")
            response = StreamingHttpResponse(text, content_type="text/csv; charset=utf-8")
        ending = "xlsx" if kind == "xlsx" else "csv"
        response["Content-Disposition"] = content_disposition_header(True, f"{name}.{ending}")
        response["Cache-Control"] = "no-store"
        return response

    def _log(self, request: HttpRequest, count: int, kind: str, parts: list[str]) -> None:
        """What was asked for by name stays; what it was compared with may be somebody's address."""
        asked = sorted(name for name in request.GET if name != CHOSEN)
        chosen = CHOSEN in request.GET
        detail = {"rows": count, "form": kind, "parts": parts, "filters": asked, "chosen": chosen}
        audit.record(request, "list.exported", (self.opts.label_lower, ""), **detail)


def _without(query: QueryDict, *names: str) -> QueryDict:
    rest = query.copy()
    for name in names:
        rest.pop(name, None)
    return rest
