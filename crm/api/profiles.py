"""Profiles in and out."""

from collections.abc import Iterable
from functools import partial
from typing import Any

import msgspec
from django.db.models import QuerySet
from django.http import HttpResponse
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy as _lazy
from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import OpenApiExample, OpenApiParameter, OpenApiResponse, extend_schema
from rest_framework.request import Request

from crm import audit, normalise, profiles
from crm.api import filters, paging, schemas
from crm.api.auth import READ, WRITE
from crm.api.errors import ApiError, rejected
from crm.api.privacy import ErasingMixin, flag
from crm.api.profile_json import READS, as_json, check_filters, complete, hides
from crm.api.views import ApiView, decoded, encoded
from crm.ingest import Rejected
from crm.models import Identifier, Profile, ProfileMerge
from crm.normalise import Rejection

MAX_ROWS = schemas.MAX_ROWS
_SOURCE = "api"
_ADA = {
    "external_id": "C-1001",
    "email": "ada@example.com",
    "first_name": "Ada",
    "language": "en",
    "country": "GB",
    "attributes": {"plan": "gold", "visits": 12},
}


_ADA_STORED = {
    "id": 42,
    **_ADA,
    "phone": None,
    "last_name": None,
    "timezone": "Europe/London",
    "city": None,
    "latitude": None,
    "longitude": None,
    "birthday": "1990-12-10",
    "lifecycle_stage": None,
    "first_seen": "2026-01-05T09:12:00Z",
    "last_seen": "2026-01-31T12:00:00Z",
    "created_at": "2026-01-05T09:12:00Z",
    "updated_at": "2026-01-31T12:00:00Z",
    "computed": {"orders": 3, "last_order": "2026-01-31T12:00:00Z"},
    "sources": {"email": {"source": "api", "at": "2026-01-05T09:12:00Z"}},
    "identifiers": [
        {"kind": "email", "value": "ada@example.com"},
        {"kind": "external_id", "value": "C-1001"},
    ],
    "consents": [
        {"kind": "channel", "key": "webpush", "state": "subscribed", "changed_at": "2026-01-05T09:12:00Z"}
    ],
}
_READS = "A key that may not read gets the number and the state alone."
RETURNING = OpenApiParameter(
    "returning", OpenApiTypes.BOOL, description="The person, who was erased once, came back by themselves."
)
PROFILE_ID = OpenApiParameter(
    "id", {"type": "integer", "minimum": 0}, OpenApiParameter.PATH, description="Our number of the profile."
)
MERGED = OpenApiExample(
    "Merged into another",
    value={
        "error": {"code": "merged", "detail": "This profile was merged into profile 42.", "merged_into": 42}
    },
    response_only=True,
    status_codes=["404"],
)


def _changed_examples(state: str, status: int) -> list[OpenApiExample]:
    """What keys with and without the right to read are answered."""
    return [
        OpenApiExample(f"{title} ({state})", value=value, response_only=True, status_codes=[str(status)])
        for title, value in (
            ("To a key that may read", {"id": 42, "state": state, "profile": _ADA_STORED}),
            ("To a key that may only write", {"id": 42, "state": state}),
        )
    ]


class _Bulk(msgspec.Struct):
    profiles: list[msgspec.Raw]


class ProfileFilters(filters.Filters):
    """By names, which are brought to our form first, and by what an index can find."""

    external_id = filters.NormalFilter(
        normal=partial(normalise.identifier, field="external_id"), help_text=_lazy("Your customer number.")
    )
    email = filters.NormalFilter(normal=normalise.email)
    phone = filters.NormalFilter(normal=normalise.phone, help_text=_lazy("E.164, such as +48601234567."))
    anonymous_id = filters.NormalFilter(
        normal=partial(normalise.identifier, field="anonymous_id"),
        method="by_anonymous_id",
        help_text=_lazy("Whoever the visitor with this id turned out to be."),
    )
    country = filters.NormalFilter(normal=normalise.country, help_text=_lazy("ISO 3166, such as PL."))
    language = filters.NormalFilter(normal=normalise.language, help_text=_lazy("BCP 47, such as pt-BR."))
    attributes = filters.ContainsFilter(
        help_text=_lazy('A JSON object; profiles that have all of it, such as {"plan": "gold"}.')
    )
    updated_since = filters.InstantFilter(
        field_name="updated_at", lookup_expr="gte", help_text=_lazy("RFC 3339, inclusive.")
    )

    def by_anonymous_id(self, query: QuerySet[Profile], name: str, value: str) -> QuerySet[Profile]:
        """The profile that has the identifier."""
        known = Identifier.objects.filter(kind=Identifier.ANONYMOUS_ID, value=value)
        return query.filter(pk__in=known.values("profile"))


