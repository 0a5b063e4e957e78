"""Who comes back: after a message, or to buy again."""

from typing import Any

from django.utils import formats, timezone
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

from analytics.reporting.query import Query
from analytics.reporting.shapes import (
    Chart,
    Choice,
    Column,
    Kind,
    Layout,
    Report,
    Row,
    Series,
    Sheet,
    Table,
)
from analytics.reports import cohorts
from analytics.reports.cohorts import Cohort
from analytics.rollups.cohorts import MESSAGE, PURCHASE

LINES = 6  # cohorts drawn beside the average


def build(query: Query) -> Sheet:
    """A row for each cohort, a column for each week or month later, and their average; three queries."""
    kind = query.choice("cohort")
    found = cohorts.after_message() if kind == MESSAGE else cohorts.by_first_purchase()
    size = Column(key="size", label=_("People"), definition=cohorts.SIZES[kind])
    steps = max((len(cohort.returned) for cohort in found), default=0)
    first = cohorts.FIRST[kind]
    later = [
        Column(
            key=f"later_{number}",
            label=_later(kind, number),
            definition=cohorts.DEFINITIONS[kind],
            kind=Kind.SHARE,
            better="up",
        )
        for number in range(first, steps)
    ]
    average = cohorts.average(found)
    total = _row("", _("All together"), sum(cohort.size for cohort in found), average, later, first)
    drawn = [cohort for cohort in found if len(cohort.returned) > first + 1][:LINES]
    return Sheet(
        cards=[size, *later[:4]],
        figures=total if found else None,
        charts=[
            Chart(
                slug="curves",
                title=_("How many came back, by how much later"),
                head=_("Weeks later") if kind == MESSAGE else _("Months later"),
                labels=[str(column.label) for column in later],
                series=[
                    _curve("average", _("All together"), kind, average, later, first),
                    *(
                        _curve(
                            cohort.start.isoformat(),
                            _start(kind, cohort),
                            kind,
                            cohort.shares(),
                            later,
                            first,
                        )
                        for cohort in drawn
                    ),
                ],
            )
        ]
        if later
        else [],
        tables=[
            Table(
                slug="cohorts",
                title=_("By the week of the message")
                if kind == MESSAGE
                else _("By the month of the first purchase"),
                head=_("Week") if kind == MESSAGE else _("Month"),
                columns=[size, *later],
                rows=[
                    _row(
                        cohort.start.isoformat(),
                        _start(kind, cohort),
                        cohort.size,
                        cohort.shares(),
                        later,
                        first,
                    )
                    for cohort in found
                ],
                total=total if found else None,
                layout=Layout.SHADED,
                note=str(cohorts.DEFINITIONS["average"]),
                empty=_("Nothing was counted yet: it is once a day."),
            )
        ],
        notes=_notes(kind),
    )


def _row(key: str, label: str, size: int, shares: list[float | None], later: list[Column], first: int) -> Row:
    values: dict[str, Any] = {"size": size}
    for number, column in enumerate(later, start=first):
        values[column.key] = shares[number] if number < len(shares) else None
    return Row(key=key, label=label, values=values)


def _curve(
    key: str, label: str, kind: str, shares: list[float | None], later: list[Column], first: int
) -> Series:
    return Series(
        column=Column(
            key=key, label=label, definition=cohorts.DEFINITIONS[kind], kind=Kind.SHARE, better="up"
        ),
        values=[
            shares[number] if number < len(shares) else None for number in range(first, first + len(later))
        ],
    )


def _later(kind: str, number: int) -> str:
    if kind == PURCHASE:
        return _("%d months later") % number if number != 1 else _("1 month later")
    if number == 0:
        return _("Same week")
    return _("%d weeks later") % number if number != 1 else _("1 week later")


def _start(kind: str, cohort: Cohort) -> str:
    return formats.date_format(cohort.start, "YEAR_MONTH_FORMAT" if kind == PURCHASE else "SHORT_DATE_FORMAT")


def _notes(kind: str) -> list[str]:
    notes = [str(cohorts.DEFINITIONS[kind]), str(cohorts.DEFINITIONS["running"])]
    counted = cohorts.counted_at()
    if counted:
        notes.append(
            _("Counted last: %s") % formats.date_format(timezone.localtime(counted), "SHORT_DATETIME_FORMAT")
        )
    return notes


REPORT = Report(
    slug="retention",
    title=gettext_lazy("Who comes back"),
    description=gettext_lazy(
        "After a message, week by week; and who buys again, by month of the first purchase."
    ),
    group="people",
    permission="delivery.view_message",
    compares=False,
    timeless=True,
    choices=(
        Choice(
            name="cohort",
            label=gettext_lazy("People who"),
            options=(
                (MESSAGE, gettext_lazy("were sent a message in the same week")),
                (PURCHASE, gettext_lazy("bought first in the same month")),
            ),
        ),
    ),
    build=build,
    icon="repeat",
)
