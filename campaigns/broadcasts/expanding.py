"""From an audience to the outbox, in the background.

When a broadcast's time has come, its audience is frozen as pieces of some thousand people, by one statement. Each piece
is then queued in a transaction of its own, by any number of workers at once; one that dies has done its piece or not
begun. A delivery is unique by broadcast and person, so nobody gets it twice whatever happens.
"""

import logging
import time
from collections.abc import Callable, Collection
from datetime import datetime
from typing import Any

from django.db import InterfaceError, OperationalError, connection, transaction
from django.db.models import Q, Sum
from django.utils import timezone

from campaigns.broadcasts import holding, lifecycle, routes, settling, timing
from campaigns.experiments import assigning
from campaigns.models import Broadcast, BroadcastPiece
from campaigns.segments import compiler
from crm import alerts, pg, present
from delivery import outbox, variants

logger = logging.getLogger(__name__)

State, Piece = Broadcast.State, BroadcastPiece.State
TASK, QUEUE = lifecycle.TASK, lifecycle.QUEUE
SECONDS = 10.0
PEOPLE = 5_000  # in a piece
FREEZE_MS = 600_000

_FREEZE = """
    INSERT INTO campaigns_broadcastpiece (broadcast_id, first, size, profile_ids, state, queued)
    SELECT %s, min(place), count(*), array_agg(id ORDER BY id), 'waiting', 0
    FROM (SELECT id, row_number() OVER (ORDER BY id) - 1 AS place FROM ({audience}) AS everybody) AS numbered
    GROUP BY place / %s
"""

# Asked by numbers of people, never by that of the broadcast: how many deliveries a new one has, statistics don't know.
_MERGED = "SELECT DISTINCT winner_id FROM crm_profilemerge WHERE winner_id = ANY(%s::bigint[])"
_WRITTEN = """
    SELECT profile_id FROM (
        SELECT profile_id, origin_type, origin_id FROM delivery_delivery WHERE profile_id = ANY(%s::bigint[]) OFFSET 0
    ) AS theirs
    WHERE origin_type = 'broadcast' AND origin_id = %s
"""

_QUEUE = """
    WITH shares AS MATERIALIZED ({shares})
    INSERT INTO delivery_delivery (cause, message_id, profile_id, channel, variant, state, due_at, expires_at,
        origin_type, origin_id, priority, when_limited, queued_at)
    SELECT %(cause)s || r.id, %(message)s, r.id, {channel}, coalesce(shares.key, 'a'), 'queued', {due},
        {due} + %(expiry)s::interval, 'broadcast', %(broadcast)s, %(priority)s, %(when_limited)s, %(now)s
    FROM {people}
    {variant}
    ON CONFLICT (cause) DO NOTHING
"""


def launch(broadcast_id: int, user: Any = None, now: datetime | None = None) -> int:
    """Plan without a count-down and, if its time has come, queue everything here and now; how many were queued.

    Raises:
        LaunchError, RuleError: see `lifecycle.plan`.
    """
    moment = now or timezone.now()
    if lifecycle.plan(broadcast_id, user, moment, undo_seconds=0).state == State.SCHEDULED:
        freeze(broadcast_id, moment)
    while queue_piece(broadcast_id, now or timezone.now()):
        pass
    settling.settle(broadcast_id, moment)
    pieces = BroadcastPiece.objects.filter(broadcast=broadcast_id)
    return pieces.aggregate(found=Sum("queued"))["found"] or 0


