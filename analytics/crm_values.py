"""What came of messages, person by person, as connected CRMs may have it written into their records."""

from collections.abc import Sequence
from decimal import Decimal
from typing import Any

from django.conf import settings
from django.db import connection
from django.utils.translation import gettext_lazy

from analytics.goals.attribution import RATE_DAYS
from crm.sync.written_values import CLICKED, CONVERTED, OPENED, Compute, Value, counted, register

SENT = "message_sent"

_LATEST = """
    SELECT DISTINCT ON (e.profile_id) e.profile_id, e.occurred_at, coalesce(m.name, e.properties ->> 'message'),
        e.properties ->> 'goal'
    FROM crm_event e LEFT JOIN delivery_message m ON m.slug = e.properties ->> 'message'
    WHERE e.profile_id = ANY(%s) AND e.name = %s
    ORDER BY e.profile_id, e.occurred_at DESC, e.id
"""
# As for credits: by the rate of the day or the last one in the month before, else not at all.
_REVENUE = """
    SELECT e.profile_id, sum(e.value * CASE WHEN e.currency IN ('', %(currency)s) THEN 1 ELSE x.rate END)
    FROM (
        SELECT profile_id, (occurred_at AT TIME ZONE 'UTC')::date AS day,
            (properties ->> 'value')::numeric AS value, upper(coalesce(properties ->> 'currency', '')) AS currency
        FROM crm_event
        WHERE profile_id = ANY(%(profiles)s) AND name = %(converted)s
            AND jsonb_typeof(properties -> 'value') = 'number'
    ) e
    LEFT JOIN LATERAL (
        SELECT r.rate FROM analytics_exchangerate r
        WHERE r.currency = e.currency AND r.day <= e.day AND r.day > e.day - %(days)s
        ORDER BY r.day DESC LIMIT 1
    ) x ON e.currency NOT IN ('', %(currency)s)
    GROUP BY e.profile_id
"""


def _latest(event: str, column: int) -> Compute:
    def read(profile_ids: Sequence[int]) -> dict[int, Any]:
        with connection.cursor() as cursor:
            cursor.execute(_LATEST, [list(profile_ids), event])
            return {row[0]: row[column] for row in cursor.fetchall()}

    return read


def revenue(profile_ids: Sequence[int]) -> dict[int, Decimal]:
    """What these people's messages earned, in the account's currency: the amounts of their `message_converted`."""
    with connection.cursor() as cursor:
        cursor.execute(
            _REVENUE,
            {
                "profiles": list(profile_ids),
                "converted": CONVERTED,
                "currency": settings.NUDGE_CURRENCY.upper(),
                "days": RATE_DAYS,
            },
        )
        return {profile: round(amount, 2) for profile, amount in cursor.fetchall() if amount is not None}


def offer() -> None:
    """Let mappings name these values."""
    at, message, goal = 1, 2, 3
    for value in (
        Value("messages_sent", gettext_lazy("messages sent"), "number", counted(SENT), (SENT,)),
        Value("last_message", gettext_lazy("last message sent"), "text", _latest(SENT, message), (SENT,)),
        Value("last_message_at", gettext_lazy("last sent at"), "datetime", _latest(SENT, at), (SENT,)),
        Value("last_opened_at", gettext_lazy("last opened at"), "datetime", _latest(OPENED, at), (OPENED,)),
        Value(
            "last_clicked",
            gettext_lazy("last message clicked"),
            "text",
            _latest(CLICKED, message),
            (CLICKED,),
        ),
        Value(
            "last_clicked_at", gettext_lazy("last clicked at"), "datetime", _latest(CLICKED, at), (CLICKED,)
        ),
        Value("revenue", gettext_lazy("revenue from messages"), "number", revenue, (CONVERTED,)),
        Value("last_goal", gettext_lazy("last goal reached"), "text", _latest(CONVERTED, goal), (CONVERTED,)),
        Value(
            "last_goal_at",
            gettext_lazy("last goal reached at"),
            "datetime",
            _latest(CONVERTED, at),
            (CONVERTED,),
        ),
    ):
        register(value)
