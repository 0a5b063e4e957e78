"""Measures crediting in the database of NUDGE_DATA; see benchmarks/credits.py. Prints JSON."""

import json
import os
import sys
import time

import django

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "config.settings")
if __name__ == "__main__":
    django.setup()

from django.db import connection
from django.utils import timezone

from analytics import projection
from analytics.goals import own, recompute, shares
from benchmarks import reports_data

# Three of ten who clicked buy, and as many others.
_PURCHASES = """
    INSERT INTO crm_event (id, profile_id, name, occurred_at, properties, source)
    SELECT gen_random_uuid(), d.profile_id, 'purchase', d.sent_at + interval '1 day' * (d.id %% 40) / 10.0,
        jsonb_build_object('total', d.id %% 90 + 0.5, 'currency', 'EUR'), 'bench'
    FROM delivery_delivery d
    WHERE d.sent_at IS NOT NULL AND (d.id %% 21 = 1 AND d.id %% 10 < 6 OR d.id %% 43 = 0)
        AND d.sent_at + interval '5 days' < %(now)s
"""
_BY_HAND = """
    CREATE TEMP TABLE by_hand AS
    SELECT DISTINCT ON (e.id) e.id AS event_id, d.id AS delivery_id, g.series_id, e.occurred_at,
        (e.properties ->> 'total')::numeric AS value
    FROM crm_event e JOIN delivery_delivery d ON d.profile_id = e.profile_id
    JOIN delivery_message m ON m.id = d.message_id AND m.goal_event = e.name
    JOIN analytics_engagement g ON g.delivery_id = d.id
    WHERE e.name = 'purchase' AND g.clicked_at <= e.occurred_at
        AND g.clicked_at > e.occurred_at - make_interval(hours => m.goal_window_hours)
    ORDER BY e.id, g.clicked_at DESC, d.id DESC;
    CREATE UNIQUE INDEX ON by_hand (event_id);
    CREATE INDEX ON by_hand (delivery_id);
    CREATE TEMP TABLE by_hand_days (kind text, day date, series_id bigint, dimension text, trait text,
        conversions bigint, people bigint, value numeric, PRIMARY KEY (kind, day, series_id, dimension, trait));
    INSERT INTO by_hand_days
    SELECT x.kind, (x.at AT TIME ZONE 'UTC')::date AS day, h.series_id, y.dimension, y.trait, count(*) AS conversions,
        count(DISTINCT h.delivery_id) AS people, sum(h.value) AS value
    FROM by_hand h JOIN analytics_engagement g USING (delivery_id)
    CROSS JOIN LATERAL (VALUES ('sent', g.sent_at), ('happened', h.occurred_at)) AS x(kind, at)
    CROSS JOIN LATERAL (VALUES ('', ''), ('locale', g.locale), ('country', g.country), ('provider', g.provider),
        ('device', g.device)) AS y(dimension, trait)
    GROUP BY 1, 2, 3, 4, 5
"""
# Rows of one that the other has not, either way round.
_DIFFERENT = """
    WITH ours AS (
        SELECT event_id::text, delivery_id::text, series_id, value FROM analytics_credit WHERE model = 'last_click'
    ), theirs AS (SELECT event_id::text, delivery_id::text, series_id, value FROM by_hand),
    our_days AS (
        SELECT x.kind, f.day, f.series_id, f.dimension, f.trait, x.conversions, x.people, x.value
        FROM analytics_earnedday f CROSS JOIN LATERAL (VALUES
            ('happened', f.conversions, f.people, f.value),
            ('sent', f.sent_conversions, f.sent_people, f.sent_value)) AS x(kind, conversions, people, value)
        WHERE f.model = 'last_click' AND x.conversions <> 0
    ), their_days AS (SELECT * FROM by_hand_days)
    SELECT (SELECT count(*) FROM (TABLE ours EXCEPT TABLE theirs) x),
        (SELECT count(*) FROM (TABLE theirs EXCEPT TABLE ours) x),
        (SELECT count(*) FROM (TABLE our_days EXCEPT TABLE their_days) x),
        (SELECT count(*) FROM (TABLE their_days EXCEPT TABLE our_days) x),
        (SELECT count(*) FROM theirs), (SELECT count(*) FROM their_days)
"""


def main(deliveries: int) -> dict:
    """Fill, read, credit, do it again, and by hand; times in seconds.

    Raises:
        AssertionError: one of both ways has other credits or figures by day than the statement by hand.
    """
    now = timezone.now()
    reports_data.fill(now, deliveries)
    with connection.cursor() as cursor:
        cursor.execute("DELETE FROM crm_event WHERE name = 'purchase'")
    _read()
    with connection.cursor() as cursor:
        cursor.execute(_PURCHASES, {"now": now})
        events = cursor.rowcount
        cursor.execute("ANALYZE crm_event, analytics_engagement, delivery_delivery")
    found = {"deliveries": deliveries, "events": events, "models": len(shares.MODELS)}
    _by_hand()
    found["reading"] = _read()
    _compare()
    with connection.cursor() as cursor:
        cursor.execute("ANALYZE analytics_credit, analytics_earnedday")
    found["recompute"] = _anew()
    _compare()
    found["by_hand"] = _by_hand() * found["models"]
    return found


def _by_hand() -> float:
    with connection.cursor() as cursor:
        cursor.execute("DROP TABLE IF EXISTS by_hand, by_hand_days")
        began = time.perf_counter()
        cursor.execute(_BY_HAND)
        return time.perf_counter() - began


def _compare() -> None:
    """Refuse to go on unless each credit and each figure by day is what the statement by hand says."""
    with connection.cursor() as cursor:
        cursor.execute(_DIFFERENT)
        *different, credited, days = cursor.fetchone()
    if any(different) or not credited or not days:
        raise AssertionError(f"{different} rows differ of {credited} credits and {days} days")


def _read() -> float:
    began, idle = time.perf_counter(), 0
    while idle < 3:
        handled, full = projection.read(20_000)
        idle = 0 if handled or full else idle + 1
    return time.perf_counter() - began


def _anew() -> float:
    """All credits thrown away and made again, as after a change of the rule that alters each of them."""
    with connection.cursor() as cursor:
        cursor.execute("TRUNCATE analytics_credit, analytics_earnedday")
    began = time.perf_counter()
    recompute.plan([own.goal().pk], recompute.ALWAYS)
    recompute.run(pause=0)
    return time.perf_counter() - began


if __name__ == "__main__":
    print(json.dumps(main(int(sys.argv[1]))))
