"""Carts of the demo's month that somebody filled and left, with what the flow about them did and what came of it."""

from datetime import datetime, timedelta

from campaigns.models import Enrollment, Flow
from config.demo import history
from config.demo.catalogue import CURRENCY, PRODUCTS
from config.demo.content import CART, CART_GOAL_DAYS, CART_LEAST, POOL
from config.demo.history import DAYS, Month
from crm.models import Profile
from delivery import coupons
from delivery.models import CouponPool, Delivery, Message

LEFT = 260  # carts
PAUSE, DAY, CHECK_OUT = timedelta(minutes=30), timedelta(days=1), timedelta(minutes=2)


class _Cart:
    """One cart and when its owner orders after all, if they do."""

    def __init__(self, month: Month, person: Profile, number: int):
        chance = month.chance
        items = chance.sample(list(PRODUCTS.values()), k=3)
        self.person, self.key = person, f"demo-left-{number}"
        self.at = month.at(DAYS * chance.random() ** 0.8)
        self.total = max(float(sum(item.price for item in items)), float(CART_LEAST))
        self.facts = {
            "cart_id": self.key,
            "items": [history.article(item) for item in items],
            "total": self.total,
            "currency": CURRENCY,
        }
        fate, hours = chance.random(), timedelta(hours=chance.uniform(0.5, 20))
        self.ordered: datetime | None = None
        if fate < 0.2:
            self.ordered = self.at + timedelta(minutes=chance.uniform(5, 28))
        elif fate < 0.42:
            self.ordered = self.at + PAUSE + hours
        elif fate < 0.52:
            self.ordered = self.at + PAUSE + DAY + hours

    def until(self, at: datetime, now: datetime) -> bool:
        """Whether the run had come to `at`: the moment is past, and they had not ordered before it."""
        return at <= now and (self.ordered is None or self.ordered > at)


def create(month: Month, people: list[Profile]) -> None:
    """Let some leave a cart: most are reminded, some get a code a day later, and some order."""
    flow = Flow.objects.select_related("live_version").get(slug=CART)
    carts = [_Cart(month, person, number) for number, person in enumerate(_some(month, people))]
    runs = Enrollment.objects.bulk_create([_run(cart, flow, month.now) for cart in carts], batch_size=1000)
    messages = Message.objects.in_bulk(["cart-reminder", "cart-offer"], field_name="slug")
    codes = _codes(month, list(zip(carts, runs, strict=True)))
    deliveries: list[Delivery] = []
    for cart, run in zip(carts, runs, strict=True):
        deliveries += _lived(month, cart, run, flow, messages, codes.get(cart.person.pk, ""))
    for asked in Delivery.objects.bulk_create(deliveries, batch_size=1000):
        history.react(month, asked, buys=False)


def _some(month: Month, people: list[Profile]) -> list[Profile]:
    return month.chance.sample(people, k=min(LEFT, len(people)))


def _codes(month: Month, pairs: list[tuple[_Cart, Enrollment]]) -> dict[int, str]:
    wanted = [
        (cart.person.pk, f"flow:{run.pk}:code")
        for cart, run in pairs
        if cart.until(cart.at + PAUSE + DAY, month.now)
    ]
    return coupons.give(CouponPool.objects.get(slug=POOL), wanted, month.now)


def _run(cart: _Cart, flow: Flow, now: datetime) -> Enrollment:
    """The run as it stands now."""
    ordered = cart.ordered if cart.ordered is not None and cart.ordered <= now else None
    reminded, offered = cart.at + PAUSE, cart.at + PAUSE + DAY
    run = Enrollment(
        flow=flow,
        version=flow.live_version,
        profile=cart.person,
        run_key=f"key:{cart.key}",
        context={
            "event": {"name": "cart_updated", "occurred_at": cart.at.isoformat(), "properties": cart.facts}
        },
        entered_at=cart.at,
    )
    if ordered is not None and ordered <= cart.at + timedelta(days=CART_GOAL_DAYS):
        run.converted_at, run.goal_value = ordered, cart.total
    if ordered is not None and ordered < offered:
        run.state, run.reason, run.ended_at = Enrollment.State.EXITED, "goal", ordered
        run.step = "half-hour" if ordered < reminded else "day"
    elif offered <= now:
        run.state, run.ended_at = Enrollment.State.COMPLETED, offered
    else:
        due = reminded if reminded > now else offered
        run.step = "half-hour" if reminded > now else "day"
        run.due_at, run.step_state = due, {"until": due.isoformat()}
    return run


def _lived(
    month: Month, cart: _Cart, run: Enrollment, flow: Flow, messages: dict[str, Message], code: str
) -> list[Delivery]:
    """Everything that happened on one run; the messages that it asked for."""
    person, sent, now = cart.person.pk, [], month.now
    reminded, offered = cart.at + PAUSE, cart.at + PAUSE + DAY
    month.happened(person, "cart_updated", cart.at, "sdk", **cart.facts)
    month.happened(person, "flow_entered", cart.at, "nudge", flow=flow.slug, enrollment=run.pk)
    month.decide(run, "", "entered", cart.at, event="cart_updated")
    month.decide(run, "half-hour", "wait:wait", cart.at, until=reminded.isoformat())
    if cart.until(reminded, now):
        month.decide(run, "half-hour", "wait:go_on", reminded, waited_until=reminded.isoformat())
        sent.append(_asked(month, run, messages["cart-reminder"], "remind", reminded))
        month.decide(run, "day", "wait:wait", reminded, until=offered.isoformat())
    if cart.until(offered, now):
        month.decide(run, "day", "wait:go_on", offered, waited_until=offered.isoformat())
        month.decide(run, "code", "coupon:go_on", offered, pool=POOL, code=code)
        run.context["coupon"] = {"code": code, "expires_at": None, "pool": POOL}
        sent.append(_asked(month, run, messages["cart-offer"], "offer", offered))
        month.happened(person, "flow_completed", offered, "nudge", flow=flow.slug, enrollment=run.pk)
    if run.converted_at is not None:
        at = run.converted_at
        more = {"coupon": code} if at > offered and code else {}
        facts = {**cart.facts, "order_id": f"K-{cart.key}", **more}
        month.happened(person, "purchase", at, "sdk", **facts)
        month.decide(run, run.step, "converted", at, event="purchase", value=cart.total)
        if run.state == Enrollment.State.EXITED:
            month.decide(run, run.step, "exited", at, reason="goal")
            month.happened(
                person, "flow_exited", at, "nudge", flow=flow.slug, enrollment=run.pk, reason="goal"
            )
    return sent


def _asked(month: Month, run: Enrollment, message: Message, step: str, at: datetime) -> Delivery:
    month.decide(run, step, "message:go_on", at, message=message.slug, channel="webpush")
    return history.delivery(month, run, message, step, at)
