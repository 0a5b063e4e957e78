"""Experiments and holdouts out: how they are set up, what came of them, and what they would take."""

import base64
import binascii
import math
import time
from typing import Any

import django_filters
from django.conf import settings
from django.http import HttpResponse
from django.utils.translation import gettext as _
from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import OpenApiExample, OpenApiParameter, OpenApiResponse, extend_schema
from rest_framework.exceptions import NotFound
from rest_framework.request import Request

from analytics.api import experiment_shapes as shapes
from analytics.api import freshness
from analytics.api.report import told, unchanged
from analytics.experiments import holdouts, judging, planning, words
from analytics.experiments.arms import Arm, Metric, moments
from analytics.experiments.definitions import DEFINITIONS
from analytics.experiments.holdouts import Line
from analytics.experiments.judging import Look
from analytics.experiments.lift import Figure, Lift
from campaigns.experiments.shares import SharesError
from campaigns.models import Experiment
from crm.api import filters, paging, schemas
from crm.api.auth import READ
from crm.api.errors import ApiError
from crm.api.views import ApiView, encoded

_UNCHANGED = {304: OpenApiResponse(description="You have this answer already.")}
_SLUG = OpenApiParameter(
    "slug",
    {"type": "string", "pattern": "^[-a-zA-Z0-9_]+$"},
    OpenApiParameter.PATH,
    description="Its short name, or its number.",
)
_PLAN = {
    "rate": "Usual rate in percent; that of the last 30 days, unless told.",
    "smallest": "Smallest difference worth knowing: points of percent, or money per person.",
    "daily": "People a day; those of the last 30 days, unless told.",
    "deviation": "Standard deviation of the value per person, where values are compared.",
}


class ExperimentFilters(filters.Filters):
    """What the list can be filtered by."""

    state = django_filters.ChoiceFilter(choices=Experiment.State.choices)
    subject = django_filters.ChoiceFilter(choices=Experiment.Subject.choices)


class ExperimentsView(ApiView):
    scopes = {"GET": {READ}}

    @extend_schema(
        operation_id="experiments_list",
        tags=["experiments"],
        summary="List experiments",
        description="How they are set up and what was decided, in the order in which they were made. What came of each "
        "arm is told of one experiment at a time.",
        parameters=[*filters.parameters(ExperimentFilters), *paging.PARAMETERS],
        responses={
            200: OpenApiResponse(shapes.ExperimentPage, description="One page."),
            **_UNCHANGED,
            **schemas.errors(400, 401, 403),
        },
        examples=[
            OpenApiExample(
                "One experiment",
                value={"experiments": [shapes.LINE], "next_cursor": None},
                response_only=True,
                status_codes=["200"],
            )
        ],
    )
    def get(self, request: Request) -> HttpResponse:
        """One page."""
        query = filters.filtered(request, Experiment.objects.all(), ExperimentFilters)
        found = paging.page(request, query.select_related("message", "flow"), "experiments", set_up)
        tag = freshness.etag("experiments", _told(found))
        return unchanged(request, tag) or told(encoded(found), tag)


