"""When people open, click and buy: by their own weekday and hour."""

from typing import Any

from django.utils.dates import WEEKDAYS
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

from analytics.reporting.columns import columns, values
from analytics.reporting.query import ALL_FILTERS, GOALS, Query
from analytics.reporting.shapes import Chart, Choice, Column, Layout, Report, Row, Series, Sheet, Table
from analytics.reports import heat
from analytics.reports.definitions import Figures
from analytics.reports.heat import Hour
from analytics.reports.sums import total
from analytics.written import count, percent

FIGURES = {
    "click_rate": gettext_lazy("Click rate"),
    "open_rate": gettext_lazy("Open rate"),
    "clicks": gettext_lazy("Clicks"),
    "opens": gettext_lazy("Openings"),
    "conversions": gettext_lazy("Conversions"),
    "sent": gettext_lazy("Sent"),
}
SHOWN = 5  # best hours


def build(query: Query) -> Sheet:
    """A table of weekdays and hours, and the hours that stand out; two queries."""
    chosen = query.choice("figure")
    week = heat.week(query.period, query.filters, conversions=chosen == "conversions")
    [figure] = columns([chosen])
    hours = [
        Column(
            key=f"{hour:02d}",
            label=f"{hour:02d}",
            definition=f"{figure.definition} {heat.DEFINITION}",
            kind=figure.kind,
            better=figure.better,
        )
        for hour in range(24)
    ]
    days = [
        Row(
            key=str(number + 1),
            label=str(WEEKDAYS[number]),
            values={f"{hour:02d}": _value(cell, chosen) for hour, cell in enumerate(cells)},
        )
        for number, cells in enumerate(week)
    ]
    by_hour = [total(cells[hour] for cells in week) for hour in range(24)]
    every = total(by_hour)
    best = heat.best(week, chosen) if chosen in heat.RANKED else []
    return Sheet(
        cards=[figure],
        figures=Row(key="", label=_("The whole week"), values=values(every, [chosen])),
        charts=[
            Chart(
                slug="hours",
                title=_("By hour, all weekdays together"),
                head=_("Hour"),
                labels=[f"{hour:02d}" for hour in range(24)],
                series=[Series(column=figure, values=[_value(cell, chosen) for cell in by_hour])],
                kind="bars",
            )
        ],
        tables=[
            Table(
                slug="week",
                title=_("By weekday and hour"),
                head=_("Weekday"),
                columns=hours,
                rows=days,
                total=Row(
                    key="",
                    label=_("All weekdays"),
                    values={f"{hour:02d}": _value(cell, chosen) for hour, cell in enumerate(by_hour)},
                ),
                layout=Layout.SHADED,
                note=str(heat.DEFINITION),
                empty=_("Nothing was sent in this period."),
            ),
            *([_best(best, figure)] if chosen in heat.RANKED else []),
        ],
        notes=[_sentence(best, every, chosen)] if chosen in heat.RANKED else [],
    )


def _value(cell: Figures, name: str) -> Any:
    return values(cell, [name])[name]


def _best(found: list[Hour], figure: Column) -> Table:
    return Table(
        slug="best",
        title=_("Hours with enough messages, the best first"),
        head=_("Hour"),
        columns=[
            *columns(["sent"]),
            figure,
            Column(
                key="low",
                label=_("At least"),
                definition=heat.DEFINITIONS["low"],
                kind=figure.kind,
                better="up",
            ),
        ],
        rows=[
            Row(
                key=f"{hour.weekday}-{hour.hour:02d}",
                label=_hour(hour),
                values={"sent": hour.sent, figure.key: hour.share, "low": hour.low},
                note=_("Better than the rest beyond chance.") if hour.certain else "",
            )
            for hour in found[:SHOWN]
        ],
        note=str(heat.DEFINITIONS["enough"]),
        empty=_("No hour has enough messages yet."),
    )


def _hour(hour: Hour) -> str:
    return _("%(day)s %(from)s–%(to)s") % {
        "day": WEEKDAYS[hour.weekday - 1],
        "from": f"{hour.hour:02d}:00",
        "to": f"{(hour.hour + 1) % 24:02d}:00",
    }


def _sentence(found: list[Hour], every: Figures, name: str) -> str:
    if not found:
        return _("No hour has %d messages yet: too few to say which is the best.") % heat.ENOUGH
    certain = [hour for hour in found if hour.certain][:3]
    whole = percent(every.rate(heat.RANKED[name]))
    if not certain:
        return _(
            "No hour stands out beyond chance: the whole week has %(share)s, and what is above it may be luck."
        ) % {"share": whole}
    return _("Best: %(hours)s. The whole week has %(share)s.") % {
        "hours": "; ".join(
            _("%(hour)s (%(share)s of %(sent)s messages)")
            % {"hour": _hour(hour), "share": percent(hour.share), "sent": count(hour.sent)}
            for hour in certain
        ),
        "share": whole,
    }


REPORT = Report(
    slug="heat",
    title=gettext_lazy("When people react"),
    description=gettext_lazy("Clicks, openings and conversions by weekday and hour of where people live."),
    group="messages",
    permission="delivery.view_message",
    takes=ALL_FILTERS | GOALS,
    compares=False,
    default="90",
    choices=(Choice(name="figure", label=gettext_lazy("Figure"), options=tuple(FIGURES.items())),),
    build=build,
    icon="calendar_view_week",
)
