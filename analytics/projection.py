"""Keeps Engagement, Conversion and the deliveries' last state in step with the event log.

One reader, one cursor: what it writes and where it stands move in one transaction, so each event counts once.
"""

from collections.abc import Sequence
from datetime import datetime

import msgspec
from django.db import connection
from django.utils import timezone

from crm import log
from delivery import receipts
from delivery.models import Message

CURSOR = "analytics"
COLUMNS = {
    "message_delivered": "shown_at",
    "message_opened": "opened_at",
    "message_clicked": "clicked_at",
    "message_dismissed": "dismissed_at",
}


def read(now: datetime | None = None, limit: int = 5000) -> tuple[int, bool]:
    """Handle the next events of the log; return how many mattered and whether more may be waiting."""
    now = now or timezone.now()
    goals = set(Message.objects.exclude(goal_event="").values_list("goal_event", flat=True))
    with log.read(CURSOR, limit, {*COLUMNS, *goals}) as batch:
        engaged = [event for event in batch.events if event.name in COLUMNS]
        if engaged:
            _engage(engaged)
        reached = [event for event in batch.events if event.name in goals]
        if reached:
            _credit(reached)
    return len(batch.events), batch.full


def _engage(events: Sequence[log.LoggedEvent]) -> None:
    rows = [
        {"delivery": event.properties.get("delivery"), COLUMNS[event.name]: event.occurred_at}
        for event in events
    ]
    columns = list(COLUMNS.values())
    with connection.cursor() as cursor:
        cursor.execute(
            f"""
            INSERT INTO analytics_engagement AS g (delivery_id, {", ".join(columns)})
            SELECT r.delivery, {", ".join(f"min(r.{column})" for column in columns)}
            FROM jsonb_to_recordset(%s::jsonb)
                AS r(delivery bigint, {", ".join(f"{column} timestamptz" for column in columns)})
            JOIN delivery_delivery d ON d.id = r.delivery GROUP BY r.delivery
            ON CONFLICT (delivery_id) DO UPDATE
                SET {", ".join(f"{column} = least(g.{column}, excluded.{column})" for column in columns)}
            """,
            [msgspec.json.encode(rows).decode()],
        )
    # Whatever a device reports, it has the message.
    receipts.mark_delivered(
        {row["delivery"]: event.occurred_at for row, event in reversed(list(zip(rows, events, strict=True)))}
    )


def _credit(events: Sequence[log.LoggedEvent]) -> None:
    """Credit each goal event to the person's last click within the message's window (last-click attribution)."""
    with connection.cursor() as cursor:
        cursor.execute(
            """
            INSERT INTO analytics_conversion (event_id, delivery_id, value, currency, occurred_at)
            SELECT e.id, d.id,
                CASE WHEN jsonb_typeof(d.amount) = 'number' AND abs((d.amount)::numeric) < 1e13
                    THEN (d.amount)::numeric END,
                left(coalesce(e.properties ->> 'currency', ''), 3), e.occurred_at
            FROM unnest(%s::uuid[], %s::timestamptz[]) AS k(id, occurred_at)
            JOIN crm_event e ON e.id = k.id AND e.occurred_at = k.occurred_at
            CROSS JOIN LATERAL (
                SELECT d.id, e.properties #> string_to_array(m.goal_value_property, '.') AS amount
                FROM delivery_delivery d
                JOIN delivery_message m ON m.id = d.message_id AND m.goal_event = e.name
                JOIN analytics_engagement g ON g.delivery_id = d.id
                WHERE d.profile_id = e.profile_id AND g.clicked_at <= e.occurred_at
                  AND g.clicked_at > e.occurred_at - make_interval(hours => m.goal_window_hours)
                ORDER BY g.clicked_at DESC LIMIT 1
            ) d
            ON CONFLICT DO NOTHING RETURNING event_id, delivery_id, value, currency
            """,
            [[event.id for event in events], [event.occurred_at for event in events]],
        )
        credited = cursor.fetchall()
    if not credited:
        return
    slugs = dict(
        Message.objects.filter(deliveries__in=[row[1] for row in credited]).values_list(
            "deliveries__pk", "slug"
        )
    )
    by_id = {event.id: event for event in events}
    log.append(
        [
            log.NewEvent(
                log.event_id("converted", event_id),
                by_id[event_id].profile_id,
                "message_converted",
                by_id[event_id].occurred_at,
                {
                    "message": slugs[delivery_id],
                    "delivery": delivery_id,
                    "goal": by_id[event_id].name,
                    "value": None if value is None else float(value),
                    "currency": currency,
                },
                "nudge",
            )
            for event_id, delivery_id, value, currency in credited
        ]
    )
