"""The bar by which a report is asked: its period, comparison, choices and filters, as fields of a GET form."""

from collections.abc import Iterable, Mapping
from datetime import timedelta
from typing import Any
from urllib.parse import urlencode

import msgspec
from django.core.cache import cache
from django.db import connection
from django.utils.translation import gettext as _

from analytics.models import Goal, Series
from analytics.reporting import query as asking
from analytics.reporting import writing
from analytics.reporting.query import PRESETS, ROWS, UNKNOWN, Query, QueryError
from analytics.reporting.shapes import Report
from analytics.reports import periods
from analytics.reports.filters import TRAITS
from analytics.reports.periods import Period
from analytics.written import count
from campaigns.models import Broadcast, Segment
from campaigns.segments import telling
from crm import masking
from delivery import channels

MANY = 25  # more options than these can be searched
MOST = 1000  # options of a field; others can be reached by an address
KEEP = 60  # seconds for which it is remembered what people and devices there are
LOOKED_AT = 90  # days of a long period whose people and devices can be chosen
ORDER = (
    *("message", "variant", "flow", "step", "broadcast", "channel", "origin", "segment"),
    *(*TRAITS, "goal", "model"),
)


class Option(msgspec.Struct):
    """What can be chosen."""

    value: str
    label: str
    chosen: bool = False


class Field(msgspec.Struct):
    """A field of the bar: "select", "date" or "switch"."""

    name: str
    label: str
    kind: str = "select"
    value: str = ""
    options: list[Option] = []
    problem: str = ""

    @property
    def searchable(self) -> bool:
        return len(self.options) > MANY


class Chip(msgspec.Struct):
    """A filter that is active; `without` is the address where it is not, empty where the report needs it."""

    name: str
    label: str
    value: str
    without: str


class Bar(msgspec.Struct):
    """All fields: those always seen, and those behind a button."""

    always: list[Field]
    more: list[Field]
    chips: list[Chip]
    other_problems: list[str]

    @property
    def names(self) -> list[str]:
        return [field.name for field in (*self.always, *self.more)]

    @property
    def searchable(self) -> bool:
        return any(field.searchable for field in (*self.always, *self.more))

    @property
    def active(self) -> int:
        return sum(1 for chip in self.chips if chip.without)

    @property
    def problem_below(self) -> bool:
        return any(field.problem for field in self.more)


def understood(report: Report, given: Mapping[str, str]) -> tuple[Query | None, dict[str, str]]:
    """The question without what is wrong in it, and what is wrong; no question where what is needed is missing."""
    try:
        return asking.parse(report, given), {}
    except QueryError as error:
        problems = error.problems
    left_out = set(problems)
    if left_out & {"from", "to"}:
        left_out |= {"from", "to", "period"}
    try:
        rest = {name: value for name, value in given.items() if name not in left_out}
        return asking.parse(report, rest), problems
    except QueryError:
        return None, problems


def bar(report: Report, given: Mapping[str, str], query: Query | None, problems: Mapping[str, str]) -> Bar:
    """The fields with what is chosen in them.

    Args:
        given: the parameters of the address, as they came.
        query: what was understood of them.
        problems: {parameter: what is wrong with it}.
    """
    canonical = asking.params(report, query) if query else {}
    chosen = {**canonical, **{name: given.get(name, "") for name in problems}}
    always = [] if report.timeless else _period(report, query, given)
    for choice in report.choices:
        value = chosen.get(choice.name, choice.options[0][0])
        options = [Option(key, str(label), key == value) for key, label in choice.options]
        always.append(Field(choice.name, str(choice.label), value=value, options=options))
    more = [
        _select(name, report, chosen, query)
        for name in ORDER
        if name in report.takes and (name not in ("variant", "step") or _has_parent(name, chosen))
    ]
    if "machines" in report.takes:
        label = _("Count what machines open and click")
        more.append(Field("machines", label, "switch", chosen.get("machines", "")))
    if report.subject:
        always = [field for field in more if field.name == report.subject] + always
        more = [field for field in more if field.name != report.subject]
    left = dict(problems)
    if not given.get(report.subject):
        left.pop(report.subject, None)  # the page asks for it anyway
    for field in (*always, *more):
        field.problem = left.pop(field.name, "")
    chips = _chips(report, query, canonical) if query else []
    return Bar(always, more, chips, list(left.values()))


def _has_parent(name: str, chosen: Mapping[str, str]) -> bool:
    parent = "message" if name == "variant" else "flow"
    return bool(chosen.get(parent) or chosen.get(name))


def _period(report: Report, query: Query | None, given: Mapping[str, str]) -> list[Field]:
    preset = "custom" if given.get("from") or given.get("to") else given.get("period", "")
    preset = given["period"] if given.get("period") in PRESETS else preset
    preset = preset if preset in PRESETS else report.default
    days = query.period if query and query.preset != "all" else periods.last(30)
    fields = [
        Field(
            "period",
            str(writing.LABELS["period"]),
            value=preset,
            options=[Option(key, str(label), key == preset) for key, label in PRESETS.items()],
        ),
        *(
            Field(
                name,
                label,
                "date",
                given.get(name) if preset == "custom" and given.get(name) else day.isoformat(),
            )
            for name, label, day in (("from", _("From"), days.first), ("to", _("To"), days.last))
        ),
    ]
    if report.compares:
        compared = given.get("compare", "1") != "0"
        fields.append(
            Field("compare", _("Compare with the period before"), "switch", "1" if compared else "")
        )
    return fields


