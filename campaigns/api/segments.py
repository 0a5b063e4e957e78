"""Segments in and out."""

from typing import Any

import django_filters
import msgspec
from django.db import IntegrityError, transaction
from django.http import HttpResponse
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy
from drf_spectacular.utils import OpenApiResponse, extend_schema
from msgspec import UNSET, UnsetType
from rest_framework.request import Request

from campaigns.api import common, examples, shapes
from campaigns.api.common import SegmentApi
from campaigns.models import Segment
from campaigns.segments import editing, lists, usage
from crm import audit, normalise
from crm.api import filters, paging, schemas
from crm.api.auth import WRITE
from crm.api.errors import ApiError, rejected
from crm.api.profile_json import READS
from crm.api.views import encoded
from crm.computed.usage import Use
from crm.normalise import Rejection

RESERVED = frozenset({"preview", "overlap", "exports"})  # addresses beside those of segments
_READS = "A key that may not read gets the name, the state and the version alone."
_VERSION = (
    "With `version` nothing is done if the rule was changed since you read it (409, `version_conflict`). A rule that "
    "is changed becomes a new version, and its members are brought up to date within seconds."
)


class _Change(msgspec.Struct, forbid_unknown_fields=True):
    name: str | UnsetType = UNSET
    description: str | UnsetType = UNSET
    rule: Any = UNSET
    version: int | UnsetType = UNSET


class _Whole(msgspec.Struct, forbid_unknown_fields=True):
    name: str
    description: str = ""
    kind: str = Segment.Kind.RULE.value
    rule: Any = UNSET
    version: int | UnsetType = UNSET


class _New(msgspec.Struct, forbid_unknown_fields=True):
    slug: str
    name: str
    description: str = ""
    kind: str = Segment.Kind.RULE.value
    rule: Any = UNSET


class SegmentFilters(filters.Filters):
    """What the list can be filtered by."""

    kind = django_filters.ChoiceFilter(choices=Segment.Kind.choices)
    state = django_filters.ChoiceFilter(choices=Segment.State.choices)
    updated_since = filters.InstantFilter(
        field_name="updated_at",
        lookup_expr="gte",
        help_text=gettext_lazy("RFC 3339, inclusive: what was edited since, whoever came or went."),
    )


class SegmentsView(SegmentApi):
    scopes = {"GET": READS, "POST": {WRITE}}

    @extend_schema(
        operation_id="segments_list",
        tags=["segments"],
        summary="List segments",
        description="Sorted by short name, or with `updated_since` by the time of the last edit. Without their "
        "sentences, which are told of one segment at a time.",
        parameters=[*filters.parameters(SegmentFilters), *paging.PARAMETERS],
        responses={200: OpenApiResponse(shapes.SegmentPage, description="One page.")},
        examples=[examples.answer("One segment", {"segments": [examples.LINE], "next_cursor": None})],
    )
    def get(self, request: Request) -> HttpResponse:
        """One page."""
        query = filters.filtered(request, Segment.objects.all(), SegmentFilters)
        order = ("updated_at", "id") if request.GET.get("updated_since", "").strip() else ("slug",)
        rows, after = paging.rows(request, query, order)
        uses = usage.uses()
        return encoded(
            {
                "segments": [as_json(row, uses.get(row.slug, []), words=False) for row in rows],
                "next_cursor": after,
            }
        )

    @extend_schema(
        operation_id="segments_create",
        tags=["segments"],
        summary="Make a segment or a list",
        description=f"Members of a segment are counted within seconds; a list begins empty. {_READS}",
        request=shapes.NewSegment,
        responses={
            201: OpenApiResponse(shapes.SegmentChanged, description="Made."),
            400: examples.WRONG_RULE,
            **schemas.errors(409, 413, 415),
        },
        examples=[
            examples.request(
                "By a rule", {"slug": "polish-buyers", "name": "Polish buyers", "rule": examples.RULE}
            ),
            examples.request("A list", {"slug": "guests", "name": "Guests of the fair", "kind": "list"}),
            *examples.changed("created", 201),
        ],
    )
    def post(self, request: Request) -> HttpResponse:
        """Make it, unless there is one of this name."""
        sent = self.parsed(request, _New)
        whole = _Whole(sent.name, sent.description, sent.kind, sent.rule)
        return _made(request, sent.slug, whole)


