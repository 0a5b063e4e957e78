"""Fallback chains: a message by one channel, by the next one unless the first did its work in time, and so on.

What was queued is read from the outbox, so a chain goes on rightly whenever and however often it is asked. The time
that a message has to be opened or clicked runs from when it was sent; what must be sent in time runs from when it was
queued, and is not sent any more after that. What can't be sent makes room for the next at once.
"""

from collections.abc import Collection, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any, Literal

import msgspec
from django.db import connection

from crm.rules.moments import Span
from delivery.models import Delivery

State = Delivery.State
LOST = (State.SUPPRESSED, State.FAILED, State.EXPIRED)
LOOK_AGAIN = timedelta(minutes=1)  # at what should have been sent or dropped by now
OPENED, CLICKED, SENT = "opened", "clicked", "sent"
EVENTS = {OPENED: ("message_opened", "message_clicked"), CLICKED: ("message_clicked",), SENT: ()}
SETTLED = frozenset({"message_sent", "message_failed", "message_suppressed"})

_ENGAGED = """
    SELECT (e.properties ->> 'delivery')::bigint, e.name, min(e.occurred_at)
    FROM crm_event e
    WHERE e.profile_id = ANY(%s) AND e.name IN ('message_opened', 'message_clicked') AND e.occurred_at >= %s
        AND e.occurred_at <= %s AND e.properties ->> 'delivery' = ANY(%s)
    GROUP BY 1, 2
"""


class Link(msgspec.Struct, forbid_unknown_fields=True, omit_defaults=True, frozen=True):
    """One channel; the next one's turn comes after `wait` unless the message was opened, clicked or sent by then."""

    channel: str
    wait: Span | None = None
    unless: Literal["opened", "clicked", "sent"] = "opened"

    @property
    def length(self) -> timedelta:
        return self.wait.length if self.wait else timedelta()


class Queued(msgspec.Struct, frozen=True):
    """What became of one delivery of a chain by now; times are aware, None for what has not happened."""

    channel: str
    state: str
    queued_at: datetime
    expires_at: datetime
    sent_at: datetime | None = None
    opened_at: datetime | None = None
    clicked_at: datetime | None = None
    reason: str = ""

    def met_at(self, unless: str) -> datetime | None:
        """When it was opened, clicked or sent; a click opens."""
        if unless == SENT:
            return self.sent_at
        if unless == CLICKED:
            return self.clicked_at
        return min((at for at in (self.opened_at, self.clicked_at) if at is not None), default=None)

    @property
    def facts(self) -> dict[str, str]:
        return {"channel": self.channel, "state": self.state} | (
            {"reason": self.reason} if self.reason else {}
        )


class Queue(msgspec.Struct, frozen=True):
    """Send by this link's channel now; `last` if no other may follow. Not after `expires_at`, if one is given."""

    link: Link
    last: bool
    expires_at: datetime | None = None


class Hold(msgspec.Struct, frozen=True):
    """Look again then, or as soon as one of the chain's events comes."""

    until: datetime


class Done(msgspec.Struct, frozen=True):
    """Nothing more is to be sent, because of what happened by the channel `by`."""

    because: str
    by: str = ""


Move = Queue | Hold | Done


def decide(chain: Sequence[Link], queued: Sequence[Queued], expected: int, now: datetime) -> Move:
    """What a chain does next for one person.

    Args:
        queued: what was queued so far, in that order.
        expected: how many are known to have been queued; if rows are gone since, nothing more is sent.
    """
    if len(queued) < expected:
        return Done("gone")
    used = {each.channel for each in queued}
    left = [link for link in chain if link.channel not in used]
    if queued:
        own = next((link for link in chain if link.channel == queued[-1].channel), None)
        held = _held(own, queued, now) if own is not None else None
        if held is not None:
            return held
    if not left:
        return Done("all tried")
    link, last = left[0], len(left) == 1
    return Queue(link, last, now + link.length if link.unless == SENT and not last else None)


