"""The shapes of answers about experiments and holdouts, for the OpenAPI document, with their examples."""

from typing import Any

from django.utils.translation import gettext_lazy as _
from rest_framework import serializers

from analytics.experiments.definitions import DEFINITIONS
from analytics.experiments.results import State
from analytics.experiments.sequences import Verdict
from campaigns.models import Experiment


class ExperimentArm(serializers.Serializer):
    key = serializers.CharField()
    name = serializers.CharField()
    percent = serializers.FloatField(help_text=_("Of the people who come into it now."))
    channel = serializers.CharField(allow_null=True, help_text=_("Where the channel is tried out."))
    delay_minutes = serializers.IntegerField(allow_null=True, help_text=_("Where the time is tried out."))
    segment = serializers.CharField(
        allow_null=True, help_text=_("Where the audience is tried out: whom it is narrowed to.")
    )
    closed = serializers.CharField(
        allow_null=True, help_text=_("The guard-rail for which it gets nobody any more.")
    )


class Decision(serializers.Serializer):
    state = serializers.CharField(help_text=_("winner, same, harmful, or chosen by a person."))
    choice = serializers.CharField()
    at = serializers.DateTimeField()
    waits = serializers.CharField(required=False, help_text=_("Why it can't be used yet."))


class ExperimentLine(serializers.Serializer):
    """How an experiment is set up."""

    id = serializers.IntegerField()
    slug = serializers.CharField()
    name = serializers.CharField()
    subject = serializers.ChoiceField(choices=Experiment.Subject.choices)
    message = serializers.CharField(allow_null=True, help_text=_("Its short name."))
    flow = serializers.CharField(allow_null=True, help_text=_("Its short name."))
    step = serializers.CharField(allow_null=True)
    broadcast = serializers.IntegerField(allow_null=True)
    mode = serializers.ChoiceField(choices=Experiment.Mode.choices)
    metric = serializers.ChoiceField(choices=Experiment.Metric.choices)
    goal_event = serializers.CharField()
    window_hours = serializers.IntegerField()
    value_property = serializers.CharField(allow_blank=True)
    guard_rails = serializers.BooleanField()
    smallest = serializers.FloatField(
        allow_null=True, help_text=_("Points of percent of the people, or money per person.")
    )
    state = serializers.ChoiceField(choices=Experiment.State.choices)
    arms = ExperimentArm(many=True, help_text=_("The first one is the control."))
    decision = Decision(allow_null=True)
    created_at = serializers.DateTimeField()
    started_at = serializers.DateTimeField(allow_null=True)
    decided_at = serializers.DateTimeField(allow_null=True)
    stopped_at = serializers.DateTimeField(allow_null=True)
    sizes_wrong_since = serializers.DateTimeField(
        allow_null=True, help_text=_("Since when the sizes of its arms can't be chance.")
    )


class ExperimentPage(serializers.Serializer):
    experiments = ExperimentLine(many=True)
    next_cursor = serializers.CharField(allow_null=True)


class Addressed(serializers.Serializer):
    people = serializers.IntegerField()
    converted = serializers.IntegerField()
    mean = serializers.FloatField(allow_null=True, help_text=_("Per person addressed."))


class ArmResult(serializers.Serializer):
    key = serializers.CharField()
    name = serializers.CharField()
    people = serializers.IntegerField(help_text=DEFINITIONS["exposed"])
    converted = serializers.IntegerField(help_text=DEFINITIONS["converted"])
    value = serializers.FloatField(help_text=DEFINITIONS["value"])
    unsubscribed = serializers.IntegerField()
    complained = serializers.IntegerField()
    mean = serializers.FloatField(allow_null=True, help_text=DEFINITIONS["mean"])
    low = serializers.FloatField(allow_null=True, help_text=DEFINITIONS["range"])
    high = serializers.FloatField(allow_null=True, help_text=DEFINITIONS["range"])
    probability_best = serializers.FloatField(allow_null=True, help_text=DEFINITIONS["probability_best"])
    expected_loss = serializers.FloatField(allow_null=True, help_text=DEFINITIONS["expected_loss"])
    addressed = Addressed(
        allow_null=True, help_text=_("Where the audience is tried out: those whom the arm writes to.")
    )


class ComparisonOutput(serializers.Serializer):
    arm = serializers.CharField()
    control = serializers.CharField()
    difference = serializers.FloatField(help_text=DEFINITIONS["difference"])
    low = serializers.FloatField(allow_null=True, help_text=_("null: nobody knows."))
    high = serializers.FloatField(allow_null=True, help_text=_("null: nobody knows."))
    p_value = serializers.FloatField(help_text=DEFINITIONS["p_value"])
    verdict = serializers.ChoiceField(choices=[str(each) for each in Verdict])


