"""A flow for customers whose coffee subscription has lapsed: part of them are held out, to see what it brings."""

from datetime import datetime, timedelta
from typing import Any

from django.conf import settings

from campaigns.flows import publish
from campaigns.models import Decision, Enrollment, Flow
from config.demo import writing
from config.demo.catalogue import CURRENCY, PRODUCTS
from config.demo.history import Month, article
from crm import log
from crm.models import Profile
from delivery import exposures
from delivery.models import Delivery, Message, MessageContent

FLOW, EVENT = "lapsed-subscription", "subscription_lapsed"
LETTER, TEXT = "come-back", "come-back-text"
RUNS, DAYS, HOLDOUT = 400, 170, 30
DRAFT: dict[str, Any] = {
    "trigger": {"kind": "event", "name": EVENT},
    "reentry": {"mode": "never"},
    "exit_on": [],
    "holdout_percent": HOLDOUT,
    "goal": {"name": "purchase", "within_days": 14, "value": "total", "exit": True},
    "steps": [
        {"key": "day", "kind": "wait", "config": {"amount": 1, "unit": "days"}},
        {"key": "letter", "kind": "message", "config": {"message": LETTER, "channel": "email"}},
        {"key": "days", "kind": "wait", "config": {"amount": 3, "unit": "days"}},
        {"key": "text", "kind": "message", "config": {"message": TEXT, "channel": "sms"}},
    ],
}
FIRST, SECOND = timedelta(days=1), timedelta(days=4)


def create(now: datetime) -> int:
    """Write the flow, its messages and half a year of runs; return how many people came into it."""
    past = Month(now, seed=13, name="lapsed")
    messages = _messages()
    flow = Flow.objects.create(
        slug=FLOW,
        name="Lapsed subscription",
        description="Asks back whose subscription has run out; three in ten get nothing, for comparison.",
        draft=DRAFT,
    )
    publish.publish(flow.pk)
    flow = Flow.objects.select_related("live_version").get(pk=flow.pk)
    people = list(Profile.objects.exclude(email=None).exclude(phone=None).order_by("pk")[:RUNS])
    key = f"holdout:flow:{flow.pk}"
    runs = Enrollment.objects.bulk_create(
        (_run(past, flow, person, exposures.held_out(key, person.pk, HOLDOUT)) for person in people),
        batch_size=1000,
    )
    deliveries: list[Delivery] = []
    for run in runs:
        arm = exposures.HELD_OUT if run.holdout else exposures.TREATED
        exposures.record([exposures.Exposure(key, run.profile_id, arm)], run.entered_at)
        deliveries += _lived(past, run, flow, messages)
    for sent in Delivery.objects.bulk_create(deliveries, batch_size=1000):
        _react(past, sent)
    log.append(sorted(past.events, key=lambda event: event.occurred_at))
    Decision.objects.bulk_create(past.decisions, batch_size=5000)
    return len(runs)


def _messages() -> dict[str, Message]:
    shop = f"{settings.NUDGE_PUBLIC_URL}/demo/shop/"
    letter = Message.objects.create(slug=LETTER, name="We miss your cup", topic="offers")
    text = Message.objects.create(slug=TEXT, name="We miss your cup, in short", topic="offers")
    content = writing.letter_content("") | {"subject": "Your grinder misses us"}
    MessageContent.objects.bulk_create(
        [
            MessageContent(message=letter, channel="email", content=content),
            MessageContent(message=text, channel="sms", content={"text": f"Kahwa: still thirsty? {shop}"}),
        ]
    )
    return {LETTER: letter, TEXT: text}


