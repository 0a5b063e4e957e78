"""The shapes of requests and answers about flows, for the OpenAPI document; and its examples."""

from typing import Any

from django.utils.translation import gettext_lazy as _
from drf_spectacular.utils import OpenApiExample, OpenApiResponse
from rest_framework import serializers

from campaigns.api import examples, shapes
from campaigns.models import Backtest, Flow
from crm.api import schemas

MAX_NUMBER = 2**31 - 1
_DEFINITION = _(
    'The definition: {"trigger": {…}, "steps": [{"key": "s1", "kind": "wait", "config": {…}}, …], …}. A draft may be '
    "unfinished; what keeps it from being published is in `problems`."
)
_REVISION = _("The draft that you know: if it was changed since, nothing is done (409).")
_NEXT = _("Send it as `cursor`; null on the last page.")


class FlowChange(serializers.Serializer):
    """What is left out stays as it is."""

    name = serializers.CharField(required=False, max_length=shapes.MAX_NAME)
    description = serializers.CharField(required=False, allow_blank=True, max_length=shapes.MAX_DESCRIPTION)
    definition = serializers.DictField(required=False, help_text=_DEFINITION)
    revision = serializers.IntegerField(
        required=False, min_value=0, max_value=MAX_NUMBER, help_text=_REVISION
    )


class FlowReplacement(FlowChange):
    """What is left out is emptied."""

    name = serializers.CharField(max_length=shapes.MAX_NAME)
    definition = serializers.DictField(help_text=_DEFINITION)


class NewFlow(FlowChange):
    revision = None  # type: ignore[assignment]
    slug = serializers.RegexField(r"^[-a-zA-Z0-9_]{1,50}$")
    name = serializers.CharField(max_length=shapes.MAX_NAME)


class FlowLine(serializers.Serializer):
    slug = serializers.CharField()
    name = serializers.CharField()
    description = serializers.CharField(allow_blank=True)
    state = serializers.ChoiceField(choices=Flow.State.choices)
    revision = serializers.IntegerField(help_text=_("Of the draft; it grows with each change."))
    version = serializers.IntegerField(allow_null=True, help_text=_("The version that is live."))
    changed = serializers.BooleanField(help_text=_("The draft differs from what is live."))
    error = serializers.CharField(allow_blank=True)
    published_at = serializers.DateTimeField(allow_null=True)
    created_at = serializers.DateTimeField()
    updated_at = serializers.DateTimeField()


class FlowProblem(serializers.Serializer):
    field = serializers.CharField(help_text=_("The place: the key of a step, or a setting."))
    detail = serializers.CharField()


class FlowOutput(FlowLine):
    definition = serializers.DictField(
        allow_null=True,
        help_text=_("The draft; null for keys that see no contact data where its rules compare with some."),
    )
    problems = FlowProblem(many=True, help_text=_("What keeps the draft from being published."))


class FlowChanged(serializers.Serializer):
    slug = serializers.CharField()
    state = serializers.ChoiceField(choices=["created", "updated", "unchanged"])
    revision = serializers.IntegerField()
    flow = FlowOutput(required=False, help_text=_("Only for keys that may read."))


class FlowPage(serializers.Serializer):
    flows = FlowLine(many=True)
    next_cursor = serializers.CharField(allow_null=True, help_text=_NEXT)


class PublishInput(serializers.Serializer):
    revision = serializers.IntegerField(
        required=False, min_value=0, max_value=MAX_NUMBER, help_text=_REVISION
    )
    people = serializers.ChoiceField(
        choices=["finish", "move"],
        required=False,
        help_text=_("Whoever is inside finishes the version they entered, or moves to this one."),
    )
    catch_up_days = serializers.IntegerField(
        required=False,
        min_value=1,
        max_value=90,
        help_text=_("Also let in those who qualify by the last so many days."),
    )
    step_map = serializers.DictField(
        child=serializers.CharField(allow_null=True),
        required=False,
        help_text=_("With `move`: where people go from steps that are gone; null: they leave."),
    )


class StopInput(serializers.Serializer):
    people = serializers.ChoiceField(
        choices=["now", "finish"],
        required=False,
        help_text=_("`now`, unless told: all runs end. `finish`: nobody enters, and people inside go on."),
    )


class FlowState(serializers.Serializer):
    slug = serializers.CharField()
    state = serializers.ChoiceField(choices=Flow.State.choices)
    version = serializers.IntegerField(allow_null=True)


class EnrollInput(serializers.Serializer):
    profiles = serializers.ListField(child=shapes.Whom(), min_length=1, max_length=schemas.MAX_ROWS)
    key = serializers.CharField(
        required=False,
        max_length=200,
        help_text=_("Tells runs apart, such as a number of the cart; the same again starts nobody twice."),
    )
    context = serializers.DictField(
        required=False, help_text=_("What messages find as the properties of the event that started it.")
    )


class Started(serializers.Serializer):
    index = serializers.IntegerField(help_text=_("The row's place in the request, from 0."))
    profile = serializers.IntegerField()
    run = serializers.IntegerField()


class Enrolled(serializers.Serializer):
    started = Started(many=True)
    rejected = schemas.RejectedRow(many=True)


class BacktestInput(serializers.Serializer):
    days = serializers.IntegerField(min_value=1, max_value=90)


