"""Events of a page that is just being left: what `navigator.sendBeacon` can send without asking first."""

from typing import Any

from django.conf import settings
from django.http import HttpResponse
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy
from drf_spectacular.extensions import OpenApiAuthenticationExtension
from drf_spectacular.utils import OpenApiExample, OpenApiParameter, OpenApiResponse, extend_schema
from rest_framework.request import Request

from crm.api import schemas
from crm.api.auth import BROWSER, ApiKeyAuthentication
from crm.api.cors import BrowserAccess
from crm.api.errors import ApiError
from crm.api.events import ANSWER, answer
from crm.api.views import ApiView

_PLAIN, _FORM = "text/plain", "application/x-www-form-urlencoded"
_SENT = '{"events": [{"name": "page_left", "profile": {"anonymous_id": "b0c7"}}]}'


class KeyInAddress(ApiKeyAuthentication):
    """`?key=<public key>`: a beacon can't carry headers of ours."""

    def sent(self, request: Request) -> str | None:
        """As above; an empty one is none."""
        return request.GET.get("key") or None


class KeyInAddressScheme(OpenApiAuthenticationExtension):
    """How the OpenAPI document describes it."""

    target_class = "crm.api.beacon.KeyInAddress"
    name = "publicKey"

    def get_security_definition(self, auto_schema: Any) -> dict[str, str]:
        """The security scheme object."""
        description = "A website's public key; others are refused here, as addresses end up in logs."
        return {"type": "apiKey", "in": "query", "name": "key", "description": description}


class BeaconView(BrowserAccess, ApiView):
    scopes = {"POST": {BROWSER}}
    authentication_classes = [KeyInAddress]
    repeatable = False  # each event's id does that

    @extend_schema(
        operation_id="events_beacon",
        tags=["events"],
        summary="Record events by navigator.sendBeacon",
        description="As `POST /api/v1/events/`, in a form that needs no preflight: the same JSON as text, or as the "
        "field `data` of a form, and a public key in the address.",
        parameters=[OpenApiParameter("key", str, required=True, description="The website's public key.")],
        request={
            _PLAIN: {"type": "string", "description": str(gettext_lazy("The JSON."))},
            _FORM: {"type": "object", "properties": {"data": {"type": "string"}}, "required": ["data"]},
        },
        responses={
            202: OpenApiResponse(schemas.EventsResult, description="Taken; see `rejected` for what was not."),
            **schemas.errors(*schemas.WRITE_ERRORS),
        },
        examples=[
            OpenApiExample("A page is left", value=_SENT, request_only=True, media_type=_PLAIN),
            OpenApiExample("As a form", value={"data": _SENT}, request_only=True, media_type=_FORM),
            ANSWER,
        ],
    )
    def post(self, request: Request) -> HttpResponse:
        """Hand the text to `crm.ingest`."""
        return answer(request, _text)


def _text(request: Request) -> bytes:
    inner = request._request
    length = request.META.get("CONTENT_LENGTH") or "0"
    if length.isdecimal() and int(length) > settings.DATA_UPLOAD_MAX_MEMORY_SIZE:
        raise ApiError(413, "too_large", _("The body is larger than 5 MB."))
    if inner.content_type == _PLAIN:
        return inner.body
    if inner.content_type == _FORM:
        return inner.POST.get("data", "").encode(errors="replace")
    raise ApiError(
        415, "unsupported_media_type", _("Send the JSON as text/plain, or in the field data of a form.")
    )
