"""Counting everybody for a segment: when it is new or asks something new, and now and then as a check.

The first count of a segment stores its members, without events, for nobody "entered". Every other count only finds
those whose membership differs from the answer and leaves them as candidates: keeping (keeping.py) asks about them
once more and writes. So a count never writes what is out of date by the time it ends, however long it took. The
people who change while a segment is counted for the first time are left as candidates by keeping in the meantime.

Each segment has an advisory lock while it is counted, which also tells whom to interrupt. One count runs at a time,
on one core and with limited time: sending goes on.
"""

import logging
import time
from array import array
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any, NamedTuple

from django.db import DatabaseError, connection, transaction
from django.db.models.functions import Now
from django.utils import timezone
from django.utils.translation import gettext as _
from psycopg.errors import QueryCanceled

from campaigns.models import Segment
from campaigns.segments import candidates, compiler, keeping, loading, memberships, plans, sizes, states
from campaigns.segments.limits import TooSlow
from campaigns.segments.loading import Loaded
from campaigns.segments.pace import Pace
from crm import changes, indexed_attributes, log, pg, wake
from crm.rules.errors import RuleError
from crm.rules.sql import Sql

logger = logging.getLogger(__name__)

CHUNK = 20_000  # members stored in one transaction
TIMEOUT_MS = 60_000
CHECK_EVERY = timedelta(hours=24)
RETRY_AFTER = timedelta(minutes=5)
SEEN_AFTER = timedelta(
    minutes=1
)  # by then transactions have ended that began before their changes were watched
LONGEST_SHARE = 20  # a segment that takes a minute to count is tried again after twenty at the earliest
SLOW_MS = 20_000  # from which on a segment is counted less often
_LOCK = 0x53454731  # first half of the advisory lock; the segment's id is the second
_COUNTER = 0x53454733  # the advisory lock of who counts
State = Segment.State

_ENTER = """
    INSERT INTO campaigns_segmentmembership (segment_id, profile_id, entered_at)
    SELECT %s, id, %s FROM crm_profile WHERE id = ANY(%s::bigint[]) ORDER BY id ON CONFLICT DO NOTHING
"""
_LEAVE = "DELETE FROM campaigns_segmentmembership WHERE segment_id = %s AND profile_id = ANY(%s::bigint[])"
_RUNNING = """
    SELECT pid FROM pg_locks WHERE locktype = 'advisory' AND classid = %s AND objid = %s AND objsubid = 2
    AND granted AND database = (SELECT oid FROM pg_database WHERE datname = current_database())
"""


class Refreshed(NamedTuple):
    """What one refresh did. `skipped` tells that another process was at it; `error` why it failed."""

    entered: int = 0
    left: int = 0
    size: int = 0
    skipped: bool = False
    error: str = ""


class Stopped(Exception):
    """Somebody asked to end the count."""


def refresh(segment: Segment, now: datetime | None = None) -> Refreshed:
    """Count everybody and bring the members up to date.

    A rule that fails marks the segment and leaves its members as they were. If another process keeps segments just
    now, that one lets people in and out, a moment later.

    Args:
        segment: its `size`, `state`, `error` and times are updated in place as well.
        now: aware; default the clock.
    """
    moment = (now or timezone.now()).astimezone(UTC)
    done = count(segment, moment)
    if not done.skipped and not done.error and segment.state == State.READY:
        kept = keeping.work_off(segment.pk, moment)
        entered = done.entered + kept.entered.get(segment.pk, 0)
        segment.refresh_from_db(fields=["size"])
        done = Refreshed(entered, done.left + kept.left.get(segment.pk, 0), segment.size)
    return done


def refresh_all(now: datetime | None = None, everything: bool = False) -> dict[str, Refreshed]:
    """Refresh every segment that is due, the most urgent first; one that fails does not stop the others.

    Args:
        everything: those that are not due as well.

    Returns:
        What happened, by slug.
    """
    moment = now or timezone.now()
    done = {}
    for segment in Segment.objects.filter(kind=Segment.Kind.RULE) if everything else _due(moment):
        done[segment.slug] = refresh(segment, moment)
    return done


def count_due(now: datetime | None = None, seconds: float = 20.0) -> bool:
    """Count segments that are due, for about so many seconds; return whether more are.

    Unlike `refresh_all` this lets nobody in or out of segments that are kept: `keeping.keep` does.
    """
    until = time.monotonic() + seconds
    with pg.locked(_COUNTER, 0) as mine:
        if not mine:
            return False
        _watch_no_more_than_needed()
        candidates.drop_left()
        for segment in _due(now or timezone.now()):
            if time.monotonic() >= until:
                return True
            count(segment, now)
    return False


