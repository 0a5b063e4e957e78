"""A person's own rights, for programs: all that is known about them, and being forgotten."""

from typing import Any

from django.http import HttpResponse, StreamingHttpResponse
from django.utils.http import content_disposition_header
from django.utils.translation import gettext as _
from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import OpenApiExample, OpenApiParameter, OpenApiResponse, extend_schema
from rest_framework.renderers import BaseRenderer, JSONRenderer
from rest_framework.request import Request

from crm import audit, portability, privacy
from crm.api import schemas
from crm.api.auth import READ, WRITE
from crm.api.errors import ApiError
from crm.api.views import ApiView
from crm.models import Profile, ProfileMerge

PROFILE_ID = OpenApiParameter(
    "id", {"type": "integer", "minimum": 0}, OpenApiParameter.PATH, description="Our number of the profile."
)
CRMS = OpenApiParameter(
    "crms", OpenApiTypes.BOOL, description="Have the person's records in connected CRMs erased, too."
)
_NOT_FOUND = OpenApiExample(
    "Nobody",
    value={"error": {"code": "not_found", "detail": "There is no such profile."}},
    response_only=True,
    status_codes=["404"],
)


class ErasingMixin:
    """DELETE of a profile."""

    @extend_schema(
        operation_id="profiles_erase",
        tags=["profiles"],
        summary="Erase one person",
        description="Everything personal goes, for good, and no import brings it back. What stays: counts and amounts "
        "in reports, the proof of consents, and the empty profile under its number. Doing it again changes nothing.",
        parameters=[PROFILE_ID, CRMS],
        responses={204: OpenApiResponse(description="Erased."), **schemas.errors(404)},
        examples=[_NOT_FOUND],
    )
    def delete(self, request: Request, pk: int) -> HttpResponse:
        """Erase; a profile that was merged names the other one in a 404."""
        crms = flag(request, "crms")
        profile = _person(pk)
        audit.record(request, "profile.erased", profile, crms=crms)
        privacy.erase([profile.pk], "request", crms=crms)
        return HttpResponse(status=204)


class ZipRenderer(BaseRenderer):
    """Lets a client ask for application/zip; the view makes the answer itself."""

    media_type = "application/zip"
    format = "zip"
    charset = None

    def render(self, data: Any, *args: Any, **kwargs: Any) -> Any:
        """The answer as it is."""
        return data


class ExportView(ApiView):
    """All that is known about one person."""

    scopes = {"GET": {READ}}
    renderer_classes = [JSONRenderer, ZipRenderer]

    @extend_schema(
        operation_id="profiles_export",
        tags=["profiles"],
        summary="All that is known about one person",
        description="A ZIP of JSON files; `manifest.json` in it names them and says what they hold. It needs a key "
        "that may read and write: it hands out more than any other answer.",
        parameters=[PROFILE_ID],
        responses={
            (200, "application/zip"): OpenApiResponse(OpenApiTypes.BINARY, description="The archive."),
            **schemas.errors(404),
        },
        examples=[_NOT_FOUND],
    )
    def get(self, request: Request, pk: int) -> HttpResponse | StreamingHttpResponse:
        """The archive, made while it is sent; that it was asked for is recorded first."""
        if WRITE not in request.auth.scopes:
            raise ApiError(403, "scope_missing", _("This API key may not do that."))
        profile = _person(pk)
        audit.record(request, "profile.exported", profile)
        return download(profile)


def download(profile: Profile) -> StreamingHttpResponse:
    """The archive about a person as a file to be kept by nobody in between."""
    response = StreamingHttpResponse(portability.archive(profile), content_type="application/zip")
    name = portability.file_name(profile)
    response["Content-Disposition"] = content_disposition_header(True, name)
    response["Cache-Control"] = "no-store"
    return response


def flag(request: Request, name: str) -> bool:
    """A query parameter that is true or false; default false."""
    text = request.GET.get(name, "false").lower()
    if text not in ("true", "false"):
        raise ApiError(400, "invalid_value", _("Give true or false."), field=name)
    return text == "true"


def _person(pk: int) -> Profile:
    if pk < 2**63:
        profile = Profile.objects.filter(pk=pk).first()
        if profile is not None:
            return profile
        if merge := ProfileMerge.objects.filter(loser_id=pk).only("winner_id").order_by("-merged_at").first():
            detail = _("This profile was merged into profile %d.") % merge.winner_id
            raise ApiError(404, "merged", detail, merged_into=merge.winner_id)
    raise ApiError(404, "not_found", _("There is no such profile."))