class SegmentView(SegmentApi):
    scopes = {"GET": READS, "PUT": {WRITE}, "PATCH": {WRITE}, "DELETE": {WRITE}}

    @extend_schema(
        operation_id="segments_get",
        tags=["segments"],
        summary="One segment",
        parameters=[examples.SLUG],
        responses={
            200: OpenApiResponse(shapes.SegmentOutput, description="The segment."),
            **schemas.errors(404),
        },
        examples=[examples.answer("A segment", examples.SEGMENT)],
    )
    def get(self, request: Request, slug: str) -> HttpResponse:
        """The segment, with what uses it."""
        row = common.segment(slug)
        return encoded(as_json(row, usage.uses().get(slug, [])))

    @extend_schema(
        operation_id="segments_put",
        tags=["segments"],
        summary="Make or replace one segment",
        description=f"The address names it. A segment can't become a list, nor a list a segment. {_VERSION} {_READS}",
        parameters=[examples.SLUG],
        request=shapes.SegmentWhole,
        responses={
            200: OpenApiResponse(shapes.SegmentChanged, description="It existed; `state` says what changed."),
            201: OpenApiResponse(shapes.SegmentChanged, description="Made."),
            400: examples.WRONG_RULE,
            **schemas.errors(404, 409, 413, 415),
        },
        examples=[
            examples.request("By a rule", {"name": "Polish buyers", "rule": examples.RULE}),
            *examples.changed("updated", 200),
            *examples.changed("created", 201),
        ],
    )
    def put(self, request: Request, slug: str) -> HttpResponse:
        """Replace it as a whole."""
        sent = self.parsed(request, _Whole)
        if not Segment.objects.filter(slug=slug).exists():
            if sent.version is not UNSET:
                raise _changed_since()
            return _made(request, slug, sent)
        change = _Change(sent.name, sent.description, sent.rule, sent.version)
        return _saved(request, slug, change, sent.kind)

    @extend_schema(
        operation_id="segments_patch",
        tags=["segments"],
        summary="Change some of a segment",
        description=f"{_VERSION} {_READS}",
        parameters=[examples.SLUG],
        request=shapes.SegmentChange,
        responses={
            200: OpenApiResponse(shapes.SegmentChanged, description="`state` says whether anything changed."),
            400: examples.WRONG_RULE,
            409: examples.conflict("version_conflict", "The rule was changed meanwhile."),
            **schemas.errors(404, 413, 415),
        },
        examples=[
            examples.request("Another rule", {"rule": examples.RULE, "version": 1}),
            *examples.changed("updated", 200),
        ],
    )
    def patch(self, request: Request, slug: str) -> HttpResponse:
        """Change what is given."""
        return _saved(request, slug, self.parsed(request, _Change))

    @extend_schema(
        operation_id="segments_delete",
        tags=["segments"],
        summary="Delete a segment",
        description="With its members, versions and sizes. What a flow, a broadcast or another segment needs stays.",
        parameters=[examples.SLUG],
        responses={
            204: OpenApiResponse(description="Gone."),
            409: examples.IN_USE,
            **schemas.errors(404),
        },
    )
    def delete(self, request: Request, slug: str) -> HttpResponse:
        """Delete it, unless something uses it."""
        row = common.segment(slug)
        gone = Segment(pk=row.pk, name=row.name)
        try:
            editing.delete(row)
        except editing.InUse as error:
            raise ApiError(409, "in_use", str(error), uses=_uses(error.uses)) from error
        audit.record(request, "segment.deleted", gone)
        return HttpResponse(status=204)


def as_json(row: Segment, uses: list[Use], words: bool = True) -> dict[str, Any]:
    """A segment as the API gives it; `words`: with its sentence."""
    return {
        "slug": row.slug,
        "name": row.name,
        "description": row.description,
        "kind": row.kind,
        **common.shown_rule(row.kind, row.rule, words),
        "version": row.version,
        "state": row.state,
        "error": row.error,
        "size": row.size,
        "evaluated_at": row.evaluated_at,
        "evaluation_ms": row.evaluation_ms,
        "counting_since": row.counting_since,
        "exact_as_of": row.passed_until,
        "rule_changed_at": row.rule_changed_at,
        "created_at": row.created_at,
        "updated_at": row.updated_at,
        "uses": _uses(uses),
    }


def answered(request: Request, row: Segment, state: str) -> HttpResponse:
    """What was done; the segment itself only for keys that may read."""
    answer: dict[str, Any] = {"slug": row.slug, "state": state, "version": row.version}
    if not READS.isdisjoint(request.auth.scopes):
        answer["segment"] = as_json(common.segment(row.slug), usage.uses().get(row.slug, []))
    return encoded(answer, 201 if state == "created" else 200)


