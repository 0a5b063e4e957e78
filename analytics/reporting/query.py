"""What somebody asks of a report: read from an address or a saved report, and written back to one."""

from collections.abc import Callable, Mapping
from datetime import date, datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

import msgspec
from django.conf import settings
from django.db.models import Model
from django.utils import timezone
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

from analytics.models import Goal
from analytics.reporting.shapes import Report
from analytics.reports import periods
from analytics.reports.filters import TRAITS, Filters
from analytics.reports.periods import Period
from campaigns.models import Broadcast, Flow, Segment
from campaigns.segments import telling
from crm import masking
from delivery import channels
from delivery.models import Message

PRESETS = {
    "today": gettext_lazy("Today"),
    "yesterday": gettext_lazy("Yesterday"),
    "7": gettext_lazy("Last 7 days"),
    "30": gettext_lazy("Last 30 days"),
    "90": gettext_lazy("Last 90 days"),
    "365": gettext_lazy("Last 365 days"),
    "month": gettext_lazy("This month"),
    "last_month": gettext_lazy("Last month"),
    "all": gettext_lazy("All time"),
    "custom": gettext_lazy("From … to …"),
}
ROWS: dict[str, type[Model]] = {"message": Message, "flow": Flow, "broadcast": Broadcast, "segment": Segment}
TEXTS = ("channel", "variant", "step", "origin")
FILTERS = frozenset((*ROWS, *TEXTS, *TRAITS, "machines", "goal", "model"))
ALL_FILTERS = FILTERS - {"variant", "step", "goal", "model"}
GOALS = frozenset({"goal", "model"})  # for reports with conversions
ORIGINS = {
    "flow": gettext_lazy("Flows"),
    "broadcast": gettext_lazy("Broadcasts"),
    "api": gettext_lazy("API"),
}
UNKNOWN = "-"  # in an address: of whom it is not known


class QueryError(ValueError):
    """The question can't be understood. `problems` has {parameter: what to write instead}."""

    def __init__(self, problems: dict[str, str]):
        super().__init__("; ".join(f"{name}: {words}" for name, words in problems.items()))
        self.problems = problems


class Query(msgspec.Struct, frozen=True, kw_only=True):
    """A question. `preset` says how the period was given, so that "last 30 days" means other days tomorrow.

    `at` is the moment at which it was asked.
    """

    preset: str
    period: Period
    at: datetime
    compare: bool = True
    filters: Filters = Filters()
    goal: int | None = None
    model: str = ""
    chosen: tuple[tuple[str, str], ...] = ()

    @property
    def unfinished(self) -> int:
        """How many days of the period are not over: today, and those to come."""
        today = self.at.astimezone(ZoneInfo(settings.TIME_ZONE)).date()
        return max((self.period.last - max(today, self.period.first)).days + 1, 0)

    def choice(self, name: str) -> str:
        """What is chosen of the report's own choices."""
        return dict(self.chosen)[name]


def parse(report: Report, params: Mapping[str, str], now: datetime | None = None) -> Query:
    """Read a question from the parameters of an address; those that the report does not take are ignored.

    Args:
        params: `period` (a key of PRESETS) or `from` and `to` (days, both included), `compare` (0 for no), the
            filters by their names (rows by number or short name, UNKNOWN for a trait that is not known), and the
            report's own choices. Empty ones count as not given.

    Raises:
        QueryError: with all that is wrong.
    """
    now = now or timezone.now()
    given = {name: value.strip() for name, value in params.items() if value.strip()}
    problems: dict[str, str] = {}
    for name in [name for name, value in given.items() if "\0" in value]:  # PostgreSQL stores no such text
        problems[name] = _("Write it without control characters.")
        del given[name]

    def read(name: str, reader: Callable[[str], Any], nothing: Any) -> Any:
        if name not in given or name not in report.takes:
            return nothing
        try:
            if "\x00" in given[name]:  # which PostgreSQL takes in no text
                raise ValueError(_("Write it without control characters."))
            return reader(given[name])
        except ValueError as error:
            problems[name] = str(error)
            return nothing

    preset, period = _period(report, given, problems, now)
    filters = Filters(
        **{name: read(name, _row(model), None) for name, model in ROWS.items()},
        channel=read("channel", _one_of(channels.everything()), ""),
        origin=read("origin", _one_of(ORIGINS), ""),
        variant=read("variant", str, ""),
        step=read("step", str, ""),
        **{name: read(name, lambda text: "" if text == UNKNOWN else text, None) for name in TRAITS},
        machines=read("machines", _yes, False),
        goal=read("goal", _row(Goal), None),
        model=read("model", _one_of(Goal.Model.values), ""),
    )
    chosen = []
    for choice in report.choices:
        keys = [key for key, _label in choice.options]
        value = given.get(choice.name, keys[0])
        if value not in keys:
            problems[choice.name] = _write_one_of(keys)
        chosen.append((choice.name, value))
    if report.subject and getattr(filters, report.subject) is None and report.subject not in problems:
        problems[report.subject] = _("This report is about one: say which.")
    if problems:
        raise QueryError(problems)
    return Query(
        preset=preset,
        period=period,
        at=now,
        compare=report.compares
        and not report.timeless
        and preset != "all"
        and given.get("compare", "1") != "0",
        filters=filters,
        goal=filters.goal,
        model=filters.model,
        chosen=tuple(chosen),
    )


