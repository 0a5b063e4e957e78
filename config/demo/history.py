"""A month that the demo shop has already lived through.

Everything goes in through the doors of the product: events into the log, deliveries into the outbox's table,
and the same reader as ever makes engagement and conversions of them. Nothing here is sent anywhere.
"""

import random
from collections.abc import Callable
from datetime import datetime, timedelta

from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from django.conf import settings
from django.db import transaction

from campaigns.models import Decision, Enrollment, Flow
from config.demo.catalogue import CURRENCY, PRODUCTS
from config.demo.content import WELCOME
from crm import consent, log
from crm.models import Device, Profile
from crm.sandbox.push import PATH
from delivery import vapid
from delivery.models import Delivery, Message

SUBSCRIBERS = 900
DAYS = 30
LETTERS = (("email", 0.8), ("sms", 0.3), ("whatsapp", 0.2))  # channels, and who agrees to them
WRITTEN_IN = ("ar", "pl")  # besides the text for everybody


class Month:
    """Collects what happened, then writes it in bulk."""

    def __init__(self, now: datetime, seed: int = 7, name: str = "demo"):
        self.now, self.name = now, name
        self.chance = random.Random(seed)  # noqa: S311 - believable, not secret
        self.events: list[log.NewEvent] = []
        self.answers: list[consent.Change] = []
        self.decisions: list[Decision] = []

    def at(self, day: float) -> datetime:
        """A moment `day` days after the month began, mostly in the afternoon and evening."""
        start = self.now - timedelta(days=DAYS)
        moment = start + timedelta(days=int(day), hours=self.chance.triangular(7, 23, 18))
        return min(moment, self.now - timedelta(minutes=self.chance.uniform(3, 90)))

    def decide(self, run: Enrollment, step: str, kind: str, at: datetime, **detail: object) -> None:
        """Note one decision of a run."""
        self.decisions.append(
            Decision(
                enrollment=run,
                flow_id=run.flow_id,
                profile_id=run.profile_id,
                step=step,
                kind=kind,
                detail=detail,
                at=at,
            )
        )

    def happened(
        self, profile_id: int, name: str, at: datetime, source: str, /, **properties: object
    ) -> None:
        """Note one event; nothing of this month lies in the future."""
        if at < self.now:
            number = len(self.events)
            self.events.append(
                log.NewEvent(log.event_id(self.name, number), profile_id, name, at, properties, source)
            )


def needed() -> bool:
    """Whether the month has yet to be written."""
    return not Device.objects.filter(endpoint__startswith=settings.NUDGE_SANDBOX_URL + PATH).exists()


@transaction.atomic
def create(now: datetime, *parts: Callable[[Month, list[Profile]], None]) -> int:
    """Let some of the CRM's people have subscribed, read, clicked and bought; return how many.

    Args:
        parts: what else the month holds, each told to note it in the month.
    """
    people = list(
        Profile.objects.filter(
            consents__kind=consent.CHANNEL, consents__key="webpush", consents__state=consent.SUBSCRIBED
        ).order_by("pk")[:SUBSCRIBERS]
    )
    month = Month(now)
    flow = Flow.objects.select_related("live_version").get(slug=WELCOME)
    runs = _subscribe(month, people, flow)
    _greet(month, runs, flow)
    for part in parts:
        part(month, people)
    _browse(month, people)
    _agree(month, people)
    consent.record(month.answers)
    log.append(sorted(month.events, key=lambda event: event.occurred_at))
    Decision.objects.bulk_create(month.decisions, batch_size=5000)
    _seen(month, people)
    return len(people)


def _agree(month: Month, people: list[Profile]) -> None:
    """Most of the shop's subscribers want its letters too, and some its texts."""
    for person in people:
        for channel, share in LETTERS:
            if month.chance.random() < share:
                at = month.at(month.chance.uniform(0, DAYS))
                month.answers.append(
                    consent.Change(person.pk, consent.CHANNEL, channel, consent.SUBSCRIBED, "sdk", at)
                )


