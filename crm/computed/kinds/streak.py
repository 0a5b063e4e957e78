"""Days or weeks in a row."""

from typing import Literal

from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

from crm.computed.kinds.base import MICROSECOND, Ask, Events, Kind, profiles_with_zones
from crm.rules.sql import Sql, sql


class InARow(Events, kw_only=True):
    """`current` is the run that today or yesterday (this or last week) belongs to, `longest` the longest ever."""

    unit: Literal["days", "weeks"] = "days"
    which: Literal["current", "longest"] = "current"


class Streak(Kind):
    """Consecutive days or weeks with such an event, by the calendar of where the person lives.

    Gaps and islands: of a run of days, the day less its number in the row is the same.
    """

    kind, label, position = "streak", gettext_lazy("streak of"), 13
    Config = InARow
    inputs = ("unit", "which")
    zoned = True

    @property
    def default(self) -> float | None:
        return 0

    def rows(self, ask: Ask) -> Sql:
        local = "e.occurred_at AT TIME ZONE p.zone"
        step = 1 if self.config.unit == "days" else 7
        day = Sql(f"({local})::date" if step == 1 else f"date_trunc('week', {local})::date")
        now = sql("{}::timestamptz", ask.now)
        days = sql(
            "SELECT e.profile_id, p.zone, {} AS day, min(e.occurred_at) FILTER (WHERE e.occurred_at > {}) AS next_at,"
            " bool_or(e.occurred_at <= {}) AS past"
            " FROM crm_event e JOIN {} p ON p.id = e.profile_id WHERE {} GROUP BY 1, 2, 3",
            *(day, now, now, profiles_with_zones(ask), self.matching(ask)),
        )
        runs = sql(
            "SELECT profile_id, zone, run, count(*) AS length, max(day) AS day FROM"
            " (SELECT profile_id, zone, day, day - {} * (row_number() OVER"
            " (PARTITION BY profile_id ORDER BY day))::int AS run FROM days WHERE past) AS numbered GROUP BY 1, 2, 3",
            step,
        )
        if self.config.which == "longest":
            number, ends = Sql("max(length)::float8"), Sql("NULL::timestamptz")
        else:
            local_now = sql("{} AT TIME ZONE zone", now)
            this = sql("({})::date" if step == 1 else "date_trunc('week', {})::date", local_now)
            last = "(max(day))"
            length = "(array_agg(length ORDER BY day DESC))[1]::float8"
            alive = sql("{} >= {} - {}", Sql(last), this, step)
            number = sql("CASE WHEN {} THEN {} ELSE 0 END", alive, Sql(length))
            # Where the clock is set back across midnight the new day begins at the first of two midnights.
            midnight = f"(({last} + {2 * step})::timestamp AT TIME ZONE zone)"
            begins = Sql(
                f"(CASE WHEN (({midnight} - interval '1 hour') AT TIME ZONE zone)::date >= {last} + {2 * step}"
                f" THEN {midnight} - interval '1 hour' ELSE {midnight} END)"
            )
            ends = sql("CASE WHEN {} THEN {} - {}::interval END", alive, begins, MICROSECOND)
        return sql(
            "SELECT profile_id, coalesce(number, 0) AS number, NULL::text AS text, NULL::timestamptz AS at,"
            " least(ends, next_at - {}::interval) AS due_at, zone FROM ("
            "WITH days AS MATERIALIZED ({}), runs AS ({}), lengths AS ("
            "SELECT profile_id, zone, {} AS number, {} AS ends FROM runs GROUP BY profile_id, zone)"
            " SELECT profile_id, zone, number, ends, next_at FROM lengths FULL JOIN"
            " (SELECT profile_id, zone, min(next_at) AS next_at FROM days GROUP BY 1, 2) AS ahead"
            " USING (profile_id, zone)) AS found",
            *(MICROSECOND, days, runs, number, ends),
        )

    def describe(self) -> str:
        phrase = {
            ("days", "current"): _("current streak of days with %s"),
            ("days", "longest"): _("longest streak of days with %s"),
            ("weeks", "current"): _("current streak of weeks with %s"),
            ("weeks", "longest"): _("longest streak of weeks with %s"),
        }[self.config.unit, self.config.which]
        return phrase % self.about()