def params(report: Report, query: Query) -> dict[str, str]:
    """The parameters that `parse` makes this question of; what is as by default is left out."""
    found: dict[str, str] = {}
    if not report.timeless:
        if query.preset == "custom":
            found |= {"from": query.period.first.isoformat(), "to": query.period.last.isoformat()}
        elif query.preset != report.default:
            found["period"] = query.preset
        if report.compares and not query.compare and query.preset != "all":
            found["compare"] = "0"
    for name in (*ROWS, *TEXTS):
        value = getattr(query.filters, name)
        if value not in (None, ""):
            found[name] = str(value)
    found |= {name: value or UNKNOWN for name, value in query.filters.traits.items()}
    if query.filters.machines:
        found["machines"] = "1"
    if query.goal is not None:
        found["goal"] = str(query.goal)
    if query.model:
        found["model"] = query.model
    defaults = {choice.name: choice.options[0][0] for choice in report.choices}
    found |= {name: value for name, value in query.chosen if value != defaults[name]}
    return found


def _period(
    report: Report, given: Mapping[str, str], problems: dict[str, str], now: datetime | None
) -> tuple[str, Period]:
    preset = given.get("period", "")
    if report.timeless:
        return "all", periods.EVER
    if not preset and ("from" in given or "to" in given):
        preset = "custom"
    preset = preset or report.default
    if preset not in PRESETS:
        problems["period"] = _write_one_of(PRESETS)
        preset = report.default
    if preset != "custom":
        return preset, period_of(preset, now)
    days: dict[str, date] = {}
    for name in ("from", "to"):
        try:
            days[name] = date.fromisoformat(given.get(name, ""))
        except ValueError:
            problems[name] = _("Write a day as in 2026-01-31.")
    if len(days) < 2:
        return preset, periods.EVER
    if days["from"] > days["to"] or not periods.FIRST <= days["from"] <= days["to"] <= periods.LAST:
        problems["to"] = _("Write a day that is not before “from”.")
        return preset, periods.EVER
    return preset, Period(days["from"], days["to"])


def period_of(preset: str, now: datetime | None = None) -> Period:
    """The days that a preset (but "custom") means now, by the account's calendar.

    Raises:
        KeyError: there is no such preset.
    """
    today = (now or timezone.now()).astimezone(ZoneInfo(settings.TIME_ZONE)).date()
    first = today.replace(day=1)
    named = {
        "today": Period(today, today),
        "yesterday": Period(today - timedelta(days=1), today - timedelta(days=1)),
        "month": Period(first, today),
        "last_month": Period((first - timedelta(days=1)).replace(day=1), first - timedelta(days=1)),
        "all": periods.EVER,
    }
    if preset.isdecimal() and preset in PRESETS:
        return periods.last(int(preset), now)
    return named[preset]


def _row(model: type[Model]) -> Callable[[str], int]:
    named = any(field.name == "slug" for field in model._meta.fields)

    def reader(text: str) -> int:
        found = None
        if text.isascii() and text.isdecimal():
            found = model._default_manager.filter(pk=text).values_list("pk", flat=True).first()
        elif named:
            found = model._default_manager.filter(slug=text).values_list("pk", flat=True).first()
        if found is None:
            raise ValueError(_("There is none of this number or short name."))
        if model is Segment and masking.hidden():
            slug = Segment.objects.values_list("slug", flat=True).get(pk=found)
            if slug in telling.hidden_slugs():
                raise ValueError(_("It compares with contact data, which you may not see."))
        return int(found)

    return reader


def _one_of(keys: Any) -> Callable[[str], str]:
    def reader(text: str) -> str:
        if text not in keys:
            raise ValueError(_write_one_of(keys))
        return text

    return reader


def _yes(text: str) -> bool:
    return text not in ("0", "false", "no")


def _write_one_of(keys: Any) -> str:
    return _("Write one of %s.") % ", ".join(str(key) for key in keys)
