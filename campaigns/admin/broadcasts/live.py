"""How a broadcast that was launched is getting on, and what can be done with it now."""

from datetime import datetime, timedelta
from typing import Any

from django.utils import timezone
from django.utils.translation import gettext as _

from campaigns import audience
from campaigns.models import Broadcast
from delivery.admin.reasons import explain
from delivery.models import Delivery

State = Broadcast.State
LIGHTS = {
    State.DRAFT: "info", State.SCHEDULED: "info", State.REPEATING: "info", State.EXPANDING: "info",
    State.SENDING: "info", State.PAUSED: "warning", State.CANCELLED: "warning", State.FINISHED: "success",
}  # fmt: skip
OCCURRENCES = 10


def context(broadcast: Broadcast, now: datetime | None = None) -> dict[str, Any]:
    """What the page of a broadcast shows; a fixed number of queries."""
    now = now or timezone.now()
    found = audience.figures([broadcast])[broadcast.pk] if broadcast.audience is not None else None
    waits = broadcast.state in (State.SCHEDULED, State.REPEATING)
    running = (
        waits
        or broadcast.state in Broadcast.BUSY
        or (broadcast.state == State.CANCELLED and broadcast.finished_at is None)
    )
    return {
        "broadcast": broadcast,
        "figures": found,
        "reasons": [
            (
                Delivery.State(group).label,
                _("Other reasons; the list of deliveries has them.")
                if reason == audience.OTHER
                else explain(reason),
                number,
            )
            for group, reason, number in found.reasons
        ]
        if found
        else [],
        "light": LIGHTS[State(broadcast.state)],
        "running": running,
        "countdown": max(0, round((broadcast.starts_at - now).total_seconds()))
        if waits and broadcast.starts_at and broadcast.starts_at - now < timedelta(hours=1)
        else None,
        "can": _can(broadcast),
        "occurrences": broadcast.occurrences.order_by("-occurrence")[:OCCURRENCES]
        if broadcast.repeat
        else [],
        **(_speed(broadcast, found, now) if found else {}),
    }


def _can(broadcast: Broadcast) -> set[str]:
    """What may be done by the broadcast's state alone."""
    state = broadcast.state
    found = set()
    if state in (State.SCHEDULED, State.REPEATING):
        found.add("undo")
    if state in (State.SCHEDULED, State.REPEATING, *Broadcast.BUSY):
        found |= {"pause", "cancel"}
    if state == State.PAUSED:
        found |= {"resume", "cancel"}
    return found


def _speed(broadcast: Broadcast, found: audience.Figures, now: datetime) -> dict[str, Any]:
    """Messages a minute since it began, and how long the rest takes at this rate."""
    if broadcast.started_at is None or broadcast.state not in Broadcast.BUSY:
        return {}
    minutes = max((now - broadcast.started_at).total_seconds(), 1) / 60
    rate = found.done / minutes
    left = found.waiting + found.unqueued
    return {"rate": round(rate), "left": span(left / rate) if rate and left else ""}


def span(minutes: float) -> str:
    """A length of time in words."""
    if minutes < 1:
        return _("less than a minute")
    if minutes < 90:
        return _("about %d minutes") % round(minutes)
    return _("about %d hours") % round(minutes / 60)
