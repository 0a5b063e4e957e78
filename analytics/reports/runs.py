"""How those who entered a flow in a period got through it: where they are, where they left and how long steps took."""

from collections import Counter, defaultdict
from collections.abc import Collection
from datetime import date
from decimal import Decimal
from typing import Any

import msgspec
from django.db import connection
from django.utils.translation import gettext_lazy as _

from analytics.reports.periods import Period
from campaigns.flows import exits, steps

MOST = 10_000  # runs whose decisions are looked at one by one; of more, every so-manieth
DEFINITIONS = {
    "entered": _(
        "Runs that began in the period, without those held out: inside + completed + left with the goal + left early."
    ),
    "inside": _("Of these, runs that are at one of the steps now."),
    "completed": _("Of these, runs that came to the end of the flow, or to an exit step."),
    "completion_rate": _("Completed ÷ entered."),
    "won": _("Of these, runs that ended before because their person reached the flow's goal."),
    "exited": _("Of these, runs that ended before without it: by an exit event or rule, or by hand."),
    "exit_rate": _("Left early ÷ entered."),
    "goals": _(
        "Of these, runs whose person reached the flow's goal in its time, also after the run was over."
    ),
    "goal_rate": _("Reached the goal ÷ entered."),
    "value": _("The amounts of those goal events, as the flow's goal tells them."),
    "held_out": _("People who would have entered in the period and got nothing, for comparison."),
    "duration": _("From entering to the end, of those who completed: half took less."),
    "reached": _("Runs that began in the period and ever came to this step."),
    "share": _("Reached ÷ entered."),
    "here": _("Of these, runs that are at this step now."),
    "left": _("Of these, runs that left early, without the goal, while they were at this step."),
    "won_here": _("Of these, runs that left with the goal while they were at this step."),
    "drop_off": _("Left here ÷ reached."),
    "skipped": _("Of these, runs that left the step out, as its condition was not met."),
    "median": _(
        "From coming to the step to going on, of those who have gone on: half took less. Of those who are still at"
        " it, nothing is known yet."
    ),
    "slow": _("The same: nine of ten took less."),
    "branch_share": _("Runs that took this branch ÷ runs that took any branch of the split."),
    "left_share": _("Runs that left so ÷ all that left early."),
}


class Totals(msgspec.Struct):
    """Runs of a period, see DEFINITIONS."""

    inside: int = 0
    completed: int = 0
    won: int = 0
    exited: int = 0
    goals: int = 0
    held_out: int = 0
    value: Decimal = Decimal()

    @property
    def entered(self) -> int:
        return self.inside + self.completed + self.won + self.exited

    def rate(self, name: str) -> float | None:
        """The named count as a share of those who entered; None where nobody did."""
        return getattr(self, name) / self.entered if self.entered else None


class Passing(msgspec.Struct):
    """How runs got through a step; seconds are None where nobody has gone on yet. `branches` by name."""

    reached: int = 0
    here: int = 0
    left: int = 0
    won: int = 0
    skipped: int = 0
    median: float | None = None
    slow: float | None = None
    branches: dict[str, int] = {}


class Runs(msgspec.Struct):
    """The runs of one flow in a period: in all, by version, by day of entering, by step; why they left where.

    `reasons` has (step, reason): runs. `durations` has seconds by version; `one_in` is more than 1 where what is
    known step by step (all but here and left), and durations, was counted of every so-manieth run.
    """

    total: Totals
    versions: dict[int, Totals] = {}
    days: dict[date, Totals] = {}
    steps: dict[str, Passing] = {}
    reasons: dict[tuple[str, str], int] = {}
    durations: dict[int, float] = {}
    duration: float | None = None
    one_in: int = 1


