"""Background work of campaigns; each task finds for itself what is due and may run twice or late."""

import time

from celery import shared_task

from campaigns import broadcasts
from campaigns.experiments import keeping as exposures
from campaigns.flows import (
    backtest,
    catching_up,
    clock,
    crm_writes,
    engine,
    entering,
    jobs,
    publish,
    reading,
    webhooks,
)
from campaigns.segments import exporting, keeping, list_work, refresh
from crm import log, wake

BUDGET_SECONDS = 20.0
PATIENCE_SECONDS = 1.0
SHORTEST_PAUSE, LONGEST_PAUSE = 0.005, 0.1  # seconds between looks at what is hidden for the moment
KEEPING_SECONDS = 5.0


@shared_task
def run_engine() -> None:
    """Start and end runs by what the log holds, then move everybody who is due."""
    with wake.looking(engine.TASK):  # or each run that it starts or ends would start it anew
        more = _turns(time.monotonic() + BUDGET_SECONDS)
    if more:
        wake.on_commit(engine.TASK, engine.QUEUE)


def _turns(until: float) -> bool:
    """Work until nothing is left or the time is over; return whether something may be left."""
    pause, waited = SHORTEST_PAUSE, 0.0
    while time.monotonic() < until:
        found = reading.read()
        moved = engine.advance()
        if found.handled or found.more or moved:
            pause, waited = SHORTEST_PAUSE, 0.0
            continue
        waiting = log.waiting(reading.CURSOR)
        if waiting is log.Waiting.NOTHING or waited > PATIENCE_SECONDS:
            return False
        if waiting is log.Waiting.HIDDEN or not found.ours:
            # An older transaction is still open, or somebody has the cursor: it comes in a moment.
            time.sleep(pause)
            pause, waited = min(2 * pause, LONGEST_PAUSE), waited + pause
    return True


@shared_task
def change_runs() -> None:
    """Move, end and enrol people as it was asked for, some seconds long; stop flows that everybody has left.

    Alerts about loops that have come to an end are taken back.
    """
    if jobs.work():
        wake.on_commit(jobs.TASK, jobs.QUEUE)
    publish.close_finished()
    entering.forget_loops()


@shared_task
def start_by_clock() -> None:
    """Start whose time has come in flows that the clock starts, some seconds long."""
    if clock.run():
        wake.on_commit("campaigns.tasks.start_by_clock", "keeping")


@shared_task
def let_in() -> None:
    """Let in people who qualified before their flow was published; others get their turn before it goes on."""
    if catching_up.work():
        wake.on_commit(catching_up.TASK, catching_up.QUEUE)


@shared_task
def refresh_segments() -> None:
    """Count everybody for segments that are new, ask something new or are to be checked, some seconds long."""
    if refresh.count_due(seconds=BUDGET_SECONDS):
        wake.on_commit("campaigns.tasks.refresh_segments", "segments")


@shared_task
def keep_segments() -> None:
    """Let people into segments and out of them by what has happened."""
    if keeping.keep(seconds=KEEPING_SECONDS).more:
        wake.on_commit("campaigns.tasks.keep_segments", "keeping")


@shared_task
def fill_lists() -> None:
    """Fill lists for some seconds; others get their turn before it goes on."""
    if list_work.work():
        wake.on_commit(list_work.TASK, list_work.QUEUE)


@shared_task
def export_members() -> None:
    """Write files of members for some seconds; others get their turn before it goes on."""
    if exporting.work():
        wake.on_commit(exporting.TASK, exporting.QUEUE)


@shared_task
def backtest_flows() -> None:
    """Try a draft on the past; others get their turn before the next."""
    if backtest.work():
        wake.on_commit(backtest.TASK, backtest.QUEUE)


@shared_task
def forget_list_files() -> None:
    """Throw away files of members whose time is over, and rows of lists that were not taken."""
    exporting.forget()
    list_work.forget()


@shared_task
def call_webhooks() -> None:
    """Make the calls that flows have asked for."""
    began = time.monotonic()
    while webhooks.perform() and time.monotonic() - began < BUDGET_SECONDS:
        pass


@shared_task
def forget_calls() -> None:
    """Drop what was sent to other systems and CRMs a month ago."""
    webhooks.forget()
    crm_writes.forget()


@shared_task
def keep_exposures() -> None:
    """Drop who was in experiments that have been over for long, and take back an alert about them that is over."""
    exposures.forget()
    exposures.settle_alert()


@shared_task
def run_broadcasts() -> None:
    """Begin, queue and end broadcasts; others get their turn before it goes on."""
    if broadcasts.work():
        wake.on_commit(broadcasts.TASK, broadcasts.QUEUE)