def count(segment: Segment, now: datetime | None = None) -> Refreshed:
    """Count everybody; store the members of a new segment, and leave the differences of another as candidates."""
    moment = (now or timezone.now()).astimezone(UTC)
    with pg.locked(_LOCK, segment.pk) as mine:
        if not mine:
            return Refreshed(size=segment.size, skipped=True)
        try:
            segment.refresh_from_db()
            return _count(loading.load_one(segment), moment)
        except Segment.DoesNotExist:
            return Refreshed()  # deleted a moment ago
        except Stopped:
            return _stopped(segment, moment)
        except (RuleError, DatabaseError, TooSlow) as error:
            if states.passing(error):
                return Refreshed(size=segment.size, skipped=True)  # the next time
            asked = Segment.objects.filter(pk=segment.pk, stop_asked=True).exists()
            if asked and (isinstance(error, TooSlow) or isinstance(error.__cause__, QueryCanceled)):
                return _stopped(segment, moment)
            return _failed(segment, error, moment)


def ask(segment: Segment) -> None:
    """Have everybody counted for this segment as soon as possible, also if it was stopped or has failed."""
    Segment.objects.filter(pk=segment.pk, kind=Segment.Kind.RULE).update(recount_at=Now(), stop_asked=False)
    wake.on_commit("campaigns.tasks.refresh_segments", "segments")


def cancel(segment: Segment) -> bool:
    """Stop counting this segment; return whether it was being counted. Its members stay as they are."""
    with connection.cursor() as cursor:
        cursor.execute(_RUNNING, [_LOCK, segment.pk])
        row = cursor.fetchone()
        if row is None:
            return False
        # From `counting_since` on nothing takes back what is asked here.
        if not Segment.objects.filter(pk=segment.pk, counting_since__isnull=False).update(stop_asked=True):
            return False
        # Once more, for it may have ended; what it holds tells that it still counts this very segment.
        cursor.execute(f"SELECT pg_cancel_backend(pid) FROM ({_RUNNING}) AS running", [_LOCK, segment.pk])
    return True


def slow(segment: Segment) -> bool:
    """Whether it takes so long to count that it is counted less often."""
    return (segment.evaluation_ms or 0) >= SLOW_MS


def _watch_no_more_than_needed() -> None:
    """End the watch of what no segment asks for any more; counting begins it for those that ask for something new."""

    def needed() -> set[str]:
        loaded, _broken = loading.load(Segment.objects.filter(kind=Segment.Kind.RULE))
        return set().union(*(one.fields for one in loaded))

    if changes.watched() - needed():
        changes.watch_only(needed)


def _due(now: datetime) -> list[Segment]:
    """The segments to be counted, the most urgent first; of those that are only to be checked, one."""
    loaded, broken = loading.load(Segment.objects.filter(kind=Segment.Kind.RULE).order_by("evaluated_at"))
    urgent, checks = [], []
    for segment, one in [(one.segment, one) for one in loaded] + [(segment, None) for segment, _e in broken]:
        why = _why(segment, one, now)
        if why == memberships.CHECK:
            checks.append(segment)
        elif why:
            urgent.append((why != memberships.RULE, segment))
    urgent.sort(key=lambda each: each[0])
    return [segment for _later, segment in urgent] + checks[:1]


def _why(segment: Segment, one: Loaded | None, now: datetime) -> str:
    """Why a segment is to be counted: the cause that its events are to tell; empty if it is not."""
    last = segment.evaluated_at
    if last is None or segment.state in (State.NEW, State.COUNTING):
        return memberships.RULE
    wanted = segment.recount_at is not None and segment.recount_at <= now
    if segment.state in (State.STOPPED, State.FAILED) and segment.rule_changed_at > last:
        return memberships.RULE
    if segment.state == State.STOPPED:
        return memberships.RULE if wanted else ""
    if segment.state == State.FAILED or one is None:
        patience = max(RETRY_AFTER, timedelta(milliseconds=(segment.evaluation_ms or 0) * LONGEST_SHARE))
        return memberships.RULE if wanted or now - last >= patience else ""
    if not one.settled:
        return memberships.RULE
    if wanted:
        return memberships.CHANGE
    return memberships.CHECK if now - last >= CHECK_EVERY * (2 if slow(segment) else 1) else ""


def _cause(one: Loaded, now: datetime) -> str:
    """What the events of those are to tell who are found to be in or out by mistake."""
    if not one.settled:
        return memberships.RULE
    why = _why(one.segment, one, now)
    return why if why == memberships.CHANGE else memberships.CHECK


