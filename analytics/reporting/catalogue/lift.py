"""What messages brought that would not have come without them, wherever some people are held out."""

from collections.abc import Sequence
from typing import Any

from django.conf import settings
from django.utils import formats, timezone
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

from analytics.experiments import holdouts, words
from analytics.experiments.holdouts import Line
from analytics.experiments.lift import Figure, Lift
from analytics.experiments.lift import total as together
from analytics.reporting import lifted
from analytics.reporting.query import Query
from analytics.reporting.shapes import Chart, Column, Kind, Report, Row, Series, Sheet, Table
from analytics.written import count

KINDS = {
    "global": gettext_lazy("all marketing"),
    "flow": gettext_lazy("flow"),
    "message": gettext_lazy("message"),
    "broadcast": gettext_lazy("broadcast"),
}
PER = 1000  # messages
DRAWN = 6  # holdouts
DEFINITIONS = {
    "percent": gettext_lazy(
        "The percentage of people who get nothing now, drawn at random once and for good."
    ),
    "messages": gettext_lazy("Messages that were sent within the last year to those who were not held out."),
    "per": gettext_lazy(
        "Of the extra conversions or value, how many come with 1,000 messages that are sent."
    ),
    "month": gettext_lazy(
        "Of the extra conversions or value, how many come in a month at the pace until now."
    ),
    "interval": gettext_lazy("With 95 % certainty, however often one looks, it is between these two."),
}
_PACES = (
    ("per_conversions", gettext_lazy("Extra conversions per 1,000 messages"), "per"),
    ("per_value", gettext_lazy("Extra value per 1,000 messages"), "per"),
    ("month_conversions", gettext_lazy("Extra conversions a month"), "month"),
    ("month_value", gettext_lazy("Extra value a month"), "month"),
)


def build(query: Query) -> Sheet:
    """A row for each holdout, its pace, and its months; queries for each kind of holdout, none for each one."""
    lines = holdouts.latest()
    shown = lifted.columns()
    named = {column.key: column for column in shown}
    whole = _whole(lines)
    total = lifted.row("", _("All together"), whole)
    return Sheet(
        cards=[named["conversions"], named["value"], *_paces()[:1]] if whole else [],
        figures=Row(key="", label=str(total.label), values=total.values | _pace(whole)) if whole else None,
        charts=_charts(lines, named["conversions"]),
        tables=[
            Table(
                slug="holdouts",
                title=_("What they brought that would not have come without them"),
                head=_("Held out of"),
                columns=[
                    Column(key="percent", label=_("Held out, %"), definition=DEFINITIONS["percent"]),
                    *shown,
                ],
                rows=[_row(line) for line in lines],
                total=_with_percent(total, None) if lines else None,
                note=_total_note(lines),
                empty=_("Nobody is held out of anything."),
            ),
            Table(
                slug="pace",
                title=_("Per message and per month"),
                head=_("Held out of"),
                columns=_paces(),
                rows=[
                    Row(
                        key=line.holdout.experiment,
                        label=_label(line),
                        values=_pace(line.lift),
                        leads=_leads(line),
                    )
                    for line in lines
                ],
                empty=_("Nobody is held out of anything."),
            ),
            Table(
                slug="months",
                title=_("By the month in which people came into the comparison"),
                head=_("Held out of, and month"),
                columns=shown,
                rows=[
                    lifted.row(
                        f"{line.holdout.experiment}/{month}",
                        _("%(name)s, %(month)s") % {"name": _label(line), "month": month},
                        found,
                    )
                    for line in lines
                    for month, found in line.months
                ],
                empty=_("Nobody has been compared yet."),
            ),
        ],
        notes=_notes(lines),
    )


def _whole(lines: Sequence[Line]) -> Lift | None:
    """Who is held out of all marketing is compared with everything else at once: then the others are a part of it."""
    for line in lines:
        if line.holdout.kind == "global" and line.lift:
            return line.lift
    return together([line.lift for line in lines if line.lift])


def _total_note(lines: Sequence[Line]) -> str:
    if any(line.holdout.kind == "global" and line.lift for line in lines):
        return _(
            "All together is what those held out of all marketing are compared with; the others are part of it."
        )
    return ""


