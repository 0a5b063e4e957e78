"""Flows as they run: publishing and stopping them, letting people in, dry runs, and looking at what came of them."""

from collections import Counter
from typing import Any, Literal

import msgspec
from django.db.models import Count, Q
from django.http import HttpResponse
from django.utils.translation import gettext as _
from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import OpenApiParameter, OpenApiResponse, extend_schema
from rest_framework.request import Request

from campaigns.api import common, examples, flow_shapes
from campaigns.api.flows import FlowApi, existing, shown_definition
from campaigns.api.lists import found_people
from campaigns.flows import approval, backtest, comparing, enrolling, program, publish, roster, why
from campaigns.models import Backtest, Enrollment, Flow
from crm import audit, masking, normalise
from crm.api import paging, schemas
from crm.api.auth import PUBLISH, WRITE
from crm.api.errors import ApiError
from crm.api.profile_json import READS
from crm.api.profiles import MERGED, PROFILE_ID
from crm.api.profiles import existing as existing_profile
from crm.api.views import encoded

_STATE = {"slug": "welcome", "state": "live", "version": 1}
_CONFLICT = examples.conflict("wrong_state", "Only a live flow can be paused.")
_NUMBER = OpenApiParameter("pk", {"type": "integer", "minimum": 0}, OpenApiParameter.PATH)


class _Publish(msgspec.Struct, forbid_unknown_fields=True):
    revision: int | None = None
    people: Literal["finish", "move"] = "finish"
    catch_up_days: int | None = None
    step_map: dict[str, str | None] = {}


class _Stop(msgspec.Struct, forbid_unknown_fields=True):
    people: Literal["now", "finish"] = "now"


class _Enroll(msgspec.Struct, forbid_unknown_fields=True):
    profiles: list[msgspec.Raw]
    key: str | None = None
    context: dict[str, Any] = {}


class _Days(msgspec.Struct, forbid_unknown_fields=True):
    days: int


def _described(
    action: str, summary: str, description: str, body: Any, sent: dict[str, Any] | None, state: str
) -> Any:
    return extend_schema(
        operation_id=f"flows_{action}",
        tags=["flows"],
        summary=summary,
        description=f"{description} Needs a key that may publish.",
        parameters=[examples.SLUG],
        request=body,
        responses={
            200: OpenApiResponse(flow_shapes.FlowState, description="Done."),
            409: _CONFLICT,
            **schemas.errors(404, 413, 415),
        },
        examples=[
            *([examples.request("Usual", sent)] if sent is not None else []),
            examples.answer("Done", {**_STATE, "state": state}),
        ],
    )


class LifeApi(FlowApi):
    """What is not possible in the flow's state is a 409."""

    scopes = {"POST": {PUBLISH}}

    def handle_exception(self, exc: Exception) -> Any:
        """See the class."""
        if isinstance(exc, publish.StateError):
            exc = ApiError(409, "wrong_state", str(exc))
        elif isinstance(exc, approval.ApprovalError):
            exc = ApiError(409, "approval_needed", str(exc))
        return super().handle_exception(exc)


class PublishView(LifeApi):
    @_described(
        "publish",
        "Publish the draft",
        "The mistakes of a draft that can't run are all told (409, `invalid_flow`). Where a second person approves, "
        "that is done in the admin (409, `approval_needed`). Publishing what is live already changes nothing.",
        flow_shapes.PublishInput,
        {"revision": 3, "people": "finish"},
        "live",
    )
    def post(self, request: Request, slug: str) -> HttpResponse:
        """Freeze it as a version and make it live."""
        sent, row = self.parsed(request, _Publish), existing(slug)
        if sent.catch_up_days is not None and not 1 <= sent.catch_up_days <= 90:
            raise ApiError(400, "invalid_value", _("Choose from 1 to %d days.") % 90, field="catch_up_days")
        try:
            publish.publish(
                row.pk,
                request,
                people=sent.people,
                catch_up=sent.catch_up_days,
                step_map=sent.step_map,
                revision=sent.revision,
            )
        except (publish.StateError, approval.ApprovalError, publish.DefinitionError):
            raise
        except ValueError as error:
            raise ApiError(400, "invalid_value", str(error), field="step_map") from error
        return _state(slug)


