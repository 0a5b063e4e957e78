"""The work of `benchmarks.policies`, in a process with the product's settings."""

import gc
import json
import os
from collections.abc import Callable, Sequence
from datetime import datetime, timedelta
from typing import Any

from benchmarks import cpu
from benchmarks.policies import DELIVERIES

BATCH = 1000
BY_HAND = 100  # deliveries decided one by one
HISTORY = 4  # earlier messages of each person
CHANNEL = "memory"


def main() -> None:
    """Print the figures as one JSON object."""
    import django

    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "config.settings")
    django.setup()
    from django.db import connection
    from django.test.utils import CaptureQueriesContext
    from django.utils import timezone

    from delivery.models import Place, SendingRules

    now = timezone.now().replace(microsecond=0)
    batches = _fill(now)
    figures: dict[str, float] = {}
    _rules(now)
    _history(now)
    with connection.cursor() as cursor:
        cursor.execute("ANALYZE")
    _decide(batches[:1], now)  # the locks of its people and the plans are there
    with CaptureQueriesContext(connection) as queries:
        _decide(batches[:1], now)
    figures["queries"] = len(queries) - 2  # without the transaction's own
    measured = batches[1:]
    gc.collect()  # as the product's workers do, see config/celery.py
    gc.freeze()
    gc.set_threshold(20_000, 20, 20)
    figures["batches"] = sum(map(len, measured)) / _timed(lambda: _decide(measured, now))
    assert Place.objects.filter(taken_at=now).exists()
    figures["by_hand"] = BY_HAND / _timed(lambda: _by_hand(batches[0][:BY_HAND], now))
    SendingRules.objects.all().delete()
    figures["plain"] = sum(map(len, measured)) / _timed(lambda: _decide(measured, now))
    print(json.dumps(figures))


def _timed(work: Callable[[], object]) -> float:
    """CPU seconds of this process and of the database."""
    began = cpu.own() + cpu.database()
    work()
    return cpu.own() + cpu.database() - began


def _fill(now: datetime) -> list[list[Any]]:
    """People who agreed, in three zones, a third of them with quiet hours of their own; a delivery for each."""
    from crm.models import Consent, Preference, Profile, Topic
    from delivery.models import Delivery, Message

    Topic.objects.create(slug="news", name="News")
    messages = [
        Message.objects.create(slug=f"bench-{n}", name="Bench", topic="news", content_group="g")
        for n in range(5)
    ]
    zones = ("Europe/Warsaw", "America/New_York", "Asia/Tokyo")
    batches = []
    for start in range(0, DELIVERIES, BATCH):
        people = Profile.objects.bulk_create(
            Profile(email=f"b{n}@example.com", timezone=zones[n % 3], birthday="1990-05-05")
            for n in range(start, start + BATCH)
        )
        Consent.objects.bulk_create(
            Consent(
                profile=p, kind="channel", key=CHANNEL, state="subscribed", source="bench", changed_at=now
            )
            for p in people
        )
        quiet = (now + timedelta(hours=15)).time().replace(microsecond=0)
        Preference.objects.bulk_create(
            Preference(
                profile=p, quiet_from=quiet, quiet_to=(now + timedelta(hours=16)).time(), changed_at=now
            )
            for p in people[::3]
        )
        batches.append(
            Delivery.objects.bulk_create(
                Delivery(
                    cause=f"bench:{p.pk}", message=messages[n % 5], profile=p, channel=CHANNEL, due_at=now,
                    expires_at=now + timedelta(days=1), origin_type="api", queued_at=now,
                )
                for n, p in enumerate(people)
            )
        )  # fmt: skip
    return batches


def _rules(now: datetime) -> None:
    """Quiet hours and a window that are open now, four limits, no collisions, for adults only."""
    from delivery.models import FrequencyCap, SendingHours, SendingRules

    account = SendingRules.of_account()
    SendingRules.objects.filter(pk=account.pk).update(collision="sent", collision_hours=24, adults_only=True)
    every = [1, 2, 3, 4, 5, 6, 7]
    SendingHours.objects.create(
        rules=account, kind="quiet", start="03:10", end="03:20", days=every, channel="sms"
    )
    SendingHours.objects.create(rules=account, kind="window", start="00:00", end="00:00", days=every)
    SendingHours.objects.create(
        rules=account, kind="quiet", start="04:00", end="04:01", days=[now.isoweekday() % 7 + 1]
    )
    for number, period, rolling, counts in (
        (20, "hour", True, "all"),
        (30, "day", False, "all"),
        (40, "week", True, "topic"),
        (90, "month", False, "all"),
    ):
        FrequencyCap.objects.create(
            rules=account, number=number, period=period, rolling=rolling, counts=counts
        )


