"""What came of flows: their figures, their versions, and why somebody is in one or not."""

from collections import Counter
from typing import Any

from django.db.models import Count, Q
from django.http import HttpResponse
from django.utils.translation import gettext as _
from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import OpenApiParameter, OpenApiResponse, extend_schema
from rest_framework.request import Request

from campaigns.api import common, examples, flow_shapes
from campaigns.api.flows import FlowApi, existing, shown_definition
from campaigns.flows import comparing, people, program, roster, why
from campaigns.models import Enrollment, Flow
from crm import audit
from crm.api import paging, schemas
from crm.api.errors import ApiError
from crm.api.profile_json import READS
from crm.api.profiles import MERGED, PROFILE_ID
from crm.api.profiles import existing as existing_profile
from crm.api.views import encoded


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
    reached = people.reached(row)
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
            {
                "key": key,
                "kind": kinds.get(key, ""),
                "text": str(told),
                # Who has just come is there before the step has decided anything.
                "reached": max(reached.get(key, 0), here.get(key, 0)),
                "here": here.get(key, 0),
            }
            for key, told in words.items()
        ],
    }


def _kinds(row: Flow) -> dict[str, str]:
    definitions = [comparing.read(row.draft)]
    if row.live_version_id:
        definitions.append(program.of_version(row.live_version_id).definition)
    return {step.key: step.kind for each in definitions for step in comparing.in_order(each)}
