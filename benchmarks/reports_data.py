"""Deliveries of 120 days and what came of them, for benchmarks/reports.py."""

import sys
import time
from datetime import datetime, timedelta

from django.db import connection

from campaigns.models import Segment
from crm import partitions
from delivery.models import Message

DAYS = 120
MESSAGES = 60
CHUNK = 500_000

_PEOPLE = """
    INSERT INTO crm_profile (external_id, email, language, timezone, country, attributes)
    SELECT 'c' || n, 'person' || n || '@example.com', (ARRAY['pl', 'ar', 'en'])[1 + n %% 3],
        (ARRAY['Europe/Warsaw', 'Asia/Riyadh', 'America/New_York', 'UTC'])[1 + n %% 4],
        (ARRAY['PL', 'SA', 'US', 'GB', 'DE', 'AE', 'FR', 'EG'])[1 + n %% 8], '{}'
    FROM generate_series(1, %(people)s) AS n
"""
# A third by flows in steps, the rest by 300 broadcasts of one message each; one in ten was not sent.
_DELIVERIES = """
    INSERT INTO delivery_delivery (cause, message_id, profile_id, channel, variant, locale, state, reason, due_at,
        expires_at, origin_type, origin_id, origin_step, queued_at, sent_at)
    SELECT 'bench:' || n, %(message)s + CASE WHEN n %% 3 = 0 THEN n %% 30 ELSE 30 + n * 300 / %(most)s %% 30 END,
        %(person)s + (n * 7919) %% %(people)s,
        CASE WHEN n %% 3 = 0 THEN 'webpush' ELSE (ARRAY['webpush', 'email', 'sms'])[1 + n * 300 / %(most)s %% 3] END,
        (ARRAY['a', 'b'])[1 + (n / 60) %% 2],
        (ARRAY['pl', 'ar', 'en'])[1 + n %% 3], CASE WHEN n %% 10 = 0 THEN 'suppressed' ELSE 'sent' END,
        CASE WHEN n %% 10 = 0 THEN 'no consent' ELSE '' END, at, at + interval '1 day',
        CASE WHEN n %% 3 = 0 THEN 'flow' ELSE 'broadcast' END,
        CASE WHEN n %% 3 = 0 THEN 1 + n %% 10 ELSE 1 + n * 300 / %(most)s END,
        CASE WHEN n %% 3 = 0 THEN 's' || (n / 10) %% 6 ELSE '' END, at, CASE WHEN n %% 10 <> 0 THEN at END
    FROM (SELECT n, %(now)s - interval '1 day' * %(days)s * (1 - n::float8 / %(most)s) AS at
          FROM generate_series(%(low)s::bigint, %(high)s::bigint) AS n) AS given
"""
# Everything that came of them, and a purchase after one click in five. The ids are in the order of the deliveries, as
# ten million random ones would be looked for all over the disk while they are stored.
_EVENT = """
    INSERT INTO crm_event (id, profile_id, name, occurred_at, properties, source)
    SELECT (lpad(to_hex(d.id), 16, '0') || left(md5(x.name), 16))::uuid, d.profile_id, x.name, x.at,
        x.properties || jsonb_build_object('delivery', d.id), 'nudge'
    FROM delivery_delivery d CROSS JOIN LATERAL (VALUES
        (CASE WHEN d.sent_at IS NULL THEN 'message_suppressed' ELSE 'message_sent' END, d.queued_at,
            CASE WHEN d.sent_at IS NULL THEN jsonb_build_object('reason', d.reason) ELSE jsonb_build_object(
                'locale', d.locale, 'country', (ARRAY['PL', 'SA', 'US', 'GB', 'DE', 'AE', 'FR', 'EG'])[1 + d.id %% 8],
                'zone', (ARRAY['Europe/Warsaw', 'Asia/Riyadh', 'America/New_York', 'UTC'])[1 + d.id %% 4],
                'provider', (ARRAY['google', 'gmail.com', 'mozilla', 'other', 'wp.pl'])[1 + d.id %% 5]) END, true),
        ('message_delivered', d.sent_at + interval '1 minute', '{}', d.id %% 3 > 0),
        ('message_opened', d.sent_at + interval '1 second' * (d.id * 31 %% 90000), '{"device": "phone"}',
            d.id %% 7 = 1),
        ('message_clicked', d.sent_at + interval '1 second' * (d.id * 31 %% 90000), '{"device": "phone"}',
            d.id %% 21 = 1),
        ('message_machine_opened', d.sent_at + interval '10 seconds', '{}', d.id %% 50 = 2),
        ('message_bounced', d.sent_at + interval '1 hour', '{}', d.id %% 97 = 0),
        ('message_complained', d.sent_at + interval '2 hours', '{}', d.id %% 1501 = 0),
        ('purchase', d.sent_at + interval '1 second' * (d.id * 31 %% 90000) + interval '1 hour',
            jsonb_build_object('total', 10 + d.id %% 90, 'currency', 'EUR'), d.id %% 105 = 1)
    ) AS x(name, at, properties, counts)
    WHERE d.id BETWEEN %(low)s AND %(high)s AND x.counts AND x.at IS NOT NULL AND x.at <= %(now)s
"""
# One person in twenty.
_MEMBERS = """
    INSERT INTO campaigns_segmentmembership (segment_id, profile_id, entered_at)
    SELECT %s, p.id, %s FROM crm_profile p WHERE (p.id - %s) %% 20 = 7 ORDER BY p.id
"""


def fill(now: datetime, most: int) -> None:
    """People, messages, deliveries and the log up to `now`, unless they are there already."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT EXISTS (SELECT FROM delivery_delivery)")
        if cursor.fetchone()[0]:
            return
        cursor.execute("SET session_replication_role = replica")  # nobody follows what is only filled in
        partitions.ensure(now - timedelta(days=day) for day in range(0, DAYS + 32, 15))
        people = max(most // 20, 1000)
        cursor.execute(_PEOPLE, {"people": people})
        Message.objects.bulk_create(
            Message(slug=f"bench{number}", name=f"Message {number}", goal_event="purchase")
            for number in range(MESSAGES)
        )
        cursor.execute("SELECT (SELECT min(id) FROM crm_profile), (SELECT min(id) FROM delivery_message)")
        person, message = cursor.fetchone()
        values = {"people": people, "person": person, "message": message, "now": now}
        values |= {"days": DAYS, "most": most}
        for low in range(1, most + 1, CHUNK):
            began = time.perf_counter()
            part = values | {"low": low, "high": min(low + CHUNK - 1, most)}
            cursor.execute(_DELIVERIES, part)
            cursor.execute("SELECT min(id), max(id) FROM delivery_delivery WHERE id > %s", [low - 1])
            first, last = cursor.fetchone()
            cursor.execute(_EVENT, {"low": first, "high": last, "now": now})
            tell(f"{part['high']:,} deliveries, {time.perf_counter() - began:.0f} s for these")
        segment = Segment.objects.create(slug="bench", name="Bench", size=people // 20)
        cursor.execute(_MEMBERS, [segment.pk, now, person])
        cursor.execute("SET session_replication_role = origin")
        for table in ("crm_profile", "delivery_delivery", "crm_event", "campaigns_segmentmembership"):
            cursor.execute(f"VACUUM (ANALYZE) {table}")


def tell(text: str) -> None:
    """A line about how far it is."""
    print(f"  {text}", file=sys.stderr, flush=True)
