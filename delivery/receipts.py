"""What devices tell about messages they have."""

from collections.abc import Mapping
from datetime import datetime

import msgspec
from django.db import connection, transaction

from crm import log
from delivery.dispatch import traits

_MARK = f"""
    WITH told AS (
        SELECT r.id, r.at, d.state AS before FROM jsonb_to_recordset(%s::jsonb) AS r(id bigint, at timestamptz)
        JOIN delivery_delivery d ON d.id = r.id
        WHERE d.delivered_at IS NULL AND NOT (d.state = 'failed' AND d.sent_at IS NOT NULL)
        ORDER BY d.id FOR UPDATE OF d
    )
    UPDATE delivery_delivery d
    SET state = 'delivered', reason = '', lease_until = NULL, delivered_at = told.at,
        sent_at = coalesce(d.sent_at, told.at)
    FROM told, delivery_message m WHERE d.id = told.id AND m.id = d.message_id
    RETURNING d.id, d.profile_id, d.channel, d.variant, m.slug, d.origin_type, d.origin_id, d.origin_step,
        d.sent_at, told.before <> 'sent'
            AND NOT (d.origin_type = 'test' AND coalesce(d.context #>> '{{test,address}}', '') <> ''),
        CASE WHEN told.before <> 'sent' THEN {traits.RAW} END
"""


@transaction.atomic
def mark_delivered(times: Mapping[int, datetime]) -> int:
    """Mark deliveries, by id, as delivered at the given time; return how many were not so already.

    A device may report before the worker that sent has recorded it, or after that worker died: what was still
    open is thereby known to have been sent, and is logged as such. What the provider reported as lost after it took
    it stays so: of what it told the earliest final word counts, whenever the log of it is read.
    """
    if not times:
        return 0
    rows = [{"id": delivery_id, "at": at} for delivery_id, at in times.items()]
    with connection.cursor() as cursor:
        cursor.execute(_MARK, [msgspec.json.encode(rows).decode()])
        marked = cursor.fetchall()
    log.append(
        [
            log.NewEvent(
                log.event_id("message_sent", pk),
                profile_id,
                "message_sent",
                sent_at,
                {
                    "message": slug,
                    "delivery": pk,
                    "channel": channel,
                    "variant": variant,
                    "origin": {"type": origin_type, "id": origin_id, "step": origin_step},
                    **traits.told(channel, raw),
                },
                "nudge",
            )
            for pk, profile_id, channel, variant, slug, origin_type, origin_id, origin_step, sent_at, new, raw in marked
            if new
        ]
    )
    return len(marked)
