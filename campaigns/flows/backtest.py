"""Dry runs of drafts over the last days, as jobs: asked for, worked out by a worker, kept and shown.

A job changes nothing in the database but its own row. It is worked out in memory in one go, by one worker at a time;
if that dies, the next one begins anew.
"""

import logging
import time
from datetime import datetime, timedelta

import msgspec
from django.db import InterfaceError, OperationalError, connection, transaction
from django.db.models import F
from django.utils import timezone
from django.utils.translation import gettext as _

from campaigns.flows.definition import DefinitionError, check, parse
from campaigns.flows.simulate import MOST_STARTS, Simulation
from campaigns.flows.simulated_counts import Result
from campaigns.models import Backtest, Flow
from campaigns.segments.pace import Pace
from crm import pg, wake

logger = logging.getLogger(__name__)

MOST_DAYS = 90
TRIES = 3
LOCK = 0x42544553  # the advisory lock of whoever works
TASK, QUEUE = "campaigns.tasks.backtest_flows", "segments"  # where nothing waits that sending needs
TELL_EVERY = 1.0  # seconds between two notes of how far it is
LONGEST = 600.0  # seconds of work
KEPT = 20  # of each flow
ASKING = 0x42544153  # first half of the advisory lock of whoever asks for one
READERS_A_DAY = 10  # trials of one person who may only look
# Those who are decided about together are at most so far apart in time: a thousand turns for each month.
SLOTS = ((2, timedelta(minutes=1)), (14, timedelta(minutes=10)), (MOST_DAYS, timedelta(minutes=30)))
State = Backtest.State


class BusyError(RuntimeError):
    """Whoever asks has a trial in work, or had as many as a reader may have; the text says so."""


def start(
    flow: Flow, days: int, by: str = "", now: datetime | None = None, most_a_day: int | None = None
) -> Backtest:
    """Have the flow's draft simulated over the last `days` days.

    Args:
        by: who asks, a person or an API key; each has one trial in work at a time.
        most_a_day: how many trials they may have in 24 hours.

    Raises:
        ValueError: not 1 to 90 days.
        DefinitionError: the draft can't run; it names every problem.
        BusyError: they have to wait.
    """
    if not 1 <= days <= MOST_DAYS:
        raise ValueError(_("Choose from 1 to %d days.") % MOST_DAYS)
    problems = check(parse(flow.draft))
    if problems:
        raise DefinitionError(problems)
    now = now or timezone.now()
    with transaction.atomic():
        if by:
            _wait_your_turn(by, now, most_a_day)
        made = Backtest.objects.create(
            flow=flow, definition=flow.draft, days=days, until=now, started_by=by, created_at=now
        )
        old = (
            Backtest.objects.filter(flow=flow)
            .order_by("-created_at", "-pk")
            .values_list("pk", flat=True)[KEPT:]
        )
        Backtest.objects.filter(pk__in=list(old)).exclude(state=State.RUNNING).delete()
        wake.on_commit(TASK, QUEUE)
    return made


def _wait_your_turn(by: str, now: datetime, most_a_day: int | None) -> None:
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_advisory_xact_lock(%s, hashtext(%s))", [ASKING, by])
    running = Backtest.objects.filter(started_by=by, state=State.RUNNING).select_related("flow").first()
    if running is not None:
        raise BusyError(
            _("Your trial of “%s” is still in work. Wait until it is done, or cancel it.") % running.flow.name
        )
    since = now - timedelta(days=1)
    if most_a_day is not None and (
        Backtest.objects.filter(started_by=by, created_at__gt=since).count() >= most_a_day
    ):
        raise BusyError(_("You may try flows %d times a day. Try again tomorrow.") % most_a_day)


def cancel(job: Backtest, now: datetime | None = None) -> bool:
    """End it before its next batch; whether it was in work."""
    running = Backtest.objects.filter(pk=job.pk, state=State.RUNNING)
    return bool(running.update(state=State.CANCELLED, ended_at=now or timezone.now()))


def read(job: Backtest) -> Result | None:
    """What came of it; None if nothing did (yet)."""
    return msgspec.convert(job.result, Result) if job.result is not None else None


def work(now: datetime | None = None) -> bool:
    """Work out the job that waits longest; whether more wait. Does nothing while another worker is at it."""
    with pg.locked(LOCK, 0) as ours:
        if not ours:
            return False
        job = _next()
        if job is not None:
            _work_out(job, now)
        return _next() is not None


def _next() -> Backtest | None:
    running = Backtest.objects.filter(state=State.RUNNING).select_related("flow")
    return running.order_by(F("worked_at").asc(nulls_first=True), "pk").first()


def _work_out(job: Backtest, now: datetime | None) -> None:
    running = Backtest.objects.filter(pk=job.pk, state=State.RUNNING)
    if job.tries >= TRIES:
        _fail(job, _("The worker ended %d times while it was at it.") % job.tries, now)
        return
    running.update(tries=F("tries") + 1, progress=0, worked_at=now or timezone.now())
    began = told = time.monotonic()
    pace = Pace()
    simulation = simulation_of(job)

    def go_on() -> bool:
        nonlocal told
        if time.monotonic() - told < TELL_EVERY:
            return True
        pace.give_way()
        told = time.monotonic()
        if told - began - pace.rested > LONGEST:
            raise TimeoutError
        return bool(running.update(progress=simulation.progress, worked_at=now or timezone.now()))

    try:
        if simulation.run(go_on):
            result = msgspec.to_builtins(simulation.result())
            running.update(
                state=State.DONE,
                progress=1,
                result=result,
                seconds=time.monotonic() - began,
                ended_at=now or timezone.now(),
            )
    except TimeoutError:
        _fail(job, _("It took too long. Try fewer days."), now)
    except (OperationalError, InterfaceError):
        raise  # of the database, not of the job
    except Exception as error:
        logger.exception("The backtest %s failed.", job.pk)
        _fail(job, str(error)[:500] or type(error).__name__, now)


def simulation_of(job: Backtest, most_starts: int = MOST_STARTS) -> Simulation:
    """The simulation that a job asks for."""
    length = timedelta(days=job.days)
    slot = next(slot for days, slot in SLOTS if job.days <= days)
    definition = parse(job.definition)
    return Simulation(
        job.flow_id,
        job.flow.slug,
        definition,
        job.until - length,
        job.until,
        slot=slot,
        most_starts=most_starts,
    )


def _fail(job: Backtest, problem: str, now: datetime | None) -> None:
    Backtest.objects.filter(pk=job.pk, state=State.RUNNING).update(
        state=State.FAILED, problem=problem, ended_at=now or timezone.now()
    )
