"""People whom four channels reach through bad services, and what may never be found in the services' journal.

Needs the product's settings. `fill` makes everything, `judge` holds the journal and the outbox against the rules.
"""

import json
import os
from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from datetime import datetime, time, timedelta
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from django.db import connection

from crm import consent
from crm.models import Device, Profile
from delivery import channels, outbox, vapid
from delivery.models import (
    Account,
    Delivery,
    FrequencyCap,
    Message,
    MessageContent,
    SendingHours,
    SendingRules,
    WhatsAppTemplate,
)
from tests.push.client import b64url

CHANNELS = tuple(kind for kind in ("webpush", "email", "sms", "whatsapp") if kind in channels.everything())
CONTENTS: dict[str, dict[str, Any]] = {
    "webpush": {"title": "Hello"},
    "email": {"subject": "Hello", "html": "<p>Hello</p><a href='{{ unsubscribe_url }}'>No more</a>"},
    "sms": {"text": "Hello"},
    "whatsapp": {"template": "hello", "language": "en"},
}
ASLEEP, AWAKE = "Etc/GMT-10", "UTC"  # at noon it is ten in the evening for every fourth person
EVENING, MORNING = time(21), time(8)
MOST = len(CHANNELS) - 1  # messages a day to one person; every channel is asked for
CHUNK = 1000
FINAL = {"sent", "delivered", "suppressed", "failed", "expired"}
_TOLD = ("message_sent", "message_failed", "message_suppressed")


def agrees(number: int, channel: str) -> bool:
    """For each channel one in ten has not said yes to it."""
    return number % 10 != CHANNELS.index(channel)


def address(number: int, channel: str) -> str:
    """Where a person is reached, as a service's journal has it."""
    if channel == "webpush":
        return f"/push/{number:08d}"
    return f"p{number}@example.com" if channel == "email" else f"+4860{number:07d}"


def fill(people: int, ports: dict[str, int], now: datetime) -> None:
    """Make people, their consents, rules, accounts and a message, and ask for it by each channel for everybody."""
    profiles = Profile.objects.bulk_create(
        (
            Profile(
                email=address(number, "email"),
                phone=address(number, "sms"),
                timezone=ASLEEP if number % 4 == 3 else AWAKE,
                external_id=f"p{number}",
            )
            for number in range(people)
        ),
        batch_size=CHUNK,
    )
    key = ec.generate_private_key(ec.SECP256R1()).public_key()
    p256dh = b64url(key.public_bytes(Encoding.X962, PublicFormat.UncompressedPoint))
    Device.objects.bulk_create(
        (
            Device(
                profile=profile,
                endpoint=f"http://127.0.0.1:{ports['http']}{address(number, 'webpush')}",
                p256dh=p256dh,
                auth=b64url(os.urandom(16)),
                application_key=vapid.public_key(),
            )
            for number, profile in enumerate(profiles)
        ),
        batch_size=CHUNK,
    )
    yes = [
        consent.Change(
            profile.pk, consent.CHANNEL, channel, consent.SUBSCRIBED, "test", now - timedelta(days=1)
        )
        for number, profile in enumerate(profiles)
        for channel in CHANNELS
        if agrees(number, channel)
    ]
    for part in _chunks(yes):
        consent.record(part, events=False)
    _rules()
    _accounts(ports, now)
    message = Message.objects.create(slug="chaos", name="Chaos")
    for channel in CHANNELS:
        MessageContent.objects.create(message=message, channel=channel, content=CONTENTS[channel])
    wanted = [
        outbox.DeliveryRequest(
            cause=f"chaos:{number}:{channel}",
            message_id=message.pk,
            profile_id=profile.pk,
            channel=channel,
            origin_type="flow",
            origin_id=1,
            origin_step=str(number),
        )
        for number, profile in enumerate(profiles)
        for channel in CHANNELS
    ]
    for part in _chunks(wanted):
        outbox.queue(part, now)


def _chunks(rows: Sequence[Any]) -> Iterator[Sequence[Any]]:
    for start in range(0, len(rows), CHUNK):
        yield rows[start : start + CHUNK]


def _rules() -> None:
    rules = SendingRules.of_account()
    rules.when_capped = SendingRules.WhenCapped.SKIP
    rules.save()
    SendingHours.objects.create(rules=rules, start=EVENING, end=MORNING, days=[1, 2, 3, 4, 5, 6, 7])
    FrequencyCap.objects.create(rules=rules, number=MOST, period=FrequencyCap.Period.DAY)


