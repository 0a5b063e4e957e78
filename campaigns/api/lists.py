"""Putting people on lists and taking them off."""

from collections.abc import Sequence
from typing import Any

import msgspec
from django.db import transaction
from django.http import HttpResponse
from django.utils.translation import gettext as _
from drf_spectacular.utils import OpenApiResponse, extend_schema
from msgspec import UNSET, UnsetType
from rest_framework.request import Request

from campaigns.api import common, examples, shapes
from campaigns.api.common import SegmentApi
from campaigns.api.members import MembersListing
from campaigns.api.segments import new_slug, not_made, title
from campaigns.models import ListJob, Segment
from campaigns.segments import list_files, list_names, list_work, lists
from campaigns.segments.list_names import Found
from crm import audit
from crm.api import paging, schemas
from crm.api.auth import WRITE
from crm.api.errors import ApiError
from crm.api.profile_json import READS
from crm.api.views import decoded, encoded
from crm.ingest import Rejected

MOST_REPLACED = 100_000  # rows; the body has at most 5 MB
_PEOPLE = {
    "profiles": [{"external_id": "C-1001"}, {"email": "bo@example.com"}, {"email": "nobody@example.com"}]
}
_REJECTED = [{"index": 2, "code": "unknown_profile", "detail": "Nobody is known by this.", "field": "email"}]
_FILLING = {
    "id": 7,
    "list": "guests",
    "mode": "replace",
    "state": "running",
    "rows": 20_000,
    "added": 180,
    "removed": 0,
    "known": 19_815,
    "rejected": 5,
    "error": "",
    "created_at": "2026-01-31T12:00:00Z",
    "ended_at": None,
}
_NOT_A_LIST = examples.conflict(
    "not_a_list", "“Polish buyers” follows its rule; only lists are changed by hand."
)
_BY_ROW = (
    "Up to 1,000 at a time, each judged alone: who is not known is listed in `rejected`, and no profile is made. The "
    "surest of a row's names counts."
)


class _People(msgspec.Struct, forbid_unknown_fields=True):
    profiles: list[msgspec.Raw]


class _Everybody(msgspec.Struct, forbid_unknown_fields=True):
    profiles: list[common.Whom]


class _Snapshot(msgspec.Struct, forbid_unknown_fields=True):
    name: str
    slug: str | UnsetType = UNSET


class MembersView(MembersListing, SegmentApi):
    scopes = {"GET": READS, "POST": {WRITE}, "PUT": {WRITE}}

    @extend_schema(
        operation_id="segments_members_add",
        tags=["segments"],
        summary="Put people on a list",
        description=f"{_BY_ROW} Who is on it stays as they are.",
        parameters=[examples.SLUG],
        request=shapes.People,
        responses={
            200: OpenApiResponse(shapes.Added, description="Done; see `rejected` for who was not."),
            409: _NOT_A_LIST,
            **schemas.errors(404, 413, 415, 503),
        },
        examples=[
            examples.request("Three people", _PEOPLE),
            examples.answer("One is not known", {"added": 1, "known": 1, "rejected": _REJECTED}),
        ],
    )
    @transaction.atomic
    def post(self, request: Request, slug: str) -> HttpResponse:
        """Put on whoever is known."""
        row = listed(slug)
        ids, refused = found_people(self.parsed(request, _People).profiles)
        there = set(lists.present(sorted(set(ids.values()))))
        refused += [
            Rejected(place, "erased", _("This person was erased and does not come back by an import."), "")
            for place, number in ids.items()
            if number not in there
        ]
        added = lists.add(row, there).entered
        return encoded({"added": added, "known": len(there) - added, "rejected": _sorted(refused)})

    @extend_schema(
        operation_id="segments_members_replace",
        tags=["segments"],
        summary="Let exactly these people be on a list",
        description=f"Up to {MOST_REPLACED:,} rows in a body of 5 MB. The work goes on in the background; "
        "`…/fillings/` tells how far it is. A row of the wrong shape refuses all. Who was on the list and stays keeps "
        "the time since when; who is not named is taken off in the end. If no row names anybody who is known, the list "
        "is left as it is.",
        parameters=[examples.SLUG],
        request=shapes.ManyPeople,
        responses={
            202: OpenApiResponse(shapes.Filling, description="Begun."),
            409: _NOT_A_LIST,
            **schemas.errors(404, 413, 415),
        },
        examples=[examples.request("Three people", _PEOPLE), examples.answer("Begun", _FILLING, 202)],
    )
    @transaction.atomic
    def put(self, request: Request, slug: str) -> HttpResponse:
        """Keep the rows and begin."""
        row = listed(slug)
        people = self.parsed(request, _Everybody).profiles
        _check_size(people, MOST_REPLACED)
        names = [whom.names() for whom in people]
        job = list_files.from_names(row, names, mode=ListJob.Mode.REPLACE, by=common.author(request))
        list_work.start(job)
        audit.record(request, "list.filled", row, mode=job.mode, kind=job.kind)
        return _begun(job)


