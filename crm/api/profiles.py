"""Profiles in and out."""

import base64
import binascii
from collections.abc import Iterable
from datetime import datetime
from typing import Any

import msgspec
from django.db.models import Prefetch, Q, QuerySet
from django.http import HttpResponse
from django.utils.translation import gettext as _
from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import OpenApiExample, OpenApiParameter, OpenApiResponse, extend_schema
from rest_framework.request import Request

from crm import profiles
from crm.api import schemas
from crm.api.auth import READ, WRITE
from crm.api.errors import ApiError, rejected
from crm.api.views import ApiView, decoded, encoded
from crm.ingest import Rejected
from crm.models import Consent, Identifier, Profile, ProfileMerge
from crm.normalise import Rejection

DEFAULT_LIMIT = 100
MAX_ROWS = schemas.MAX_ROWS
_SOURCE = "api"
_FIELDS = ("id", *profiles.FIELDS, "attributes", "first_seen", "last_seen", "created_at", "updated_at")

_ADA = {
    "external_id": "C-1001",
    "email": "ada@example.com",
    "first_name": "Ada",
    "language": "en",
    "country": "GB",
    "attributes": {"plan": "gold", "visits": 12},
}


class _Bulk(msgspec.Struct):
    profiles: list[msgspec.Raw]


class _Cursor(msgspec.Struct, array_like=True):
    """The last row of a page. `updated_at` is there when the pages are sorted by it."""

    id: int
    updated_at: datetime | None = None


def as_json(profile: Profile) -> dict[str, Any]:
    """The profile as the API gives it; `identifiers` and `consents` should be prefetched."""
    return {
        **{name: getattr(profile, name) for name in _FIELDS},
        "identifiers": [{"kind": row.kind, "value": row.value} for row in profile.identifiers.all()],
        "consents": [
            {"kind": row.kind, "key": row.key, "state": row.state, "changed_at": row.changed_at}
            for row in profile.consents.all()
        ],
    }


def _complete() -> QuerySet[Profile]:
    return Profile.objects.prefetch_related(
        Prefetch("identifiers", Identifier.objects.order_by("kind", "value")),
        Prefetch("consents", Consent.objects.order_by("kind", "key")),
    )


class ProfilesView(ApiView):
    scopes = {"GET": {READ}, "POST": {WRITE}}

    @extend_schema(
        operation_id="profiles_list",
        tags=["profiles"],
        summary="List profiles",
        description="Sorted by id, or with `updated_since` by the time of the last change. To follow changes, ask "
        "from a minute before your last request: what was being written then comes again rather than never.",
        parameters=[
            OpenApiParameter("email", OpenApiTypes.EMAIL),
            OpenApiParameter("external_id", OpenApiTypes.STR),
            OpenApiParameter("updated_since", OpenApiTypes.DATETIME, description="RFC 3339, inclusive."),
            OpenApiParameter(
                "limit", OpenApiTypes.INT, description=f"1 to {MAX_ROWS}, else {DEFAULT_LIMIT}."
            ),
            OpenApiParameter("cursor", OpenApiTypes.STR, description="`next_cursor` of the page before."),
        ],
        responses={
            200: OpenApiResponse(schemas.ProfilePage, description="One page."),
            **schemas.errors(400, 401, 403),
        },
    )
    def get(self, request: Request) -> HttpResponse:
        """One page; the cursor names its last row, so that pages neither skip nor repeat rows."""
        limit = self._limit(request)
        query = _complete()
        if email := self.parameter(request, "email"):
            query = query.filter(email=email.lower())
        if external_id := self.parameter(request, "external_id"):
            query = query.filter(external_id=external_id)
        since = self._since(request)
        cursor = self._cursor(request)
        if cursor and (cursor.updated_at is None) != (since is None):
            raise ApiError(400, "invalid_cursor", _("This cursor is of another list."), field="cursor")
        query = query.order_by("id")
        if since:
            query = query.filter(updated_at__gte=since).order_by("updated_at", "id")
        if cursor and cursor.updated_at:
            # The first condition is what an index can use.
            at, last = cursor.updated_at, cursor.id
            query = query.filter(updated_at__gte=at).filter(Q(updated_at__gt=at) | Q(id__gt=last))
        elif cursor:
            query = query.filter(id__gt=cursor.id)
        rows = list(query[: limit + 1])
        more = len(rows) > limit
        last_row = rows[limit - 1] if more else None
        return encoded(
            {
                "profiles": [as_json(row) for row in rows[:limit]],
                "next_cursor": _pack(_Cursor(last_row.id, last_row.updated_at if since else None))
                if last_row
                else None,
            }
        )

    def _limit(self, request: Request) -> int:
        text = self.parameter(request, "limit") or str(DEFAULT_LIMIT)
        if not (text.isascii() and text.isdigit() and len(text) < 6 and 1 <= int(text) <= MAX_ROWS):
            raise ApiError(
                400, "invalid_value", _("limit is a number from 1 to %d.") % MAX_ROWS, field="limit"
            )
        return int(text)

    def _since(self, request: Request) -> datetime | None:
        text = self.parameter(request, "updated_since")
        if not text:
            return None
        try:
            since = msgspec.convert(text, datetime)
        except msgspec.ValidationError:
            since = None
        if since is None or since.tzinfo is None:
            detail = _("Write the time like 2026-01-31T12:00:00Z (RFC 3339).")
            raise ApiError(400, "invalid_time", detail, field="updated_since")
        return since

    def _cursor(self, request: Request) -> _Cursor | None:
        text = self.parameter(request, "cursor")
        if not text:
            return None
        try:
            cursor = msgspec.json.decode(
                base64.urlsafe_b64decode(text + "=" * (-len(text) % 4)), type=_Cursor
            )
        except (ValueError, binascii.Error, msgspec.MsgspecError):
            cursor = None
        naive = cursor is not None and cursor.updated_at is not None and cursor.updated_at.tzinfo is None
        if cursor is None or naive or not 0 < cursor.id < 2**63:
            raise ApiError(400, "invalid_cursor", _("This is not a cursor of this list."), field="cursor")
        return cursor

    @extend_schema(
        operation_id="profiles_upsert",
        tags=["profiles"],
        summary="Create or change one profile",
        request=schemas.ProfileInput,
        responses={
            200: OpenApiResponse(schemas.ProfileOutput, description="It existed; this is how it is now."),
            201: OpenApiResponse(schemas.ProfileOutput, description="Created."),
            **schemas.errors(*schemas.WRITE_ERRORS, 409),
        },
        examples=[OpenApiExample("A customer", value=_ADA, request_only=True)],
    )
    def post(self, request: Request) -> HttpResponse:
        """Upsert and give the profile back."""
        try:
            row = profiles.row(self.parsed(request, dict[str, Any]))
        except Rejection as rejection:
            raise rejected(rejection) from rejection
        [outcome] = profiles.upsert([row], _SOURCE).outcomes
        if outcome.state == profiles.REJECTED:
            raise rejected(Rejection(outcome.code, outcome.field, outcome.detail))
        return encoded(
            as_json(_complete().get(pk=outcome.profile_id)),
            status=201 if outcome.state == profiles.CREATED else 200,
        )