def _count(one: Loaded, now: datetime) -> Refreshed:
    segment, first = one.segment, not one.segment.counted_as
    cause = _cause(one, now)
    log.position(keeping.CURSOR)  # from now on keeping hears of everything
    with transaction.atomic():
        changes.watch(one.fields)
        begun = State.READY if segment.state == State.READY and not first else State.COUNTING
        if segment.state not in (State.READY, State.COUNTING):
            candidates.drop_all(segment.pk)
        states.store(segment, state=begun, counting_since=Now(), stop_asked=False)
    began, pace = time.monotonic(), Pace()
    entering, leaving = _differences(one, now)
    plan = plans.plan(one.rule, now).data()
    if first:
        _store(segment, entering, leaving, now, pace)
    else:
        for ids in (entering, leaving):
            _in_chunks(segment, ids, lambda chunk: candidates.add_people(segment.pk, chunk, cause), pace)
    seen = changes.settled(one.fields)
    states.well(segment)
    states.store(
        segment,
        state=State.READY,
        error="",
        evaluated_at=now,
        evaluation_ms=int((time.monotonic() - began - pace.rested) * 1000),
        plan=plan,
        passed_until=now,
        counting_since=None,
    )
    # Unless keeping asked something new meanwhile, see there; then everybody is counted once more.
    if Segment.objects.filter(pk=segment.pk, counted_as=segment.counted_as).update(counted_as=one.asked):
        segment.counted_as = one.asked
    if not seen:
        states.store(segment, recount_at=now + SEEN_AFTER)
    elif segment.recount_at is not None:  # unless somebody has asked again since this began
        Segment.objects.filter(pk=segment.pk, recount_at=segment.recount_at).update(recount_at=None)
    segment.size = sizes.count(segment.pk, now)
    pace.give_way()  # the next segment waits, too
    if first:
        return Refreshed(len(entering), len(leaving), segment.size)
    return Refreshed(size=segment.size)


def _differences(one: Loaded, now: datetime) -> tuple[array, array]:
    """The ids of those who are to come in and of those who are to go."""
    query = one.query(now)._replace(columns=indexed_attributes.columns())
    statement = keeping.difference(one.segment.pk, compiler.ids(one.rule, query), Sql(""))
    entering, leaving = array("q"), array("q")
    with states.calmly(TIMEOUT_MS), connection.chunked_cursor() as cursor:
        cursor.execute(statement.text, list(statement.params))
        while rows := cursor.fetchmany(CHUNK):
            entering.extend(row[0] for row in rows if row[1])
            leaving.extend(row[0] for row in rows if not row[1])
    return entering, leaving


def _store(segment: Segment, entering: array, leaving: array, now: datetime, pace: Pace) -> None:
    """Store the members of a new segment. Nobody is locked: who is removed meanwhile goes when the feed tells so."""

    def enter(ids: list[int]) -> None:
        _execute(_ENTER, [segment.pk, now, ids])
        sizes.add_up([segment.pk], now, told=False)

    def leave(ids: list[int]) -> None:
        _execute(_LEAVE, [segment.pk, ids])
        sizes.add_up([segment.pk], now, told=False)

    # As the indexes have them, so that pages are found and logged once.
    in_order = array("q", sorted(entering))
    _in_chunks(segment, in_order, enter, pace)
    _in_chunks(segment, leaving, leave, pace)  # of a count that was interrupted


def _execute(statement: str, values: list[Any]) -> None:
    with connection.cursor() as cursor:
        cursor.execute(statement, values)


def _in_chunks(segment: Segment, ids: array, work: Callable[[list[int]], None], pace: Pace) -> None:
    """Do `work` with so many ids at a time, each time in a transaction in which the segment can't be deleted.

    Raises:
        Stopped: somebody asked to.
        Segment.DoesNotExist: it was deleted.
    """
    for start in range(0, len(ids), CHUNK):
        with transaction.atomic():
            row = Segment.objects.select_for_update(no_key=True).filter(pk=segment.pk)
            if row.values_list("stop_asked", flat=True).get():
                raise Stopped
            work(ids[start : start + CHUNK].tolist())
        if start + CHUNK < len(ids):
            pace.give_way()


def _stopped(segment: Segment, now: datetime) -> Refreshed:
    """Leave a segment alone that somebody does not want to be counted; what is kept is kept on."""
    exact = segment.state == State.READY and _only_checked(segment, now)
    states.store(
        segment,
        state=State.READY if exact else State.STOPPED,
        evaluated_at=now,
        counting_since=None,
        stop_asked=False,
        **({} if exact else {"recount_at": None}),
    )
    return Refreshed(size=segment.size, error=_("Counting was stopped."))


def _failed(segment: Segment, error: Exception, now: datetime) -> Refreshed:
    why = states.reason(error, TIMEOUT_MS)
    exact = isinstance(error, TooSlow) and segment.state == State.READY and _only_checked(segment, now)
    states.fail(segment, why, now, State.READY if exact else State.FAILED)
    if not exact:  # what failed is tried again in any case
        states.store(segment, recount_at=None)
    return Refreshed(size=segment.size, error=why)


def _only_checked(segment: Segment, now: datetime) -> bool:
    """Whether the members are right as far as anybody knows, so that counting everybody is but a check."""
    return _why(segment, loading.load_one(segment), now) in (memberships.CHECK, "")
