"""Keeps facts, figures, conversions and the deliveries' last state in step with the event log.

One reader, one cursor: what it writes and where it stands move in one transaction, so each event counts once.
"""

from collections.abc import Sequence
from datetime import datetime

from analytics.goals import attribution, last_click, rules
from analytics.rollups import keeping, rebuild, seen
from crm import log, privacy
from delivery import receipts

CURSOR = rebuild.CURSOR
# Whatever of these a device or provider reports, it has the message.
ARRIVED = frozenset({"message_delivered", "message_opened", "message_clicked", "message_dismissed"})


def read(limit: int = 5000) -> tuple[int, bool]:
    """Handle the next events of the log; return how many mattered and whether more may be waiting."""
    goals: set[str] = set()
    aims: list[rules.Rules] = []

    def names() -> set[str]:
        goals.update(last_click.names())
        aims.append(rules.active())
        return {*seen.NAMES, privacy.ERASED, *goals, *aims[0].names, *attribution.MERGES}

    with log.read(CURSOR, limit, names) as batch:
        if batch.start is not None:
            rebuild.begin(batch.start)
        keeping.store(seen.collect(batch.events, keeping.known_zone))
        if erased := {event.profile_id for event in batch.events if event.name == privacy.ERASED}:
            keeping.forget(erased)
        _mark_delivered([event for event in batch.events if event.name in ARRIVED])
        _credit_clicks(batch.events, goals)
        if batch.events:
            attribution.follow(batch.events, aims[0])
    return len(batch.events), batch.full


def _credit_clicks(events: Sequence[log.LoggedEvent], goals: set[str]) -> None:
    """Credit the goals that messages have of their own."""
    reached = {(event.id, event.occurred_at) for event in events if event.name in goals}
    told: dict[str, set[int]] = {"message_clicked": set(), seen.WITHDRAWN: set()}
    for event in events:
        if event.name in told and (number := seen.delivery_of(event)):
            told[event.name].add(number)
    if clicked := told["message_clicked"]:
        reached |= last_click.reached_before(clicked)
    if withdrawn := told[seen.WITHDRAWN]:
        reached |= last_click.withdraw(withdrawn)
    if reached:
        last_click.credit(reached)


def _mark_delivered(events: Sequence[log.LoggedEvent]) -> None:
    first: dict[int, datetime] = {}
    for event in sorted(events, key=lambda event: event.occurred_at):
        if number := seen.delivery_of(event):
            first.setdefault(number, event.occurred_at)
    receipts.mark_delivered(first)
