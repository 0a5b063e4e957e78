"""Flows in and out: drafts."""

from typing import Any

import django_filters
import msgspec
from django.db import IntegrityError, transaction
from django.http import HttpResponse
from django.utils.translation import gettext as _
from drf_spectacular.utils import OpenApiResponse, extend_schema
from msgspec import UNSET, UnsetType
from rest_framework.request import Request

from campaigns.api import common, examples, flow_shapes
from campaigns.api.common import SegmentApi
from campaigns.api.segments import new_slug, text, title
from campaigns.api.shapes import MAX_DESCRIPTION
from campaigns.flows import definition as definitions
from campaigns.flows import editing, publish
from campaigns.flows.steps.start_flow import loops
from campaigns.models import Flow
from campaigns.segments import telling, usage
from crm import audit
from crm.api import filters, paging, schemas
from crm.api.auth import WRITE
from crm.api.errors import ApiError
from crm.api.profile_json import READS
from crm.api.views import encoded
from crm.rules.errors import Problem, join

_REVISION = (
    "With `revision` nothing is done if the draft was changed since you read it (409, `version_conflict`)."
)


class _New(msgspec.Struct, forbid_unknown_fields=True):
    slug: str
    name: str
    description: str = ""
    definition: dict[str, Any] | UnsetType = UNSET


class _Change(msgspec.Struct, forbid_unknown_fields=True):
    name: str | UnsetType = UNSET
    description: str | UnsetType = UNSET
    definition: dict[str, Any] | UnsetType = UNSET
    revision: int | UnsetType = UNSET


class _Replacement(msgspec.Struct, forbid_unknown_fields=True):
    name: str
    definition: dict[str, Any]
    description: str = ""
    revision: int | UnsetType = UNSET


class FlowFilters(filters.Filters):
    """What the list can be filtered by."""

    state = django_filters.ChoiceFilter(choices=Flow.State.choices)


class FlowApi(SegmentApi):
    """Mistakes of definitions and of the life of a flow are answered alike everywhere."""

    def handle_exception(self, exc: Exception) -> Any:
        """See the class."""
        if isinstance(exc, definitions.DefinitionError):
            exc = wrong(
                exc, 400 if self.request.method in ("PATCH", "PUT") or "slug" not in self.kwargs else 409
            )
        elif isinstance(exc, editing.StaleDraftError):
            detail = _("The draft was changed meanwhile; look at it, and send the revision that it has now.")
            exc = ApiError(409, "version_conflict", detail, field="revision")
        return super().handle_exception(exc)


class FlowsView(FlowApi):
    scopes = {"GET": READS, "POST": {WRITE}}

    @extend_schema(
        operation_id="flows_list",
        tags=["flows"],
        summary="List flows",
        description="Sorted by short name, without their definitions.",
        parameters=[*filters.parameters(FlowFilters), *paging.PARAMETERS],
        responses={200: OpenApiResponse(flow_shapes.FlowPage, description="One page.")},
        examples=[examples.answer("One flow", {"flows": [flow_shapes.LINE], "next_cursor": None})],
    )
    def get(self, request: Request) -> HttpResponse:
        """One page."""
        query = filters.filtered(request, Flow.objects.select_related("live_version"), FlowFilters)
        return encoded(paging.page(request, query, "flows", line, ("slug",)))

    @extend_schema(
        operation_id="flows_create",
        tags=["flows"],
        summary="Make a flow",
        description="As a draft: nothing is live until it is published.",
        request=flow_shapes.NewFlow,
        responses={
            201: OpenApiResponse(flow_shapes.FlowChanged, description="Made."),
            400: flow_shapes.WRONG,
            **schemas.errors(409, 413, 415),
        },
        examples=[
            examples.request(
                "Welcome", {"slug": "welcome", "name": "Welcome", "definition": flow_shapes.DEFINITION}
            ),
            *flow_shapes.changed("created", 201),
        ],
    )
    def post(self, request: Request) -> HttpResponse:
        """Make it, unless there is one of this name."""
        sent = self.parsed(request, _New)
        return _made(request, new_slug(sent.slug), sent.name, sent.description, sent.definition)


