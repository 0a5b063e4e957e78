"""Putting messages to people into the outbox."""

from collections.abc import Sequence
from datetime import datetime
from typing import Any

import msgspec
from django.db import connection
from django.utils import timezone

from crm import wake
from delivery import variants

# ON CONFLICT takes the second of two equal causes in one call as a conflict too.
_QUEUE = f"""
    WITH requests AS (
        SELECT * FROM jsonb_to_recordset(%(requests)s::jsonb) AS r(
            cause text, message_id bigint, profile_id bigint, channel text, variant text, due_at timestamptz,
            expires_at timestamptz, context jsonb, origin_type text, origin_id bigint, origin_step text,
            priority smallint, when_limited text)
    ), shares AS MATERIALIZED ({variants.SHARES_SQL.format(messages="SELECT message_id FROM requests")})
    INSERT INTO delivery_delivery AS d
        (cause, message_id, profile_id, channel, variant, state, due_at, expires_at, context,
         origin_type, origin_id, origin_step, priority, when_limited, queued_at, transactional)
    SELECT r.cause, r.message_id, r.profile_id, r.channel,
           coalesce(nullif(r.variant, ''), shares.key, '{variants.FIRST}'), 'queued',
           least(coalesce(r.due_at, %(now)s), expiry.at), expiry.at, r.context,
           r.origin_type, r.origin_id, r.origin_step, r.priority, r.when_limited, %(now)s,
           m.transactional AND m.transactional_approved_at IS NOT NULL
    FROM requests r
    {variants.join("r.message_id", "r.profile_id", "r.channel")}
    JOIN delivery_message m ON m.id = r.message_id
    CROSS JOIN LATERAL (
        SELECT coalesce(
            r.expires_at,
            coalesce(r.due_at, %(now)s) + make_interval(hours => m.expires_after_hours)
        ) AS at
    ) AS expiry
    ON CONFLICT (cause) DO NOTHING
    RETURNING d.due_at
"""


class DeliveryRequest(msgspec.Struct, kw_only=True):
    """One message wanted for one person.

    `cause` says what asks, such as "flow:<enrollment>:<step>:<pass>": the same cause makes one delivery however
    often it is queued. `context` is plain data for the text, such as {"event": {...}}. Without `expires_at` the
    message's own limit counts from `due_at`. `priority` is 1 (first) to 5; `when_limited` says what becomes of it
    when it meets quiet hours, a cap or a send window: "defer" or "skip". Without `variant` the message's variants are
    divided among people by their weights.
    """

    cause: str
    message_id: int
    profile_id: int
    channel: str
    origin_type: str
    origin_id: int | None = None
    origin_step: str = ""
    context: dict[str, Any] = {}
    due_at: datetime | None = None
    expires_at: datetime | None = None
    variant: str = ""
    priority: int = 3
    when_limited: str = "defer"


def queue(requests: Sequence[DeliveryRequest], now: datetime | None = None) -> int:
    """Store one delivery for each request whose cause is new and return how many that were.

    One statement, in the caller's transaction if there is one; the dispatcher is woken after commit.
    """
    if not requests:
        return 0
    now = now or timezone.now()
    with connection.cursor() as cursor:
        cursor.execute(_QUEUE, {"requests": msgspec.json.encode(requests).decode(), "now": now})
        due = [row[0] for row in cursor.fetchall()]
    if due and min(due) <= now:
        wake_on_commit()
    return len(due)


def wake_on_commit() -> None:
    """Wake the dispatcher when the transaction commits."""
    wake.on_commit("delivery.tasks.dispatch", "delivery")
