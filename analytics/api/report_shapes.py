"""The shapes of reports over REST, for the OpenAPI document."""

from django.utils.translation import gettext_lazy as _
from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import OpenApiParameter, extend_schema_field
from rest_framework import serializers

from analytics.reporting import query, registry, writing
from analytics.reporting.shapes import Kind, Layout
from crm.api import paging

_TEXT = {"type": "string", "minLength": 1}


def _choices() -> dict[str, dict[str, set[str]]]:
    """Of each name of a choice: the reports that have it, and its values."""
    found: dict[str, dict[str, set[str]]] = {}
    for report in registry.reports().values():
        for choice in report.choices:
            known = found.setdefault(choice.name, {"reports": set(), "values": set()})
            known["reports"].add(report.slug)
            known["values"] |= {value for value, _label in choice.options}
    return found


QUESTION = [
    OpenApiParameter(
        "slug",
        {"type": "string", "enum": list(registry.reports())},
        OpenApiParameter.PATH,
        description="A report of the list.",
    ),
    OpenApiParameter(
        "period",
        OpenApiTypes.STR,
        enum=list(query.PRESETS),
        description="Days by the account's calendar; which one a report begins with is in the list of reports.",
    ),
    OpenApiParameter("from", OpenApiTypes.DATE, description="Instead of a period: its first day."),
    OpenApiParameter("to", OpenApiTypes.DATE, description="Its last day, which is in it."),
    OpenApiParameter(
        "compare", OpenApiTypes.STR, enum=["0", "1"], description="0: without the period before."
    ),
    *(
        OpenApiParameter(name, _TEXT, description=f"{writing.LABELS[name]}. By number or short name.")
        for name in (*query.ROWS, "goal")
    ),
    *(
        OpenApiParameter(name, _TEXT, description=str(writing.LABELS[name]))
        for name in sorted(query.FILTERS - {*query.ROWS, "goal", "machines"})
    ),
    OpenApiParameter(
        "machines",
        OpenApiTypes.STR,
        enum=["0", "1"],
        description="1: what machines opened and clicked counts, too.",
    ),
    *(
        OpenApiParameter(
            name,
            OpenApiTypes.STR,
            enum=sorted(known["values"]),
            description="For: " + ", ".join(sorted(known["reports"])),
        )
        for name, known in sorted(_choices().items())
    ),
]
PARAMETERS = [
    *QUESTION,
    OpenApiParameter("table", _TEXT, description="Only this table; as CSV the first one without it."),
    OpenApiParameter("format", OpenApiTypes.STR, enum=["json", "csv"], description="json, unless told."),
    *paging.PARAMETERS,
]


class ReportDays(serializers.Serializer):
    vars()["from"] = serializers.DateField(allow_null=True)
    to = serializers.DateField(allow_null=True)


class ReportPeriod(ReportDays):
    preset = serializers.ChoiceField(choices=list(query.PRESETS))
    unfinished = serializers.IntegerField(
        allow_null=True,
        help_text=_(
            "How many of its days are not over, today among them: `before` has them whole. null for all time."
        ),
    )


class ReportColumn(serializers.Serializer):
    """A column, with its one definition."""

    key = serializers.CharField()
    label = serializers.CharField()
    kind = serializers.ChoiceField(choices=[kind.value for kind in Kind])
    definition = serializers.CharField(allow_blank=True)
    better = serializers.CharField(allow_blank=True, help_text=_("up, down, or empty for neither."))
    people = serializers.CharField(
        allow_blank=True, help_text=_("`column` of the people behind it; empty where nobody is told.")
    )


@extend_schema_field({"type": "object", "additionalProperties": {}})
class ReportValues(serializers.DictField):
    """By the columns' keys: numbers, texts and times; amounts as a list of currencies; null for no number."""


class ReportFigures(serializers.Serializer):
    values = ReportValues()
    before = ReportValues(allow_null=True, help_text=_("Of the period that is compared with."))


