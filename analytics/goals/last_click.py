"""Last-click attribution: the click that came last before a goal event has the credit, within its message's window."""

import json
from collections.abc import Collection
from datetime import datetime
from uuid import UUID

from django.db import connection

from crm import log
from delivery.models import Message

Key = tuple[UUID, datetime]  # id and time of an event: the log's unique key


def names() -> set[str]:
    """The events that are a goal of some message."""
    return set(Message.objects.exclude(goal_event="").values_list("goal_event", flat=True))


def reached_before(clicked: Collection[int]) -> set[Key]:
    """Goal events in the windows of these deliveries' clicks: a device that was offline tells of a click late."""
    with connection.cursor() as cursor:
        cursor.execute(
            """
            SELECT e.id, e.occurred_at FROM delivery_delivery d
            JOIN delivery_message m ON m.id = d.message_id AND m.goal_event <> ''
            JOIN analytics_engagement g ON g.delivery_id = d.id
            JOIN crm_event e ON e.profile_id = d.profile_id AND e.name = m.goal_event
                AND e.occurred_at >= g.clicked_at
                AND e.occurred_at < g.clicked_at + make_interval(hours => m.goal_window_hours)
            WHERE d.id = ANY(%s)
            """,
            [list(clicked)],
        )
        return set(cursor.fetchall())


def withdraw(deliveries: Collection[int]) -> set[Key]:
    """Take their credit from deliveries whose click was a machine's; return the goal events that it was for.

    What is in the log no more stays as it was.
    """
    with connection.cursor() as cursor:
        cursor.execute(
            """
            DELETE FROM analytics_conversion c USING analytics_engagement g
            WHERE c.delivery_id = ANY(%s) AND g.delivery_id = c.delivery_id
                AND (g.clicked_at IS NULL OR g.clicked_at > c.occurred_at)
                AND EXISTS (SELECT FROM crm_event e WHERE e.id = c.event_id AND e.occurred_at = c.occurred_at)
            RETURNING c.event_id, c.occurred_at
            """,
            [list(deliveries)],
        )
        return set(cursor.fetchall())


def credit(events: Collection[Key]) -> None:
    """Credit each goal event to the person's last click within the message's window (last-click attribution).

    A click that is told late may take over the credit. `message_converted` goes to the log once for each goal
    event and names the message that had the credit first.
    """
    keys = sorted(events)
    with connection.cursor() as cursor:
        cursor.execute(
            """
            WITH credit AS (
                SELECT DISTINCT ON (e.id) e.id AS event_id, e.profile_id, e.name, e.occurred_at,
                    d.id AS delivery_id, d.sent,
                    CASE WHEN jsonb_typeof(d.amount) = 'number' AND abs((d.amount)::numeric) < 1e13
                        THEN (d.amount)::numeric END AS value,
                    left(coalesce(e.properties ->> 'currency', ''), 3) AS currency
                FROM unnest(%s::uuid[], %s::timestamptz[]) AS k(id, occurred_at)
                JOIN crm_event e ON e.id = k.id AND e.occurred_at = k.occurred_at
                CROSS JOIN LATERAL (
                    SELECT d.id, jsonb_build_object('message', m.slug, 'delivery', d.id, 'channel', d.channel,
                            'variant', d.variant, 'origin', jsonb_build_object(
                                'type', d.origin_type, 'id', d.origin_id, 'step', d.origin_step)) AS sent,
                        e.properties #> string_to_array(m.goal_value_property, '.') AS amount
                    FROM delivery_delivery d
                    JOIN delivery_message m ON m.id = d.message_id AND m.goal_event = e.name
                    JOIN analytics_engagement g ON g.delivery_id = d.id
                    WHERE d.profile_id = e.profile_id AND g.clicked_at <= e.occurred_at
                      AND g.clicked_at > e.occurred_at - make_interval(hours => m.goal_window_hours)
                    ORDER BY g.clicked_at DESC, d.id DESC LIMIT 1
                ) d
                ORDER BY e.id, e.occurred_at -- an id may come again with another time; it counts once
            ), kept AS (
                INSERT INTO analytics_conversion AS c (event_id, delivery_id, value, currency, occurred_at)
                SELECT event_id, delivery_id, value, currency, occurred_at FROM credit
                ON CONFLICT (event_id) DO UPDATE SET delivery_id = excluded.delivery_id,
                        value = excluded.value, currency = excluded.currency
                    WHERE c.delivery_id <> excluded.delivery_id AND c.occurred_at = excluded.occurred_at
                RETURNING c.event_id
            )
            SELECT event_id, profile_id, name, occurred_at, sent, value, currency
            FROM credit JOIN kept USING (event_id)
            """,
            [[key[0] for key in keys], [key[1] for key in keys]],
        )
        credited = cursor.fetchall()
    log.append(
        [
            log.NewEvent(
                log.event_id("converted", event_id),
                profile_id,
                "message_converted",
                occurred_at,
                {
                    **json.loads(sent),
                    "goal": name,
                    "value": None if value is None else float(value),
                    "currency": currency,
                },
                "nudge",
            )
            for event_id, profile_id, name, occurred_at, sent, value, currency in credited
        ]
    )