def _seen(month: Month, people: list[Profile]) -> None:
    """Note when each was on the site first and last, as taking in their events one by one would have."""
    visits: dict[int, list[datetime]] = {}
    for event in month.events:
        if event.source == "sdk" or event.name == "push_subscribed":
            visits.setdefault(event.profile_id, []).append(event.occurred_at)
    for person in people:
        person.first_seen, person.last_seen = min(visits[person.pk]), max(visits[person.pk])
    Profile.objects.bulk_update(people, ["first_seen", "last_seen"], batch_size=500)


def _subscribe(month: Month, people: list[Profile], flow: Flow) -> list[Enrollment]:
    """Everybody subscribes on some day, more of them lately, and enters the welcome flow."""
    key = vapid.public_key()
    endpoint = settings.NUDGE_SANDBOX_URL + PATH
    runs, devices = [], []
    for person in people:
        at = month.at(DAYS * month.chance.random() ** 0.7)
        public = ec.generate_private_key(ec.SECP256R1()).public_key()
        devices.append(
            Device(
                profile=person,
                endpoint=f"{endpoint}{person.pk}",
                p256dh=vapid.b64url(public.public_bytes(Encoding.X962, PublicFormat.UncompressedPoint)),
                auth=vapid.b64url(month.chance.randbytes(16)),
                application_key=key,
                origin=settings.NUDGE_PUBLIC_URL,
                language=person.language or "",
                created_at=at,
                changed_at=at,
            )
        )
        month.answers.append(
            consent.Change(person.pk, consent.CHANNEL, "webpush", consent.SUBSCRIBED, "sdk", at)
        )
        month.happened(person.pk, "push_subscribed", at, "nudge", channel="webpush")
        done = month.now - at > timedelta(days=1, minutes=2)
        ended_at = at + timedelta(days=1, minutes=1) if done else None
        runs.append(
            Enrollment(
                flow=flow,
                version=flow.live_version,
                profile=person,
                run_key="once",
                state=Enrollment.State.COMPLETED if done else Enrollment.State.ACTIVE,
                step="" if done else "day",
                due_at=None if done else at + timedelta(days=1, minutes=1),
                step_state={} if done else {"until": (at + timedelta(days=1, minutes=1)).isoformat()},
                context={
                    "event": {"name": "push_subscribed", "occurred_at": at.isoformat(), "properties": {}}
                },
                entered_at=at,
                ended_at=ended_at,
            )
        )
    Device.objects.bulk_create(devices, batch_size=1000)
    return Enrollment.objects.bulk_create(runs, batch_size=1000)


def _greet(month: Month, runs: list[Enrollment], flow: Flow) -> None:
    """The flow's messages, with what people did about them."""
    messages = Message.objects.in_bulk(["welcome", "first-order"], field_name="slug")
    deliveries = []
    for run in runs:
        month.happened(
            run.profile_id, "flow_entered", run.entered_at, "nudge", flow=flow.slug, enrollment=run.pk
        )
        month.decide(run, "", "entered", run.entered_at, event="push_subscribed")
        greeted = run.entered_at + timedelta(minutes=1)
        month.decide(run, "pause", "wait:wait", run.entered_at, until=greeted.isoformat())
        month.decide(run, "pause", "wait:go_on", greeted, waited_until=greeted.isoformat())
        month.decide(run, "hello", "message:go_on", greeted, message="welcome", channel="webpush")
        month.decide(run, "day", "wait:wait", greeted, until=(greeted + timedelta(days=1)).isoformat())
        deliveries.append(delivery(month, run, messages["welcome"], "hello", greeted))
        if run.state == Enrollment.State.COMPLETED and run.ended_at:
            month.happened(run.profile_id, "flow_completed", run.ended_at, "nudge", flow=flow.slug)
            month.decide(run, "day", "wait:go_on", run.ended_at, waited_until=run.ended_at.isoformat())
            bought = month.chance.random() < 0.18
            branch = "Has ordered" if bought else "Not yet"
            month.decide(run, "ordered", "split:go_on", run.ended_at, branch_name=branch)
            if bought:
                month.decide(run, "done", "exit:leave", run.ended_at, reason="has ordered")
                _buy(month, run.profile_id, run.ended_at - timedelta(hours=month.chance.uniform(1, 20)))
            else:
                month.decide(
                    run, "offer", "message:go_on", run.ended_at, message="first-order", channel="webpush"
                )
                deliveries.append(delivery(month, run, messages["first-order"], "offer", run.ended_at))
    for sent in Delivery.objects.bulk_create(deliveries, batch_size=1000):
        react(month, sent)


