"""Dry runs of drafts over the past."""

from typing import Any

import msgspec
from django.http import HttpResponse
from django.utils.translation import gettext as _
from drf_spectacular.utils import OpenApiParameter, OpenApiResponse, extend_schema
from rest_framework.request import Request

from campaigns.api import common, examples, flow_shapes
from campaigns.api.flows import FlowApi, existing
from campaigns.flows import backtest
from campaigns.models import Backtest
from crm import audit
from crm.api import schemas
from crm.api.auth import WRITE
from crm.api.errors import ApiError
from crm.api.profile_json import READS
from crm.api.views import encoded

_NUMBER = OpenApiParameter("pk", {"type": "integer", "minimum": 0}, OpenApiParameter.PATH)


class _Days(msgspec.Struct, forbid_unknown_fields=True):
    days: int


class BacktestsView(FlowApi):
    scopes = {"POST": READS}

    @extend_schema(
        operation_id="flows_backtest",
        tags=["flows"],
        summary="Try the draft on the past",
        description="What it would have done in the last days, had it been live. It is worked out in the background "
        "and changes nothing. Each key has one in work at a time; keys that may not write have 10 a day (409, `busy`).",
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
        most = None if WRITE in request.auth.scopes else backtest.READERS_A_DAY
        try:
            job = backtest.start(row, sent.days, common.author(request), most_a_day=most)
        except backtest.DefinitionError:
            raise
        except backtest.BusyError as error:
            raise ApiError(409, "busy", str(error)) from error
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
        return encoded(_backtest(_existing(slug, pk)))


class BacktestCancelView(FlowApi):
    scopes = {"POST": READS}

    @extend_schema(
        operation_id="flows_backtest_cancel",
        tags=["flows"],
        summary="Cancel a dry run",
        description="One that has ended stays as it is. Of others' dry runs, only keys that may write.",
        parameters=[examples.SLUG, _NUMBER],
        request=None,
        responses={
            200: OpenApiResponse(flow_shapes.BacktestOutput, description="The dry run as it is now."),
            **schemas.errors(404, 413, 415),
        },
        examples=[
            examples.answer(
                "Cancelled",
                {**flow_shapes.BACKTEST, "state": "cancelled", "ended_at": "2026-01-31T12:00:09Z"},
            )
        ],
    )
    def post(self, request: Request, slug: str, pk: int) -> HttpResponse:
        """End it before its next batch."""
        found = _existing(slug, pk)
        if found.started_by != common.author(request) and WRITE not in request.auth.scopes:
            raise ApiError(403, "scope_missing", _("This API key may cancel its own dry runs only."))
        if backtest.cancel(found):
            audit.record(request, "flow.backtest_cancelled", found.flow)
        return encoded(_backtest(_existing(slug, pk)))


def _existing(slug: str, pk: int) -> Backtest:
    found = Backtest.objects.select_related("flow").filter(flow__slug=slug, pk=pk).first()
    if found is None:
        raise ApiError(404, "not_found", _("There is no such dry run."))
    common.refuse_to_tell(found.definition, "")
    return found


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
