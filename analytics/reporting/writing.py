"""Values of reports as people read them, in the language of the page or the email."""

from collections.abc import Iterable
from datetime import UTC, date, datetime
from decimal import Decimal
from typing import Any

import msgspec
from babel import units
from django.db.models import Model
from django.utils import formats, timezone
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy, ngettext

from analytics.models import Goal
from analytics.reporting.query import ORIGINS, PRESETS, ROWS, TEXTS, Query
from analytics.reporting.shapes import Column, Kind, Report
from analytics.reports.filters import TRAITS
from analytics.written import amounts, count, percent, reader_locale
from delivery import channels

NOTHING = "–"
LABELS = {
    "period": gettext_lazy("Period"),
    "compare": gettext_lazy("Comparison"),
    "channel": gettext_lazy("Channel"),
    "message": gettext_lazy("Message"),
    "variant": gettext_lazy("Variant"),
    "flow": gettext_lazy("Flow"),
    "step": gettext_lazy("Step"),
    "broadcast": gettext_lazy("Broadcast"),
    "origin": gettext_lazy("Sent by"),
    "segment": gettext_lazy("Segment"),
    "locale": gettext_lazy("Language"),
    "country": gettext_lazy("Country"),
    "device": gettext_lazy("Device"),
    "provider": gettext_lazy("Provider"),
    "machines": gettext_lazy("Machines"),
    "goal": gettext_lazy("Goal"),
    "model": gettext_lazy("Credit"),
}
# In this order, each with how many seconds it has; longer than the next one's double is told in that.
_UNITS = (("second", 1), ("minute", 60), ("hour", 3600), ("day", 86400))


class Change(msgspec.Struct, frozen=True):
    """How a value moved: "+12%" or "+1.2 points", what it was in words, and whether that is "good", "bad" or ""."""

    text: str
    words: str
    tone: str = ""


def written(column: Column, value: Any) -> str:
    """A value of the column; of an amount all currencies, the largest first."""
    if value is None or value == "" or value == {}:
        return NOTHING
    match column.kind:
        case Kind.COUNT:
            return count(value)
        case Kind.SHARE:
            return percent(value, column.digits)
        case Kind.MONEY:
            return " · ".join(amounts(value)) or NOTHING
        case Kind.SECONDS:
            return duration(value)
        case Kind.DAY:
            return formats.date_format(value, "SHORT_DATE_FORMAT")
        case Kind.MOMENT:
            return moment(value)
    return str(value)


def moment(at: datetime) -> str:
    """A moment in the time zone that is in force."""
    return formats.date_format(timezone.localtime(at), "SHORT_DATETIME_FORMAT")


def duration(seconds: float) -> str:
    """A duration in the one unit that suits it, with a digit after the point: "3.5 hr"."""
    name, size = next(
        ((name, size) for name, size in reversed(_UNITS) if abs(seconds) >= 2 * size), ("second", 1)
    )
    return str(
        units.format_unit(
            seconds / size, f"duration-{name}", length="short", format="#,##0.#", locale=reader_locale()
        )
    )


def number(column: Column, value: Any) -> float | None:
    """A value to sort and to draw by: of amounts the largest one, of days the days; None where there is none."""
    if value is None or value == "" or value == {}:
        return None
    if isinstance(value, dict):
        return float(max(value.values()))
    if isinstance(value, datetime):
        return value.timestamp()
    if isinstance(value, date):
        return datetime(value.year, value.month, value.day, tzinfo=UTC).timestamp()
    return float(value) if column.kind != Kind.TEXT else None


def change(column: Column, now: Any, before: Any, missing: float = 0) -> Change | None:
    """How the value moved since the period before; shares by points, others by per cent; None where it can't be said.

    Amounts are compared in the currency that has most of them now.

    Args:
        missing: the share of the period's days that are not over. A count or an amount that fell by no more than that
            may still come level, so its fall is neither good nor bad.
    """
    if column.kind not in (Kind.COUNT, Kind.SHARE, Kind.MONEY, Kind.SECONDS) or before is None or now is None:
        return None
    words = _("%s in the period before") % written(column, before)
    if column.kind == Kind.MONEY:
        currency = max(now or before, key=(now or before).get, default=None)
        if currency is None:
            return None
        now, before = now.get(currency, Decimal()), before.get(currency, Decimal())
    if now == before:
        return Change("±0", words) if now else None
    rising = now > before
    sign = "+" if rising else "−"
    tone = "" if not column.better else "good" if rising == (column.better == "up") else "bad"
    if not rising and column.kind in (Kind.COUNT, Kind.MONEY) and float(now) >= float(before) * (1 - missing):
        tone = ""
    if column.kind == Kind.SHARE:
        points = round(abs(now - before) * 100, column.digits)
        return (
            Change(_("%s points") % f"{sign}{count(points)}", words, tone) if points else Change("±0", words)
        )
    if not before:
        return Change(_("new"), words, tone)
    share = abs(float((now - before) / before))
    return Change(sign + percent(share, 0), words, tone) if round(share, 2) else Change("±0", words)


