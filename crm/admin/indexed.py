"""Indexed attributes: what segments ask for often, and one click to make it quick."""

from collections.abc import Callable
from typing import Any

from django.contrib import admin, messages
from django.core.exceptions import PermissionDenied
from django.http import HttpRequest, HttpResponse, HttpResponseNotAllowed
from django.shortcuts import get_object_or_404, redirect
from django.template.response import TemplateResponse
from django.urls import path
from django.utils.translation import gettext as _
from unfold.admin import ModelAdmin

from crm import indexed_attributes, indexed_columns
from crm.models import IndexedAttribute
from crm.rules.errors import RuleError

PAGE = "admin:crm_indexedattribute_changelist"
TEMPLATES = "admin/crm/indexed"
State = IndexedAttribute.State


@admin.register(IndexedAttribute)
class IndexedAttributeAdmin(ModelAdmin):
    """One page in place of list and forms."""

    def get_urls(self):
        pages = [
            ("create/", self.create_view, "create"),
            ("status/", self.status_view, "status"),
            ("<int:pk>/retry/", self.retry_view, "retry"),
            ("<int:pk>/remove/", self.remove_view, "remove"),
        ]
        return [
            path(route, self.admin_site.admin_view(view), name=f"crm_indexedattribute_{name}")
            for route, view, name in pages
        ] + super().get_urls()

    def changelist_view(self, request: HttpRequest, extra_context: Any = None) -> HttpResponse:
        """Those there are, and those that segments use."""
        context = {
            **self.admin_site.each_context(request),
            **self._context(request),
            "title": _("Indexed attributes"),
            "opts": self.opts,
        }
        return TemplateResponse(request, f"{TEMPLATES}/page.html", context)

    def status_view(self, request: HttpRequest) -> HttpResponse:
        """The tables alone, for a page that is open while indexes are made."""
        return TemplateResponse(request, f"{TEMPLATES}/tables.html", self._context(request))

    def add_view(self, request: HttpRequest, form_url: str = "", extra_context: Any = None) -> HttpResponse:
        """The page has the form."""
        return redirect(PAGE)

    def change_view(self, request: HttpRequest, object_id: str, *args: Any, **kwargs: Any) -> HttpResponse:
        """There is nothing to change."""
        return redirect(PAGE)

    def delete_view(self, request: HttpRequest, object_id: str, extra_context: Any = None) -> HttpResponse:
        """The column goes first, by the page's button."""
        return redirect(PAGE)

    def create_view(self, request: HttpRequest) -> HttpResponse:
        """Have an attribute indexed."""

        def create() -> None:
            made = indexed_attributes.create(request.POST.get("path", "").strip().removeprefix("attributes."))
            self.log_addition(request, made, [{"added": {}}])
            messages.success(request, _("“%s” is being indexed. Everybody can go on meanwhile.") % made.path)

        return self._do(request, self.has_add_permission(request), create)

    def retry_view(self, request: HttpRequest, pk: int) -> HttpResponse:
        """Go on with one that failed."""
        attribute = get_object_or_404(IndexedAttribute, pk=pk)
        return self._do(
            request, self.has_add_permission(request), lambda: indexed_attributes.retry(attribute)
        )

    def remove_view(self, request: HttpRequest, pk: int) -> HttpResponse:
        """Do without the index from now on."""
        attribute = get_object_or_404(IndexedAttribute, pk=pk)

        def remove() -> None:
            indexed_attributes.remove(attribute)
            self.log_deletions(request, [attribute])
            messages.success(request, _("“%s” is no longer indexed.") % attribute.path)

        return self._do(request, self.has_delete_permission(request), remove)

    def _do(self, request: HttpRequest, allowed: bool, action: Callable[[], None]) -> HttpResponse:
        if request.method != "POST":
            return HttpResponseNotAllowed(["POST"])
        if not allowed:
            raise PermissionDenied
        try:
            action()
        except (RuleError, indexed_attributes.Refused) as error:
            messages.error(request, str(error))
        return redirect(PAGE)

    def _context(self, request: HttpRequest) -> dict[str, Any]:
        if not self.has_view_permission(request):
            raise PermissionDenied
        there = list(IndexedAttribute.objects.all())
        used = indexed_attributes.used()
        paths = {attribute.path for attribute in there}
        return {
            "attributes": [
                {
                    "it": attribute,
                    "used": used.get(attribute.path),
                    "bytes": indexed_columns.size(attribute) if attribute.state == State.READY else 0,
                }
                for attribute in there
            ],
            "wanted": [{"path": name, "used": use} for name, use in used.items() if name not in paths],
            "busy": any(attribute.state not in (State.READY, State.FAILED) for attribute in there),
            "may_add": self.has_add_permission(request),
            "may_remove": self.has_delete_permission(request),
        }
