"""What people of each arm did after they came into it, counted from the event log."""

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any

import msgspec
from django.conf import settings
from django.db import connection

from analytics.experiments.arms import Arm, History, Metric
from analytics.experiments.shares import Period
from analytics.goals import rates
from delivery.exposures import EVENT

BEFORE = timedelta(days=90)  # what somebody did then explains part of what they do now
LARGEST = 1e13  # an amount that is larger is none

# A person counts once, by their first exposure: after a merge the events of both are the winner's.
_GATHER = f"""
    WITH asked AS MATERIALIZED (
        SELECT q.* FROM jsonb_to_recordset(%(asked)s::jsonb) AS q(number int, experiment text, arms text[], goal text,
            goal_window interval, property text, by_value bool, since timestamptz, until timestamptz)
    ), first AS MATERIALIZED (
        SELECT DISTINCT ON (q.number, e.profile_id) q.number, e.profile_id, e.properties ->> 'arm' AS arm,
            e.occurred_at AS at
        FROM asked q JOIN crm_event e ON e.properties ->> 'experiment' = q.experiment AND e.occurred_at >= q.since
        WHERE e.name = %(exposed)s AND e.occurred_at >= %(since)s AND e.occurred_at <= %(now)s
        ORDER BY q.number, e.profile_id, e.occurred_at, e.id
    ), people AS MATERIALIZED (
        SELECT number, profile_id, arm, at, {{group}} AS part FROM first JOIN asked USING (number)
        WHERE arm = ANY(arms) AND at < until
    ), goals AS (
        SELECT DISTINCT ON (p.number, p.profile_id, e.id) p.number, p.profile_id, e.occurred_at >= p.at AS after,
            CASE WHEN jsonb_typeof(v.amount) = 'number' AND abs((v.amount)::numeric) < {LARGEST:.0f}
                THEN (v.amount)::numeric * coalesce({rates.worth("e")}, 0) ELSE 0 END AS amount
        FROM people p JOIN asked q USING (number)
        JOIN crm_event e ON e.profile_id = p.profile_id AND e.name = q.goal
            AND e.occurred_at >= p.at - %(before)s::interval AND e.occurred_at < p.at + q.goal_window
            AND e.occurred_at <= %(now)s
        CROSS JOIN LATERAL (
            SELECT e.properties #> string_to_array(q.property, '.') AS amount
        ) v
        ORDER BY p.number, p.profile_id, e.id, e.occurred_at
    ), outcome AS (
        SELECT number, profile_id, bool_or(after) AS converted,
            coalesce(sum(amount) FILTER (WHERE after), 0) AS value,
            CASE WHEN by_value THEN coalesce(sum(amount) FILTER (WHERE NOT after), 0)
                ELSE bool_or(NOT after)::int END AS past
        FROM goals JOIN asked USING (number) GROUP BY number, profile_id, by_value
    ), harm AS (
        SELECT p.number, p.profile_id, bool_or(e.name = 'consent_changed') AS unsubscribed,
            bool_or(e.name = 'message_complained') AS complained
        FROM people p JOIN asked q USING (number)
        JOIN crm_event e ON e.profile_id = p.profile_id AND e.occurred_at >= p.at
            AND e.occurred_at < p.at + q.goal_window AND e.occurred_at <= %(now)s
            AND (e.name = 'message_complained'
                OR e.name = 'consent_changed' AND e.properties ->> 'state' = 'unsubscribed')
        GROUP BY p.number, p.profile_id
    )
    SELECT p.number, p.arm, p.part, count(*), count(*) FILTER (WHERE o.converted), coalesce(sum(o.value), 0)::float8,
        coalesce(sum(o.value ^ 2), 0)::float8, count(*) FILTER (WHERE h.unsubscribed),
        count(*) FILTER (WHERE h.complained), coalesce(sum(o.past), 0)::float8, coalesce(sum(o.past ^ 2), 0)::float8,
        coalesce(sum(o.past) FILTER (WHERE o.converted), 0)::float8, coalesce(sum(o.past * o.value), 0)::float8
    FROM people p LEFT JOIN outcome o USING (number, profile_id) LEFT JOIN harm h USING (number, profile_id)
    GROUP BY 1, 2, 3
"""
_IN_PERIODS = "width_bucket(at, %(starts)s::timestamptz[])"
_IN_MONTHS = "to_char(at AT TIME ZONE %(zone)s, 'YYYY-MM')"