class ReportRow(ReportFigures):
    key = serializers.CharField(allow_blank=True, help_text=_("Stable; unique in its table."))
    label = serializers.CharField(allow_blank=True)
    place = serializers.IntegerField(
        allow_null=True, help_text=_("In the report's own order, from 1; null for the total.")
    )
    depth = serializers.IntegerField()
    note = serializers.CharField(allow_blank=True)
    narrows = serializers.DictField(
        allow_null=True,
        child=serializers.CharField(),
        help_text=_("Parameters that are about this row only."),
    )


class ReportTable(serializers.Serializer):
    table = serializers.CharField()
    title = serializers.CharField()
    head = serializers.CharField(allow_blank=True)
    layout = serializers.ChoiceField(choices=[layout.value for layout in Layout])
    note = serializers.CharField(allow_blank=True)
    columns = ReportColumn(many=True)
    rows = ReportRow(many=True)
    total = ReportRow(allow_null=True)
    next_cursor = serializers.CharField(
        allow_null=True, help_text=_("Send it as `cursor`; null on the last page.")
    )


class ReportSeries(serializers.Serializer):
    column = ReportColumn()
    values = serializers.ListField(help_text=_("One for each label."))
    before = serializers.ListField(allow_null=True)


class ReportChart(serializers.Serializer):
    chart = serializers.CharField()
    title = serializers.CharField()
    kind = serializers.ChoiceField(choices=["lines", "bars", "stacked"])
    head = serializers.CharField(allow_blank=True)
    labels = serializers.ListField(child=serializers.CharField())
    days = serializers.ListField(
        child=serializers.DateField(), help_text=_("Of the labels, where they are days.")
    )
    series = ReportSeries(many=True)


class ReportSheet(serializers.Serializer):
    """What a report found."""

    report = serializers.CharField()
    title = serializers.CharField()
    period = ReportPeriod(
        allow_null=True, help_text=_("null for reports without one; its days are null for all time.")
    )
    before = ReportDays(allow_null=True, help_text=_("The period that is compared with."))
    parameters = serializers.DictField(
        child=serializers.CharField(), help_text=_("What was asked, without what is so by default.")
    )
    cards = ReportColumn(many=True)
    figures = ReportFigures(allow_null=True)
    charts = ReportChart(many=True)
    tables = ReportTable(many=True)
    warnings = serializers.ListField(child=serializers.CharField())
    notes = serializers.ListField(child=serializers.CharField())
    definitions = serializers.DictField(child=serializers.CharField())


class ReportOption(serializers.Serializer):
    value = serializers.CharField()
    label = serializers.CharField()


class ReportChoice(serializers.Serializer):
    name = serializers.CharField()
    label = serializers.CharField()
    options = ReportOption(many=True, help_text=_("The first is taken without it."))


class ListedReport(serializers.Serializer):
    report = serializers.CharField(help_text=_("Its name in addresses."))
    title = serializers.CharField()
    description = serializers.CharField()
    group = serializers.CharField()
    subject = serializers.CharField(
        allow_null=True, help_text=_("The parameter that says what it is about, where it needs one.")
    )
    filters = serializers.ListField(child=serializers.CharField())
    period = serializers.CharField(allow_null=True, help_text=_("Without a choice; null: it has none."))
    compares = serializers.BooleanField()
    choices = ReportChoice(many=True)


class ListedFigure(serializers.Serializer):
    key = serializers.CharField()
    label = serializers.CharField()
    kind = serializers.ChoiceField(choices=[kind.value for kind in Kind])
    definition = serializers.CharField()


class Catalogue(serializers.Serializer):
    """All reports, and what their usual figures mean; each report's answer defines its own besides."""

    reports = ListedReport(many=True)
    periods = ReportOption(many=True)
    filters = ReportOption(many=True)
    figures = ListedFigure(many=True)


class ReportPerson(serializers.Serializer):
    id = serializers.IntegerField(help_text=_("Our number of the profile."))
    external_ids = serializers.ListField(child=serializers.CharField(), help_text=_("Your customer numbers."))
    delivery = serializers.IntegerField(help_text=_("Our number of what was sent."))
    at = serializers.DateTimeField(help_text=_("When what is counted happened."))


class ReportPeoplePage(serializers.Serializer):
    people = ReportPerson(many=True)
    next_cursor = serializers.CharField(
        allow_null=True, help_text=_("Send it as `cursor`; null on the last page.")
    )
