"""Counting everything anew while the reader goes on.

The new figures are another generation beside the one that reports read. It is made from the facts in chunks of
deliveries, each in a short transaction that keeps the reader where it is; what the reader learns meanwhile about
deliveries that are in it goes into both. With the last chunk the new generation takes over. Nothing is kept in
memory but one chunk, and whoever is killed is followed by somebody who goes on from there.

Facts come from the log in the same way: reading it again, in its order, leaves each of them as the log has it.
"""

import time
from collections.abc import Callable
from datetime import datetime
from typing import Any

import msgspec
from django.db import connection, transaction
from django.db.models import Max
from django.utils import timezone

from analytics.goals import earned, recompute
from analytics.models import Engagement, RollupState
from analytics.rollups import columns, keeping, replay
from crm import log

CURSOR = "analytics"
CHUNK = 50_000  # facts
EVENTS = 100_000
ROWS = 50_000  # removed at once
LAST = 2**63 - 1
Stage = RollupState.Stage

_COUNT = columns.added(
    columns.counted(
        "(SELECT g.*, 1 AS sign FROM analytics_engagement g"
        " WHERE g.delivery_id > %(after)s AND g.delivery_id <= %(upto)s)",
        "(SELECT %(generation)s::int AS generation, %(zone)s::text AS zone, NULL::bigint AS upto)",
    )
)
_TIDY = """
    DELETE FROM analytics_dayfigures WHERE ctid = ANY(ARRAY(
        SELECT f.ctid FROM analytics_dayfigures f, analytics_rollupstate s
        WHERE f.generation <> s.generation AND f.generation IS DISTINCT FROM s.next_generation LIMIT %s))
"""


class State(msgspec.Struct, frozen=True):
    """What reports stand on: the time zone of their days, and how far a rebuild has come (0 to 1)."""

    zone: str
    generation: int
    stage: str
    running: bool
    done: float
    started_at: datetime | None
    finished_at: datetime | None


def status() -> State:
    """Whether everything is being counted anew, and how far that is."""
    row = RollupState.objects.filter(pk=1).first()
    if row is None:
        return State(keeping.account_zone(), 0, Stage.IDLE, False, 1.0, None, None)
    running = row.stage in (Stage.LOG, Stage.COUNTING)
    return State(row.zone, row.generation, row.stage, running, _done(row), row.started_at, row.finished_at)


def _done(row: RollupState) -> float:
    if row.stage == Stage.LOG:
        end = log.position(CURSOR).seq
        return 0.5 * min(1.0, (row.replay_seq or 0) / end) if end else 0.0
    if row.stage != Stage.COUNTING:
        return 1.0
    before = 0.5 if row.replay_txid is not None else 0.0
    return before + (1 - before) * (min(1.0, row.position / row.upto) if row.upto else 0.0)


@transaction.atomic
def start(from_log: bool = False, now: datetime | None = None) -> None:
    """Plan to count everything anew, in the account's time zone of today; one that runs begins again.

    Args:
        from_log: make the facts right first, from all the events that the log has.
    """
    log.hold(CURSOR)
    keeping.state()
    _plan(from_log, now or timezone.now())


def begin(position: log.Position, now: datetime | None = None) -> None:
    """Called by the reader with where it is: one that has read before there were figures has history to count."""
    _state, made = keeping.state()
    if made and position > log.Position(0, 0):
        _plan(True, now or timezone.now())


def check(now: datetime | None = None) -> bool:
    """Plan to count anew if the account has another time zone by now; return whether it has."""
    row = RollupState.objects.filter(pk=1).first()
    if row is None:
        return False
    wanted = row.next_zone if row.stage in (Stage.LOG, Stage.COUNTING) else row.zone
    if wanted == keeping.account_zone():
        return False
    start(now=now)
    return True


def run(
    seconds: float | None = None, progress: Callable[[State], None] | None = None, pause: float = 0.05
) -> bool:
    """Do what is planned, for at most so many seconds; return whether something is left.

    Args:
        pause: seconds between two steps, for the reader to have its turn.
    """
    end = None if seconds is None else time.monotonic() + seconds
    while step():
        if progress:
            progress(status())
        if end is not None and time.monotonic() >= end:
            return True
        time.sleep(pause)
    return False


def step() -> bool:
    """One chunk; return whether there may be another."""
    stage = RollupState.objects.filter(pk=1).values_list("stage", flat=True).first()
    if stage in (Stage.LOG, Stage.COUNTING):
        with transaction.atomic():
            log.hold(CURSOR)
            row = RollupState.objects.select_for_update().get(pk=1)
            if row.stage == Stage.LOG:
                _replay(row)
            elif row.stage == Stage.COUNTING:
                _count(row)
        return True
    return stage == Stage.TIDYING and _tidy()


def _plan(from_log: bool, now: datetime) -> None:
    RollupState.objects.filter(pk=1).update(
        stage=Stage.LOG if from_log else Stage.COUNTING,
        next_generation=None if from_log else _unused(),
        next_zone=keeping.account_zone(),
        position=0,
        upto=Engagement.objects.aggregate(last=Max("delivery_id"))["last"] or 0,
        replay_txid=0 if from_log else None,
        replay_seq=0 if from_log else None,
        started_at=now,
    )


def _replay(row: RollupState) -> None:
    """Read a part of the log again; what the reader has read is the end of it, wherever that is by now.

    What changes is counted afterwards, so until then figures of before may differ from the facts.
    """
    end = log.position(CURSOR)
    reached = replay.store(log.Position(row.replay_txid or 0, row.replay_seq or 0), end, EVENTS)
    row.replay_txid, row.replay_seq = reached.txid, reached.seq
    if reached >= end:
        last = Engagement.objects.aggregate(last=Max("delivery_id"))["last"] or 0
        row.stage, row.upto, row.next_generation = Stage.COUNTING, last, _unused()
        recompute.plan()
    row.save(update_fields=["stage", "upto", "next_generation", "replay_txid", "replay_seq"])


def _unused() -> int:
    """A generation without rows: those of a rebuild that was given up may not be tidied yet."""
    with connection.cursor() as cursor:
        cursor.execute(
            """
            SELECT greatest((SELECT max(generation) FROM analytics_dayfigures),
                (SELECT max(generation) FROM analytics_earnedday),
                (SELECT generation FROM analytics_rollupstate WHERE id = 1))
            """
        )
        return cursor.fetchone()[0] + 1


def _count(row: RollupState) -> None:
    ids = Engagement.objects.filter(delivery_id__gt=row.position).order_by("delivery_id")
    last = ids.values_list("delivery_id", flat=True)[CHUNK - 1 : CHUNK].first()
    upto = LAST if last is None else last
    values: dict[str, Any] = {
        "after": row.position,
        "upto": upto,
        "generation": row.next_generation,
        "zone": row.next_zone,
    }
    with connection.cursor() as cursor:
        cursor.execute(_COUNT, values)
        earned.count(cursor, values)
    row.position = upto
    if last is None:
        row.generation, row.zone, row.next_generation = values["generation"], row.next_zone, None
        row.stage, row.finished_at = Stage.TIDYING, timezone.now()
    row.save()


def _tidy() -> bool:
    with connection.cursor() as cursor:
        for statement in (_TIDY, earned.TIDY):
            cursor.execute(statement, [ROWS])
            if cursor.rowcount:
                return True
    RollupState.objects.filter(pk=1, stage=Stage.TIDYING).update(stage=Stage.IDLE)
    return False
