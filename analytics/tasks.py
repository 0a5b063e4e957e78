"""Background work of analytics; each task finds for itself what is due and may run twice or late."""

import time

from celery import shared_task
from django.core.cache import cache

from analytics import projection
from analytics.experiments import holdouts, judging
from analytics.goals import recompute
from analytics.rollups import audience, cohorts
from analytics.rollups import rebuild as rebuilding
from analytics.saved import mailing
from crm import log, wake

BUDGET_SECONDS = 20.0
RESTS = 50  # times as long as counting the audience took
COUNTED = "analytics.audience.counted"
LIFT_COUNTED = "analytics.lift.counted"
COHORTS_COUNTED = "analytics.cohorts.counted"
DAY = 86400  # seconds
REBUILD_SECONDS = 4.0  # then whatever else waits in the queue has its turn
PATIENCE_SECONDS = 1.0


@shared_task
def read_log() -> None:
    """Bring engagement and conversions up to the end of the log."""
    began = idle_since = time.monotonic()
    while time.monotonic() - began < BUDGET_SECONDS:
        handled, full = projection.read()
        if handled or full:
            idle_since = time.monotonic()
        elif time.monotonic() - idle_since > PATIENCE_SECONDS or not log.lag(projection.CURSOR):
            return
        else:
            time.sleep(0.02)  # an older transaction is still open: what it hides comes in a moment


@shared_task
def rebuild() -> None:
    """Go on with counting everything anew, where that is planned or the account has another time zone by now."""
    rebuilding.check()
    if rebuilding.run(REBUILD_SECONDS):
        wake.on_commit("analytics.tasks.rebuild", "reports")


@shared_task
def recompute_goals() -> None:
    """Go on with making credits anew, where a goal, a rate or the account's currency has changed."""
    recompute.check()
    if recompute.run(REBUILD_SECONDS):
        wake.on_commit("analytics.tasks.recompute_goals", "reports")


@shared_task
def count_audience() -> None:
    """Count who can be written to, and who came and left by day; seldom where that takes long."""
    if cache.get(COUNTED):
        return
    began = time.monotonic()
    audience.keep()
    cache.set(COUNTED, True, RESTS * (time.monotonic() - began))


@shared_task
def count_cohorts() -> None:
    """Count who came back after a message or a first purchase; each process once a day, soon after it started."""
    if not cache.get(COHORTS_COUNTED):
        cohorts.keep()
        cache.set(COHORTS_COUNTED, True, DAY)


@shared_task
def count_lift() -> None:
    """Count what messages bring, of every holdout; seldom where that takes long."""
    if cache.get(LIFT_COUNTED):
        return
    began = time.monotonic()
    holdouts.keep()
    cache.set(LIFT_COUNTED, True, RESTS * (time.monotonic() - began))


@shared_task
def judge_experiments() -> None:
    """Look at the experiments that run, and act on the first answer that ends one."""
    judging.judge_all()


@shared_task
def mail_reports() -> None:
    """Send the saved reports that are due."""
    mailing.run()
