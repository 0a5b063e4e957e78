"""Credits made anew after a goal, a rate or the account's currency has changed, while the reader goes on.

The reader follows the new rule from the moment at which it is stored. What was before is gone through once in the
order of time, some events in each short transaction that keeps the reader where it is, so it does not matter who of
both comes to an event first.
"""

import time
from collections.abc import Callable, Collection
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import msgspec
from django.conf import settings
from django.db import connection, transaction
from django.db.models import QuerySet
from django.utils import timezone

from analytics.goals import attribution, own, rules
from analytics.models import Goal
from analytics.rollups import keeping
from crm import log, wake

CURSOR = "analytics"
EVENTS = 5_000
ALWAYS = datetime(1900, 1, 1, tzinfo=UTC)
TASK = "analytics.tasks.recompute_goals"

_NEXT = """
    WITH logged AS (
        SELECT x.* FROM unnest(%(events)s::text[]) AS n(name) CROSS JOIN LATERAL (
            SELECT e.id, e.occurred_at FROM crm_event e WHERE e.name = n.name AND e.occurred_at > %(after)s
            ORDER BY e.occurred_at FETCH FIRST %(limit)s ROWS WITH TIES
        ) x
    ), credited AS (
        SELECT DISTINCT c.event_id, c.occurred_at FROM analytics_credit c
        WHERE c.goal_id = %(goal)s AND c.occurred_at > %(after)s
        ORDER BY c.occurred_at FETCH FIRST %(limit)s ROWS WITH TIES
    )
    SELECT * FROM logged UNION SELECT * FROM credited
    ORDER BY 2 FETCH FIRST %(limit)s ROWS WITH TIES
"""
_SPAN = """
    SELECT min(x.first), max(x.last) FROM (
        SELECT a.first, b.last FROM unnest(%(events)s::text[]) AS n(name)
        CROSS JOIN LATERAL (SELECT min(e.occurred_at) AS first FROM crm_event e WHERE e.name = n.name) a
        CROSS JOIN LATERAL (SELECT max(e.occurred_at) AS last FROM crm_event e WHERE e.name = n.name) b
        UNION ALL
        SELECT min(c.occurred_at), max(c.occurred_at) FROM analytics_credit c WHERE c.goal_id = %(goal)s
    ) x
"""


class Progress(msgspec.Struct, frozen=True):
    """How far a goal's credits have been made anew: up to which moment, and about what share (0 to 1)."""

    running: bool
    upto: datetime | None
    done: float


def progress(goal: Goal) -> Progress:
    """How far a goal's credits are made anew."""
    if goal.recompute_from is None:
        return Progress(False, None, 1.0)
    first, upto, last = goal.recompute_from, goal.recomputed_upto, goal.recompute_last
    if upto is None or last is None or last <= first:
        return Progress(True, upto, 0.0)
    return Progress(True, upto, max(0.0, min(1.0, (upto - first) / (last - first))))


@transaction.atomic
def save(goal: Goal) -> bool:
    """Store a goal; return whether its credits have to be made anew, which is planned then."""
    log.hold(CURSOR)
    before = Goal.objects.filter(pk=goal.pk).first() if goal.pk else None
    changed = before is None or any(getattr(before, name) != getattr(goal, name) for name in Goal.RULES)
    goal.save()
    if changed and goal.active:
        plan([goal.pk])
        goal.refresh_from_db()
    return changed and goal.active


@transaction.atomic
def plan(goals: Collection[int] | None = None, since: datetime = ALWAYS) -> None:
    """Make the credits of these goals anew, or of all active ones, for what happened from `since` on.

    One that is being made anew begins again.
    """
    log.hold(CURSOR)
    chosen: QuerySet[Goal] = Goal.everything.select_for_update().filter(active=True).order_by("pk")
    if goals is not None:
        chosen = chosen.filter(pk__in=goals)
    for goal in chosen:
        first, last = _span(goal)
        goal.recompute_from = max(first, min(since, goal.recompute_from or since))
        goal.recomputed_upto, goal.recompute_last = None, last
        goal.counted_in = settings.NUDGE_CURRENCY.upper()
        if goal.own:
            goal.own_rules = own.stated()
        columns = ["recompute_from", "recomputed_upto", "recompute_last", "counted_in", "own_rules"]
        goal.save(update_fields=columns)
    wake.on_commit(TASK, "reports")


def check() -> bool:
    """Plan anew what has amounts in another currency than the account's, and messages' own goals when some message has
    another by now; return whether there is such.
    """
    wanted = settings.NUDGE_CURRENCY.upper()
    old = set(Goal.everything.filter(active=True).exclude(counted_in=wanted).values_list("pk", flat=True))
    if own.changed():
        old.add(own.goal().pk)
    if old:
        plan(old)
    return bool(old)


def run(
    seconds: float | None = None, told: Callable[[Goal], None] | None = None, pause: float = 0.05
) -> bool:
    """Do what is planned, for at most so many seconds; return whether something is left.

    Args:
        told: hears of each step.
        pause: seconds between two steps, for the reader to have its turn.
    """
    end = None if seconds is None else time.monotonic() + seconds
    while (goal := step()) is not None:
        if told:
            told(goal)
        if end is not None and time.monotonic() >= end:
            return True
        time.sleep(pause)
    return False


def step(now: datetime | None = None) -> Goal | None:
    """Credit the next events of a goal anew; return the goal, None if nothing is planned."""
    if not _planned().exists():
        return None
    with transaction.atomic():
        log.hold(CURSOR)
        keeping.state()
        goal = _planned().select_for_update().first()
        if goal is None:
            return None
        events = _next(goal)
        credited = rules.of([goal])
        attribution.credit({event for event, _at in events}, credited)
        if len(events) < EVENTS:
            goal.recompute_from = goal.recomputed_upto = goal.recompute_last = None
            goal.recomputed_at = now or timezone.now()
        else:
            goal.recomputed_upto = events[-1][1]
        goal.save(update_fields=["recompute_from", "recomputed_upto", "recompute_last", "recomputed_at"])
        return goal


def _planned() -> QuerySet[Goal]:
    return Goal.everything.filter(recompute_from__isnull=False, active=True).order_by("pk")


def _next(goal: Goal) -> list[tuple[UUID, datetime]]:
    begin = goal.recompute_from or ALWAYS
    values: dict[str, Any] = {"events": _names(goal), "goal": goal.pk, "limit": EVENTS}
    values["after"] = goal.recomputed_upto or begin - timedelta(microseconds=1)
    with connection.cursor() as cursor:
        cursor.execute(_NEXT, values)
        return cursor.fetchall()


def _span(goal: Goal) -> tuple[datetime, datetime]:
    """When the first and the last event happened that may have to be looked at."""
    with connection.cursor() as cursor:
        cursor.execute(_SPAN, {"events": _names(goal), "goal": goal.pk})
        first, last = cursor.fetchone()
    return first or ALWAYS, last or ALWAYS


def _names(goal: Goal) -> list[str]:
    return sorted(own.names()) if goal.own else [goal.event]