class PauseView(LifeApi):
    @_described(
        "pause",
        "Pause a flow",
        "Nobody enters or moves on; people hold their place.",
        None,
        None,
        "paused",
    )
    def post(self, request: Request, slug: str) -> HttpResponse:
        """Pause it."""
        publish.pause(existing(slug).pk, request)
        return _state(slug)


class ResumeView(LifeApi):
    @_described(
        "resume",
        "Go on after a pause",
        "What happened in the pause starts nobody; waits that ended meanwhile end now.",
        None,
        None,
        "live",
    )
    def post(self, request: Request, slug: str) -> HttpResponse:
        """Go on."""
        publish.resume(existing(slug).pk, user=request)
        return _state(slug)


class StopView(LifeApi):
    @_described(
        "stop",
        "Stop a flow",
        "At once, or when everybody inside has come to the end.",
        flow_shapes.StopInput,
        {"people": "finish"},
        "finishing",
    )
    def post(self, request: Request, slug: str) -> HttpResponse:
        """Stop it."""
        people, row = self.parsed(request, _Stop).people, existing(slug)
        (publish.stop if people == "now" else publish.finish)(row.pk, user=request)
        return _state(slug)


class EnrollView(FlowApi):
    scopes = {"POST": {WRITE}}

    @extend_schema(
        operation_id="flows_enroll",
        tags=["flows"],
        summary="Let people into a live flow",
        description="Whatever its trigger is, if its rules let them in. Up to 1,000 at a time, each judged alone: who "
        "is not let in is listed in `rejected` with the reason, and no profile is made. Keys that see no contact data "
        "name people by `id`.",
        parameters=[examples.SLUG],
        request=flow_shapes.EnrollInput,
        responses={
            200: OpenApiResponse(flow_shapes.Enrolled, description="Each was judged."),
            409: examples.conflict("wrong_state", "This flow is not live."),
            **schemas.errors(404, 413, 415),
        },
        examples=[
            examples.request("One", {"profiles": [{"external_id": "C-1001"}], "key": "cart-7"}),
            examples.answer(
                "One of two",
                {
                    "started": [{"index": 0, "profile": 42, "run": 1}],
                    "rejected": [{"index": 1, "code": "not_let_in", "detail": "held out", "field": ""}],
                },
            ),
        ],
    )
    def post(self, request: Request, slug: str) -> HttpResponse:
        """Enrol them."""
        sent, row = self.parsed(request, _Enroll), existing(slug)
        for field, value in (("key", sent.key), ("context", sent.context)):
            if b"\\u0000" in msgspec.json.encode(value):
                raise ApiError(400, "invalid_value", _("NUL is not allowed here."), field=field)
        if sent.key is not None and not 1 <= len(sent.key) <= 200:
            raise ApiError(400, "invalid_value", _("A key has 1 to 200 characters."), field="key")
        if row.state != Flow.State.LIVE:
            raise ApiError(409, "wrong_state", _("This flow is not live."))
        if masking.hidden():
            _by_number(sent.profiles)
        ids, rejected = found_people(sent.profiles)
        try:
            found = enrolling.enroll(
                row.pk, set(ids.values()), context=sent.context, key=sent.key, by=common.author(request)
            )
        except normalise.Rejection as error:
            raise ApiError(400, "invalid_value", error.detail, field="context") from error
        refused = [
            {"index": place, "code": "not_let_in", "detail": found.refused[number], "field": ""}
            for place, number in ids.items()
            if number in found.refused
        ]
        started = [
            {"index": place, "profile": number, "run": found.started[number]}
            for place, number in ids.items()
            if number in found.started
        ]
        audit.record(request, "flow.enrolled", row, people=len(found.started))
        rows = [msgspec.to_builtins(each) for each in rejected] + refused
        return encoded({"started": started, "rejected": sorted(rows, key=lambda each: each["index"])})