def _held(own: Link, queued: Sequence[Queued], now: datetime) -> Move | None:
    """Whether the chain ends or waits at what was queued last; None if it is the next one's turn."""
    current = queued[-1]
    deadline = _deadline(own, current)
    for each in queued:
        met_at = each.met_at(own.unless)
        if met_at is None or met_at > now:
            continue
        # What went out a moment after the deadline went out all the same.
        if own.unless == SENT or deadline is None or met_at < deadline:
            return Done(own.unless, each.channel)
    if current.state in LOST:
        return None
    if deadline is None:
        return Hold(max(current.expires_at, now) + LOOK_AGAIN)
    if now < deadline:
        return Hold(deadline)
    if own.unless == SENT and current.sent_at is None:
        return Hold(now + LOOK_AGAIN)  # it expired with its deadline, or is being sent at this very moment
    return None


def _deadline(own: Link, current: Queued) -> datetime | None:
    if own.unless == SENT:
        return current.queued_at + own.length
    return None if current.sent_at is None else current.sent_at + own.length


def cause(enrollment_id: int, step_key: str, channel: str = "") -> str:
    """What a flow's delivery is unique by: one run sends one step's message once, or once by each channel.

    The first message of a step has no channel in its cause, so that it is the same if the step's settings change.
    """
    return f"flow:{enrollment_id}:{step_key}" + (f":{channel}" if channel else "")


def queued_for(
    runs: Mapping[int, int], step_key: str, channels: Collection[str], now: datetime
) -> dict[int, list[Queued]]:
    """What was queued at a step, by run, in two queries.

    Args:
        runs: profile id by enrollment id.
        channels: all that the step may have sent by.
    """
    run_of = {cause(run, step_key, channel): run for run in runs for channel in ("", *channels)}
    rows = list(
        Delivery.objects.filter(cause__in=list(run_of))
        .order_by("queued_at", "pk")
        .values_list("pk", "cause", "channel", "state", "queued_at", "expires_at", "sent_at", "reason")
    )
    engaged = _engaged(set(runs.values()), [row[0] for row in rows], [row[4] for row in rows], now)
    found: dict[int, list[Queued]] = {run: [] for run in runs}
    for pk, cause_, channel, state, queued_at, expires_at, sent_at, reason in rows:
        opened, clicked = engaged.get((pk, "message_opened")), engaged.get((pk, "message_clicked"))
        found[run_of[cause_]].append(
            Queued(channel, state, queued_at, expires_at, sent_at, opened, clicked, reason)
        )
    return found


def _engaged(
    profile_ids: Collection[int], deliveries: Sequence[int], queued: Sequence[datetime], now: datetime
) -> dict[tuple[int, str], datetime]:
    """When deliveries were first opened and clicked; not if a clock that went wrong tells a time before they were."""
    if not deliveries:
        return {}
    with connection.cursor() as cursor:
        cursor.execute(
            _ENGAGED,
            [list(profile_ids), min(queued) - timedelta(minutes=5), now, [str(pk) for pk in deliveries]],
        )
        return {(pk, name): at for pk, name, at in cursor.fetchall()}


def wakes(chain: Sequence[Link]) -> frozenset[str]:
    """The events that may end a chain's wait."""
    return SETTLED.union(*(EVENTS[link.unless] for link in chain[:-1]))


def rehearse(
    chain: Sequence[Link], state: Mapping[str, Any], reachable: Collection[str], now: datetime
) -> tuple[Move, dict[str, Any]]:
    """As `decide` where nothing is sent: nobody opens anything, and what reaches a person is sent at once.

    Returns the move with the state to be kept for the next asking, which is `now` or later.

    Args:
        state: what the last asking left; empty at first.
        reachable: the channels by which the person can be reached.
    """
    place = int(state.get("link", -1))
    if place >= 0:
        link = chain[place]
        if link.unless == SENT and link.channel in reachable:
            return Done(SENT, link.channel), {}
        ends = datetime.fromisoformat(state["ends"])
        if now < ends:
            return Hold(ends), {"link": place, "ends": state["ends"]}
    if place + 1 >= len(chain):
        return Done("all tried"), {}
    link = chain[place + 1]
    waits = link.length if link.channel in reachable and link.unless != SENT else timedelta(seconds=1)
    ends_at = now + waits
    return Queue(link, place + 2 == len(chain)), {"link": place + 1, "ends": ends_at.isoformat()}