class ExperimentView(ApiView):
    scopes = {"GET": {READ}}

    @extend_schema(
        operation_id="experiments_retrieve",
        tags=["experiments"],
        summary="What came of an experiment",
        description="Its arms with counts, estimates and 95 % credible intervals, what can be said (which holds "
        "however often one looks), and whether the arms have the sizes that they should have.",
        parameters=[_SLUG],
        responses={
            200: OpenApiResponse(shapes.ExperimentOutput, description="The experiment."),
            **_UNCHANGED,
            **schemas.errors(401, 403, 404),
        },
        examples=[
            OpenApiExample("Running", value=shapes.WHOLE, response_only=True, status_codes=["200"]),
        ],
    )
    def get(self, request: Request, slug: str) -> HttpResponse:
        """The experiment with that short name, or of that number."""
        experiment = find(slug)
        line = set_up(experiment)
        # What took long to count is shown for a while, so the log alone does not tell whether it is another answer.
        tag = freshness.etag("experiment", _told(line), int(time.time() // judging.LONGEST_KEPT))
        if (known := unchanged(request, tag)) is not None:
            return known
        look, _counted_at = judging.recent(experiment)
        result = None if look is None else outcome(experiment, look)
        definitions = {key: str(text) for key, text in DEFINITIONS.items()}
        return told(encoded({**line, "result": result, "definitions": definitions}), tag)


class PlanView(ApiView):
    scopes = {"GET": {READ}}

    @extend_schema(
        operation_id="experiments_plan",
        tags=["experiments"],
        summary="What an experiment takes",
        description="How many people and days, at most and usually, at 80 % power and 5 % error; with the figures of "
        "the last 30 days, unless you give others.",
        parameters=[
            _SLUG,
            *(OpenApiParameter(name, OpenApiTypes.FLOAT, description=text) for name, text in _PLAN.items()),
        ],
        responses={
            200: OpenApiResponse(shapes.PlanOutput, description="The plan."),
            **schemas.errors(400, 401, 403, 404, 409),
        },
        examples=[
            OpenApiExample("For a rate", value=shapes.PLAN, response_only=True, status_codes=["200"]),
        ],
    )
    def get(self, request: Request, slug: str) -> HttpResponse:
        """The plan for an experiment."""
        experiment = find(slug)
        values = planning.usual(experiment) | {
            name: _positive(text, name) for name in _PLAN if (text := self.parameter(request, name))
        }
        try:
            found = planning.plan(experiment, values)
        except SharesError as error:
            raise ApiError(409, "nothing_to_compare", str(error)) from error
        except ValueError as error:
            raise ApiError(400, "invalid_value", str(error)) from error
        return encoded(
            {
                **{name: values.get(name) for name in _PLAN},
                "currency": settings.NUDGE_CURRENCY,
                "people": found.people,
                "total": found.total,
                "typical": found.typical,
                "days": found.days,
                "typical_days": found.typical_days,
                "days_once": found.days_once,
                "sentence": words.plan_sentence(found),
                "advice": words.plan_advice(found),
            }
        )


class HoldoutsView(ApiView):
    scopes = {"GET": {READ}}

    @extend_schema(
        operation_id="holdouts_list",
        tags=["experiments"],
        summary="What messages bring",
        description="Every holdout with its lift over a year: what came because of the messages, in all, for each "
        "message, and by the month in which people came into the comparison. Ranges hold with 95 %, however often one "
        "looks. Counted some minutes ago; sorted by `key`.",
        parameters=paging.PARAMETERS,
        responses={
            200: OpenApiResponse(shapes.HoldoutPage, description="One page."),
            **_UNCHANGED,
            **schemas.errors(400, 401, 403),
        },
        examples=[
            OpenApiExample(
                "A flow",
                value={
                    "holdouts": [shapes.HOLDOUT],
                    "counted_at": "2026-03-31T12:00:00Z",
                    "next_cursor": None,
                },
                response_only=True,
                status_codes=["200"],
            )
        ],
    )
    def get(self, request: Request) -> HttpResponse:
        """One page."""
        size, after = paging.limit(request), _unpacked(self.parameter(request, "cursor"))
        counted = holdouts.counted_at()
        tag = freshness.etag("holdouts", size, after, str(counted))
        if (known := unchanged(request, tag)) is not None:
            return known
        lines = sorted(holdouts.latest(), key=lambda line: line.holdout.experiment)
        left = [line for line in lines if line.holdout.experiment > after]
        shown = left[:size]
        more = _packed(shown[-1].holdout.experiment) if len(left) > size else None
        answer = {"holdouts": [_holdout(line) for line in shown], "counted_at": counted, "next_cursor": more}
        return told(encoded(answer), tag)


def find(slug: str) -> Experiment:
    """The experiment with that short name, or else of that number.

    Raises:
        NotFound: there is none.
    """
    about = Experiment.objects.select_related("message", "flow__live_version", "broadcast__message")
    found = about.filter(slug=slug).first()
    if found is None and slug.isascii() and slug.isdigit() and len(slug) < 19:
        found = about.filter(pk=int(slug)).first()
    if found is None:
        raise NotFound(_("There is no experiment called “%s”.") % slug)
    return found


def set_up(experiment: Experiment) -> dict[str, Any]:
    """How an experiment is set up and what was decided."""
    same = (
        *("id", "slug", "name", "subject", "mode", "metric", "goal_event", "window_hours", "value_property"),
        *(
            "guard_rails",
            "smallest",
            "state",
            "decision",
            "created_at",
            "started_at",
            "decided_at",
            "stopped_at",
        ),
    )
    return {
        **{name: getattr(experiment, name) for name in same},
        "message": experiment.message.slug if experiment.message else None,
        "flow": experiment.flow.slug if experiment.flow else None,
        "step": experiment.step or None,
        "broadcast": experiment.broadcast_id,
        "arms": [
            {
                "key": arm["key"],
                "name": experiment.names[arm["key"]],
                "percent": float(arm["percent"]),
                "channel": arm.get("channel") or None,
                "delay_minutes": arm.get("delay_minutes"),
                "segment": arm.get("segment") or None,
                "closed": arm.get("closed"),
            }
            for arm in experiment.arms
        ],
        "sizes_wrong_since": experiment.alarmed_at,
    }


def outcome(experiment: Experiment, look: Look) -> dict[str, Any]:
    """What came of an experiment that was started."""
    result, names = look.result, experiment.names
    metric, check = result.rules.metric, result.check
    addressed = {arm.key: _addressed(arm, metric) for arm in look.addressed or ()}
    return {
        "state": str(result.state),
        "sentence": words.sentence(result, names, settings.NUDGE_CURRENCY),
        "currency": settings.NUDGE_CURRENCY,
        "choice": result.choice,
        "leaders": result.leaders,
        "days_left": None if result.days_left is None else _finite(result.days_left),
        "saved": result.saved,
        "arms": [
            {
                "key": arm.key,
                "name": names.get(arm.key, arm.key),
                "people": arm.exposed,
                "converted": arm.converted,
                "value": arm.value,
                "unsubscribed": arm.unsubscribed,
                "complained": arm.complained,
                **{
                    name: _finite(getattr(belief, name)) if arm.exposed else None
                    for name in ("mean", "low", "high", "probability_best", "expected_loss")
                },
                "addressed": addressed.get(arm.key),
            }
            for arm, belief in zip(result.arms, result.beliefs, strict=True)
        ],
        "comparisons": [
            {
                "arm": each.arm,
                "control": each.control,
                "difference": each.difference,
                "low": _finite(each.low),
                "high": _finite(each.high),
                "p_value": each.p_value,
                "verdict": str(each.verdict),
            }
            for each in result.comparisons
        ],
        "harmed": [
            {
                "arm": rail.arm,
                "metric": str(rail.metric),
                "rate": rail.rate,
                "control_rate": rail.control_rate,
            }
            for rail in result.harmed
        ],
        "sample_ratio": {
            "alarm": check.alarm or experiment.alarmed_at is not None,
            "p_value": check.p_value,
            "counts": check.counts,
            "expected": check.expected,
        },
        "regret": None
        if look.regret is None
        else {
            "people": look.regret.people,
            "against_best": look.regret.against_best,
            "against_equal": look.regret.against_equal,
            "sentence": words.regret_sentence(look.regret, metric, settings.NUDGE_CURRENCY),
        },
    }


def _addressed(arm: Arm, metric: Metric) -> dict[str, Any]:
    mean = moments(arm, metric).mean if arm.exposed else None
    return {"people": arm.exposed, "converted": arm.converted, "mean": mean}


def _holdout(line: Line) -> dict[str, Any]:
    about, found = line.holdout, line.lift
    whole = None
    if found is not None:
        whole = {
            **_lift(found),
            "messages": found.messages,
            **{
                name: _figure(getattr(found, name))
                for name in (
                    *("conversions_per_message", "value_per_message"),
                    *("conversions_per_month", "value_per_month"),
                )
            },
        }
    return {
        "key": about.experiment,
        "kind": about.kind,
        "id": about.number,
        "name": about.name,
        "percent": float(about.percent),
        "goal_event": about.goal,
        "window_hours": about.window.total_seconds() / 3600,
        "sentence": words.lift_sentence(found, settings.NUDGE_CURRENCY),
        "currency": settings.NUDGE_CURRENCY,
        "lift": whole,
        "months": [{"month": month, "lift": _lift(each) if each else None} for month, each in line.months],
    }


def _lift(found: Lift) -> dict[str, Any]:
    return {
        "treated": found.treated,
        "held_out": found.holdout,
        "conversions": _figure(found.conversions),
        "value": _figure(found.value),
        "certain": found.certain,
        "certain_value": found.certain_value,
    }


def _figure(figure: Figure | None) -> dict[str, float] | None:
    if figure is None:
        return None
    return {"estimate": figure.estimate, "low": figure.low, "high": figure.high}


def _finite(number: float) -> float | None:
    return float(number) if math.isfinite(number) else None


def _positive(text: str, name: str) -> float:
    try:
        number = float(text)
    except ValueError:
        number = math.nan
    if not (math.isfinite(number) and number >= 0):
        raise ApiError(400, "invalid_value", _("Write a number, not below nought."), field=name)
    return number


def _told(answer: dict[str, Any]) -> str:
    return encoded(answer).content.decode()


def _packed(key: str) -> str:
    return base64.urlsafe_b64encode(f"holdout|{key}".encode()).decode().rstrip("=")


def _unpacked(text: str) -> str:
    """The key of the last line of the page before; empty for the first page."""
    if not text:
        return ""
    try:
        raw = base64.b64decode(text + "=" * (-len(text) % 4), altchars=b"-_", validate=True).decode()
    except (ValueError, binascii.Error):
        raw = ""
    of, _bar, key = raw.partition("|")
    if of != "holdout" or not key:
        raise ApiError(400, "invalid_cursor", _("This is not a cursor of this list."), field="cursor")
    return key