class BacktestsView(FlowApi):
    scopes = {"POST": READS}

    @extend_schema(
        operation_id="flows_backtest",
        tags=["flows"],
        summary="Try the draft on the past",
        description="What it would have done in the last days, had it been live. It is worked out in the background "
        "and changes nothing.",
        parameters=[examples.SLUG],
        request=flow_shapes.BacktestInput,
        responses={
            202: OpenApiResponse(flow_shapes.BacktestOutput, description="Begun."),
            409: flow_shapes.UNFINISHED,
            **schemas.errors(404, 413, 415),
        },
        examples=[
            examples.request("A month", {"days": 30}),
            examples.answer("Begun", flow_shapes.BACKTEST, 202),
        ],
    )
    def post(self, request: Request, slug: str) -> HttpResponse:
        """Begin."""
        sent, row = self.parsed(request, _Days), existing(slug)
        common.refuse_to_tell(row.draft, "")
        common.limited(request)
        try:
            job = backtest.start(row, sent.days, common.author(request))
        except backtest.DefinitionError:
            raise
        except ValueError as error:
            raise ApiError(400, "invalid_value", str(error), field="days") from error
        return encoded(_backtest(job), 202)


class BacktestView(FlowApi):
    scopes = {"GET": READS}

    @extend_schema(
        operation_id="flows_backtest_get",
        tags=["flows"],
        summary="How far a dry run is, and what came of it",
        parameters=[examples.SLUG, _NUMBER],
        responses={
            200: OpenApiResponse(flow_shapes.BacktestOutput, description="The dry run."),
            **schemas.errors(404),
        },
        examples=[examples.answer("In work", flow_shapes.BACKTEST)],
    )
    def get(self, request: Request, slug: str, pk: int) -> HttpResponse:
        """The dry run."""
        found = Backtest.objects.select_related("flow").filter(flow__slug=slug, pk=pk).first()
        if found is None:
            raise ApiError(404, "not_found", _("There is no such dry run."))
        common.refuse_to_tell(found.definition, "")
        return encoded(_backtest(found))


class FunnelView(FlowApi):
    scopes = {"GET": READS}

    @extend_schema(
        operation_id="flows_funnel",
        tags=["flows"],
        summary="How many entered, where they are, and how they left",
        parameters=[examples.SLUG],
        responses={
            200: OpenApiResponse(flow_shapes.Funnel, description="Runs, as they are now."),
            **schemas.errors(404),
        },
        examples=[examples.answer("A flow", flow_shapes.FUNNEL)],
    )
    def get(self, request: Request, slug: str) -> HttpResponse:
        """The counts, in a fixed number of queries."""
        row = existing(slug)
        common.refuse_to_tell(row.live_version.definition if row.live_version else row.draft, "")
        return encoded(funnel(row))


class FlowVersionsView(FlowApi):
    scopes = {"GET": READS}

    @extend_schema(
        operation_id="flows_versions",
        tags=["flows"],
        summary="What was published",
        description="The latest first.",
        parameters=[examples.SLUG, *paging.PARAMETERS],
        responses={
            200: OpenApiResponse(flow_shapes.FlowVersions, description="One page."),
            **schemas.errors(404),
        },
        examples=[
            examples.answer(
                "One version",
                {
                    "versions": [
                        {
                            "number": 1,
                            "definition": flow_shapes.DEFINITION,
                            "by": "ada",
                            "published_at": "2026-01-30T08:00:00Z",
                            "live": True,
                        }
                    ],
                    "next_cursor": None,
                },
            )
        ],
    )
    def get(self, request: Request, slug: str) -> HttpResponse:
        """One page."""
        row = existing(slug)

        def shape(version: Any) -> dict[str, Any]:
            return {
                "number": version.number,
                "definition": shown_definition(version.definition),
                "by": version.published_by.get_username() if version.published_by else "",
                "published_at": version.published_at,
                "live": version.pk == row.live_version_id,
            }

        query = row.versions.select_related("published_by")
        return encoded(paging.page(request, query, "versions", shape, ("-number",)))