class BacktestOutput(serializers.Serializer):
    id = serializers.IntegerField()
    flow = serializers.CharField()
    days = serializers.IntegerField()
    until = serializers.DateTimeField()
    state = serializers.ChoiceField(choices=Backtest.State.choices)
    progress = serializers.FloatField(min_value=0, max_value=1)
    error = serializers.CharField(allow_blank=True, help_text=_("Why it failed."))
    result = serializers.DictField(
        allow_null=True,
        help_text=_("Entered, left, converted, by step, by channel and by day; null until it is done."),
    )
    created_at = serializers.DateTimeField()
    ended_at = serializers.DateTimeField(allow_null=True)


class FunnelStep(serializers.Serializer):
    key = serializers.CharField()
    kind = serializers.CharField()
    text = serializers.CharField(help_text=_("The step in words."))
    reached = serializers.IntegerField(help_text=_("Runs that ever came to it."))
    here = serializers.IntegerField(help_text=_("Who is at it now."))


class Funnel(serializers.Serializer):
    entered = serializers.IntegerField()
    inside = serializers.IntegerField()
    completed = serializers.IntegerField()
    exited = serializers.IntegerField()
    held_out = serializers.IntegerField()
    converted = serializers.IntegerField(help_text=_("Of those who entered."))
    held_out_converted = serializers.IntegerField()
    reasons = serializers.DictField(
        child=serializers.IntegerField(), help_text=_("Why people left early: runs by reason.")
    )
    steps = FunnelStep(many=True, help_text=_("In reading order; also of older versions with people inside."))


class FlowVersion(serializers.Serializer):
    number = serializers.IntegerField()
    definition = serializers.DictField(allow_null=True, help_text=_("Null as in the flow itself."))
    by = serializers.CharField(allow_blank=True)
    published_at = serializers.DateTimeField()
    live = serializers.BooleanField()


class FlowVersions(serializers.Serializer):
    versions = FlowVersion(many=True)
    next_cursor = serializers.CharField(allow_null=True, help_text=_NEXT)


class Why(serializers.Serializer):
    profile_id = serializers.IntegerField()
    flow = serializers.CharField()
    name = serializers.CharField()
    state = serializers.ChoiceField(choices=Flow.State.choices)
    zone = serializers.CharField(help_text=_("The person's. Times in sentences are by the account's clock."))
    as_of = serializers.DateTimeField()
    inside = serializers.BooleanField()
    entered = serializers.BooleanField()
    summary = serializers.CharField()
    runs = serializers.ListField(
        child=serializers.DictField(),
        help_text=_("Each run: its story of decisions, what was sent and why not, and what happens next."),
    )
    checks = serializers.ListField(
        child=serializers.DictField(), help_text=_("Whether the person would be let in now, one by one.")
    )
    refused = serializers.ListField(child=serializers.DictField())


DEFINITION: dict[str, Any] = {
    "trigger": {"kind": "event", "name": "signed_up"},
    "steps": [
        {"key": "s1", "kind": "wait", "config": {"amount": 1, "unit": "days"}},
        {"key": "s2", "kind": "message", "config": {"message": "welcome", "channel": "webpush"}},
    ],
}
LINE: dict[str, Any] = {
    "slug": "welcome",
    "name": "Welcome",
    "description": "",
    "state": "live",
    "revision": 3,
    "version": 1,
    "changed": True,
    "error": "",
    "published_at": "2026-01-30T08:00:00Z",
    "created_at": "2026-01-05T09:12:00Z",
    "updated_at": "2026-01-31T12:00:00Z",
}
FLOW: dict[str, Any] = {**LINE, "definition": DEFINITION, "problems": []}
BACKTEST: dict[str, Any] = {
    "id": 7,
    "flow": "welcome",
    "days": 30,
    "until": "2026-01-31T12:00:00Z",
    "state": "running",
    "progress": 0.4,
    "error": "",
    "result": None,
    "created_at": "2026-01-31T12:00:00Z",
    "ended_at": None,
}
FUNNEL: dict[str, Any] = {
    "entered": 1204,
    "inside": 300,
    "completed": 800,
    "exited": 104,
    "held_out": 60,
    "converted": 210,
    "held_out_converted": 4,
    "reasons": {"goal": 90, "exit event": 14},
    "steps": [{"key": "s1", "kind": "wait", "text": "Wait 1 day", "reached": 1204, "here": 300}],
}
WHY: dict[str, Any] = {
    "profile_id": 42,
    "flow": "welcome",
    "name": "Welcome",
    "state": "live",
    "zone": "Europe/Warsaw",
    "as_of": "2026-01-31T12:00:00Z",
    "inside": False,
    "entered": False,
    "summary": "They have not entered, and nothing speaks against it: they will when the trigger comes.",
    "runs": [],
    "checks": [],
    "refused": [],
}
_MISTAKE = OpenApiExample(
    "A mistake",
    value={
        "error": {
            "code": "invalid_flow",
            "detail": "Choose a message.",
            "field": "definition.s2.config.message",
            "problems": [{"field": "definition.s2.config.message", "detail": "Choose a message."}],
        }
    },
)
WRONG = OpenApiResponse(
    shapes.RuleError,
    description="A value can't be taken; of a definition every mistake is named at its step or setting.",
    examples=[_MISTAKE],
)
UNFINISHED = OpenApiResponse(
    shapes.RuleError,
    description="The draft can't run; every mistake is named at its step or setting.",
    examples=[_MISTAKE],
)


def changed(state: str, status: int) -> list[OpenApiExample]:
    """What keys with and without the right to read are answered to a change."""
    short = {"slug": "welcome", "state": state, "revision": 3}
    return [
        examples.answer(f"To a key that may read ({state})", {**short, "flow": FLOW}, status),
        examples.answer(f"To a key that may only write ({state})", short, status),
    ]
