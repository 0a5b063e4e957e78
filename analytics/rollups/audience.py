"""Who can be written to, day by day: counted from profiles, consents and the ledger of consents every few minutes."""

from datetime import date, datetime, timedelta
from typing import Any

import msgspec
from django.db import connection, transaction
from django.utils import timezone

from analytics.rollups.keeping import account_zone

LOCK = 0x6E756475  # any fixed number: one counts at a time
SETTLED = timedelta(days=30)  # then it stays who brought somebody
# Measures of every day, counted anew from what is on record. Those `_by` someone have "<channel> <who told it>" as
# their channel, those of topics the topic.
FROM_RECORDS = (
    *("joined", "left", "joined_by", "left_by"),
    *("topic_joined", "topic_left", "topic_joined_by", "topic_left_by"),
    "new",
)
# A yes or no is one where it changes the answer before; topics that need no yes have one from the start.
_JOINED = """
    SELECT CASE GROUPING(source) WHEN 1 THEN measure ELSE measure || '_by' END AS measure, day,
        CASE GROUPING(source) WHEN 1 THEN key ELSE key || ' ' || source END AS channel, count(*) AS people
    FROM (
        SELECT CASE kind WHEN 'topic' THEN 'topic_' ELSE '' END
                || CASE state WHEN 'subscribed' THEN 'joined' ELSE 'left' END AS measure,
            (changed_at AT TIME ZONE %(zone)s)::date AS day, key, source
        FROM (
            SELECT kind, key, state, source, changed_at,
                lag(state) OVER (PARTITION BY profile_id, kind, key ORDER BY changed_at, id) AS before
            FROM crm_consentchange WHERE state IN ('subscribed', 'unsubscribed')
        ) AS answers
        WHERE state = 'subscribed' AND before IS DISTINCT FROM 'subscribed'
            OR state = 'unsubscribed' AND before = 'subscribed'
            OR state = 'unsubscribed' AND before IS NULL AND kind = 'topic'
    ) AS changed
    GROUP BY GROUPING SETS ((measure, day, key), (measure, day, key, source))
"""
_NEW = """
    SELECT 'new' AS measure, (created_at AT TIME ZONE %(zone)s)::date AS day, '' AS channel, count(*) AS people
    FROM crm_profile GROUP BY 2
"""
# Who told something about a person first has brought them; of visitors nobody told anything. That takes long to look
# up, so of people who came long ago it stays as it was. Those of one import have the same `sources`.
_CAME = """
    SELECT 'came' AS measure, day, coalesce((
        SELECT told.value ->> 0 FROM jsonb_each(sources) told ORDER BY told.value ->> 1, told.key LIMIT 1
    ), '') AS channel, sum(people)::bigint AS people
    FROM (
        SELECT (created_at AT TIME ZONE %(zone)s)::date AS day, sources, count(*) AS people
        FROM crm_profile WHERE created_at >= %(since)s::date::timestamp AT TIME ZONE %(zone)s GROUP BY 1, 2
    ) AS alike GROUP BY 2, 3
"""
# Today's state; the days before keep what they were.
_NOW = """
    SELECT 'profiles' AS measure, %(today)s::date AS day, '' AS channel, count(*) AS people FROM crm_profile
    UNION ALL
    SELECT x.measure, %(today)s::date, c.key, count(*)
    FROM crm_consent c JOIN crm_profile p ON p.id = c.profile_id
    LEFT JOIN (SELECT DISTINCT profile_id, kind FROM crm_device WHERE state = 'active') v
        ON v.profile_id = c.profile_id AND c.key IN ('webpush', 'push') AND (v.kind = 'webpush') = (c.key = 'webpush')
    CROSS JOIN LATERAL (VALUES ('agreed', true), ('reachable', CASE c.key
        WHEN 'email' THEN coalesce(p.email, '') <> '' WHEN 'sms' THEN coalesce(p.phone, '') <> ''
        WHEN 'whatsapp' THEN coalesce(p.phone, '') <> '' WHEN 'webpush' THEN v.profile_id IS NOT NULL
        WHEN 'push' THEN v.profile_id IS NOT NULL ELSE true END
        AND NOT EXISTS (SELECT FROM crm_suppression b WHERE b.channel IN (c.key, 'all') AND b.address =
            CASE c.key WHEN 'email' THEN p.email WHEN 'sms' THEN p.phone WHEN 'whatsapp' THEN p.phone END)
    )) AS x(measure, counts)
    WHERE c.kind = 'channel' AND c.state = 'subscribed' AND x.counts GROUP BY x.measure, c.key
"""
_MADE = """
    made AS (
        SELECT * FROM jsonb_to_recordset(%(made)s::jsonb) AS r(measure text, day date, channel text, people bigint)
    )
"""
# A day from which everybody has moved, by a merge or another time zone.
_DROP = f"""
    WITH {_MADE}
    DELETE FROM analytics_audienceday a
    WHERE (a.measure = ANY(%(kept)s) OR a.measure = 'came' AND a.day >= %(since)s
            OR a.measure IN ('agreed', 'reachable') AND a.day = %(today)s)
        AND NOT EXISTS (
            SELECT FROM made m WHERE (m.measure, m.day, m.channel) = (a.measure, a.day, a.channel))
"""
_PUT = f"""
    WITH {_MADE}
    INSERT INTO analytics_audienceday AS a (measure, day, channel, people)
    SELECT measure, day, channel, people FROM made ORDER BY 1, 2, 3
    ON CONFLICT (measure, day, channel) DO UPDATE SET people = excluded.people WHERE a.people <> excluded.people
"""


@transaction.atomic
def keep(now: datetime | None = None) -> None:
    """Bring the audience's days up to date; what was told late or merged changes days that are past.

    It is counted before anything is written: the log's readers wait for whoever writes.
    """
    now = now or timezone.now()
    zone = account_zone()
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_try_advisory_xact_lock(%s)", [LOCK])
        if not cursor.fetchone()[0]:
            return
        cursor.execute("SELECT (%s AT TIME ZONE %s)::date", [now, zone])
        values: dict[str, Any] = {"zone": zone, "today": cursor.fetchone()[0], "kept": [*FROM_RECORDS]}
        cursor.execute("SELECT max(day) FROM analytics_audienceday WHERE measure = 'came'")
        [last] = cursor.fetchone()
        values["since"] = last - SETTLED if last else date(1, 1, 1)
        cursor.execute(f"{_JOINED} UNION ALL {_NEW} UNION ALL {_CAME} UNION ALL {_NOW}", values)
        columns = ("measure", "day", "channel", "people")
        made = [dict(zip(columns, row, strict=True)) for row in cursor.fetchall()]
        values["made"] = msgspec.json.encode(made).decode()
        cursor.execute(_DROP, values)
        cursor.execute(_PUT, values)