class Question(msgspec.Struct, frozen=True, kw_only=True):
    """What is to be counted of whom.

    People are those whose first exposure since `since` is before `until`, in one of the arms. What they do counts from
    then on for `window`, as far as it happened by `now`. Amounts are brought into the account's currency; what no rate
    of exchange is known for counts as nothing.
    """

    experiment: str
    arms: tuple[str, ...]
    goal: str
    window: timedelta
    value_property: str = ""
    metric: Metric = Metric.CONVERSION
    since: datetime
    until: datetime
    now: datetime


class Counted(msgspec.Struct, frozen=True):
    """The arms in the question's order, and how many came into each in every period, the first one first."""

    arms: list[Arm]
    periods: list[list[int]]


def gather(question: Question, starts: Sequence[datetime] = ()) -> Counted:
    """Count all arms, in one query; `starts` are when the shares changed, in order."""
    [rows] = _rows([question], _IN_PERIODS, starts=[each.isoformat() for each in starts] or None)
    counts = {(row[0], row[1] or 0): row[2] for row in rows}
    return Counted(
        [_arm(key, [row[2:] for row in rows if row[0] == key]) for key in question.arms],
        [[counts.get((key, number), 0) for key in question.arms] for number in range(1, len(starts) + 1)],
    )


def by_month(questions: Sequence[Question], zone: str) -> list[dict[str, list[Arm]]]:
    """For each question the arms by the month, such as "2026-03", in which people came into them, by `zone`'s clock.

    One query for all, none without questions.
    """
    return [
        {
            month: [
                _arm(key, [row[2:] for row in rows if row[0] == key and row[1] == month])
                for key in question.arms
            ]
            for month in sorted({row[1] for row in rows})
        }
        for question, rows in zip(questions, _rows(questions, _IN_MONTHS, zone=zone), strict=True)
    ]


def _rows(questions: Sequence[Question], group: str, **values: Any) -> list[list[tuple[Any, ...]]]:
    """Of each question (arm, part, counts and sums…); all are asked for the same moment."""
    if not questions:
        return []
    asked = [
        {
            "number": number,
            "experiment": each.experiment,
            "arms": each.arms,
            "goal": each.goal,
            "goal_window": f"{each.window.total_seconds()} seconds",
            "property": each.value_property,
            "by_value": each.metric is Metric.VALUE,
            "since": each.since,
            "until": each.until,
        }
        for number, each in enumerate(questions)
    ]
    with connection.cursor() as cursor:
        cursor.execute(
            _GATHER.format(group=group),
            {
                "asked": msgspec.json.encode(asked).decode(),
                "exposed": EVENT,
                "account": settings.NUDGE_CURRENCY.upper(),
                "before": f"{BEFORE.days} days",
                "since": min(each.since for each in questions),
                "now": max(each.now for each in questions),
                **values,
            },
        )
        found: list[list[tuple[Any, ...]]] = [[] for _each in questions]
        for number, *row in cursor.fetchall():
            found[number].append(tuple(row))
    return found


def _arm(key: str, parts: Sequence[Sequence[Any]]) -> Arm:
    exposed, converted, value, squares, left, complained, past, past_squares, with_one, with_value = (
        (sum(column) for column in zip(*parts, strict=True)) if parts else (0,) * 10
    )
    return Arm(
        key=key,
        exposed=exposed,
        converted=converted,
        value=float(value),
        value_squares=float(squares),
        unsubscribed=left,
        complained=complained,
        history=History(
            total=float(past),
            squares=float(past_squares),
            with_converted=float(with_one),
            with_value=float(with_value),
        ),
    )


def periods(counted: Counted, keys: Sequence[str], shares: Sequence[dict[str, float]]) -> list[Period]:
    """For the sample-ratio alarm: what came into each arm beside its share, period by period."""
    return [
        Period(counts, [each[key] for key in keys])
        for counts, each in zip(counted.periods, shares, strict=True)
    ]
