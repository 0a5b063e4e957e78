"""What users do with a broadcast: plan, take back, pause, resume, cancel, copy.

Each changes the state in one short transaction that has the broadcast alone; the rest is done in the background.
"""

from datetime import datetime, timedelta
from typing import Any

from django.conf import settings
from django.db import transaction
from django.utils import timezone
from django.utils.translation import gettext as _

from campaigns.broadcasts import holding, routes, timing
from campaigns.models import Broadcast, BroadcastPiece
from campaigns.segments import compiler
from crm import alerts, wake

State = Broadcast.State
TASK, QUEUE = "campaigns.tasks.run_broadcasts", "keeping"


def alert_key(broadcast_id: int) -> str:
    """What alerts about a broadcast that can't go on are kept under."""
    return f"broadcast:{broadcast_id}"


class StateError(ValueError):
    """That can't be done with the broadcast as it is now; the text says why."""


class LaunchError(StateError):
    """The broadcast can't be launched; the text says why and what to do."""


@transaction.atomic
def plan(
    broadcast_id: int, user: Any = None, now: datetime | None = None, undo_seconds: int | None = None
) -> Broadcast:
    """Launch: from now on it goes out by itself, at its time or after a count-down within which it can be taken back.

    Args:
        undo_seconds: length of the count-down. Default: the setting NUDGE_BROADCAST_UNDO_SECONDS.

    Raises:
        LaunchError: it was launched before, the message has no text for the channel, or its time is over or missing.
        RuleError: the rule of a segment can't be evaluated.
    """
    now = now or timezone.now()
    broadcast = holding.alone(broadcast_id)
    if broadcast.state != State.DRAFT:
        raise LaunchError(_("This broadcast was launched already; it can't be sent twice."))
    check(broadcast, now)
    wait = timedelta(seconds=settings.NUDGE_BROADCAST_UNDO_SECONDS if undo_seconds is None else undo_seconds)
    if broadcast.repeat:
        first = timing.following(broadcast, now)
        if first is None:
            raise LaunchError(_("None of its days is still to come."))
        broadcast.state, broadcast.starts_at = State.REPEATING, first
    else:
        broadcast.state, broadcast.starts_at = State.SCHEDULED, timing.begins(broadcast, now + wait)
    broadcast.launched_at, broadcast.launched_by, broadcast.problem = now, user, ""
    broadcast.save()
    if broadcast.starts_at <= now:
        wake.on_commit(TASK, QUEUE)
    return broadcast


def check(broadcast: Broadcast, now: datetime) -> None:
    """What must be right before anybody is written to.

    Raises:
        LaunchError: see `plan`.
        RuleError: the rule of a segment can't be evaluated.
    """
    check_text(broadcast)
    try:
        timing.check(broadcast)
    except timing.TimeError as error:
        raise LaunchError(str(error)) from error
    over = broadcast.when in (Broadcast.When.AT, Broadcast.When.LOCAL) and not broadcast.repeat
    if over and broadcast.occurrence is None and broadcast.day and broadcast.time:
        begins = timing.begins(broadcast, datetime.min.replace(tzinfo=now.tzinfo))
        # By people's own clocks the last zone is 26 hours behind the first one.
        late = timedelta(hours=26) if broadcast.when == Broadcast.When.LOCAL else timedelta()
        if begins + late < now:
            raise LaunchError(_("Its time is over. Choose a later one."))
    rule = routes.audience_rule(broadcast)
    compiler.ids(rule, compiler.query(rule, now))


def check_text(broadcast: Broadcast) -> None:
    """Raises LaunchError if the message has no text for any of the broadcast's channels."""
    if not routes.written(broadcast):
        raise LaunchError(_("The message has no text for this channel. Write it first."))


@transaction.atomic
def undo(broadcast_id: int, now: datetime | None = None) -> Broadcast:
    """Make a broadcast that has not begun a draft again.

    Raises:
        StateError: it has begun.
    """
    broadcast = holding.alone(broadcast_id)
    waiting = broadcast.state in (State.SCHEDULED, State.REPEATING)
    if not waiting or broadcast.origin_id or (broadcast.repeat and broadcast.occurrences.exists()):
        raise StateError(_("It has begun already. Cancel it to stop what has not gone out."))
    broadcast.state, broadcast.starts_at = State.DRAFT, None
    broadcast.launched_at = broadcast.launched_by = None
    broadcast.save()
    return broadcast


@transaction.atomic
def pause(broadcast_id: int, now: datetime | None = None) -> Broadcast:
    """Queue and send nothing more until it is resumed. What a provider has been given is under way.

    Raises:
        StateError: it is a draft, or over.
    """
    broadcast = holding.alone(broadcast_id)
    if broadcast.state not in (State.SCHEDULED, State.REPEATING, *Broadcast.BUSY):
        raise StateError(_("Only what is planned or under way can be paused."))
    broadcast.paused_from, broadcast.state = broadcast.state, State.PAUSED
    broadcast.save(update_fields=["paused_from", "state"])
    return broadcast


@transaction.atomic
def resume(broadcast_id: int, now: datetime | None = None) -> Broadcast:
    """Go on. What was due meanwhile goes out now, unless it is too late for it by the message's own limit.

    Raises:
        StateError: it is not paused.
    """
    now = now or timezone.now()
    broadcast = holding.alone(broadcast_id)
    if broadcast.state != State.PAUSED:
        raise StateError(_("It is not paused."))
    broadcast.state, broadcast.paused_from, broadcast.problem = broadcast.paused_from, "", ""
    broadcast.releasing = broadcast.state in Broadcast.BUSY
    if broadcast.state == State.REPEATING and broadcast.starts_at and broadcast.starts_at <= now:
        following = timing.following(broadcast, now)  # what came in the pause is left out
        if following is None:
            broadcast.state, broadcast.finished_at = State.FINISHED, now
        broadcast.starts_at = following or broadcast.starts_at
    broadcast.save()
    alerts.resolve(alert_key(broadcast_id))
    wake.on_commit(TASK, QUEUE)
    return broadcast


@transaction.atomic
def cancel(broadcast_id: int, now: datetime | None = None) -> Broadcast:
    """Send nothing more, ever. Who was not queued yet never is; what waits is taken back in the background.

    Raises:
        StateError: it is a draft, or over.
    """
    now = now or timezone.now()
    broadcast = holding.alone(broadcast_id)
    if broadcast.state in (State.DRAFT, *Broadcast.OVER):
        raise StateError(_("Only what is planned or under way can be cancelled."))
    broadcast.state, broadcast.paused_from, broadcast.releasing = State.CANCELLED, "", False
    if broadcast.audience is None:
        broadcast.finished_at = now
    broadcast.save()
    waiting = BroadcastPiece.objects.filter(broadcast=broadcast, state=BroadcastPiece.State.WAITING)
    waiting.update(state=BroadcastPiece.State.CANCELLED, profile_ids=[])
    wake.on_commit(TASK, QUEUE)
    return broadcast


@transaction.atomic
def duplicate(broadcast_id: int, name: str, **changes: Any) -> Broadcast:
    """A draft with the same settings."""
    old = Broadcast.objects.get(pk=broadcast_id)
    copied = {
        field: getattr(old, field)
        for field in (
            *("message_id", "segment_id", "channel", "when", "day", "time", "repeat", "weekdays", "last_day"),
            *("per_minute", "priority", "when_limited", "holdout_percent"),
        )
    }
    made = Broadcast.objects.create(**{"name": name, **copied, **changes})
    made.exclusions.set(old.exclusions.all())
    return made