class FlowView(FlowApi):
    scopes = {"GET": READS, "PUT": {WRITE}, "PATCH": {WRITE}, "DELETE": {WRITE}}

    @extend_schema(
        operation_id="flows_get",
        tags=["flows"],
        summary="One flow",
        parameters=[examples.SLUG],
        responses={
            200: OpenApiResponse(flow_shapes.FlowOutput, description="The flow."),
            **schemas.errors(404),
        },
        examples=[examples.answer("A flow", flow_shapes.FLOW)],
    )
    def get(self, request: Request, slug: str) -> HttpResponse:
        """The flow with its draft."""
        return encoded(as_json(existing(slug)))

    @extend_schema(
        operation_id="flows_patch",
        tags=["flows"],
        summary="Change a flow's draft, name or description",
        description=f"What is live goes on as it is. {_REVISION}",
        parameters=[examples.SLUG],
        request=flow_shapes.FlowChange,
        responses={
            200: OpenApiResponse(
                flow_shapes.FlowChanged, description="`state` says whether anything changed."
            ),
            400: flow_shapes.WRONG,
            409: examples.conflict("version_conflict", "The draft was changed meanwhile."),
            **schemas.errors(404, 413, 415),
        },
        examples=[
            examples.request("Another draft", {"definition": flow_shapes.DEFINITION, "revision": 2}),
            *flow_shapes.changed("updated", 200),
        ],
    )
    @transaction.atomic
    def patch(self, request: Request, slug: str) -> HttpResponse:
        """Change what is given."""
        sent = self.parsed(request, _Change)
        return _changed(request, existing(slug, locked=True), sent)

    @extend_schema(
        operation_id="flows_put",
        tags=["flows"],
        summary="Make a flow's draft what you send",
        description="A flow that is not there yet is made. What is live goes on as it is. Sending the same again "
        f"changes nothing. {_REVISION}",
        parameters=[examples.SLUG],
        request=flow_shapes.FlowReplacement,
        responses={
            200: OpenApiResponse(
                flow_shapes.FlowChanged, description="`state` says whether anything changed."
            ),
            201: OpenApiResponse(flow_shapes.FlowChanged, description="Made."),
            400: flow_shapes.WRONG,
            409: examples.conflict("version_conflict", "The draft was changed meanwhile."),
            **schemas.errors(404, 413, 415),
        },
        examples=[
            examples.request("The whole draft", {"name": "Welcome", "definition": flow_shapes.DEFINITION}),
            *flow_shapes.changed("updated", 200),
            *flow_shapes.changed("created", 201),
        ],
    )
    @transaction.atomic
    def put(self, request: Request, slug: str) -> HttpResponse:
        """Make it so, whatever it was."""
        sent = self.parsed(request, _Replacement)
        new_slug(slug)
        row = Flow.objects.select_for_update(no_key=True).filter(slug=slug).first()
        if row is None and sent.revision is not UNSET:
            raise editing.StaleDraftError
        if row is None:
            return _made(request, slug, sent.name, sent.description, sent.definition)
        return _changed(request, row, sent)

    @extend_schema(
        operation_id="flows_delete",
        tags=["flows"],
        summary="Delete a flow",
        description="Only a draft that was never live and that nothing asks about; others are stopped.",
        parameters=[examples.SLUG],
        responses={
            204: OpenApiResponse(description="Gone."),
            409: examples.IN_USE,
            **schemas.errors(404),
        },
    )
    @transaction.atomic
    def delete(self, request: Request, slug: str) -> HttpResponse:
        """Delete it, unless it is history."""
        row = existing(slug, locked=True)
        if row.state != Flow.State.DRAFT or row.versions.exists() or row.enrollments.exists():
            raise ApiError(409, "has_run", _("This flow was live: it is history. Stop it instead."), uses=[])
        if uses := usage.flow_uses().get(slug):
            detail = _("It is used by %s.") % ", ".join(use.text for use in uses)
            uses_json = [{"text": str(use.text), "url": use.url} for use in uses]
            raise ApiError(409, "in_use", detail, uses=uses_json)
        audit.record(request, "flow.deleted", row)
        row.delete()
        return HttpResponse(status=204)


