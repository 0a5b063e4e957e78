"""What a goal would count, shown beside its form."""

from datetime import datetime, timedelta

import msgspec
from django.db import connection
from django.utils import timezone

from analytics.goals import rules
from analytics.models import Goal

DAYS = 30
LISTED = 10_000  # a look, not a report: nobody waits for more


class Preview(msgspec.Struct, frozen=True):
    """How often the goal was reached in the last days, and how many of these conversions a message has credit for.

    `more` tells that there are more than were looked at.
    """

    events: int
    people: int
    credited: int
    more: bool


def look(goal: Goal, now: datetime | None = None) -> Preview:
    """The goal's events of the last 30 days; one query. Of a goal that counts once, only each person's first."""
    now = now or timezone.now()
    asked = rules.of([goal])
    if not asked.rows:
        return Preview(0, 0, 0, False)
    fits, before = asked.fits("o", "e"), asked.fits("o", "f")
    with connection.cursor() as cursor:
        cursor.execute(
            f"""
            SELECT count(*), count(DISTINCT n.profile_id), count(*) FILTER (WHERE EXISTS (
                SELECT FROM analytics_credit c
                WHERE c.event_id = n.id AND c.goal_id = %(goal)s AND c.model = %(model)s))
            FROM (
                SELECT e.id, e.profile_id FROM crm_event e CROSS JOIN (SELECT %(goal)s::bigint AS id) o
                WHERE e.name = %(event)s AND e.occurred_at > %(since)s AND e.occurred_at <= %(now)s AND {fits}
                    AND NOT (%(once)s AND EXISTS (
                        SELECT FROM crm_event f WHERE f.profile_id = e.profile_id AND f.name = e.name
                            AND (f.occurred_at, f.id) < (e.occurred_at, e.id) AND {before}))
                LIMIT %(limit)s
            ) n
            """,
            asked.values
            | {"goal": goal.pk, "event": goal.event, "model": goal.default_model, "limit": LISTED}
            | {"since": now - timedelta(days=DAYS), "now": now, "once": asked.rows[0]["once"]},
        )
        events, people, credited = cursor.fetchone()
    return Preview(events, people, credited, events >= LISTED)