_STATES = {"active": "inside", "completed": "completed", "won": "won", "exited": "exited"}
# An exit event may be called "goal", too.
_STATE = """
    CASE WHEN e.state = 'exited' AND e.reason = %(goal)s AND e.converted_at IS NOT NULL THEN 'won' ELSE e.state END
"""
_WHERE = """
    e.entered_at >= %(since)s AND e.entered_at < %(until)s
        AND (%(segment)s::bigint IS NULL OR EXISTS (
            SELECT FROM campaigns_segmentmembership m
            WHERE m.profile_id = e.profile_id AND m.segment_id = %(segment)s))
"""
_OF_FLOW = f"""
    FROM campaigns_enrollment e JOIN campaigns_flowversion v ON v.id = e.version_id
    WHERE e.flow_id = %(flow)s AND {_WHERE} AND (%(versions)s::int[] IS NULL OR v.number = ANY(%(versions)s))
"""
_SUMS = "count(*), count(converted_at), coalesce(sum(goal_value), 0)"
_COUNTED = f"""
    SELECT day, number, state, holdout, step, reason, {_SUMS}
    FROM (
        SELECT (e.entered_at AT TIME ZONE %(zone)s)::date AS day, v.number, {_STATE} AS state, e.holdout, e.step,
            e.reason,
            e.converted_at, e.goal_value
        {_OF_FLOW}
    ) AS run
    GROUP BY GROUPING SETS ((day, state, holdout), (number, state, holdout, step, reason))
"""
_OF_FLOWS = f"""
    SELECT e.flow_id, {_STATE}, e.holdout, {_SUMS} FROM campaigns_enrollment e WHERE {_WHERE} GROUP BY 1, 2, 3
"""
# Spread by a hash, as numbers of runs go up and down with the hours of the day.
_SOME = "NOT e.holdout AND (hashint8(e.id) & 2147483647) %% %(one_in)s = 0"
_DURATIONS = f"""
    SELECT number, percentile_cont(0.5) WITHIN GROUP (ORDER BY seconds)
    FROM (
        SELECT v.number, extract(epoch FROM e.ended_at - e.entered_at)::float8 AS seconds
        {_OF_FLOW} AND {_SOME} AND e.state = 'completed'
    ) AS run
    GROUP BY GROUPING SETS ((number), ())
"""
# A run comes to a step at the moment when it goes on from the one before, or is moved to it.
_PASSED = f"""
    WITH run AS MATERIALIZED (
        SELECT e.id, e.entered_at {_OF_FLOW} AND {_SOME}
    ), decided AS MATERIALIZED (
        SELECT d.id, d.enrollment_id, run.entered_at, d.step COLLATE "C" AS step, d.kind, d.at,
            split_part(d.kind, ':', 2) AS outcome, d.detail ->> 'branch_name' AS branch,
            d.kind = 'moved' AND d.detail -> 'from_step' IS DISTINCT FROM d.detail -> 'to_step' AS moved
        FROM run JOIN campaigns_decision d ON d.enrollment_id = run.id
    ), gone_on AS (
        SELECT step, outcome,
            extract(epoch FROM at - lag(at, 1, entered_at) OVER (PARTITION BY enrollment_id ORDER BY at, id))::float8
                AS seconds
        FROM decided WHERE moved OR outcome IN ('go_on', 'skipped', 'leave')
    ), spent AS (
        SELECT step, percentile_cont(ARRAY[0.5, 0.9]) WITHIN GROUP (ORDER BY seconds) AS seconds
        FROM gone_on WHERE outcome IN ('go_on', 'leave') GROUP BY step
    ), reached AS (
        SELECT step, count(*) FILTER (WHERE came) AS came, count(*) FILTER (WHERE skipped) AS skipped
        FROM (
            SELECT step, bool_or(kind <> 'exited') AS came, bool_or(outcome = 'skipped') AS skipped
            FROM decided GROUP BY step, enrollment_id
        ) AS by_run GROUP BY step
    )
    SELECT step, NULL, came, skipped, seconds FROM reached LEFT JOIN spent USING (step) WHERE step <> ''
    UNION ALL
    SELECT step, branch, count(*), 0, NULL FROM decided WHERE kind = ANY(%(splits)s) AND branch <> '' GROUP BY 1, 2
"""


def of_flow(
    flow: int,
    period: Period,
    versions: Collection[int] | None = None,
    segment: int | None = None,
    most: int = MOST,
) -> Runs:
    """The runs of a flow that began in the period; three queries.

    Args:
        versions: numbers of the versions that runs must be in now; None for all.
        segment: number of the segment that the person must be in now.
        most: of more runs than so many, only every so-manieth is looked at step by step.
    """
    since, until = period.bounds()
    values: dict[str, Any] = {"since": since, "until": until, "zone": str(since.tzinfo), "flow": flow}
    values |= {
        "segment": segment,
        "versions": None if versions is None else list(versions),
        "goal": exits.GOAL,
    }
    found = Runs(Totals())
    _count(found, _rows(_COUNTED, values))
    found.one_in = max(1, -(-found.total.entered // most))
    values |= {
        "one_in": found.one_in,
        "splits": [f"{kind.kind}:go_on" for kind in steps.registry.values() if kind.branching],
    }
    for number, seconds in _rows(_DURATIONS, values):
        if number is None:
            found.duration = seconds
        else:
            found.durations[number] = seconds
    for step, branch, number, skipped, seconds in _rows(_PASSED, values):
        line = found.steps.setdefault(step, Passing())
        if branch is None:
            line.reached, line.skipped = number * found.one_in, skipped * found.one_in
            line.median, line.slow = seconds or (None, None)
        else:
            line.branches[branch] = number * found.one_in
    return found


def by_flow(period: Period, segment: int | None = None) -> dict[int, Totals]:
    """The runs of every flow that began in the period, by the flow's number; one query."""
    since, until = period.bounds()
    found: dict[int, Totals] = defaultdict(Totals)
    for flow, state, holdout, *sums in _rows(
        _OF_FLOWS, {"since": since, "until": until, "segment": segment, "goal": exits.GOAL}
    ):
        _add(found[flow], state, holdout, *sums)
    return dict(found)


def _count(found: Runs, rows: list[tuple[Any, ...]]) -> None:
    reasons: Counter[tuple[str, str]] = Counter()
    for day, number, state, holdout, step, reason, *sums in rows:
        if day is not None:
            _add(found.days.setdefault(day, Totals()), state, holdout, *sums)
            continue
        _add(found.total, state, holdout, *sums)
        _add(found.versions.setdefault(number, Totals()), state, holdout, *sums)
        if holdout:
            continue
        line = found.steps.setdefault(step, Passing()) if step else Passing()
        if state == "active":
            line.here += sums[0]
        elif state == "won":
            line.won += sums[0]
        elif state == "exited":
            line.left += sums[0]
            reasons[step, reason] += sums[0]
    found.reasons = dict(reasons.most_common())


def _add(to: Totals, state: str, holdout: bool, number: int, goals: int, value: Decimal) -> None:
    if holdout:
        to.held_out += number
        return
    setattr(to, _STATES[state], getattr(to, _STATES[state]) + number)
    to.goals += goals
    to.value += value


def _rows(statement: str, values: dict[str, Any]) -> list[tuple[Any, ...]]:
    with connection.cursor() as cursor:
        cursor.execute(statement, values)
        return cursor.fetchall()