class RemoveView(SegmentApi):
    scopes = {"POST": {WRITE}}

    @extend_schema(
        operation_id="segments_members_remove",
        tags=["segments"],
        summary="Take people off a list",
        description=_BY_ROW,
        parameters=[examples.SLUG],
        request=shapes.People,
        responses={
            200: OpenApiResponse(shapes.Removed, description="Done; see `rejected` for who was not found."),
            409: _NOT_A_LIST,
            **schemas.errors(404, 413, 415, 503),
        },
        examples=[
            examples.request("Three people", _PEOPLE),
            examples.answer("One is not known", {"removed": 1, "unknown": 1, "rejected": _REJECTED}),
        ],
    )
    @transaction.atomic
    def post(self, request: Request, slug: str) -> HttpResponse:
        """Take off whoever is known."""
        row = listed(slug)
        ids, refused = found_people(self.parsed(request, _People).profiles)
        people = set(ids.values())
        removed = lists.remove(row, people).left
        return encoded({"removed": removed, "unknown": len(people) - removed, "rejected": _sorted(refused)})


class SnapshotView(SegmentApi):
    scopes = {"POST": {WRITE}}

    @extend_schema(
        operation_id="segments_snapshot",
        tags=["segments"],
        summary="Make a list of who is in a segment now",
        description="The list is filled in the background. Without `slug` its short name is made from its name.",
        parameters=[examples.SLUG],
        request=shapes.SnapshotInput,
        responses={
            202: OpenApiResponse(shapes.Filling, description="Begun; `list` is the short name of the list."),
            **schemas.errors(404, 409, 413, 415),
        },
        examples=[
            examples.request("In January", {"name": "Polish buyers in January", "slug": "january"}),
            examples.answer(
                "Begun", {**_FILLING, "list": "january", "mode": "add", "rows": 0, "known": 0}, 202
            ),
        ],
    )
    def post(self, request: Request, slug: str) -> HttpResponse:
        """Make the list and begin."""
        row = common.segment(slug)
        common.refuse_to_tell(row.rule, "")
        sent = self.parsed(request, _Snapshot)
        slug = "" if sent.slug is UNSET else new_slug(sent.slug)
        common.limited(request)
        try:
            _made, job = list_work.snapshot(row, title(sent.name), slug, common.author(request))
        except lists.ListError as error:
            raise not_made(error, slug) from error
        return _begun(job)


class FillingsView(SegmentApi):
    scopes = {"GET": READS}

    @extend_schema(
        operation_id="segments_fillings",
        tags=["segments"],
        summary="How a list was filled",
        description="What was put in by files, snapshots and PUT, the latest first, with how far it is.",
        parameters=[examples.SLUG, *paging.PARAMETERS],
        responses={200: OpenApiResponse(shapes.FillingPage, description="One page."), **schemas.errors(404)},
        examples=[examples.answer("One", {"fillings": [_FILLING], "next_cursor": None})],
    )
    def get(self, request: Request, slug: str) -> HttpResponse:
        """One page of them."""
        query = ListJob.objects.filter(list=common.segment(slug)).exclude(state=ListJob.State.DRAFT)
        return encoded(paging.page(request, query.select_related("list"), "fillings", filling_json, ("-id",)))


def listed(slug: str) -> Segment:
    """The list of this name.

    Raises:
        ApiError: 404; 409, it follows a rule.
    """
    row = common.segment(slug)
    try:
        lists.check(row)
    except lists.NotAList as error:
        raise ApiError(409, "not_a_list", str(error)) from error
    return row


def filling_json(job: ListJob) -> dict[str, Any]:
    """How far the filling of a list is."""
    return {
        "id": job.pk,
        "list": job.list.slug,
        "mode": job.mode,
        "state": job.state,
        **{name: getattr(job, name) for name in ("rows", "added", "removed", "known", "rejected")},
        "error": job.problem,
        "created_at": job.created_at,
        "ended_at": job.ended_at,
    }


def _begun(job: ListJob) -> HttpResponse:
    return encoded(filling_json(ListJob.objects.select_related("list").get(pk=job.pk)), 202)


def _check_size(profiles: Sequence[Any], most: int) -> None:
    if not 1 <= len(profiles) <= most:
        detail = _("Send 1 to %d profiles at a time.") % most
        raise ApiError(400, "invalid_batch", detail, field="profiles")


def found_people(raws: Sequence[msgspec.Raw]) -> tuple[dict[int, int], list[Rejected]]:
    """Place -> the number of the person who is meant, and the rows that mean nobody."""
    _check_size(raws, schemas.MAX_ROWS)
    rows: dict[int, dict[str, Any]] = {}
    refused = []
    for place, raw in enumerate(raws):
        try:
            rows[place] = decoded(bytes(raw), common.Whom).names()
        except ApiError as error:
            refused.append(Rejected(place, error.detail.code, str(error.detail), error.more.get("field", "")))
    found: dict[int, Found] = (
        dict(zip(rows, list_names.find(list(rows.values())), strict=True)) if rows else {}
    )
    refused += [
        Rejected(place, one.code, one.detail, one.field)
        for place, one in found.items()
        if one.profile_id is None
    ]
    return {place: one.profile_id for place, one in found.items() if one.profile_id is not None}, refused


def _sorted(refused: list[Rejected]) -> list[Rejected]:
    return sorted(refused, key=lambda row: row.index)
