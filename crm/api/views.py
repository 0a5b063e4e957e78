"""What all API views share."""

from functools import partial
from typing import Any, ClassVar, TypeVar

import msgspec
from django.conf import settings
from django.http import HttpResponse
from django.utils.translation import gettext as _
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from crm.api import idempotency, openapi
from crm.api.auth import BROWSER
from crm.api.errors import ApiError

T = TypeVar("T")


class ApiView(APIView):
    """A JSON endpoint. `scopes` maps a method to the scopes of which the key needs one.

    Query parameters that the operation's `extend_schema` does not declare are refused. A POST by a server's key
    may be repeated under an idempotency key (`crm.api.idempotency`), unless `repeatable` is False: then the
    requests carry ids of their own.
    """

    scopes: ClassVar[dict[str, set[str]]] = {}
    repeatable: ClassVar[bool] = True

    def initial(self, request: Request, *args: Any, **kwargs: Any) -> None:
        """Besides authentication and permissions, what holds for all endpoints."""
        super().initial(request, *args, **kwargs)
        self._check_query(request)
        if request.method == "POST" and self.repeatable and not _public(request):
            text = idempotency.key(request)
            if text is not None:
                self.raw(request)  # refuses what must not be read into memory
                # `dispatch` takes the handler from the instance when this returns.
                self.post = partial(self._post_once, text, self.post)

    def options(self, request: Request, *args: Any, **kwargs: Any) -> HttpResponse:
        """What may be asked of this address, in `Allow`; what it means is in the OpenAPI document."""
        return HttpResponse(status=204)

    def _post_once(self, text: str, post: Any, request: Request, *args: Any, **kwargs: Any) -> Any:
        def answer() -> HttpResponse:
            response = post(request, *args, **kwargs)
            if isinstance(response, Response):  # DRF would write its body only after this
                response = encoded(response.data, response.status_code)
            return response

        return idempotency.once(request, text, answer)

    def _check_query(self, request: Request) -> None:
        if not request.META.get("QUERY_STRING"):
            return
        allowed = openapi.query_parameters(self, "GET" if request.method == "HEAD" else request.method)
        if allowed is None:
            return
        for name, values in request.GET.lists():
            if name not in allowed:
                detail = _("There is no parameter “%s” here.") % name[:100]
                if allowed:
                    detail += " " + _("There are: %s.") % ", ".join(sorted(allowed))
                raise ApiError(400, "unknown_parameter", detail, field=name[:100])
            if len(values) > 1:
                raise ApiError(400, "invalid_value", _("Give it once."), field=name)
            if not values[0].strip():
                raise ApiError(400, "invalid_value", _("It has no value; leave it out."), field=name)
            if "\x00" in values[0]:
                raise ApiError(400, "invalid_value", _("NUL is not allowed here."), field=name)

    def raw(self, request: Request) -> bytes:
        """The body, which must be JSON in UTF-8 of at most 5 MB; it is not parsed."""
        if request.META.get("HTTP_CONTENT_ENCODING", "identity").lower() != "identity":
            raise ApiError(415, "unsupported_media_type", _("Send the body without a content encoding."))
        if request._request.content_type != "application/json":
            raise ApiError(415, "unsupported_media_type", _("Send JSON with Content-Type: application/json."))
        length = request.META.get("CONTENT_LENGTH") or "0"
        if length.isdecimal() and int(length) > settings.DATA_UPLOAD_MAX_MEMORY_SIZE:
            raise ApiError(413, "too_large", _("The body is larger than 5 MB."))
        return request._request.body

    def parsed(self, request: Request, kind: type[T]) -> T:
        """The body as a `kind`, a msgspec struct or plain type.

        Raises:
            ApiError: 400, naming the field where there is one.
        """
        return decoded(self.raw(request), kind)

    def parameter(self, request: Request, name: str) -> str:
        """A query parameter's text, without NUL, which PostgreSQL can't compare with."""
        value = request.GET.get(name, "").strip()
        if "\x00" in value:
            raise ApiError(400, "invalid_value", _("NUL is not allowed here."), field=name)
        return value


def _public(request: Request) -> bool:
    return request.auth is not None and BROWSER in request.auth.scopes


def decoded(raw: bytes, kind: Any) -> Any:
    """JSON text as a `kind`.

    Raises:
        ApiError: 400.
    """
    try:
        return msgspec.json.decode(raw, type=kind)
    except msgspec.ValidationError as error:
        detail, _separator, path = str(error).partition(" - at `$")
        field = path.rstrip("`").lstrip(".")
        if "missing required field" in detail:
            field = ".".join(part for part in (field, detail.split("`")[1]) if part)
            raise ApiError(
                400, "missing_field", _("%(field)s is missing.") % {"field": field}, field=field
            ) from error
        raise ApiError(400, "invalid_value", f"{detail}.", **({"field": field} if field else {})) from error
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        detail = str(error)[:200]
        raise ApiError(400, "invalid_json", _("This is not JSON in UTF-8: %s.") % detail) from error


def encoded(answer: Any, status: int = 200) -> HttpResponse:
    """A JSON answer made of msgspec structs and plain values."""
    return HttpResponse(msgspec.json.encode(answer), status=status, content_type="application/json")
