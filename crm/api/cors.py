"""Letting web pages of other sites call the endpoints for browsers (Fetch Standard, section 3.2)."""

from typing import Any

from django.conf import settings
from django.http import HttpRequest, HttpResponse
from django.utils.cache import patch_vary_headers
from django.utils.translation import gettext as _
from rest_framework.request import Request

from crm import api_keys
from crm.api.auth import BROWSER
from crm.api.errors import ApiError

PREFLIGHT_AGE = 86_400  # seconds a browser may remember the answer; it caps that itself


class BrowserAccess:
    """Mixin for views that browser keys may use; place it before ApiView.

    A preflight carries no key, so any site gets its answer. The request itself is refused unless its site is
    ours or one of the key's. Any page may read the answers, refusals included: they hold nothing that the
    caller did not send, but for a visitor's own in-app messages, and cookies play no part.
    """

    def dispatch(self, request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponse:
        """Answer a preflight; hand anything else on."""
        if request.method == "OPTIONS" and "HTTP_ORIGIN" in request.META:
            response = HttpResponse(status=204)
            response["Access-Control-Allow-Methods"] = ", ".join(sorted(self._for_browsers))
            response["Access-Control-Allow-Headers"] = "authorization, content-type"
            response["Access-Control-Max-Age"] = str(PREFLIGHT_AGE)
        else:
            response = super().dispatch(request, *args, **kwargs)
        patch_vary_headers(response, ["Origin"])
        origin = request.META.get("HTTP_ORIGIN")
        if origin and request.method in {"OPTIONS", *self._for_browsers}:
            response["Access-Control-Allow-Origin"] = origin
            response["Access-Control-Expose-Headers"] = "Retry-After"
        return response

    @property
    def _for_browsers(self) -> set[str]:
        """The methods that browser keys may use; what others answer is not for other sites' pages."""
        return {method for method, scopes in self.scopes.items() if BROWSER in scopes}

    def check_permissions(self, request: Request) -> None:
        """Besides the scope, check the site that a browser key is used from."""
        super().check_permissions(request)
        origin = request.META.get("HTTP_ORIGIN")
        if origin and request.auth and BROWSER in request.auth.scopes and not _permitted(request, origin):
            raise ApiError(403, "origin_not_allowed", _("This key may not be used from this site."))


def _permitted(request: Request, origin: str) -> bool:
    try:
        origin = api_keys.origin(origin)
    except ValueError:
        return False
    here = f"{request.scheme}://{request.get_host()}"
    return origin in {
        api_keys.origin(here),
        api_keys.origin(settings.NUDGE_PUBLIC_URL),
        *request.auth.allowed_origins,
    }
