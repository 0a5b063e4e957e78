"""Who may call the API: bearer keys and their scopes."""

from typing import Any

from django.utils.translation import gettext_lazy as _
from drf_spectacular.extensions import OpenApiAuthenticationExtension
from rest_framework.authentication import BaseAuthentication
from rest_framework.exceptions import AuthenticationFailed
from rest_framework.permissions import BasePermission
from rest_framework.request import Request

from crm import key_cache
from crm.models import ApiKey

READ, WRITE, BROWSER = ApiKey.Scope.READ.value, ApiKey.Scope.WRITE.value, ApiKey.Scope.BROWSER.value
READ_MASKED, PUBLISH = ApiKey.Scope.READ_MASKED.value, ApiKey.Scope.PUBLISH.value
SEND = ApiKey.Scope.SEND.value
MAX_LENGTH = 200  # characters of a key; ours have 46


def known(text: str) -> ApiKey | None:
    """The key in force with this text."""
    return key_cache.find(text) if text and len(text) <= MAX_LENGTH and text.isascii() else None


class ApiKeyAuthentication(BaseAuthentication):
    """`Authorization: Bearer <key>` (RFC 6750); `request.auth` is the ApiKey, there is no user."""

    def authenticate(self, request: Request) -> tuple[None, ApiKey] | None:
        """Return (None, key); None without one.

        Raises:
            AuthenticationFailed: the key is unknown or revoked.
        """
        text = self.sent(request)
        if text is None:
            return None
        key = known(text)
        if key is None:
            raise AuthenticationFailed(_("This API key is unknown or revoked."), code="invalid_key")
        return None, key

    def sent(self, request: Request) -> str | None:
        """What the request has in place of a key."""
        scheme, _space, text = request.META.get("HTTP_AUTHORIZATION", "").strip().partition(" ")
        return text.strip() if scheme.lower() == "bearer" else None

    def authenticate_header(self, request: Request) -> str:
        """What a 401 names in WWW-Authenticate."""
        return 'Bearer realm="Nudge API"'


class HasScope(BasePermission):
    """Lets a key through that has one of the scopes in the view's `scopes[method]`; other methods need none."""

    message = _("This API key may not do that.")
    code = "scope_missing"

    def has_permission(self, request: Request, view: Any) -> bool:
        """Whether the key has one of the wanted scopes. Without any key DRF answers 401."""
        wanted = view.scopes.get("GET" if request.method == "HEAD" else request.method)
        if wanted is None:
            return True  # answered with 405
        return request.auth is not None and not wanted.isdisjoint(request.auth.scopes)


class BearerScheme(OpenApiAuthenticationExtension):
    """How the OpenAPI document describes the keys."""

    target_class = "crm.api.auth.ApiKeyAuthentication"
    name = "apiKey"

    def get_security_definition(self, auto_schema: Any) -> dict[str, str]:
        """The security scheme object."""
        return {
            "type": "http",
            "scheme": "bearer",
            "description": "An API key from Settings → API keys, or from `manage.py api_key create`.",
        }