class ProfilesView(ApiView):
    scopes = {"GET": READS, "POST": {WRITE}}

    @extend_schema(
        operation_id="profiles_list",
        tags=["profiles"],
        summary="List profiles",
        description="Sorted by id, or with `updated_since` by the time of the last change. To follow changes, ask "
        "from a minute before your last request: what was being written then comes again rather than never. "
        "With `email`, `external_id`, `phone` or `anonymous_id` it looks a person up.",
        parameters=[*filters.parameters(ProfileFilters), *paging.PARAMETERS],
        responses={200: OpenApiResponse(schemas.ProfilePage, description="One page.")},
        examples=[
            OpenApiExample(
                "The last page",
                value={"profiles": [_ADA_STORED], "next_cursor": None},
                response_only=True,
                status_codes=["200"],
            )
        ],
    )
    def get(self, request: Request) -> HttpResponse:
        """One page."""
        check_filters(request)
        query = filters.filtered(request, complete(), ProfileFilters)
        order = ("updated_at", "id") if request.GET.get("updated_since", "").strip() else ("id",)
        rows, after = paging.rows(request, query, order)
        return encoded({"profiles": as_json(rows, hides(request)), "next_cursor": after})

    @extend_schema(
        operation_id="profiles_upsert",
        tags=["profiles"],
        summary="Create or change one profile",
        description="Whoever was erased does not come back by an import: their names are refused with the code "
        f"`erased`. `returning=true` says that the person came back themselves and begins anew. {_READS}",
        parameters=[RETURNING],
        request=schemas.ProfileInput,
        responses={
            200: OpenApiResponse(
                schemas.ProfileChanged, description="It existed; `state` says what changed."
            ),
            201: OpenApiResponse(schemas.ProfileChanged, description="Created."),
            **schemas.errors(*schemas.WRITE_ERRORS, 409),
        },
        examples=[
            OpenApiExample("A customer", value=_ADA, request_only=True),
            *_changed_examples("updated", 200),
            *_changed_examples("created", 201),
        ],
    )
    def post(self, request: Request) -> HttpResponse:
        """Upsert."""
        try:
            row = _row(self.parsed(request, dict[str, Any]))
        except Rejection as rejection:
            raise rejected(rejection) from rejection
        returning = flag(request, "returning")
        [outcome] = profiles.upsert([row], _SOURCE, returning=returning).outcomes
        if outcome.state == profiles.REJECTED:
            raise rejected(Rejection(outcome.code, outcome.field, outcome.detail))
        if returning and outcome.state == profiles.CREATED:
            audit.record(request, "profile.returned", ("crm.profile", outcome.profile_id))
        return _changed(request, outcome)


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
            ),
            OpenApiExample(
                "One taken, one refused",
                value={
                    "created": 1,
                    "updated": 0,
                    "unchanged": 0,
                    "rejected": [
                        {
                            "index": 1,
                            "code": "invalid_email",
                            "detail": "This is no email address.",
                            "field": "email",
                        }
                    ],
                },
                response_only=True,
                status_codes=["200"],
            ),
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
                good.append((index, _row(decoded(bytes(raw), dict[str, Any]))))
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