def _select(name: str, report: Report, chosen: Mapping[str, str], query: Query | None) -> Field:
    value = chosen.get(name, "")
    options = _OPTIONS.get(name, _row_options)(name, chosen, query)
    if value and value not in [option.value for option in options]:
        words = writing.value_in_words(name, "" if value == UNKNOWN else value) if name not in ROWS else value
        options.insert(0, Option(value, words))
    for option in options:
        option.chosen = option.value == value
    if name == report.subject:
        nothing = [] if value else [Option("", _("Choose"), True)]
    else:
        nothing = [Option("", _("By the goal") if name == "model" else _("All"), not value)]
    return Field(name, str(writing.LABELS[name]), value=value, options=[*nothing, *options])


def _row_options(name: str, chosen: Mapping[str, str], _query: Query | None) -> list[Option]:
    model = ROWS.get(name, Goal)
    rows = model._default_manager.order_by(*(["-pk"] if model is Broadcast else ["name", "pk"]))
    if model is Segment and masking.hidden():  # whose members would tell what the reader may not see
        rows = rows.exclude(slug__in=telling.hidden_slugs())
    found = {str(pk): label for pk, label in rows.values_list("pk", "name")[:MOST]}
    if (value := chosen.get(name, "")) and value.isdecimal() and value not in found:
        found |= {str(pk): label for pk, label in rows.filter(pk=value).values_list("pk", "name")}
    return [Option(value, label) for value, label in found.items()]


def _channel_options(_name: str, _chosen: Mapping[str, str], _query: Query | None) -> list[Option]:
    used = set(Series.objects.values_list("channel", flat=True).distinct())
    return [Option(key, str(channel.label)) for key, channel in channels.everything().items() if key in used]


def _origin_options(_name: str, _chosen: Mapping[str, str], _query: Query | None) -> list[Option]:
    return [Option(key, str(label)) for key, label in asking.ORIGINS.items()]


def _model_options(_name: str, _chosen: Mapping[str, str], _query: Query | None) -> list[Option]:
    return [Option(key, str(label)) for key, label in Goal.Model.choices]


def _series_options(name: str, chosen: Mapping[str, str], _query: Query | None) -> list[Option]:
    rows = Series.objects.all()
    if chosen.get("message", "").isdecimal():
        rows = rows.filter(message=chosen["message"])
    if chosen.get("flow", "").isdecimal():
        rows = rows.filter(origin_type="flow", origin_id=chosen["flow"])
    column = "variant" if name == "variant" else "origin_step"
    keys = rows.exclude(**{column: ""}).order_by(column).values_list(column, flat=True).distinct()[:MOST]
    return [Option(key, key) for key in keys]


def _trait_options(name: str, _chosen: Mapping[str, str], query: Query | None) -> list[Option]:
    found = _traits(query.period if query else periods.last(30)).get(name, {})
    return [
        Option(value or UNKNOWN, f"{writing.value_in_words(name, value)} · {count(number)}")
        for value, number in found.items()
    ]


_OPTIONS: dict[str, Any] = {
    "channel": _channel_options,
    "origin": _origin_options,
    "model": _model_options,
    "variant": _series_options,
    "step": _series_options,
    **dict.fromkeys(TRAITS, _trait_options),
}


def _traits(period: Period) -> dict[str, dict[str, int]]:
    """Of each trait its values with how many messages were sent to those, the most first."""
    first = max(period.first, min(period.last, periods.last(1).last) - timedelta(days=LOOKED_AT))
    key = f"analytics.traits.{first}.{period.last}"
    found: dict[str, dict[str, int]] | None = cache.get(key)
    if found is None:
        found = {}
        with connection.cursor() as cursor:
            cursor.execute(
                """
                SELECT dimension, value, sum(sent) FROM analytics_dayfigures
                WHERE generation = (SELECT generation FROM analytics_rollupstate)
                    AND dimension = ANY(%s) AND day BETWEEN %s AND %s
                GROUP BY 1, 2 HAVING sum(sent) > 0 ORDER BY 1, 3 DESC, 2
                """,
                [list(TRAITS), first, period.last],
            )
            for dimension, value, number in cursor.fetchall():
                if len(options := found.setdefault(dimension, {})) < MOST:
                    options[value] = number
        cache.set(key, found, KEEP)
    return found


def _chips(report: Report, query: Query, canonical: Mapping[str, str]) -> list[Chip]:
    def without(names: Iterable[str]) -> str:
        return "?" + urlencode({name: value for name, value in canonical.items() if name not in names})

    parts = {"message": ("message", "variant"), "flow": ("flow", "step")}
    own = {choice.name for choice in report.choices}  # these are always seen
    return [
        Chip(name, label, value, "" if name == report.subject else without(parts.get(name, (name,))))
        for name, label, value in writing.filters_in_words(report, query)
        if name not in own
    ]