class WhyView(FlowApi):
    scopes = {"GET": READS}

    @extend_schema(
        operation_id="profiles_why",
        tags=["flows"],
        summary="Why is somebody in a flow, or not?",
        description="What was decided about them and with which facts, what was sent, held back or dropped and why, "
        "what happens next and when; for who has not entered, whether they would be let in now. Sentences are in the "
        "language of Accept-Language. Asking is kept in the audit log.",
        parameters=[
            PROFILE_ID,
            OpenApiParameter("flow", OpenApiTypes.STR, required=True, description="The flow's short name."),
        ],
        responses={
            200: OpenApiResponse(flow_shapes.Why, description="The explanation."),
            **schemas.errors(404),
        },
        examples=[examples.answer("Not entered", flow_shapes.WHY), MERGED],
    )
    def get(self, request: Request, pk: int) -> HttpResponse:
        """Explain it."""
        slug = self.parameter(request, "flow")
        if not slug:
            raise ApiError(400, "missing_field", _("%(field)s is missing.") % {"field": "flow"}, field="flow")
        person, row = existing_profile(pk), existing(slug)
        common.limited(request)
        audit.record(request, "flow.why_asked", person, flow=row.slug)
        return encoded(why.explain(person.pk, row.pk))


def funnel(row: Flow) -> dict[str, Any]:
    """Runs of a flow by what became of them."""
    runs = row.enrollments.order_by()
    totals = runs.aggregate(
        held_out=Count("pk", filter=Q(holdout=True)),
        converted=Count("pk", filter=Q(holdout=False, converted_at__isnull=False)),
        held_out_converted=Count("pk", filter=Q(holdout=True, converted_at__isnull=False)),
    )
    states, reasons = Counter(), Counter()
    for state, reason, number in (
        runs.filter(holdout=False).values_list("state", "reason").annotate(n=Count("pk"))
    ):
        states[state] += number
        if state == Enrollment.State.EXITED:
            reasons[reason] += number
    active = runs.filter(state=Enrollment.State.ACTIVE)
    here = dict(active.values_list("step").annotate(n=Count("pk")))
    words = roster.step_words(row)
    kinds = _kinds(row)
    return {
        "entered": sum(states.values()),
        "inside": states[Enrollment.State.ACTIVE],
        "completed": states[Enrollment.State.COMPLETED],
        "exited": states[Enrollment.State.EXITED],
        **totals,
        "reasons": dict(reasons),
        "steps": [
            {"key": key, "kind": kinds.get(key, ""), "text": str(told), "here": here.get(key, 0)}
            for key, told in words.items()
        ],
    }


def _kinds(row: Flow) -> dict[str, str]:
    definitions = [comparing.read(row.draft)]
    if row.live_version_id:
        definitions.append(program.of_version(row.live_version_id).definition)
    return {step.key: step.kind for each in definitions for step in comparing.in_order(each)}


def _state(slug: str) -> HttpResponse:
    row = existing(slug)
    number = row.live_version.number if row.live_version else None
    return encoded({"slug": row.slug, "state": row.state, "version": number})


def _backtest(job: Backtest) -> dict[str, Any]:
    return {
        "id": job.pk,
        "flow": job.flow.slug,
        "days": job.days,
        "until": job.until,
        "state": job.state,
        "progress": job.progress,
        "error": job.problem,
        "result": job.result,
        "created_at": job.created_at,
        "ended_at": job.ended_at,
    }


def _by_number(raws: list[msgspec.Raw]) -> None:
    for place, raw in enumerate(raws):
        named = msgspec.json.decode(bytes(raw))
        if isinstance(named, dict) and (others := sorted(set(named) - {"id"})):
            detail = _("This API key sees no contact data, and can't look people up by it.")
            raise ApiError(403, "scope_missing", detail, field=f"profiles[{place}].{others[0]}"[:200])