class ProfileView(ErasingMixin, ApiView):
    scopes = {"GET": READS, "PATCH": {WRITE}, "DELETE": {WRITE}}

    @extend_schema(
        operation_id="profiles_get",
        tags=["profiles"],
        summary="One profile",
        parameters=[PROFILE_ID],
        responses={
            200: OpenApiResponse(schemas.ProfileOutput, description="The profile."),
            **schemas.errors(404),
        },
        examples=[
            OpenApiExample("A customer", value=_ADA_STORED, response_only=True, status_codes=["200"]),
            MERGED,
        ],
    )
    def get(self, request: Request, pk: int) -> HttpResponse:
        """The profile; of one that was merged into another, a 404 that names the other."""
        return encoded(as_json([existing(pk)], hides(request))[0])

    @extend_schema(
        operation_id="profiles_patch",
        tags=["profiles"],
        summary="Change some of a profile",
        description="Fields left out stay as they are, null clears one; attributes are merged name by name. Sending "
        f"it again changes nothing. {_READS}",
        parameters=[PROFILE_ID],
        request=schemas.ProfileFields,
        responses={
            200: OpenApiResponse(
                schemas.ProfileChanged, description="`state` says whether anything changed."
            ),
            **schemas.errors(*schemas.WRITE_ERRORS, 404, 409),
        },
        examples=[
            OpenApiExample("A new plan", value={"attributes": {"plan": "gold"}}, request_only=True),
            *_changed_examples("updated", 200),
            MERGED,
        ],
    )
    def patch(self, request: Request, pk: int) -> HttpResponse:
        """Change the fields that are given."""
        sent = self.parsed(request, dict[str, Any])
        if "id" in sent:
            raise ApiError(400, "unknown_field", _("The address says which profile it is."), field="id")
        profile = existing(pk)
        try:
            row = _row({**sent, "id": profile.pk})
        except Rejection as rejection:
            raise rejected(rejection) from rejection
        [outcome] = profiles.upsert([row], _SOURCE).outcomes
        if outcome.state == profiles.REJECTED:
            existing(pk)  # it may have gone meanwhile
            raise rejected(Rejection(outcome.code, outcome.field, outcome.detail))
        return _changed(request, outcome)


def existing(pk: int) -> Profile:
    """The profile with this number.

    Raises:
        ApiError: 404; of one that was merged into another, `merged` with the other's number in `merged_into`.
    """
    profile = complete().filter(pk=pk).first() if pk < 2**63 else None
    if profile is not None:
        return profile
    merge = (
        ProfileMerge.objects.filter(loser_id=pk).only("winner_id").order_by("-merged_at").first()
        if pk < 2**63
        else None
    )
    if merge:
        detail = _("This profile was merged into profile %d.") % merge.winner_id
        raise ApiError(404, "merged", detail, merged_into=merge.winner_id)
    raise ApiError(404, "not_found", _("There is no such profile."))


def _row(sent: dict[str, Any]) -> profiles.Row:
    """The row for `profiles.upsert`.

    Raises:
        Rejection: a field can't be taken.
    """
    # A zone nobody knows is left out, whoever sends it; what is no text at all is a mistake of the caller's program.
    if not isinstance(sent.get("timezone"), str | None):
        raise Rejection("invalid_type", "timezone", _("timezone must be text."))
    return profiles.row(sent)


def _changed(request: Request, outcome: profiles.Outcome) -> HttpResponse:
    """What was done; the profile itself only for keys that may read."""
    answer: dict[str, Any] = {"id": outcome.profile_id, "state": outcome.state}
    if READ in request.auth.scopes:
        answer["profile"] = as_json([complete().get(pk=outcome.profile_id)])[0]
    return encoded(answer, status=201 if outcome.state == profiles.CREATED else 200)


def _refusals(indexes: Iterable[int], outcomes: Iterable[profiles.Outcome]) -> list[Rejected]:
    return [
        Rejected(index, outcome.code, outcome.detail, outcome.field)
        for index, outcome in zip(indexes, outcomes, strict=True)
        if outcome.state == profiles.REJECTED
    ]