def _made(
    request: Request, slug: str, name: str, description: str, definition: dict[str, Any] | UnsetType
) -> HttpResponse:
    """Make a flow, unless there is one of this name."""
    name, description = title(name), text(description, "description", MAX_DESCRIPTION)
    draft = editing.empty() if definition is UNSET else _draft(definition)
    try:
        with transaction.atomic():
            row = Flow.objects.create(slug=slug, name=name, description=description, draft=draft)
            audit.record(request, "flow.created", row)
    except IntegrityError as error:
        raise ApiError(409, "slug_taken", _("There is a flow of this name."), field="slug") from error
    return _answered(request, row, "created")


def _changed(request: Request, row: Flow, sent: _Change | _Replacement) -> HttpResponse:
    """Change what is given of a flow that the caller has locked."""
    draft = None if sent.definition is UNSET else _draft(sent.definition)
    if sent.revision is not UNSET and sent.revision != row.revision:
        raise editing.StaleDraftError
    before = (row.name, row.description, row.revision)
    if draft is not None:
        row = editing.save(row.pk, row.revision, lambda _before: draft)
    if sent.name is not UNSET:
        row.name = title(sent.name)
    if sent.description is not UNSET:
        row.description = text(sent.description, "description", MAX_DESCRIPTION)
    if (row.name, row.description) != before[:2]:
        row.save(update_fields=["name", "description", "updated_at"])
    if (row.name, row.description, row.revision) == before:
        return _answered(request, row, "unchanged")
    audit.record(request, "flow.changed", row, revision=row.revision)
    return _answered(request, row, "updated")


def existing(slug: str, locked: bool = False) -> Flow:
    """The flow of this name.

    Raises:
        ApiError: 404.
    """
    query = Flow.objects.select_related("live_version")
    if locked:
        query = query.select_for_update(of=("self",), no_key=True)
    found = query.filter(slug=slug).first()
    if found is None:
        raise ApiError(404, "not_found", _("There is no such flow."))
    return found


def line(row: Flow) -> dict[str, Any]:
    """A flow without its definition."""
    return {
        **{name: getattr(row, name) for name in ("slug", "name", "description", "state", "revision")},
        "version": row.live_version.number if row.live_version else None,
        "changed": publish.has_unpublished_changes(row),
        "error": row.error,
        **{name: getattr(row, name) for name in ("published_at", "created_at", "updated_at")},
    }


def as_json(row: Flow) -> dict[str, Any]:
    """A flow as the API gives it, with its draft and what is wrong with it."""
    shown = shown_definition(row.draft)
    problems = problems_of(row) if shown is not None else []
    return {
        **line(row),
        "definition": shown,
        "problems": [{"field": path, "detail": sentence} for path, sentence in problems],
    }


def shown_definition(data: Any) -> Any:
    """A definition; None where its rules compare with contact data that the key may not see."""
    return None if telling.tells(data) else data


def problems_of(row: Flow) -> list[Problem]:
    """What keeps the draft from being published."""
    try:
        definition = definitions.parse(row.draft)
    except definitions.DefinitionError as error:
        return error.problems
    return definitions.check(definition) + loops(row.slug, definition)


def wrong(error: definitions.DefinitionError, status: int) -> ApiError:
    """Every mistake at its step or setting below `definition`: 400 if it was sent just now, 409 if it is stored."""
    problems = [Problem(join("definition", path), str(sentence)) for path, sentence in error.problems]
    return ApiError(
        status,
        "invalid_flow",
        problems[0].message,
        field=problems[0].path,
        problems=[{"field": path, "detail": sentence} for path, sentence in problems],
    )


def _draft(data: dict[str, Any]) -> dict[str, Any]:
    definitions.parse(data)
    if "\\u0000" in msgspec.json.encode(data).decode():
        raise ApiError(400, "invalid_value", _("NUL is not allowed here."), field="definition")
    common.refuse_to_tell(data, "definition")
    return data


def _answered(request: Request, row: Flow, state: str) -> HttpResponse:
    answer: dict[str, Any] = {"slug": row.slug, "state": state, "revision": row.revision}
    if not READS.isdisjoint(request.auth.scopes):
        answer["flow"] = as_json(existing(row.slug))
    return encoded(answer, 201 if state == "created" else 200)