def _run(past: Month, flow: Flow, person: Profile, held_out: bool) -> Enrollment:
    """The run as it ended: by an order, or after its last step."""
    chance, at = past.chance, past.now - timedelta(days=past.chance.uniform(0.2, DAYS))
    past.happened(person.pk, EVENT, at, "pos", plan="monthly")
    ordered = None
    if chance.random() < (0.04 if held_out else 0.4):
        ordered = at + FIRST + timedelta(days=chance.uniform(0.1, 5.5))
    ordered = ordered if ordered and ordered <= past.now else None
    run = Enrollment(
        flow=flow,
        version=flow.live_version,
        profile=person,
        run_key="once",
        holdout=held_out,
        context={"event": {"name": EVENT, "occurred_at": at.isoformat(), "properties": {"plan": "monthly"}}},
        entered_at=at,
        converted_at=ordered,
    )
    if held_out:
        run.state, run.reason, run.ended_at = Enrollment.State.COMPLETED, "held out", at
    elif ordered and ordered < at + SECOND:
        run.state, run.reason, run.ended_at, run.step = Enrollment.State.EXITED, "goal", ordered, "days"
    elif at + SECOND <= past.now:
        run.state, run.ended_at = Enrollment.State.COMPLETED, at + SECOND
    else:
        first = at + FIRST > past.now
        due = at + (FIRST if first else SECOND)
        run.step, run.due_at = ("day" if first else "days"), due
        run.step_state = {"until": due.isoformat()}
    if ordered:
        items = chance.sample(list(PRODUCTS.values()), k=2)
        run.goal_value = float(sum(item.price for item in items))
        past.happened(
            *(person.pk, "purchase", ordered, "pos"),
            order_id=f"K-lapsed-{person.pk}",
            total=run.goal_value,
            currency=CURRENCY,
            items=[article(item) for item in items],
        )
    return run


def _lived(past: Month, run: Enrollment, flow: Flow, messages: dict[str, Message]) -> list[Delivery]:
    """What the log and the run's history tell, and the messages that it asked for."""
    person, at, held = run.profile_id, run.entered_at, {"holdout": True} if run.holdout else {}
    past.happened(person, "flow_entered", at, "nudge", flow=flow.slug, enrollment=run.pk, **held)
    past.decide(run, "", "held_out" if run.holdout else "entered", at, event=EVENT)
    if run.holdout:
        return []
    asked = []
    steps = (("day", "letter", LETTER, "email", at + FIRST), ("days", "text", TEXT, "sms", at + SECOND))
    before = at
    for wait, step, slug, channel, due in steps:
        past.decide(run, wait, "wait:wait", before, until=due.isoformat())
        if due > past.now or (run.converted_at and run.converted_at < due):
            break
        past.decide(run, wait, "wait:go_on", due, waited_until=due.isoformat())
        past.decide(run, step, "message:go_on", due, message=slug, channel=channel)
        asked.append(_delivery(run, messages[slug], channel, step, due))
        before = due
    if run.state == Enrollment.State.COMPLETED and run.ended_at:
        past.happened(person, "flow_completed", run.ended_at, "nudge", flow=flow.slug, enrollment=run.pk)
    elif run.state == Enrollment.State.EXITED and run.ended_at:
        past.decide(run, run.step, "exited", run.ended_at, reason="goal")
        about = {"flow": flow.slug, "enrollment": run.pk, "reason": "goal"}
        past.happened(person, "flow_exited", run.ended_at, "nudge", **about)
    return asked


def _delivery(run: Enrollment, message: Message, channel: str, step: str, at: datetime) -> Delivery:
    return Delivery(
        cause=f"flow:{run.pk}:{step}",
        message=message,
        profile_id=run.profile_id,
        channel=channel,
        state=Delivery.State.SENT,
        due_at=at,
        expires_at=at + timedelta(hours=24),
        attempts=1,
        context=run.context,
        origin_type=Delivery.Origin.FLOW,
        origin_id=run.flow_id,
        origin_step=step,
        queued_at=at,
        sent_at=at,
    )


def _react(past: Month, sent: Delivery) -> None:
    chance, at = past.chance, sent.queued_at
    origin = {"type": sent.origin_type, "id": sent.origin_id, "step": sent.origin_step}
    facts = {"message": sent.message.slug, "delivery": sent.pk, "channel": sent.channel, "variant": "a"}

    def tell(name: str, source: str, **more: object) -> None:
        past.happened(sent.profile_id, f"message_{name}", at, source, **facts, origin=origin, **more)

    carrier = (sent.profile.email or "@").rpartition("@")[2] if sent.channel == "email" else "sandbox"
    traits = {"country": sent.profile.country or "", "zone": sent.profile.timezone or ""}
    tell("sent", "nudge", provider=carrier, **traits)
    at += timedelta(seconds=5)
    tell("delivered", "provider")
    at += timedelta(minutes=chance.expovariate(1 / 30))
    if chance.random() < 0.55:
        tell("opened", "device", device="phone")
        if chance.random() < 0.6:
            tell("clicked", "device", device="phone")