def _accounts(ports: dict[str, int], now: datetime) -> None:
    Account.objects.update(usual=False)
    there = f"http://127.0.0.1:{ports['http']}"
    for channel, provider, config, credentials in (
        (
            "email",
            "smtp",
            {
                "host": "127.0.0.1",
                "port": ports["smtp"],
                "security": "none",
                "from_address": "shop@example.com",
            },
            {},
        ),
        (
            "sms",
            "twilio",
            {"account_sid": "AC1", "number": "+15005550006", "base_url": there},
            {"auth_token": "secret"},
        ),
        (
            "whatsapp",
            "meta",
            {"phone_number_id": "10000", "business_account_id": "10001", "base_url": there},
            {"access_token": "token", "app_secret": "secret", "verify_token": "word"},
        ),
    ):
        if channel not in CHANNELS:
            continue
        account = Account.objects.create(
            name=f"Chaos {channel}",
            slug=f"chaos-{channel}",
            channel=channel,
            provider=provider,
            config=config,
            credentials=credentials,
        )
        if channel == "whatsapp":
            WhatsAppTemplate.objects.create(
                account=account,
                external_id="1",
                name="hello",
                language="en",
                state=WhatsAppTemplate.State.APPROVED,
                components=[{"type": "BODY", "text": "Hello"}],
                synced_at=now,
            )


def judge(journal: Path, people: int) -> dict[str, Any]:
    """Count what the services took, by channel, the outbox by state and reason, and every breach of a rule."""
    numbers = {address(number, channel): number for number in range(people) for channel in CHANNELS}
    taken: dict[tuple[int, str], list[dict]] = defaultdict(list)
    for line in journal.read_text().splitlines():
        entry = json.loads(line)
        taken[numbers[entry["to"]], entry["channel"]].append(entry)
    states: dict[tuple[int, str], str] = {}
    counts: Counter[str] = Counter()
    for step, channel, state, reason in Delivery.objects.values_list(
        "origin_step", "channel", "state", "reason"
    ):
        states[int(step), channel] = state
        counts[f"{channel} {state} {reason.split(':')[0]}".strip()] += 1
    wrong: Counter[str] = Counter(
        {
            "written to twice": 0,
            "push shown twice": 0,
            "without consent": 0,
            "in quiet hours": 0,
            "over the limit": 0,
            "not in a final state": sum(state not in FINAL for state in states.values()),
            "lost or doubled": abs(Delivery.objects.count() - people * len(CHANNELS)),
            "sent, but no service has it": 0,
            "not sent by rule, but a service has it": 0,
            "told not once in the log": _told_not_once(),
        }
    )
    reached: Counter[int] = Counter(number for number, _channel in taken)
    wrong["over the limit"] = sum(many > MOST for many in reached.values())
    for (number, channel), entries in taken.items():
        if channel == "webpush":
            wrong["push shown twice"] += len({entry["topic"] for entry in entries}) > 1
        else:
            wrong["written to twice"] += len(entries) > 1
        wrong["without consent"] += not agrees(number, channel)
        zone = ZoneInfo(ASLEEP if number % 4 == 3 else AWAKE)
        hours = [datetime.fromisoformat(entry["at"]).astimezone(zone).time() for entry in entries]
        wrong["in quiet hours"] += any(hour >= EVENING or hour < MORNING for hour in hours)
        wrong["not sent by rule, but a service has it"] += states[number, channel] == "suppressed"
    for place, state in states.items():
        wrong["sent, but no service has it"] += state in ("sent", "delivered") and place not in taken
    by_channel = Counter(channel for _number, channel in taken)
    repeated = sum(len(entries) - 1 for (_number, channel), entries in taken.items() if channel == "webpush")
    return {"taken": by_channel, "states": counts, "wrong": wrong, "pushes replaced": repeated}


def _told_not_once() -> int:
    """Deliveries in a final state whose end does not stand in the log exactly once."""
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT count(*) FROM delivery_delivery d LEFT JOIN ("
            " SELECT (properties ->> 'delivery')::bigint AS id, count(*) AS times FROM crm_event"
            " WHERE name = ANY(%s) GROUP BY 1) e USING (id)"
            " WHERE d.state = ANY(%s) AND coalesce(e.times, 0) <> 1",
            [list(_TOLD), sorted(FINAL)],
        )
        return cursor.fetchone()[0]
