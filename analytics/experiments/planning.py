"""What an experiment will take, beginning with what was usual lately."""

from collections.abc import Mapping
from datetime import datetime, timedelta

from django.conf import settings
from django.db import connection
from django.utils import timezone
from django.utils.translation import gettext as _

from analytics.experiments import planner
from analytics.experiments.gathering import LARGEST
from analytics.goals import rates
from analytics.reports import figures, periods
from campaigns.experiments import shares
from campaigns.models import Experiment

DAYS = 30  # from which what is usual is taken
USUAL_RATE, USUAL_DAILY, USUAL_AMOUNT = 5.0, 100.0, 50.0
WORTH_KNOWING = 5  # the smallest difference is one part in so many, unless told
EVENTS = 100_000  # of the goal, the latest ones, tell how much amounts vary

# Of people who reached the goal: how many, and the mean of what each brought and of its square.
_AMOUNTS = f"""
    SELECT count(*), coalesce(avg(value), 0)::float8, coalesce(avg(value ^ 2), 0)::float8 FROM (
        SELECT profile_id, sum(CASE WHEN jsonb_typeof(amount) = 'number' AND abs(amount::numeric) < {LARGEST:.0f}
            THEN amount::numeric * coalesce({rates.worth("latest")}, 0) ELSE 0 END) AS value
        FROM (
            SELECT profile_id, properties #> string_to_array(%(property)s, '.') AS amount, properties, occurred_at
            FROM crm_event WHERE name = %(goal)s AND occurred_at >= %(since)s AND occurred_at <= %(now)s
            ORDER BY occurred_at DESC LIMIT {EVENTS}
        ) AS latest GROUP BY profile_id
    ) AS people
"""


def usual(experiment: Experiment, now: datetime | None = None) -> dict[str, float]:
    """What a plan begins with, as far as known from the last month.

    Returns:
        `rate` in percent of the people, `smallest` (points of percent, or money per person), people `daily`, and where
        values are compared the `deviation` of the value from person to person, who bring none included.
    """
    now = now or timezone.now()
    filters = figures.Filters(
        message=experiment.message_id, flow=experiment.flow_id, broadcast=experiment.broadcast_id
    )
    found = figures.compare(periods.last(DAYS, now), filters).now
    rate = 100 * found.people_converted / found.sent if found.sent and found.people_converted else USUAL_RATE
    rate = min(99.0, max(0.01, round(rate, 2)))
    started = {"rate": rate, "daily": round(found.sent / DAYS, 1) or USUAL_DAILY}
    if experiment.metric != Experiment.Metric.VALUE:
        return started | {"smallest": experiment.smallest or round(max(rate / WORTH_KNOWING, 0.01), 2)}
    mean, squares = _amounts(experiment, now)
    share = rate / 100
    deviation = max(0.0, share * squares - (share * mean) ** 2) ** 0.5
    return started | {
        "deviation": max(0.01, round(deviation, 2)),
        "smallest": experiment.smallest or max(0.01, round(share * mean / WORTH_KNOWING, 2)),
    }


def plan(experiment: Experiment, values: Mapping[str, float]) -> planner.Plan:
    """How many people and days it takes with these values, named as `usual` names them.

    Raises:
        SharesError: there is nothing to compare.
        ValueError: the values don't go together, or it would take for ever.
    """
    given = [arm["percent"] for arm in shares.current(experiment)]
    rate, smallest, daily, window = (
        values["rate"] / 100,
        values["smallest"],
        values["daily"],
        experiment.window_hours / 24,
    )
    try:
        if experiment.metric == Experiment.Metric.VALUE:
            return planner.plan_value(
                values["deviation"], smallest, rate=rate, shares=given, daily=daily, window=window
            )
        return planner.plan_rate(rate, smallest / 100, shares=given, daily=daily, window=window)
    except OverflowError as error:
        raise ValueError(_("That would take for ever.")) from error


def _amounts(experiment: Experiment, now: datetime) -> tuple[float, float]:
    with connection.cursor() as cursor:
        cursor.execute(
            _AMOUNTS,
            {
                "account": settings.NUDGE_CURRENCY.upper(),
                "goal": experiment.goal_event,
                "property": experiment.value_property,
                "since": now - timedelta(days=DAYS),
                "now": now,
            },
        )
        people, mean, squares = cursor.fetchone()
    return (mean, squares) if people and squares else (USUAL_AMOUNT, 2 * USUAL_AMOUNT**2)
