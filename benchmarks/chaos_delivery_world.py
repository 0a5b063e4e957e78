"""People whom four channels reach through bad services, and what may never be found in the services' journal.

Needs the product's settings. `fill` makes everything, `leave` lets some people say no, `judge` holds the journal and
the outbox against the rules.
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
from django.conf import settings
from django.db import connection
from django.db.models import Exists, OuterRef
from django.utils import timezone

from benchmarks.chaos_providers import LOSING
from crm import consent
from crm.models import Device, Profile
from delivery import channels, ledger, outbox, vapid
from delivery.dispatch.recovery import UNKNOWN
from delivery.models import (
    Account,
    Attempt,
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
MOST = len(CHANNELS) - 1  # messages a day to one person, unless told; every channel is asked for
CHUNK = 1000
COUNTING_MS = 60_000
WINDOW = 10.0  # seconds over which the pace is looked at
FINAL = {"sent", "delivered", "suppressed", "failed", "expired"}
_TOLD = ("message_sent", "message_failed", "message_suppressed")


def agrees(number: int, channel: str) -> bool:
    """For each channel one in ten has not said yes to it."""
    return number % 10 != CHANNELS.index(channel)


def leaves(number: int) -> bool:
    """One in eight says no to everything while messages wait; some of them because they are asleep."""
    return number % 16 in (5, 7)


def address(number: int, channel: str) -> str:
    """Where a person is reached, as a service's journal has it."""
    if channel == "webpush":
        return f"/push/{number:08d}"
    return f"p{number}@example.com" if channel == "email" else f"+4860{number:07d}"


def fill(
    people: int,
    ports: dict[str, int],
    now: datetime,
    pace: float | None = None,
    spread: int = 1,
    most: int = MOST,
) -> None:
    """Make people, their consents, rules, accounts and a message, and ask for it by each channel for everybody.

    Args:
        ports: of the services, see chaos_providers.
        now: when messages are due.
        pace: text messages a second, at most.
        spread: seconds over which they become due; all of one person at once, so that lanes meet at the limit.
        most: messages a day to one person.
    """
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
    _rules(most)
    _accounts(ports, now, pace)
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
            due_at=now + timedelta(seconds=number % spread),
        )
        for number, profile in enumerate(profiles)
        for channel in CHANNELS
    ]
    for part in _chunks(wanted):
        outbox.queue(part, now)


def _chunks(rows: Sequence[Any]) -> Iterator[Sequence[Any]]:
    for start in range(0, len(rows), CHUNK):
        yield rows[start : start + CHUNK]


def _rules(most: int) -> None:
    rules = SendingRules.of_account()
    rules.when_capped = SendingRules.WhenCapped.SKIP
    rules.save()
    SendingHours.objects.create(rules=rules, start=EVENING, end=MORNING, days=[1, 2, 3, 4, 5, 6, 7])
    FrequencyCap.objects.create(rules=rules, number=most, period=FrequencyCap.Period.DAY)


def leave(people: int, now: datetime | None = None) -> datetime:
    """Let those who leave say no while nothing is being sent; since when nothing may be. May be repeated."""
    now = now or timezone.now()
    names = [f"p{number}" for number in range(people) if leaves(number)]
    ids = Profile.objects.filter(external_id__in=names).order_by("pk").values_list("pk", flat=True)
    no = [
        consent.Change(pk, consent.CHANNEL, channel, consent.UNSUBSCRIBED, "test", now)
        for pk in ids
        for channel in CHANNELS
    ]
    for part in _chunks(no):
        consent.record(part)
    return now


def _accounts(ports: dict[str, int], now: datetime, pace: float | None) -> None:
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
            per_second=pace if channel == "sms" else None,
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