class Harm(serializers.Serializer):
    arm = serializers.CharField()
    metric = serializers.ChoiceField(choices=["unsubscribed", "complained"])
    rate = serializers.FloatField()
    control_rate = serializers.FloatField()


class SampleRatio(serializers.Serializer):
    alarm = serializers.BooleanField(help_text=DEFINITIONS["sample_ratio"])
    p_value = serializers.FloatField()
    counts = serializers.ListField(child=serializers.IntegerField())
    expected = serializers.ListField(child=serializers.FloatField())


class RegretOutput(serializers.Serializer):
    people = serializers.IntegerField()
    against_best = serializers.FloatField(help_text=DEFINITIONS["against_best"])
    against_equal = serializers.FloatField(help_text=DEFINITIONS["against_equal"])
    sentence = serializers.CharField()


class ResultOutput(serializers.Serializer):
    state = serializers.ChoiceField(choices=[str(each) for each in State], help_text=DEFINITIONS["state"])
    sentence = serializers.CharField(help_text=_("What came of it, in words."))
    currency = serializers.CharField(help_text=_("The account's, of all amounts."))
    choice = serializers.CharField(allow_null=True)
    leaders = serializers.ListField(child=serializers.CharField(), help_text=_("Beaten by no other arm."))
    days_left = serializers.FloatField(
        allow_null=True, help_text=_("At the pace so far; null: nobody can say, or never.")
    )
    saved = serializers.FloatField(help_text=DEFINITIONS["saved"])
    arms = ArmResult(many=True)
    comparisons = ComparisonOutput(many=True, help_text=_("Each other arm beside the control."))
    harmed = Harm(
        many=True, help_text=_("Arms with which certainly more people leave than with the control.")
    )
    sample_ratio = SampleRatio()
    regret = RegretOutput(allow_null=True, help_text=_("Of one that learns while it runs."))


class ExperimentOutput(ExperimentLine):
    result = ResultOutput(allow_null=True, help_text=_("null before the start."))
    definitions = serializers.DictField(child=serializers.CharField())


class PlanOutput(serializers.Serializer):
    rate = serializers.FloatField(help_text=_("Usual, in percent of the people."))
    smallest = serializers.FloatField(help_text=_("The difference planned for."))
    daily = serializers.FloatField(help_text=_("People a day."))
    deviation = serializers.FloatField(
        allow_null=True, help_text=_("Of the value from person to person, where values are compared.")
    )
    currency = serializers.CharField(help_text=_("The account's, of all amounts."))
    people = serializers.ListField(child=serializers.IntegerField(), help_text=_("By arm, at most."))
    total = serializers.IntegerField()
    typical = serializers.IntegerField(help_text=_("Of all arms, on average with that difference."))
    days = serializers.IntegerField(allow_null=True, help_text=_("At most; null without people a day."))
    typical_days = serializers.IntegerField(allow_null=True)
    days_once = serializers.IntegerField(
        allow_null=True, help_text=_("Were it looked at only once, at the end.")
    )
    sentence = serializers.CharField()
    advice = serializers.CharField(allow_blank=True, help_text=_("What to do where it takes very long."))


class FigureOutput(serializers.Serializer):
    estimate = serializers.FloatField()
    low = serializers.FloatField()
    high = serializers.FloatField()


class LiftOutput(serializers.Serializer):
    treated = serializers.IntegerField()
    held_out = serializers.IntegerField()
    conversions = FigureOutput(help_text=DEFINITIONS["lift"])
    value = FigureOutput(help_text=DEFINITIONS["lift"])
    certain = serializers.BooleanField(help_text=_("Whether the range of conversions leaves out nought."))
    certain_value = serializers.BooleanField(help_text=_("Whether the range of the value leaves out nought."))


class WholeLift(LiftOutput):
    messages = serializers.IntegerField(help_text=_("Sent within the year."))
    conversions_per_message = FigureOutput(allow_null=True)
    value_per_message = FigureOutput(allow_null=True)
    conversions_per_month = FigureOutput(allow_null=True)
    value_per_month = FigureOutput(allow_null=True)


class MonthLift(serializers.Serializer):
    month = serializers.CharField(help_text=_("In which people came into it, such as 2026-03."))
    lift = LiftOutput(allow_null=True, help_text=_("null while one side has nobody."))