def period_in_words(query: Query) -> str:
    """The days that it is about."""
    if query.preset == "all":
        return str(PRESETS["all"])
    first, last = (formats.date_format(day, "DATE_FORMAT") for day in (query.period.first, query.period.last))
    days = first if first == last else f"{first} – {last}"
    return days if query.preset == "custom" else f"{PRESETS[query.preset]} ({days})"


def missing(query: Query) -> float:
    """The share of the period's days that are not over, 0 to 1."""
    return query.unfinished / query.period.days


def unequal(query: Query) -> str:
    """That part of a period stands beside a whole one, for whoever sees both; empty where both are over."""
    days = query.unfinished
    if not query.compare or not days:
        return ""
    at = formats.time_format(timezone.localtime(query.at), "TIME_FORMAT")
    if query.period.days == 1:
        return _(
            "Today is not over: it counts until %(time)s, the day before counts whole. A fall has no colour yet."
        ) % {"time": at}
    if days == 1:
        return _(
            "Today is not over: it counts until %(time)s, against a whole day of the period before. A fall has a"
            " colour only if it is larger than one day's share."
        ) % {"time": at}
    return ngettext(
        "%(days)s day of this period is not over, against a whole one of the period before. A fall has a colour only"
        " if it is larger than its share.",
        "%(days)s days of this period are not over, against whole ones of the period before. A fall has a colour only"
        " if it is larger than their share.",
        days,
    ) % {"days": count(days)}


def filters_in_words(report: Report, query: Query) -> list[tuple[str, str, str]]:
    """What is filtered and chosen, as (parameter, its label, its value in words); rows by their names."""
    found: list[tuple[str, str, str]] = []
    filters = query.filters
    for name in (*ROWS, *TEXTS, *TRAITS):
        value = getattr(filters, name)
        if value is None or (value == "" and name not in TRAITS):
            continue
        found.append((name, str(LABELS[name]), value_in_words(name, value)))
    if filters.machines:
        found.append(("machines", str(LABELS["machines"]), _("counted")))
    if query.goal is not None:
        found.append(("goal", str(LABELS["goal"]), _called(Goal, query.goal)))
    if query.model:
        found.append(("model", str(LABELS["model"]), value_in_words("model", query.model)))
    for choice in report.choices:
        value = query.choice(choice.name)
        if value != choice.options[0][0]:
            found.append((choice.name, str(choice.label), str(dict(choice.options)[value])))
    return found


def value_in_words(name: str, value: Any) -> str:
    """What a filter's value is called."""
    if name in ROWS:
        return _called(ROWS[name], value)
    if value == "":
        return _("unknown")
    if name == "channel":
        known = channels.everything()
        return str(known[value].label) if value in known else value
    if name == "origin":
        return str(ORIGINS.get(value, value))
    if name == "model":
        return str(dict(Goal.Model.choices).get(value, value))
    if name == "country":
        return str(reader_locale().territories.get(value.upper(), value))
    if name == "locale":
        return language(value)
    return str(value)


def language(code: str) -> str:
    """A language by its code: "Polish (pl)"."""
    known: Any = reader_locale().languages.get(code.replace("_", "-").split("-")[0].lower())
    return f"{known} ({code})" if known else code


def written_filters(found: Iterable[tuple[str, str, str]]) -> str:
    """What is filtered, in one line."""
    return " · ".join(f"{label}: {value}" for _name, label, value in found)


def _called(model: type[Model], pk: int) -> str:
    name = model._default_manager.filter(pk=pk).values_list("name", flat=True).first()
    return name if name is not None else f"#{pk}"
