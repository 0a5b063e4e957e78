"""The shapes of the reports' answers, for the OpenAPI document."""

from django.utils.translation import gettext_lazy as _
from rest_framework import serializers

from analytics.reports.messages import DEFINITIONS
from analytics.reports.overview import DEFINITIONS as OVERVIEW_DEFINITIONS


class Revenue(serializers.Serializer):
    currency = serializers.CharField(help_text=_("As the goal events had it, such as EUR."))
    value = serializers.FloatField()


def _count(key: str) -> serializers.IntegerField:
    return serializers.IntegerField(help_text=DEFINITIONS[key])


def _rate(key: str) -> serializers.FloatField:
    return serializers.FloatField(allow_null=True, help_text=DEFINITIONS[key])


class MessageFigures(serializers.Serializer):
    """audience = sent + waiting + suppressed + failed + expired."""

    audience = _count("audience")
    waiting = _count("waiting")
    sent = _count("sent")
    delivered = _count("delivered")
    opened = _count("opened")
    clicked = _count("clicked")
    dismissed = _count("dismissed")
    read = _count("read")
    bounced = _count("bounced")
    complained = _count("complained")
    unsubscribed = _count("unsubscribed")
    lost = _count("lost")
    machine_opened = _count("machine_opened")
    machine_clicked = _count("machine_clicked")
    converted = serializers.FloatField(help_text=DEFINITIONS["converted"])
    people_converted = _count("people_converted")
    revenue = Revenue(many=True, help_text=DEFINITIONS["revenue"])
    suppressed = _count("suppressed")
    failed = _count("failed")
    expired = _count("expired")
    delivery_rate = _rate("delivery_rate")
    open_rate = _rate("open_rate")
    click_rate = _rate("click_rate")
    conversion_rate = _rate("conversion_rate")
    bounce_rate = _rate("bounce_rate")
    complaint_rate = _rate("complaint_rate")
    unsubscribe_rate = _rate("unsubscribe_rate")


class MessageName(serializers.Serializer):
    slug = serializers.CharField()
    name = serializers.CharField()


class Span(serializers.Serializer):
    since = serializers.DateTimeField(allow_null=True, help_text=_("Inclusive; null: from the beginning."))
    until = serializers.DateTimeField(allow_null=True, help_text=_("Exclusive; null: up to now."))


class Definitions(serializers.Serializer):
    definitions = serializers.DictField(
        child=serializers.CharField(), help_text=_("What each figure counts, in words.")
    )


class MessageReport(Span, Definitions):
    message = MessageName()
    figures = MessageFigures()
    reasons = serializers.DictField(
        child=serializers.DictField(child=serializers.IntegerField()),
        help_text=_("Why deliveries did not go out: state, then reason, then how many."),
    )


class FlowTotals(serializers.Serializer):
    """entered = inside + completed + exited."""

    entered = serializers.IntegerField()
    inside = serializers.IntegerField()
    completed = serializers.IntegerField()
    exited = serializers.IntegerField()


class FlowStep(serializers.Serializer):
    key = serializers.CharField()
    kind = serializers.CharField()
    label = serializers.CharField()
    summary = serializers.CharField()
    depth = serializers.IntegerField(help_text=_("1 for the trunk, one more inside each split."))
    reached = serializers.IntegerField()
    here = serializers.IntegerField()
    share = serializers.FloatField(allow_null=True)
    branches = serializers.DictField(
        child=serializers.IntegerField(), help_text=_("How many took each branch.")
    )
    message = MessageFigures(allow_null=True)


class FlowName(serializers.Serializer):
    slug = serializers.CharField()
    name = serializers.CharField()
    state = serializers.ChoiceField(choices=["draft", "live", "paused", "finishing", "stopped"])


class FlowReport(Definitions):
    flow = FlowName()
    totals = FlowTotals()
    steps = FlowStep(many=True, help_text=_("Of the live version, in reading order."))
    elsewhere = serializers.IntegerField()


class Totals(serializers.Serializer):
    sent = serializers.IntegerField(help_text=OVERVIEW_DEFINITIONS["sent"])
    opened = serializers.IntegerField(help_text=OVERVIEW_DEFINITIONS["opened"])
    clicked = serializers.IntegerField(help_text=OVERVIEW_DEFINITIONS["clicked"])
    converted = serializers.FloatField(help_text=OVERVIEW_DEFINITIONS["converted"])
    new_profiles = serializers.IntegerField(help_text=OVERVIEW_DEFINITIONS["new_profiles"])
    left = serializers.IntegerField(help_text=OVERVIEW_DEFINITIONS["left"])
    revenue = Revenue(many=True, help_text=OVERVIEW_DEFINITIONS["revenue"])


class DayLine(serializers.Serializer):
    day = serializers.DateField()
    sent = serializers.IntegerField()
    opened = serializers.IntegerField()
    clicked = serializers.IntegerField()
    converted = serializers.FloatField()


class Overview(Definitions):
    days = serializers.IntegerField()
    now = Totals(help_text=_("The last days, today included."))
    before = Totals(help_text=_("As many days before."))
    series = DayLine(many=True)
    profiles = serializers.IntegerField(help_text=_("All profiles there are."))
    reachable = serializers.IntegerField(help_text=OVERVIEW_DEFINITIONS["reachable"])