class HoldoutOutput(serializers.Serializer):
    key = serializers.CharField(help_text=_("As `experiment_exposed` names it."))
    kind = serializers.ChoiceField(choices=["global", "flow", "message", "broadcast"])
    id = serializers.IntegerField(allow_null=True, help_text=_("Of the flow, message or broadcast."))
    name = serializers.CharField()
    percent = serializers.FloatField()
    goal_event = serializers.CharField()
    window_hours = serializers.FloatField()
    sentence = serializers.CharField()
    currency = serializers.CharField(help_text=_("The account's, of all amounts."))
    lift = WholeLift(allow_null=True, help_text=_("Over a year; null while one side has nobody."))
    months = MonthLift(many=True, help_text=_("The latest first."))


class HoldoutPage(serializers.Serializer):
    holdouts = HoldoutOutput(many=True)
    counted_at = serializers.DateTimeField(allow_null=True, help_text=_("null: just now."))
    next_cursor = serializers.CharField(allow_null=True)


LINE: dict[str, Any] = {
    "id": 7,
    "slug": "short-or-long",
    "name": "Short or long?",
    "subject": "message",
    "message": "offer",
    "flow": None,
    "step": None,
    "broadcast": None,
    "mode": "winner",
    "metric": "conversion",
    "goal_event": "purchase",
    "window_hours": 72,
    "value_property": "total",
    "guard_rails": True,
    "smallest": 0.5,
    "state": "running",
    "arms": [
        {
            "key": key,
            "name": name,
            "percent": 50.0,
            "channel": None,
            "delay_minutes": None,
            "segment": None,
            "closed": None,
        }
        for key, name in (("a", "Long"), ("b", "Short"))
    ],
    "decision": None,
    "created_at": "2026-03-01T09:00:00Z",
    "started_at": "2026-03-02T09:00:00Z",
    "decided_at": None,
    "stopped_at": None,
    "sizes_wrong_since": None,
}
RESULT: dict[str, Any] = {
    "state": "open",
    "sentence": "“Short” brings 4.2% of people to the goal, “Long” 3.6%. Nothing can be said yet.",
    "currency": "EUR",
    "choice": None,
    "leaders": ["a", "b"],
    "days_left": 4.5,
    "saved": 0.12,
    "arms": [
        {
            "key": key,
            "name": name,
            "people": 5000,
            "converted": converted,
            "value": 40.0 * converted,
            "unsubscribed": 9,
            "complained": 0,
            "mean": converted / 5000,
            "low": low,
            "high": high,
            "probability_best": best,
            "expected_loss": loss,
            "addressed": None,
        }
        for key, name, converted, low, high, best, loss in (
            ("a", "Long", 180, 0.0312, 0.0415, 0.06, 0.0061),
            ("b", "Short", 210, 0.0368, 0.0479, 0.94, 0.0001),
        )
    ],
    "comparisons": [
        {
            "arm": "b",
            "control": "a",
            "difference": 0.006,
            "low": -0.0061,
            "high": 0.0181,
            "p_value": 0.71,
            "verdict": "open",
        }
    ],
    "harmed": [],
    "sample_ratio": {"alarm": False, "p_value": 1.0, "counts": [5000, 5000], "expected": [5000.0, 5000.0]},
    "regret": None,
}
WHOLE = {**LINE, "result": RESULT, "definitions": {"exposed": str(DEFINITIONS["exposed"])}}
PLAN = {
    "rate": 3.6,
    "smallest": 0.5,
    "daily": 2000.0,
    "deviation": None,
    "currency": "EUR",
    "people": [40028, 40028],
    "total": 80056,
    "typical": 42100,
    "days": 41,
    "typical_days": 22,
    "days_once": 25,
    "sentence": "You need 80,056 people in all.",
    "advice": "",
}
_FIGURE = {"estimate": 210.0, "low": 162.0, "high": 258.0}
_SIDES = {
    "treated": 10000,
    "held_out": 1000,
    "conversions": _FIGURE,
    "value": {"estimate": 8400.0, "low": 5200.0, "high": 11600.0},
    "certain": True,
    "certain_value": True,
}
HOLDOUT: dict[str, Any] = {
    "key": "holdout:flow:3",
    "kind": "flow",
    "id": 3,
    "name": "Welcome series",
    "percent": 10.0,
    "goal_event": "purchase",
    "window_hours": 168.0,
    "sentence": "Without the messages there would have been about 210 fewer conversions (162 to 258).",
    "currency": "EUR",
    "lift": {
        **_SIDES,
        "messages": 21000,
        "conversions_per_message": {"estimate": 0.01, "low": 0.0077, "high": 0.0123},
        "value_per_message": {"estimate": 0.4, "low": 0.2476, "high": 0.5524},
        "conversions_per_month": {"estimate": 105.0, "low": 81.0, "high": 129.0},
        "value_per_month": {"estimate": 4200.0, "low": 2600.0, "high": 5800.0},
    },
    "months": [{"month": "2026-03", "lift": _SIDES}],
}
