"""Inside the product's settings: deliveries to report about, and what was stored of the reports.

`python -m benchmarks.tracking_work COUNT` makes that many and prints their tokens; without a number it prints counts.
"""

import json
import os
import sys
from typing import Any

import django

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "config.settings")
django.setup()

from django.db import connection  # noqa: E402

from crm.models import Event, Profile  # noqa: E402
from delivery import tokens as devices  # noqa: E402
from delivery.links import tokens  # noqa: E402
from delivery.models import Delivery, LinkHit, Message  # noqa: E402

_DELIVERIES = """
    INSERT INTO delivery_delivery (cause, message_id, profile_id, channel, variant, state, reason, due_at, expires_at,
        origin_type, queued_at, sent_at, content, links)
    SELECT 'bench:' || n, %(message)s, %(person)s, 'webpush', 'a', 'sent', '', now(), now() + interval '1 day', 'api',
        now(), now(), '{"title": "Hello"}', '["https://shop.example.com/tea", "https://shop.example.com/pot"]'
    FROM generate_series(1, %(count)s) AS n RETURNING id
"""


def made(count: int) -> dict[str, Any]:
    """Make deliveries; return the tokens of their links, pictures and devices."""
    message = Message.objects.create(slug="bench", name="Bench")
    person = Profile.objects.create(first_name="Ann")
    with connection.cursor() as cursor:
        cursor.execute(_DELIVERIES, {"message": message.pk, "person": person.pk, "count": count})
        ids = [row[0] for row in cursor.fetchall()]
    return {
        "links": [tokens.make(pk, 0) for pk in ids],
        "pictures": [tokens.make(pk, kind="open") for pk in ids],
        "devices": [devices.make(pk) for pk in ids],
    }


def stored() -> dict[str, int]:
    """Count hits of links and pictures, and deliveries that a device reported as shown."""
    return {
        "links": LinkHit.objects.filter(link=0).count(),
        "pictures": LinkHit.objects.filter(link=None).count(),
        "devices": Event.objects.filter(name="message_delivered", source="device").count(),
        "deliveries": Delivery.objects.count(),
    }


if __name__ == "__main__":
    print(json.dumps(made(int(sys.argv[1])) if sys.argv[1:] else stored()))