class BulkView(ApiView):
    scopes = {"POST": {WRITE}}

    @extend_schema(
        operation_id="profiles_bulk",
        tags=["profiles"],
        summary="Create or change up to 1,000 profiles",
        description="Each row is judged alone: a bad one is listed in `rejected`, those beside it are stored.",
        request=schemas.Profiles,
        responses={
            200: OpenApiResponse(
                schemas.ProfilesResult, description="Done; see `rejected` for what was not."
            ),
            **schemas.errors(*schemas.WRITE_ERRORS),
        },
        examples=[
            OpenApiExample(
                "Two customers", value={"profiles": [_ADA, {"email": "bo@example.com"}]}, request_only=True
            )
        ],
    )
    def post(self, request: Request) -> HttpResponse:
        """Validate row by row, then store the good ones at once."""
        raws = self.parsed(request, _Bulk).profiles
        if not 1 <= len(raws) <= MAX_ROWS:
            raise ApiError(
                400, "invalid_batch", _("Send 1 to %d profiles at a time.") % MAX_ROWS, field="profiles"
            )
        good: list[tuple[int, profiles.Row]] = []
        refused: list[Rejected] = []
        for index, raw in enumerate(raws):
            try:
                good.append((index, profiles.row(decoded(bytes(raw), dict[str, Any]))))
            except Rejection as rejection:
                refused.append(Rejected(index, rejection.code, rejection.detail, rejection.field))
            except ApiError as error:
                refused.append(
                    Rejected(index, error.detail.code, str(error.detail), error.more.get("field", ""))
                )
        result = profiles.upsert([row for _index, row in good], _SOURCE)
        refused += _refusals((index for index, _row in good), result.outcomes)
        return encoded(
            {
                "created": result.count(profiles.CREATED),
                "updated": result.count(profiles.UPDATED),
                "unchanged": result.count(profiles.UNCHANGED),
                "rejected": sorted(refused, key=lambda row: row.index),
            }
        )


class ProfileView(ApiView):
    scopes = {"GET": {READ}}

    @extend_schema(
        operation_id="profiles_get",
        tags=["profiles"],
        summary="One profile",
        parameters=[OpenApiParameter("id", OpenApiTypes.INT, OpenApiParameter.PATH)],
        responses={
            200: OpenApiResponse(schemas.ProfileOutput, description="The profile."),
            **schemas.errors(401, 403, 404),
        },
    )
    def get(self, request: Request, pk: int) -> HttpResponse:
        """The profile; of one that was merged into another, a 404 that names the other."""
        profile = _complete().filter(pk=pk).first() if pk < 2**63 else None
        if profile is None:
            merge = (
                ProfileMerge.objects.filter(loser_id=pk).order_by("-merged_at").first()
                if pk < 2**63
                else None
            )
            if merge:
                detail = _("This profile was merged into profile %d.") % merge.winner_id
                raise ApiError(404, "merged", detail, merged_into=merge.winner_id)
            raise ApiError(404, "not_found", _("There is no such profile."))
        return encoded(as_json(profile))


def _refusals(indexes: Iterable[int], outcomes: Iterable[profiles.Outcome]) -> list[Rejected]:
    return [
        Rejected(index, outcome.code, outcome.detail, outcome.field)
        for index, outcome in zip(indexes, outcomes, strict=True)
        if outcome.state == profiles.REJECTED
    ]


def _pack(cursor: _Cursor) -> str:
    return base64.urlsafe_b64encode(msgspec.json.encode(cursor)).decode().rstrip("=")
