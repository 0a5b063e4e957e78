"""Writing what became of a batch: one statement for the states, one for the log."""

from collections.abc import Sequence
from datetime import datetime
from typing import Any
from uuid import UUID

import msgspec
from django.db import connection

from crm import log
from delivery import policies
from delivery.dispatch import traits
from delivery.models import Delivery

State = Delivery.State

EVENTS: dict[str, str] = {
    State.SENT: "message_sent",
    State.SUPPRESSED: "message_suppressed",
    State.FAILED: "message_failed",
    State.EXPIRED: "message_failed",
}
MAX_REASON = 300  # characters


class Change(msgspec.Struct, kw_only=True, omit_defaults=True):
    """The next state of one delivery. None leaves a column as it is.

    `held` is the attempt count under which this worker holds the row: if it is not `sending` with that count any
    more, somebody else took over and the change is dropped. None: the caller's transaction has locked the row.
    """

    id: int
    state: str
    reason: str = ""
    held: int | None = None
    attempts: int | None = None
    due_at: datetime | None = None
    lease_until: datetime | None = None
    sent_at: datetime | None = None
    locale: str | None = None
    variant: str | None = None
    content: Any = None
    links: list[str] | None = None


_APPLY = f"""
    UPDATE delivery_delivery d
    SET state = r.state, reason = coalesce(r.reason, ''), lease_until = r.lease_until,
        attempts = coalesce(r.attempts, d.attempts), due_at = coalesce(r.due_at, d.due_at),
        sent_at = coalesce(r.sent_at, d.sent_at), locale = coalesce(r.locale, d.locale),
        variant = coalesce(r.variant, d.variant),
        content = coalesce(nullif(r.content, 'null'), d.content),
        links = coalesce(nullif(r.links, 'null'), d.links)
    FROM jsonb_to_recordset(%s::jsonb) AS r(
        id bigint, state text, reason text, held int, attempts int, due_at timestamptz, lease_until timestamptz,
        sent_at timestamptz, locale text, variant text, content jsonb, links jsonb)
    WHERE d.id = r.id AND (r.held IS NULL OR (d.state = 'sending' AND d.attempts = r.held))
    RETURNING d.id, d.profile_id, CASE WHEN r.state = 'sent' THEN {traits.RAW} END
"""


def apply(changes: Sequence[Change], deliveries: dict[int, Delivery], now: datetime) -> set[int]:
    """Write `changes` and log those that are final, in the caller's transaction; return the ids that changed.

    What goes to a tester did not happen to the person whose data fills it in, so it is not logged.

    Args:
        deliveries: by id, with their message loaded.
    """
    if not changes:
        return set()
    for change in changes:
        change.reason = clean(change.reason)
    with connection.cursor() as cursor:
        cursor.execute(_APPLY, [msgspec.json.encode(changes).decode()])
        changed = {pk: (profile_id, raw) for pk, profile_id, raw in cursor.fetchall()}
    log.append(
        [
            _event(change, deliveries[change.id], *changed[change.id], now)
            for change in changes
            if change.id in changed
            and change.state in EVENTS
            and not policies.for_tester(deliveries[change.id])
        ]
    )
    return set(changed)


def clean(text: str) -> str:
    """Make a provider's words fit to be stored and shown: one line, printable, not endless."""
    if not text:
        return ""
    return " ".join("".join(c if c.isprintable() else " " for c in text).split())[:MAX_REASON]


def event(
    number: UUID, name: str, delivery: Delivery, at: datetime, reason: str = "", profile_id: int | None = None
) -> log.NewEvent:
    """Return the log event of something that happened to a delivery, whose message is loaded."""
    properties = {
        "message": delivery.message.slug,
        "delivery": delivery.pk,
        "channel": delivery.channel,
        "variant": delivery.variant,
        "origin": {"type": delivery.origin_type, "id": delivery.origin_id, "step": delivery.origin_step},
    }
    if reason:
        properties["reason"] = reason
    return log.NewEvent(
        id=number,
        profile_id=profile_id or delivery.profile_id,
        name=name,
        occurred_at=at,
        properties=properties,
        source="nudge",
    )


def _event(
    change: Change, delivery: Delivery, profile_id: int, raw: str | None, now: datetime
) -> log.NewEvent:
    # The profile comes from the row: a merge may have moved the delivery since it was read.
    name = EVENTS[change.state]
    made = event(log.event_id(name, delivery.pk), name, delivery, now, change.reason, profile_id)
    if change.state == State.SENT:
        made.properties |= traits.told(delivery.channel, raw)
    elif name == "message_failed":
        made.properties["state"] = change.state
    return made
