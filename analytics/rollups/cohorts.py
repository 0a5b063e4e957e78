"""Who came back: people who began something in the same week or month, counted anew once a day."""

from datetime import datetime

from django.db import connection, transaction
from django.utils import timezone

from analytics.models import CohortCell, RollupState
from analytics.rollups.keeping import account_zone
from crm import log

LOCK = 0x6E756476  # any fixed number: one counts at a time
MESSAGE, PURCHASE = "message", "purchase"
WEEKS = 12
BOUGHT = "purchase"  # the event
SIZE = -1  # `later` of the row that tells how many began

_AFTER_MESSAGE = """
    WITH began AS (
        SELECT DISTINCT d.profile_id, date_trunc('week', g.sent_at AT TIME ZONE %(zone)s)::date AS start
        FROM analytics_engagement g JOIN delivery_delivery d ON d.id = g.delivery_id
        WHERE g.series_id IS NOT NULL AND g.sent_at >= %(since)s
    ), active AS (
        SELECT DISTINCT e.profile_id, date_trunc('week', e.occurred_at AT TIME ZONE %(zone)s)::date AS at
        FROM crm_event e WHERE e.occurred_at >= %(since)s AND e.name <> ALL(%(ours)s)
    )
    SELECT 'message' AS kind, b.start, (a.at - b.start) / 7 AS later, count(*) AS people
    FROM began b JOIN active a ON a.profile_id = b.profile_id AND a.at >= b.start GROUP BY 2, 3
    UNION ALL
    SELECT 'message', start, -1, count(*) FROM began GROUP BY 2
"""
_AFTER_PURCHASE = """
    WITH bought AS (
        SELECT DISTINCT e.profile_id, date_trunc('month', e.occurred_at AT TIME ZONE %(zone)s)::date AS at
        FROM crm_event e WHERE e.name = %(bought)s
    ), began AS (
        SELECT profile_id, min(at) AS start FROM bought GROUP BY 1
    )
    SELECT 'purchase' AS kind, b.start,
        (12 * (date_part('year', a.at) - date_part('year', b.start))
            + date_part('month', a.at) - date_part('month', b.start))::int AS later, count(*) AS people
    FROM began b JOIN bought a ON a.profile_id = b.profile_id WHERE a.at > b.start GROUP BY 2, 3
    UNION ALL
    SELECT 'purchase', start, -1, count(*) FROM began GROUP BY 2
"""


@transaction.atomic
def keep(now: datetime | None = None) -> None:
    """Count all cohorts of the last weeks and months anew.

    It is counted before anything is written: the log's readers wait for whoever writes.
    """
    now = now or timezone.now()
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_try_advisory_xact_lock(%s)", [LOCK])
        if not cursor.fetchone()[0]:
            return
        zone = account_zone()
        cursor.execute(
            "SELECT (date_trunc('week', %s AT TIME ZONE %s) - make_interval(weeks => %s)) AT TIME ZONE %s",
            [now, zone, WEEKS, zone],
        )
        values = {
            "zone": zone,
            "since": cursor.fetchone()[0],
            "bought": BOUGHT,
            "ours": sorted(log.RESERVED_NAMES),
        }
        cells = []
        for source in (_AFTER_MESSAGE, _AFTER_PURCHASE):
            cursor.execute(source, values)
            cells += [CohortCell(pk=row[:3], people=row[3]) for row in cursor.fetchall()]
        CohortCell.objects.all().delete()
        CohortCell.objects.bulk_create(cells)
        RollupState.objects.update_or_create(
            pk=1,
            defaults={"cohorts_counted_at": now},
            create_defaults={"cohorts_counted_at": now, "zone": zone},
        )
