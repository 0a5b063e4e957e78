"""Flows as they run: publishing and stopping them, and letting people in."""

from typing import Any, Literal

import msgspec
from django.http import HttpResponse
from django.utils.translation import gettext as _
from drf_spectacular.utils import OpenApiResponse, extend_schema
from rest_framework.request import Request

from campaigns.api import common, examples, flow_shapes
from campaigns.api.flows import FlowApi, existing
from campaigns.api.lists import found_people
from campaigns.flows import approval, enrolling, publish
from campaigns.models import Flow
from crm import audit, masking, normalise
from crm.api import schemas
from crm.api.auth import PUBLISH, WRITE
from crm.api.errors import ApiError
from crm.api.views import encoded

_STATE = {"slug": "welcome", "state": "live", "version": 1}
_CONFLICT = examples.conflict("wrong_state", "Only a live flow can be paused.")


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


def _state(slug: str) -> HttpResponse:
    row = existing(slug)
    number = row.live_version.number if row.live_version else None
    return encoded({"slug": row.slug, "state": row.state, "version": number})


def _by_number(raws: list[msgspec.Raw]) -> None:
    for place, raw in enumerate(raws):
        named = msgspec.json.decode(bytes(raw))
        if isinstance(named, dict) and (others := sorted(set(named) - {"id"})):
            detail = _("This API key sees no contact data, and can't look people up by it.")
            raise ApiError(403, "scope_missing", detail, field=f"profiles[{place}].{others[0]}"[:200])