def judge(
    journal: Path,
    people: int,
    left_at: datetime | None = None,
    pace: float | None = None,
    most: int = MOST,
) -> dict[str, Any]:
    """Count what the services took and answered, by channel, the outbox by state and reason, and breaches of the rules.

    Args:
        left_at: what `leave` returned.
        pace, most: as `fill` was given them.
    """
    numbers = {address(number, channel): number for number in range(people) for channel in CHANNELS}
    lines = [json.loads(line) for line in journal.read_text().splitlines()]
    met: dict[tuple[int, str], list[dict]] = defaultdict(list)
    for line in lines:
        met[numbers[line["to"]], line["channel"]].append(line)
    taken = {
        place: found for place, all_ in met.items() if (found := [e for e in all_ if "take" in e["fate"]])
    }
    outbox_ = {
        (int(step), channel): (state, reason, open_, lost)
        for step, channel, state, reason, open_, lost in Delivery.objects.annotate(
            open=Exists(Attempt.objects.filter(delivery=OuterRef("pk"), outcome=Attempt.Outcome.STARTED)),
            lost=Exists(Attempt.objects.filter(delivery=OuterRef("pk"), detail=UNKNOWN)),
        ).values_list("origin_step", "channel", "state", "reason", "open", "lost")
    }
    counts = Counter(
        f"{channel} {state} {reason.split(':')[0]}".strip()
        for (_number, channel), (state, reason, *_) in outbox_.items()
    )
    wrong: Counter[str] = Counter(
        {
            "written to twice": 0,
            "push shown twice": 0,
            "without consent": 0,
            "after they left": 0,
            "in quiet hours": 0,
            "over the limit": 0,
            "faster than the pace": _too_fast(lines, pace),
            "not in a final state": sum(state not in FINAL for state, *_ in outbox_.values()),
            "lost or doubled": abs(Delivery.objects.count() - people * len(CHANNELS))
            + abs(len(outbox_) - people * len(CHANNELS)),
            "not in the ledger's totals": abs(
                ledger.totals(Delivery.objects.all(), COUNTING_MS).total - people * len(CHANNELS)
            ),
            "sent, but no service has it": 0,
            "not sent, but a service has it": 0,
            "unknown, but the service's answer came": 0,
            "told not once in the log": _told_not_once(),
        }
    )
    reached: Counter[int] = Counter(number for number, _channel in taken)
    wrong["over the limit"] = sum(many > most for many in reached.values())
    for (number, channel), entries in taken.items():
        if channel == "webpush":
            wrong["push shown twice"] += len({entry["topic"] for entry in entries}) > 1
        else:
            wrong["written to twice"] += len(entries) > 1
        wrong["without consent"] += not agrees(number, channel)
        times = [datetime.fromisoformat(entry["at"]) for entry in entries]
        wrong["after they left"] += bool(left_at and leaves(number) and max(times) > left_at)
        zone = ZoneInfo(ASLEEP if number % 4 == 3 else AWAKE)
        hours = [at.astimezone(zone).time() for at in times]
        wrong["in quiet hours"] += any(hour >= EVENING or hour < MORNING for hour in hours)
    unknown: Counter[str] = Counter()
    for place, (state, reason, open_, lost) in outbox_.items():
        sent, came = state in ("sent", "delivered"), place in taken
        wrong["sent, but no service has it"] += sent and not came
        if came and not sent:
            # A push that nobody knows about is tried again, and meanwhile the person may leave, or it may get late.
            excused = open_ and (place[1] == "webpush" or (state, reason) == ("failed", UNKNOWN))
            wrong["not sent, but a service has it"] += not excused
        if (state, reason) == ("failed", UNKNOWN):
            answers = {entry["fate"] for entry in met.get(place, ())}
            wrong["unknown, but the service's answer came"] += lost and not answers & LOSING
            unknown[_why_unknown(answers)] += 1
    return {
        "taken": Counter(channel for _number, channel in taken),
        "answers": Counter(f"{line['channel']} {line['fate']}" for line in lines),
        "states": counts,
        "unknown": unknown,
        "wrong": wrong,
        "pushes replaced": sum(len(all_) - 1 for (_n, kind), all_ in taken.items() if kind == "webpush"),
    }


def _why_unknown(answers: set[str]) -> str:
    """What a service knows of a message of which we don't know what became of it."""
    if answers & LOSING:
        return "the service gave no clear answer"
    return "who asked was killed before writing the answer down" if answers else "never came to the service"


def _too_fast(lines: Sequence[dict], pace: float | None) -> int:
    """How many text messages came too early for the pace.

    A second's worth may go at once, and each sender's last batch may have come late, all in one window.
    """
    if not pace:
        return 0
    times = sorted(
        datetime.fromisoformat(line["at"]).timestamp() for line in lines if line["channel"] == "sms"
    )
    most = int(pace * (WINDOW + 1 + settings.NUDGE_SENDERS_PER_LANE))
    return sum(later - earlier < WINDOW for earlier, later in zip(times, times[most:], strict=False))


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