def work(seconds: float = SECONDS, now: datetime | None = None) -> bool:
    """Begin what is due, queue a piece of each in turn, and bring to an end what is over, for about `seconds`.

    Returns whether more is left to do right away. Others may do the same at the same time.
    """
    until = time.monotonic() + seconds

    def clock() -> datetime:
        return now or timezone.now()

    for broadcast_id in _ids(Q(state=State.REPEATING, starts_at__lte=clock())):
        _safely(broadcast_id, lambda pk: occur(pk, clock()))
    for broadcast_id in _ids(Q(state=State.SCHEDULED, starts_at__lte=clock())):
        _safely(broadcast_id, lambda pk: freeze(pk, clock()))
    left = True
    while left and time.monotonic() < until:
        left = False
        for broadcast_id in _ids(Q(state=State.EXPANDING)):
            left |= _safely(broadcast_id, lambda pk: queue_piece(pk, clock()))
    busy = Q(state__in=Broadcast.BUSY) | Q(state=State.CANCELLED, finished_at=None)
    for broadcast_id in _ids(busy):
        left |= _safely(broadcast_id, lambda pk: settling.settle(pk, clock(), until))
    return left


@transaction.atomic
def occur(broadcast_id: int, now: datetime) -> Broadcast | None:
    """Make the broadcast for the time of a repeating one that has come, and plan the next; None if it was made."""
    broadcast = holding.alone(broadcast_id)
    if broadcast.state != State.REPEATING or broadcast.starts_at is None or broadcast.starts_at > now:
        return None
    at = timing.latest(broadcast, broadcast.starts_at, now)
    made = None
    if at is not None:
        made = lifecycle.duplicate(
            broadcast.pk,
            broadcast.name,
            repeat="",
            day=timing.day_of(broadcast, at),
            origin=broadcast,
            occurrence=at,
            state=State.SCHEDULED,
            starts_at=at,
            launched_at=now,
            launched_by=broadcast.launched_by,
        )
    following = timing.following(broadcast, now)
    if following is None:
        broadcast.state, broadcast.finished_at = State.FINISHED, now
    else:
        broadcast.starts_at = following
    broadcast.save(update_fields=["state", "finished_at", "starts_at"])
    return made


def freeze(broadcast_id: int, now: datetime) -> bool:
    """Keep who is in the audience of a broadcast whose time has come; whether that was still to be done."""
    with pg.statement_limits(FREEZE_MS):
        broadcast = holding.alone(broadcast_id)
        if broadcast.state != State.SCHEDULED or broadcast.starts_at is None or broadcast.starts_at > now:
            return False
        lifecycle.check_text(broadcast)
        rule = routes.audience_rule(broadcast)
        audience = compiler.ids(rule, compiler.query(rule, now))
        with connection.cursor() as cursor:
            cursor.execute(_FREEZE.format(audience=audience.text), [broadcast.pk, *audience.params, PEOPLE])
        size = BroadcastPiece.objects.filter(broadcast=broadcast).aggregate(found=Sum("size"))["found"]
        broadcast.state, broadcast.audience, broadcast.started_at = State.EXPANDING, size or 0, now
        broadcast.save(update_fields=["state", "audience", "started_at"])
    return True


@transaction.atomic
def queue_piece(broadcast_id: int, now: datetime) -> bool:
    """Queue the next piece that nobody else is at; False if there is none, or the broadcast does not go on now."""
    holding.share([broadcast_id])
    broadcast = Broadcast.objects.select_related("message").get(pk=broadcast_id)
    if broadcast.state != State.EXPANDING:
        return False
    piece = (
        BroadcastPiece.objects.select_for_update(skip_locked=True)
        .filter(broadcast=broadcast_id, state=Piece.WAITING)
        .order_by("first")
        .first()
    )
    if piece is None:
        return False
    # Who was merged is written to as whom they are now, and only once if both are in the audience.
    now_as = present.hold(piece.profile_ids)
    places: dict[int, int] = {}
    written = _written_before(broadcast_id, set(now_as.values()))
    for place, was in enumerate(piece.profile_ids, piece.first):
        if was in now_as and now_as[was] not in written:
            places.setdefault(now_as[was], place)
    piece.queued = _queue(broadcast, places, now) if places else 0
    piece.state, piece.profile_ids = Piece.QUEUED, []
    piece.save()
    outbox.wake_on_commit()
    return True