def new_slug(slug: str) -> str:
    """The short name of something new.

    Raises:
        ApiError: 400, it can't be one.
    """
    if slug in RESERVED:
        detail = _("“%s” is an address of the API; choose another short name.") % slug
        raise ApiError(400, "invalid_value", detail, field="slug")
    if not (len(slug) <= 50 and slug.isascii() and slug.replace("-", "_").replace("_", "a").isalnum()):
        detail = _("A short name has 1 to 50 letters, digits, - and _.")
        raise ApiError(400, "invalid_value", detail, field="slug")
    return slug


def slug_taken() -> ApiError:
    """409."""
    return ApiError(409, "slug_taken", _("There is a segment of this name."), field="slug")


def text(value: str, field: str, limit: int) -> str:
    """A name or description as we keep it.

    Raises:
        ApiError: 400.
    """
    try:
        return normalise.text(value, field, limit) or ""
    except Rejection as error:
        raise rejected(error) from error


def title(value: str) -> str:
    """A name, which must not be empty.

    Raises:
        ApiError: 400.
    """
    name = text(value, "name", shapes.MAX_NAME)
    if not name:
        raise ApiError(400, "missing_field", _("%(field)s is missing.") % {"field": "name"}, field="name")
    return name


def not_made(error: lists.ListError, slug: str) -> ApiError:
    """Why a list can't be made: 409 for a name that is taken, else 400."""
    if Segment.objects.filter(slug=slug).exists():
        return slug_taken()
    return ApiError(400, "invalid_value", str(error), field=error.field)


def _made(request: Request, slug: str, sent: _Whole) -> HttpResponse:
    slug, name, by = new_slug(slug), title(sent.name), common.author(request)
    description = text(sent.description, "description", shapes.MAX_DESCRIPTION)
    row = Segment(slug=slug, name=name, description=description, kind=_kind(sent.kind))
    rule = _rule(row, sent.rule, needed=True)
    try:
        with transaction.atomic():
            if rule is None:
                row = lists.create(name, slug, description, by)
            else:
                editing.save(row, rule, by)
    except lists.ListError as error:
        raise not_made(error, slug) from error
    except IntegrityError as error:
        raise slug_taken() from error
    return answered(request, row, "created")


@transaction.atomic
def _saved(request: Request, slug: str, sent: _Change, kind: str | None = None) -> HttpResponse:
    row = Segment.objects.select_for_update(no_key=True).filter(slug=slug).first()
    if row is None:
        raise ApiError(404, "not_found", _("There is no such segment."))
    if kind is not None and _kind(kind) != row.kind:
        raise ApiError(409, "other_kind", _("A segment stays a rule or a list."), field="kind")
    rule = _rule(row, sent.rule, needed=kind is not None)
    if sent.version is not UNSET and sent.version != row.version:
        raise _changed_since()
    before = (row.name, row.description, _exact(row.rule))
    if sent.name is not UNSET:
        row.name = title(sent.name)
    if sent.description is not UNSET:
        row.description = text(sent.description, "description", shapes.MAX_DESCRIPTION)
    if (row.name, row.description, _exact(row.rule if rule is None else rule)) == before:
        return answered(request, row, "unchanged")
    return answered(request, editing.save(row, rule, common.author(request)), "updated")


def _rule(row: Segment, sent: Any, needed: bool) -> Any:
    """The rule to save, checked; None to leave it as it is."""
    if row.kind == Segment.Kind.LIST:
        if sent is not UNSET:
            raise ApiError(400, "unknown_field", _("A list has no rule."), field="rule")
        return None
    if sent is UNSET:
        if needed:
            raise ApiError(400, "missing_field", _("%(field)s is missing.") % {"field": "rule"}, field="rule")
        return None
    common.parsed_rule(sent, own=row.slug)
    return sent


def _exact(rule: Any) -> bytes:
    """As text: to Python, 1 and true are equal."""
    return msgspec.json.encode(rule, order="deterministic")


def _kind(text: str) -> str:
    if text not in Segment.Kind.values:
        detail = _("The kind is one of: %s.") % ", ".join(Segment.Kind.values)
        raise ApiError(400, "invalid_value", detail, field="kind")
    return text


def _changed_since() -> ApiError:
    detail = _("The rule was changed meanwhile; look at it, and send the version that it has now.")
    return ApiError(409, "version_conflict", detail, field="version")


def _uses(uses: Any) -> list[dict[str, str]]:
    return [{"text": str(use.text), "url": use.url} for use in uses]