def _label(line: Line) -> str:
    if line.holdout.kind == "global":
        return line.holdout.name
    return _("%(name)s (%(kind)s)") % {"name": line.holdout.name, "kind": KINDS[line.holdout.kind]}


def _leads(line: Line) -> tuple[str, dict[str, str]] | None:
    kind = line.holdout.kind
    return None if kind == "global" else (kind, {kind: str(line.holdout.number)})


def _row(line: Line) -> Row:
    row = _with_percent(
        lifted.row(line.holdout.experiment, _label(line), line.lift), round(line.holdout.percent, 2)
    )
    row.leads = _leads(line)
    row.note = words.lift_sentence(line.lift, settings.NUDGE_CURRENCY)
    return row


def _with_percent(row: Row, percent: float | None) -> Row:
    row.values["percent"] = percent
    return row


def _paces() -> list[Column]:
    found = []
    for key, label, definition in _PACES:
        kind = Kind.MONEY if key.endswith("value") else Kind.COUNT
        found += [
            Column(key=key, label=label, definition=DEFINITIONS[definition], kind=kind, better="up"),
            Column(key=f"{key}_low", label=_("At least"), definition=DEFINITIONS["interval"], kind=kind),
            Column(key=f"{key}_high", label=_("At most"), definition=DEFINITIONS["interval"], kind=kind),
        ]
    return [*found, Column(key="messages", label=_("Messages"), definition=DEFINITIONS["messages"])]


def _pace(found: Lift | None) -> dict[str, Any]:
    values: dict[str, Any] = {"messages": found.messages if found else None}
    per: tuple[Figure | None, ...] = (None,) * len(_PACES)
    if found:
        conversions, value = found.conversions_per_message, found.value_per_message
        per = (
            conversions and conversions.times(PER),
            value and value.times(PER),
            found.conversions_per_month,
            found.value_per_month,
        )
    for (key, _label, _definition), figure in zip(_PACES, per, strict=True):
        if figure and key.endswith("value"):
            values |= lifted.amounts(key, figure)
            continue
        values[key] = round(figure.estimate, 2) if figure else None
        values[f"{key}_low"] = round(figure.low, 2) if figure else None
        values[f"{key}_high"] = round(figure.high, 2) if figure else None
    return values


def _charts(lines: Sequence[Line], column: Column) -> list[Chart]:
    known = [line for line in lines if any(found for _month, found in line.months)][:DRAWN]
    months = sorted({month for line in known for month, found in line.months if found})
    if not months:
        return []
    return [
        Chart(
            slug="months",
            title=_("Extra conversions by month"),
            head=_("Month"),
            labels=months,
            kind="bars",
            series=[
                Series(
                    column=Column(
                        key=line.holdout.experiment,
                        label=_label(line),
                        definition=column.definition,
                        better="up",
                    ),
                    values=_by_month(line, months),
                )
                for line in known
            ],
        )
    ]


def _by_month(line: Line, months: Sequence[str]) -> list[float | None]:
    found = dict(line.months)
    lifts = (found.get(month) for month in months)
    return [None if each is None else round(each.conversions.estimate, 1) for each in lifts]


def _notes(lines: Sequence[Line]) -> list[str]:
    if not lines:
        return [
            _(
                "Clicks and credits tell who came by a message, not who would have come anyway. To know that, let a few"
                " people go without: set a holdout of 5 to 10 % for a flow, a broadcast or a message, or for all"
                " marketing in the sending rules. What it brought is here from the first day on."
            )
        ]
    notes = [
        _(
            "People are held out at random and for good, and compared over the last year. The ranges hold however often"
            " one looks; where one spans nought, chance alone may explain it."
        )
    ]
    counted = holdouts.counted_at()
    if counted:
        at = formats.date_format(timezone.localtime(counted), "SHORT_DATETIME_FORMAT")
        notes.append(_("Counted last: %s") % at)
    waiting = sum(line.lift is None for line in lines)
    if waiting:
        notes.append(_("%s have nobody to compare with yet.") % count(waiting))
    return notes


REPORT = Report(
    slug="lift",
    title=gettext_lazy("What messages really bring"),
    description=gettext_lazy("Extra conversions and revenue beside people who get nothing, for comparison."),
    group="money",
    permission="campaigns.view_experiment",
    build=build,
    compares=False,
    timeless=True,
    icon="trending_up",
)
