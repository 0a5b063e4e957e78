"""Keeps facts, figures, conversions and the deliveries' last state in step with the event log.

One reader, one cursor: what it writes and where it stands move in one transaction, so each event counts once.
"""

from collections.abc import Sequence
from datetime import datetime

from analytics.goals import last_click
from analytics.rollups import keeping, rebuild, seen
from crm import log, privacy
from delivery import receipts

CURSOR = rebuild.CURSOR
# Whatever of these a device or provider reports, it has the message.
ARRIVED = frozenset({"message_delivered", "message_opened", "message_clicked", "message_dismissed"})


def read(limit: int = 5000) -> tuple[int, bool]:
    """Handle the next events of the log; return how many mattered and whether more may be waiting."""
    goals = last_click.names()
    with log.read(CURSOR, limit, {*seen.NAMES, privacy.ERASED, *goals}) as batch:
        if batch.start is not None:
            rebuild.begin(batch.start)
        keeping.store(seen.collect(batch.events, keeping.known_zone))
        if erased := {event.profile_id for event in batch.events if event.name == privacy.ERASED}:
            keeping.forget(erased)
        _mark_delivered([event for event in batch.events if event.name in ARRIVED])
        reached = {(event.id, event.occurred_at) for event in batch.events if event.name in goals}
        clicked = [event for event in batch.events if event.name == "message_clicked"]
        if numbers := [
            number for event in clicked if type(number := event.properties.get("delivery")) is int
        ]:
            reached |= last_click.reached_before(numbers)
        if reached:
            last_click.credit(reached)
    return len(batch.events), batch.full


def _mark_delivered(events: Sequence[log.LoggedEvent]) -> None:
    first: dict[int, datetime] = {}
    for event in sorted(events, key=lambda event: event.occurred_at):
        if number := seen.delivery_of(event):
            first.setdefault(number, event.occurred_at)
    receipts.mark_delivered(first)
