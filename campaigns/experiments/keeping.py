"""How long it is kept who came into which arm: while the experiment or holdout runs, and as long as its report is read.

The event log tells it as well, for as long as events are kept, and it is the log that reports count. The rows that go
here are those which keep people in their arm and tell the log of them once; of what is over they do neither.
"""

import time
from collections.abc import Callable
from datetime import datetime, timedelta

from django.conf import settings
from django.db import connection, models
from django.utils import timezone

from campaigns.models import Broadcast, Experiment, Flow
from crm import alerts
from delivery import exposures
from delivery.models import Message, SendingRules
from delivery.policies import holdouts as policy

BATCH = 5_000  # rows of one statement
BUDGET = 20.0  # seconds of one run
QUIET = timedelta(hours=1)  # after which a fault is taken to be over
State = Experiment.State

# One step of the index for each name, however many people there are.
_NAMES = """
    WITH RECURSIVE names AS (
        (SELECT experiment FROM delivery_exposure ORDER BY experiment LIMIT 1)
        UNION ALL
        SELECT (SELECT e.experiment FROM delivery_exposure e WHERE e.experiment > n.experiment
            ORDER BY e.experiment LIMIT 1) FROM names n WHERE n.experiment IS NOT NULL
    )
    SELECT experiment FROM names WHERE experiment IS NOT NULL
"""
_FORGET = """
    DELETE FROM delivery_exposure WHERE id IN (
        SELECT id FROM delivery_exposure WHERE experiment = %s AND at < %s LIMIT %s FOR UPDATE SKIP LOCKED)
"""


def forget(now: datetime | None = None, days: int | None = None, budget: float = BUDGET) -> int:
    """Drop who was in what has been over for long, in short transactions, for at most `budget` seconds; how many went.

    Args:
        days: how long rows stay after the end of an experiment, and where nobody knows the end of a holdout after they
            were written; 0 for good, None: as NUDGE_EXPOSURE_DAYS says.
    """
    now = now or timezone.now()
    days = settings.NUDGE_EXPOSURE_DAYS if days is None else days
    if not days:
        return 0
    before, ends, gone = now - timedelta(days=days), time.monotonic() + budget, 0
    over = _over(now, before)
    with connection.cursor() as cursor:
        cursor.execute(_NAMES)
        names = [row[0] for row in cursor.fetchall()]
    for name in names:
        since = over(name)
        while since is not None and time.monotonic() < ends:
            with connection.cursor() as cursor:
                cursor.execute(_FORGET, [name, since, BATCH])
                found = cursor.rowcount
            gone += found
            if found < BATCH:
                break
    return gone


def settle_alert(now: datetime | None = None) -> None:
    """Take back that experiments miss people, if all could be recorded for an hour."""
    alerts.resolve_quiet(exposures.BROKEN, "", (now or timezone.now()) - QUIET)


def _over(now: datetime, before: datetime) -> Callable[[str], datetime | None]:
    """Tells of an experiment's name before when its rows may go; None: not now. Six queries."""
    ended = {
        each.key: each.decided_at or each.stopped_at or now if each.state != State.RUNNING else None
        for each in Experiment.objects.exclude(subject=Experiment.Subject.HOLDOUT)
    }
    in_force = {policy.of_message(pk) for pk in _ids(Message.objects.filter(holdout_percent__gt=0))}
    in_force |= {
        f"holdout:broadcast:{pk}"
        for pk in _ids(Broadcast.objects.filter(holdout_percent__gt=0).exclude(state__in=Broadcast.OVER))
    }
    in_force |= {
        f"holdout:flow:{each.pk}"
        for each in Flow.objects.exclude(state=Flow.State.STOPPED).select_related("live_version")
        if each.live_version and each.live_version.definition.get("holdout_percent")
    }
    if SendingRules.of_account().global_holdout_percent:
        in_force.add(policy.GLOBAL)
    in_force |= {
        each.key
        for each in Experiment.objects.filter(subject=Experiment.Subject.HOLDOUT, state=State.RUNNING)
    }

    def over(name: str) -> datetime | None:
        if not name.startswith("experiment:"):
            return None if name in in_force else before
        if name not in ended:  # it was deleted, and its report with it
            return now
        end = ended[name]
        return now if end is not None and end < before else None

    return over


def _ids(rows: models.QuerySet) -> list[int]:
    return list(rows.values_list("pk", flat=True))
