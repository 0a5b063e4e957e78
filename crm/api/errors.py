"""One error body everywhere: {"error": {"code", "detail", "field"?}}."""

import logging
from collections.abc import Callable, Mapping
from typing import Any

from django.core.exceptions import PermissionDenied, RequestDataTooBig
from django.http import Http404, HttpRequest, HttpResponse, JsonResponse, UnreadablePostError
from django.urls import is_valid_path
from django.utils.translation import gettext as _
from django.views import defaults
from rest_framework import exceptions
from rest_framework.response import Response

from crm.normalise import Rejection
from crm.pg import Contention

logger = logging.getLogger(__name__)

_CODES = {
    exceptions.NotAuthenticated: "not_authenticated",
    exceptions.ParseError: "invalid_json",
    exceptions.NotFound: "not_found",
    exceptions.MethodNotAllowed: "method_not_allowed",
    exceptions.NotAcceptable: "not_acceptable",
    exceptions.UnsupportedMediaType: "unsupported_media_type",
}


class ApiError(exceptions.APIException):
    """An answer other than success. `more` joins the error's fields, such as field="profile.email"."""

    headers: Mapping[str, str] = {}

    def __init__(self, status: int, code: str, detail: str, **more: Any):
        super().__init__(detail, code)
        self.status_code = status
        self.more = more


def rejected(rejection: Rejection) -> ApiError:
    """The answer to a request whose only row can't be taken: 409 if a name is another's or erased, else 400."""
    code = rejection.code
    conflict = code.endswith("_taken") or code.startswith("duplicate_") or code == "erased"
    more = {"field": rejection.field} if rejection.field else {}
    return ApiError(409 if conflict else 400, rejection.code, rejection.detail, **more)


def body(code: str, detail: str, **more: Any) -> dict[str, Any]:
    """The JSON object of an error."""
    return {"error": {"code": code, "detail": detail, **more}}


def handle(error: Exception, context: dict[str, Any]) -> Response | None:
    """DRF's exception handler. None leaves an unexpected error to Django, which answers with `server_error`."""
    if isinstance(error, Http404):
        error = exceptions.NotFound()
    elif isinstance(error, PermissionDenied):
        error = exceptions.PermissionDenied()
    elif isinstance(error, RequestDataTooBig):
        error = ApiError(413, "too_large", _("The body is larger than 5 MB."))
    elif isinstance(error, Contention):
        error = ApiError(503, "busy", _("Others change the same data just now; repeat it in a moment."))
        error.headers = {"Retry-After": "1"}
    elif isinstance(error, UnreadablePostError):
        error = ApiError(400, "unreadable", _("The body ended early."))
    if not isinstance(error, exceptions.APIException):
        return None
    headers = dict(getattr(error, "headers", {}))
    if challenge := getattr(error, "auth_header", None):
        headers["WWW-Authenticate"] = challenge
    code = _CODES.get(type(error)) or getattr(error.detail, "code", error.default_code)
    return Response(
        body(code, str(error.detail), **getattr(error, "more", {})), status=error.status_code, headers=headers
    )


def _is_api(request: HttpRequest) -> bool:
    return request.path.startswith("/api/")


def not_found(request: HttpRequest, exception: Exception) -> HttpResponse:
    """404: as JSON below /api/."""
    if _is_api(request):
        return JsonResponse(body("not_found", _("There is nothing at this address.")), status=404)
    return defaults.page_not_found(request, exception)


def bad_request(request: HttpRequest, exception: Exception) -> HttpResponse:
    """400 for what Django itself refuses: as JSON below /api/."""
    if _is_api(request):
        return JsonResponse(body("bad_request", _("This request can't be read.")), status=400)
    return defaults.bad_request(request, exception)


class SlashMiddleware:
    """Below /api/, a request without the slash at the end of its address is told so.

    Django would redirect it, which turns a POST into a GET. Place it before CommonMiddleware.
    """

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponse]):
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponse:
        """Answer 404, naming the right address, where there is one."""
        path = request.path_info
        if (
            _is_api(request)
            and not path.endswith("/")
            and not is_valid_path(path)
            and is_valid_path(f"{path}/")
        ):
            detail = _("Addresses end with a slash: %s/") % request.path
            return JsonResponse(body("not_found", detail), status=404)
        return self.get_response(request)


def server_error(request: HttpRequest) -> HttpResponse:
    """500: as JSON below /api/; what went wrong is in the log only."""
    if _is_api(request):
        detail = _("Something went wrong here; sending the same request again does no harm.")
        return JsonResponse(body("server_error", detail), status=500)
    return defaults.server_error(request)
