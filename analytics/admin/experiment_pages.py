"""Figures of experiments as their pages show them."""

import math
from typing import Any

from django.conf import settings
from django.utils.translation import gettext as _

from analytics import written
from analytics.admin.experiment_forms import PlanForm, ValuePlanForm
from analytics.experiments import planner, planning, words
from analytics.experiments.arms import GUARD_RAILS, Arm, Metric, moments
from analytics.experiments.bayes import Belief
from analytics.experiments.holdouts import Line
from analytics.experiments.judging import Look
from analytics.experiments.lift import Figure, Lift
from campaigns.experiments import shares
from campaigns.models import Experiment


def plan(experiment: Experiment, form: PlanForm | ValuePlanForm) -> planner.Plan | None:
    """How many people and days it takes; None without arms or where what is asked for is impossible."""
    if not form.is_valid():
        return None
    try:
        found = planning.plan(experiment, form.cleaned_data)
    except shares.SharesError:
        return None
    except ValueError as error:
        form.add_error(None, str(error))
        return None
    form.sentence = words.plan_sentence(found)  # type: ignore[union-attr]
    form.advice = words.plan_advice(found)  # type: ignore[union-attr]
    return found


def arms(experiment: Experiment, look: Look) -> list[dict[str, Any]]:
    """One row for each arm, with where its interval stands on a scale that all share."""
    names, result = experiment.names, look.result
    value = result.rules.metric is Metric.VALUE
    ends = [each.high for each in result.beliefs if math.isfinite(each.high)]
    top = max([*ends, *(each.mean for each in result.beliefs)], default=0) or 1
    own = {arm.key: _addressed(arm, result.rules.metric) for arm in look.addressed or ()}
    rows = []
    for arm, belief in zip(result.arms, result.beliefs, strict=True):
        rows.append(
            {
                "key": arm.key,
                "name": names.get(arm.key, arm.key),
                "people": written.count(arm.exposed),
                "converted": written.count(arm.converted),
                "figure": _amount(belief.mean, value) if arm.exposed else "–",
                "interval": _interval(belief, value) if arm.exposed else "–",
                "best": written.percent(belief.probability_best) if arm.exposed else "–",
                "loss": _amount(belief.expected_loss, value, 2) if arm.exposed else "–",
                "rails": [
                    written.percent(arm.people_with(metric) / arm.exposed if arm.exposed else None, 2)
                    for metric in GUARD_RAILS
                ],
                "closed": arm.key in result.rules.closed,
                "addressed": own.get(arm.key),
                "harms": [str(rail.metric) for rail in result.harmed if rail.arm == arm.key],
                "bar": _bar(belief, top) if arm.exposed else None,
            }
        )
    return rows


def _addressed(arm: Arm, metric: Metric) -> dict[str, str]:
    """Those whom an arm addresses: how many, and what came of each of them."""
    figure = _amount(moments(arm, metric).mean, metric is Metric.VALUE) if arm.exposed else "–"
    return {"people": written.count(arm.exposed), "figure": figure}


def lift_rows(lines: list[Line]) -> list[dict[str, Any]]:
    """One row for each holdout, with its months."""
    kinds = {
        "global": _("everything"),
        "flow": _("flow"),
        "message": _("message"),
        "broadcast": _("broadcast"),
    }
    return [
        {
            "name": line.holdout.name,
            "kind": kinds[line.holdout.kind],
            "percent": line.holdout.percent,
            "sentence": words.lift_sentence(line.lift, settings.NUDGE_CURRENCY),
            "figures": _lift(line.lift),
            "months": [{"month": month, "figures": _lift(found)} for month, found in line.months],
        }
        for line in lines
    ]


def _lift(found: Lift | None) -> dict[str, str] | None:
    if found is None:
        return None
    per_message = found.conversions_per_message
    return {
        "treated": written.count(found.treated),
        "holdout": written.count(found.holdout),
        "conversions": _figure(found.conversions),
        "value": _figure(found.value, money=True),
        "per_message": _figure(per_message.times(1000)) if per_message else "–",
        "per_month": _figure(found.conversions_per_month) if found.conversions_per_month else "–",
    }


def _figure(figure: Figure, money: bool = False) -> str:
    estimate, low, high = (
        _amount(each, True) if money else written.count(round(each, 1))
        for each in (figure.estimate, figure.low, figure.high)
    )
    return _("%(estimate)s (%(low)s to %(high)s)") % {"estimate": estimate, "low": low, "high": high}


def _amount(number: float, value: bool, digits: int = 1) -> str:
    if not math.isfinite(number):
        return "∞"
    return written.money(number, settings.NUDGE_CURRENCY) if value else written.percent(number, digits)


def _interval(belief: Belief, value: bool) -> str:
    return _("%(low)s to %(high)s") % {
        "low": _amount(belief.low, value),
        "high": _amount(belief.high, value),
    }


def _bar(belief: Belief, top: float) -> dict[str, str]:
    """Attributes of the drawing, whose width is 100; written for machines, whatever the language."""
    low, high = (100 * min(each, top) / top for each in (belief.low, belief.high))
    return {
        "x": f"{low:.2f}",
        "width": f"{max(high - low, 0.5):.2f}",
        "mean": f"{100 * min(belief.mean, top) / top:.2f}",
    }
