"""The way from a list to the page that imports into it."""

from typing import Any

from django.http import HttpRequest, HttpResponse
from django.urls import reverse


class ImportLink:
    """Mixin for a ModelAdmin with the change list of `exports`.

    `imported` is the object of crm.connectors.file that becomes its rows.
    """

    imported: str

    def changelist_view(self, request: HttpRequest, extra_context: Any = None) -> HttpResponse:
        """With the link, for who may import."""
        url = ""
        if request.user.has_perm("crm.add_connection"):
            url = f"{reverse('admin:crm_connection_import')}?about={self.imported}"
        return super().changelist_view(request, {**(extra_context or {}), "import_url": url})
