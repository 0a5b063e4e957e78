"""For whom a comparison's answer changes by the passing of time alone."""

from datetime import datetime, timedelta

from crm.rules import moments
from crm.rules.operators import Comparison, Operand, as_moment, day_of_year, is_day, midnight
from crm.rules.sql import Sql, sql

RELATIVE = ("within_last", "within_next", "anniversary_within")


def changed(operand: Operand, comparison: Comparison, since: datetime, now: datetime) -> Sql | None:
    """SQL that is true of every value whose comparison had another answer at `since` than it has at `now`.

    Args:
        since: aware, not after `now`.

    Returns:
        None when no value can be such.
    """
    op, value, _type = comparison
    if op not in RELATIVE:
        return None
    if op == "anniversary_within":
        days = set(moments.anniversaries(since, value.number)) ^ set(moments.anniversaries(now, value.number))
        return sql("({}) = ANY({}::int[])", day_of_year(operand), sorted(days)) if days else None
    before, after = (_window(op, value.length, at) for at in (since, now))
    if operand.type == "date":
        return _changed_days(operand.value, before, after)
    expression = operand.value
    floors: list[Sql] = [sql("{}::timestamptz", low) for low, _high in (before, after)]
    if operand.type == "json":
        expression = as_moment(operand)
        floors = [
            sql("(CASE WHEN {} THEN {}::timestamptz ELSE {} END)", is_day(operand), midnight(low), floor)
            for (low, _high), floor in zip((before, after), floors, strict=True)
        ]
    return sql(
        "(({} >= {} AND {} < {}) OR ({} > {}::timestamptz AND {} <= {}::timestamptz))",
        expression,
        floors[0],
        expression,
        floors[1],
        expression,
        before[1],
        expression,
        after[1],
    )


def _window(op: str, length: timedelta, now: datetime) -> tuple[datetime, datetime]:
    return (now - length, now) if op == "within_last" else (now, now + length)


def _changed_days(
    expression: Sql, before: tuple[datetime, datetime], after: tuple[datetime, datetime]
) -> Sql | None:
    (low, high), (next_low, next_high) = before, after
    if (low.date(), high.date()) == (next_low.date(), next_high.date()):
        return None
    return sql(
        "(({} >= {}::date AND {} < {}::date) OR ({} > {}::date AND {} <= {}::date))",
        expression,
        low.date(),
        expression,
        next_low.date(),
        expression,
        high.date(),
        expression,
        next_high.date(),
    )