def _history(now: datetime) -> None:
    from django.db import connection

    with connection.cursor() as cursor:
        cursor.execute(
            """
            INSERT INTO delivery_delivery (cause, message_id, profile_id, channel, variant, state, due_at, expires_at,
                origin_type, queued_at, sent_at)
            SELECT 'old:' || p.id || ':' || n, (SELECT min(id) FROM delivery_message), p.id, %s, 'a', 'sent', at, at,
                'api', at, at
            FROM crm_profile p, generate_series(1, %s) n, LATERAL (SELECT %s - make_interval(days => n * 2) AS at) t
            """,
            [CHANNEL, HISTORY, now],
        )
        cursor.execute(
            """
            INSERT INTO delivery_place (delivery_id, profile_id, taken_at, channel, topic, message_id, content_group,
                thread)
            SELECT id, profile_id, sent_at, channel, 'news', message_id, 'g', ''
            FROM delivery_delivery WHERE state = 'sent'
            """
        )


def _decide(batches: Sequence[list[Any]], now: datetime) -> None:
    from django.db import transaction

    from delivery import policies
    from delivery.channels.base import Address
    from delivery.policies import Facts

    for batch in batches:
        with transaction.atomic():
            addresses = {d.pk: [Address(f"b{d.profile_id}@example.com")] for d in batch}
            policies.decide(batch, Facts(addresses), now)


def _by_hand(batch: Sequence[Any], now: datetime) -> None:
    """The same questions as one would ask them of Django for each person, the person locked meanwhile."""
    from zoneinfo import ZoneInfo

    from django.db import transaction
    from django.db.models import Q

    from crm.models import Consent, Preference, Profile, Suppression
    from delivery.models import Delivery, FrequencyCap, Message, SendingHours, SendingRules
    from delivery.policies import clock

    for delivery in batch:
        with transaction.atomic():
            profile = Profile.objects.select_for_update().get(pk=delivery.profile_id)
            if not Consent.objects.filter(profile=profile, key=CHANNEL, state="subscribed").exists():
                continue
            if Suppression.objects.filter(address=profile.email, channel__in=["all", CHANNEL]).exists():
                continue
            message = Message.objects.get(pk=delivery.message_id)
            rules = SendingRules.objects.filter(
                Q(topic=None, message=None) | Q(topic__slug=message.topic) | Q(message=message)
            ).first()
            zone = ZoneInfo(profile.timezone)
            shown = now.astimezone(zone)
            if profile.birthday is None or not clock.is_of_age(profile.birthday, 18, shown.date()):
                continue
            wish = Preference.objects.filter(profile=profile).first()
            if wish and wish.quiet_from and wish.quiet_from <= shown.time() < wish.quiet_to:
                continue
            if any(
                hours.kind == "quiet"
                and hours.start <= shown.time() < hours.end
                and shown.isoweekday() in hours.days
                for hours in SendingHours.objects.filter(rules=rules, channel__in=["", CHANNEL])
            ):
                continue
            sent = Delivery.objects.filter(profile=profile, state__in=["sending", "sent", "delivered"])
            if (
                sent.filter(
                    sent_at__gt=now - timedelta(hours=24), message__content_group=message.content_group
                )
                .exclude(channel=CHANNEL)
                .exists()
            ):
                continue
            for cap in FrequencyCap.objects.filter(rules=rules):
                since = (
                    now - clock.ROLLING[cap.period] if cap.rolling else clock.period(cap.period, zone, now)[0]
                )
                counted = sent.filter(sent_at__gt=since)
                if cap.counts == "topic":
                    counted = counted.filter(message__topic=message.topic)
                if counted.count() >= cap.number:
                    break
            else:
                Delivery.objects.filter(pk=delivery.pk).update(state="sending", lease_until=now)


if __name__ == "__main__":
    main()