def _written_before(broadcast_id: int, profile_ids: Collection[int]) -> set[int]:
    """Those of the people who have a delivery already, queued for a profile that was merged into theirs since."""
    with connection.cursor() as cursor:
        cursor.execute(_MERGED, [pg.number_array(profile_ids)])
        merged = [row[0] for row in cursor.fetchall()]
        if not merged:
            return set()
        cursor.execute(_WRITTEN, [pg.number_array(merged), broadcast_id])
        return {row[0] for row in cursor.fetchall()}


def _queue(broadcast: Broadcast, places: dict[int, int], now: datetime) -> int:
    offered = routes.written(broadcast)
    if not offered:
        raise ValueError("The message has no text for its channel any more.")
    ids = list(places)
    values: dict[str, Any] = {
        "cause": f"broadcast:{broadcast.pk}:",
        "message": broadcast.message_id,
        "expiry": f"{broadcast.message.expires_after_hours} hours",
        "broadcast": broadcast.pk,
        "priority": broadcast.priority,
        "when_limited": broadcast.when_limited,
        "now": now,
        "ids": pg.number_array(ids),
    }
    dividing = assigning.dividing(broadcast.pk)
    plain = not (
        dividing
        or timing.spread(broadcast)
        or broadcast.per_minute
        or broadcast.channel in Broadcast.Route.values
    )
    if plain:
        values["channel"] = offered[0]
        parts = {
            "channel": "%(channel)s",
            "due": "%(now)s::timestamptz",
            "people": "unnest(%(ids)s::bigint[]) AS r(id)",
        }
    else:
        by_person = routes.chosen(broadcast, offered, ids, now)
        due = timing.due_times(broadcast, ids, places, now)
        if dividing:
            assigning.divide(dividing, ids, by_person, due)
        moments = {moment: number for number, moment in enumerate(dict.fromkeys(due.values()), 1)}
        values |= {
            "channels": pg.text_array([by_person[pk] for pk in ids]),
            "moments": pg.text_array([moment.isoformat() for moment in moments]),
            "due": pg.number_array([moments[due[pk]] for pk in ids]),
        }
        people = (
            "(SELECT given.id, given.channel, (%(moments)s::timestamptz[])[given.due] AS due FROM"
            " unnest(%(ids)s::bigint[], %(channels)s::text[], %(due)s::int[]) AS given(id, channel, due)) AS r"
        )
        parts = {"channel": "r.channel", "due": "r.due", "people": people}
    parts |= {
        "shares": variants.SHARES_SQL.format(messages="%(message)s"),
        "variant": variants.join("%(message)s::bigint", "r.id", f"{parts['channel']}::text"),
    }
    with connection.cursor() as cursor:
        cursor.execute(_QUEUE.format(**parts), values)
        return cursor.rowcount


def _ids(which: Q) -> list[int]:
    return list(Broadcast.objects.filter(which).order_by("priority", "pk").values_list("pk", flat=True))


def _safely(broadcast_id: int, work: Callable[[int], Any]) -> bool:
    """Do `work`; a broadcast that it fails for waits until somebody has looked at it, and the others go on."""
    try:
        return bool(work(broadcast_id))
    except (OperationalError, InterfaceError):
        logger.exception("A piece of the broadcast %d was given up; it is tried again", broadcast_id)
    except Broadcast.DoesNotExist:
        logger.info("The broadcast %d was deleted", broadcast_id)
    except Exception as error:
        logger.exception("The broadcast %d can't go on", broadcast_id)
        _stop(broadcast_id, error)
    return False


@transaction.atomic
def _stop(broadcast_id: int, error: Exception) -> None:
    broadcast = holding.alone(broadcast_id)
    if broadcast.state in (State.SCHEDULED, State.REPEATING, *Broadcast.BUSY):
        broadcast.paused_from, broadcast.state = broadcast.state, State.PAUSED
        broadcast.problem = str(error)[:500]
        broadcast.save(update_fields=["paused_from", "state", "problem"])
    alerts.raise_alert(
        lifecycle.alert_key(broadcast_id),
        f"The broadcast “{broadcast.name}” was paused, because it can't go on",
        f"Mend what it refers to, then resume it on its page. The reason: {error}",
    )
