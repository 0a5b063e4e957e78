"""When people open, click and buy, by their own weekday and clock."""

from collections.abc import Sequence

import msgspec
from django.db import connection
from django.utils.translation import gettext_lazy as _

from analytics.experiments.lift import wilson
from analytics.reports import figures, money
from analytics.reports.definitions import Figures
from analytics.reports.filters import EVERYTHING, Filters
from analytics.reports.periods import Period

DEFINITION = _(
    "By the weekday and hour of where the person lives, as far as that is known, else of the account."
    " What was sent, and shares of it, count when it was sent; what people did counts when they did it."
)
ENOUGH = 100  # messages of an hour, to compare it with others
HOURS = 7 * 24
LEVEL = 0.95
RANKED = {"click_rate": "clicked", "open_rate": "opened"}  # what an hour can be best in, and what it counts
DEFINITIONS = {
    "enough": _(
        "Only hours in which at least 100 messages were sent are compared. One stands out where it is better than the"
        " rest of the week with 95 % certainty, though 168 hours were looked at (Wilson's limits, Bonferroni's"
        " correction)."
    ),
    "low": _(
        "What the share is at least, with 95 % certainty though all hours were looked at: hours rank by it."
    ),
}


class Hour(msgspec.Struct, frozen=True):
    """One hour of a weekday, Monday is 1. `low` is the share's lower limit; `certain` that it beats the rest."""

    weekday: int
    hour: int
    sent: int
    share: float
    low: float
    certain: bool


def week(period: Period, filters: Filters = EVERYTHING, conversions: bool = True) -> list[list[Figures]]:
    """Figures of seven days, Monday first, of 24 hours each; of what was earned, conversions alone.

    Args:
        conversions: whether they are wanted: single ones have to be looked at.
    """
    found = figures.by("slot", period, filters)
    if conversions:
        for slot, number in _conversions(period, filters).items():
            found.setdefault(slot, Figures()).conversions = number
    return [[found.get(f"{day}-{hour:02d}", Figures()) for hour in range(24)] for day in range(1, 8)]


def best(cells: Sequence[Sequence[Figures]], name: str) -> list[Hour]:
    """The hours with enough messages, by the share `name` of RANKED that they have at least, the best first.

    The limits are Wilson's (1927) at a level that makes all hours hold together (Bonferroni); an hour is certain where
    it is wholly above the rest's.
    """
    counted = RANKED[name]
    level = 1 - (1 - LEVEL) / HOURS
    messages = sum(cell.sent for day in cells for cell in day)
    reached = sum(getattr(cell, counted) for day in cells for cell in day)
    found = []
    for weekday, day in enumerate(cells, start=1):
        for hour, cell in enumerate(day):
            if cell.sent < ENOUGH:
                continue
            here, others = getattr(cell, counted), messages - cell.sent
            low = float(wilson(here, cell.sent, level)[0])
            top = float(wilson(reached - here, others, level)[1]) if others else 1.0
            found.append(Hour(weekday, hour, cell.sent, here / cell.sent, low, low > top))
    return sorted(found, key=lambda one: (-one.low, one.weekday, one.hour))


def _conversions(period: Period, filters: Filters) -> dict[str, float]:
    """Conversions of the period by slot."""
    of_series, values = filters.of_series()
    of_facts, more = filters.of_facts()
    since, until = period.bounds()
    with connection.cursor() as cursor:
        cursor.execute(
            f"""
            SELECT to_char(c.occurred_at AT TIME ZONE coalesce(nullif(g.zone, ''), z.zone), 'ID-HH24'), sum(c.share)
            FROM analytics_credit c JOIN analytics_engagement g ON g.delivery_id = c.delivery_id
            JOIN analytics_series s ON s.id = c.series_id
            CROSS JOIN (SELECT zone FROM analytics_rollupstate WHERE id = 1) z
            WHERE c.goal_id = {money.GOAL} AND c.model = {money.MODEL} AND c.occurred_at >= %(since)s
                AND c.occurred_at < %(until)s AND {of_series} AND {of_facts}
            GROUP BY 1
            """,
            values | more | {"since": since, "until": until, "goal": filters.goal, "model": filters.model},
        )
        return {slot: money.whole(number) for slot, number in cursor.fetchall()}