def delivery(month: Month, run: Enrollment, message: Message, step: str, at: datetime) -> Delivery:
    """A message of a run to a browser; a few people have none any more."""
    failed = month.chance.random() < 0.03
    language = (run.profile.language or "").split("-")[0]
    return Delivery(
        cause=f"flow:{run.pk}:{step}",
        message=message,
        profile_id=run.profile_id,
        channel="webpush",
        locale=language if language in WRITTEN_IN else "",
        state=Delivery.State.SUPPRESSED if failed else Delivery.State.SENT,
        reason="no active device" if failed else "",
        due_at=at,
        expires_at=at + timedelta(hours=message.expires_after_hours),
        attempts=0 if failed else 1,
        context=run.context,
        origin_type=Delivery.Origin.FLOW,
        origin_id=run.flow_id,
        origin_step=step,
        queued_at=at,
        sent_at=None if failed else at + timedelta(seconds=1),
    )


def react(month: Month, sent: Delivery, buys: bool = True) -> None:
    """Most are shown, some are clicked, and some clicks lead to an order, unless orders are told elsewhere."""
    facts = {
        "message": sent.message.slug,
        "delivery": sent.pk,
        "channel": sent.channel,
        "variant": "a",
        "origin": {"type": "flow", "id": sent.origin_id, "step": sent.origin_step},
    }
    if sent.sent_at is None:
        month.happened(
            sent.profile_id,
            "message_suppressed",
            sent.queued_at,
            "nudge",
            **facts,
            reason=sent.reason,
        )
        return
    person, chance, at = sent.profile_id, month.chance, sent.sent_at
    month.happened(person, "message_sent", at, "nudge", **facts)
    if chance.random() > 0.91:
        return
    at += timedelta(seconds=chance.expovariate(1 / 40))
    month.happened(person, "message_delivered", at, "device", **facts)
    at += timedelta(minutes=chance.expovariate(1 / 35))
    fate = chance.random()
    if fate < 0.14:
        for name in ("message_opened", "message_clicked"):
            month.happened(person, name, at, "device", **facts)
        if buys and chance.random() < 0.28:
            _buy(month, person, at + timedelta(minutes=chance.uniform(4, 600)))
    elif fate < 0.45:
        month.happened(person, "message_dismissed", at, "device", **facts)


def _browse(month: Month, people: list[Profile]) -> None:
    """Visits to the shop that no message caused, and a few people who had enough."""
    for person in people:
        for _ in range(month.chance.choice((0, 1, 1, 2, 4))):
            at = month.at(month.chance.uniform(0, DAYS))
            product = month.chance.choice(list(PRODUCTS.values()))
            month.happened(person.pk, "product_viewed", at, "sdk", **article(product))
            if month.chance.random() < 0.12:
                _buy(month, person.pk, at + timedelta(minutes=month.chance.uniform(3, 45)))
        if month.chance.random() < 0.02:
            at = month.at(month.chance.uniform(DAYS - 5, DAYS))
            month.answers.append(
                consent.Change(person.pk, consent.CHANNEL, "webpush", consent.UNSUBSCRIBED, "sdk", at)
            )


def _buy(month: Month, profile_id: int, at: datetime) -> None:
    items = month.chance.sample(list(PRODUCTS.values()), k=month.chance.choice((1, 1, 2, 3)))
    total = float(sum(item.price for item in items))
    number = f"K-{len(month.events):06d}"
    cart = {"cart_id": f"demo-{len(month.events)}", "items": [article(item) for item in items]}
    month.happened(
        profile_id, "cart_updated", at - timedelta(minutes=2), "sdk", **cart, total=total, currency=CURRENCY
    )
    month.happened(profile_id, "purchase", at, "sdk", order_id=number, total=total, currency=CURRENCY, **cart)


def article(product) -> dict[str, object]:
    """A product as the shop's events tell it."""
    return {
        "product_id": product.slug,
        "name": str(product.name),
        "category": product.category,
        "price": float(product.price),
        "currency": CURRENCY,
    }
