"""Half a year of letters, texts and pushes to the shop's regular customers, and what came of them.

What is sent goes the product's own ways where it matters to figures: variants are drawn, held out and exposed by the
functions that sending uses, experiments are started, learn and are decided by their own service, and everything that
happened is in the log, from which reports are counted.
"""

import math
from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any, NamedTuple
from zoneinfo import ZoneInfo

from django.conf import settings

from analytics.experiments import judging
from campaigns.experiments import life
from campaigns.models import Broadcast, Experiment
from campaigns.segments import lists
from config.demo import writing
from config.demo.catalogue import CURRENCY, PRODUCTS
from config.demo.history import Month, article
from crm import consent, log
from crm.models import Profile
from delivery import exposures, variants
from delivery.models import Delivery, Message, MessageContent, MessageVariant

READERS = 520
DAYS = 195
CIRCLE = "regulars"
BEST_HOUR, BEST_DAY = 19, 3  # on people's own clocks: seven in the evening, Thursdays most of all
HOLDOUT = 40  # per cent of the people of one sale
JOINED = "club_joined"
# What the shops in these countries charge in, and what one euro is there.
CURRENCIES = {"PL": ("PLN", 4.3), "US": ("USD", 1.08)}


class Sending(NamedTuple):
    """One broadcast of the past: how many days ago, and to which part of the readers."""

    name: str
    message: str
    channel: str
    days: int
    part: float
    holdout: int = 0


class Wording(NamedTuple):
    """A variant of a message: what it is called, says, and how much more it makes people open and buy."""

    name: str
    text: str
    opens: float
    buys: float


SALE, PICK, ROAST, TEXT = "harvest-sale", "weekly-pick", "new-roast", "last-bags"
MESSAGES: dict[str, tuple[str, str, str, dict[str, Wording]]] = {
    SALE: (
        "Harvest sale",
        "email",
        "offers",
        {
            "a": Wording("The date in the subject", "Harvest sale until Sunday", 0.8, 0.3),
            "b": Wording("Free delivery in the subject", "Free delivery on the new harvest", 1.35, 4.5),
        },
    ),
    PICK: (
        "The roaster's pick of the week",
        "email",
        "offers",
        {
            "a": Wording("The coffee's name", "Sidama natural is out of the roaster", 1.0, 1.0),
            "b": Wording("How it tastes", "Tastes of ripe pears", 1.2, 4.5),
            "c": Wording("How many are left", "Only 40 bags of this one", 0.8, 0.4),
        },
    ),
    ROAST: (
        "A new roast is ready",
        "whatsapp",
        "offers",
        {
            "a": Wording("With the price", "A new roast is ready, from €12: {url}", 1.0, 1.0),
            "b": Wording("Without it", "A new roast is ready: {url}", 1.05, 1.1),
        },
    ),
    TEXT: (
        "Last bags",
        "sms",
        "offers",
        {"a": Wording("", "Kahwa: the last bags of the winter roast: {url}", 1.0, 1.0)},
    ),
}
BAGS = (("Sidama", 150), ("Yirgacheffe", 88), ("Haraz", 31))
ROASTS = (("A new roast: Huila", 24), ("A new roast: Harrar", 10))
SENDINGS = (
    *(
        Sending(f"The roaster's letter, no. {n + 1}", writing.LETTER, "email", 190 - 30 * n, 0.8)
        for n in range(6)
    ),
    *(Sending(f"Last bags of {roast}", TEXT, "sms", days, 0.35) for roast, days in BAGS),
    Sending("Harvest sale", SALE, "email", 78, 1.0, HOLDOUT),
    Sending("Harvest sale, once more", SALE, "email", 61, 1.0),
    *(Sending(f"Pick of the week, no. {n + 1}", PICK, "email", 50 - 9 * n, 0.8) for n in range(6)),
    *(Sending(name, ROAST, "whatsapp", days, 0.5) for name, days in ROASTS),
)
# Message -> name, mode, how many days ago it began. The first has been decided, the others go on.
EXPERIMENTS = {
    SALE: ("Which subject sells the harvest?", Experiment.Mode.WINNER, 79),
    PICK: ("Words that learn: the pick of the week", Experiment.Mode.BANDIT, 52),
    ROAST: ("The price in the text, or not", Experiment.Mode.MEASURE, 25),
}
# How likely something is, by channel: opened, clicked of those, came back, called spam, said no to more.
REACTIONS = {
    "email": (0.36, 0.3, 0.02, 0.006, 0.016),
    "sms": (0.3, 0.6, 0.025, 0.0, 0.04),
    "whatsapp": (0.62, 0.35, 0.01, 0.004, 0.012),
}
BUYS = 0.11  # of those who click
MACHINES = 0.16  # of emails: a mail program fetches all pictures


def create(now: datetime) -> int:
    """Write half a year, the earliest first; return how many messages were sent."""
    past = Month(now, seed=11, name="letters")
    readers = list(Profile.objects.exclude(email=None).exclude(phone=None).order_by("-pk")[:READERS])
    messages = {slug: _written(slug) for slug in MESSAGES}
    messages[writing.LETTER] = Message.objects.get(slug=writing.LETTER)
    circle = lists.create("Regular customers", CIRCLE, "Who buys from us in the shops, too.", "demo", now)
    lists.add(circle, [person.pk for person in readers], now)
    _agree(past, readers, now)
    started: dict[str, Experiment] = {}
    sent = 0
    for sending in sorted(SENDINGS, key=lambda each: -each.days):
        for slug, (name, mode, days) in EXPERIMENTS.items():
            if slug not in started and days > sending.days:
                started[slug] = _start(messages[slug], name, mode, now - timedelta(days=days))
        at = (now - timedelta(days=sending.days)).replace(hour=6, minute=0, second=0, microsecond=0)
        broadcast = Broadcast.objects.create(
            name=sending.name,
            message=messages[sending.message],
            segment=circle,
            channel=sending.channel,
            holdout_percent=sending.holdout,
            state=Broadcast.State.FINISHED,
            audience=round(len(readers) * sending.part),
            launched_at=at,
            started_at=at,
            finished_at=at + timedelta(hours=18),
        )
        sent += _send(past, sending, broadcast, readers[: broadcast.audience], at)
    _shop(past, readers)
    consent.record(past.answers)
    log.append(sorted(past.events, key=lambda event: event.occurred_at))
    judging.judge(Experiment.objects.get(pk=started[SALE].pk), now - timedelta(days=50))
    judging.judge(Experiment.objects.get(pk=started[PICK].pk), now - timedelta(days=1))
    return sent


def _written(slug: str) -> Message:
    """A message with its variants, as its channel has them."""
    name, channel, topic, words = MESSAGES[slug]
    url = f"{settings.NUDGE_PUBLIC_URL}/demo/shop/"
    message = Message.objects.create(slug=slug, name=name, topic=topic)
    if len(words) > 1:
        MessageVariant.objects.bulk_create(
            MessageVariant(message=message, key=key, name=each.name, weight=50) for key, each in words.items()
        )
    contents: dict[str, Any] = {}
    for key, each in words.items():
        text = each.text.format(url=url)
        if channel == "email":
            contents[key] = writing.letter_content("") | {"subject": text}
        else:
            contents[key] = {"text": text}
    MessageContent.objects.bulk_create(
        MessageContent(message=message, channel=channel, variant=key, content=content)
        for key, content in contents.items()
    )
    return message


def _agree(past: Month, readers: Sequence[Profile], now: datetime) -> None:
    """They said yes in the shops before all this began."""
    for person in readers:
        at = now - timedelta(days=DAYS - past.chance.uniform(0, 4))
        past.answers += [
            consent.Change(person.pk, consent.CHANNEL, channel, consent.SUBSCRIBED, "pos", at)
            for channel in REACTIONS
        ]


def _start(message: Message, name: str, mode: Experiment.Mode, at: datetime) -> Experiment:
    made = Experiment.objects.create(
        name=name, slug=f"{message.slug}-words", message=message, mode=mode, window_hours=72, created_at=at
    )
    return life.start(made.pk, now=at)


def _send(
    past: Month, sending: Sending, broadcast: Broadcast, people: Sequence[Profile], at: datetime
) -> int:
    """One broadcast, each at some hour of their own day; who is held out gets nothing."""
    chance, message = past.chance, broadcast.message
    weights = dict(message.variants.values_list("key", "weight"))
    key = f"holdout:broadcast:{broadcast.pk}"
    out = {person.pk for person in people if exposures.held_out(key, person.pk, sending.holdout)}
    asked = []
    for person in people:
        here = ZoneInfo(person.timezone or "UTC")
        hour = min(22, max(8, round(chance.gauss(BEST_HOUR - 4, 4.5))))
        when = at.astimezone(here).replace(hour=hour, minute=chance.randrange(60))
        asked.append(_asked(sending, broadcast, person, when, weights, person.pk in out))
    asked.sort(key=lambda each: each.queued_at)
    exposures.keep([each for each in asked if each.sent_at])
    stored = Delivery.objects.bulk_create(asked, batch_size=1000)
    if sending.holdout:
        sides = [
            exposures.Exposure(
                key, each.profile_id, exposures.TREATED if each.sent_at else exposures.HELD_OUT
            )
            for each in stored
        ]
        exposures.record(sides, at)
    exposures.sending([each for each in stored if each.sent_at], at)
    about = {person.pk: person for person in people}
    words = MESSAGES[sending.message][3] if sending.message in MESSAGES else {}
    for each in stored:
        _react(past, each, about[each.profile_id], words.get(each.variant))
    return len(stored)


def _asked(
    sending: Sending,
    broadcast: Broadcast,
    person: Profile,
    at: datetime,
    weights: dict[str, int],
    held_out: bool,
) -> Delivery:
    return Delivery(
        cause=f"broadcast:{broadcast.pk}:{person.pk}",
        message=broadcast.message,
        profile_id=person.pk,
        channel=sending.channel,
        variant=variants.chosen(broadcast.message_id, person.pk, weights),
        state=Delivery.State.SUPPRESSED if held_out else Delivery.State.SENT,
        reason="held out" if held_out else "",
        due_at=at,
        expires_at=at + timedelta(hours=24),
        attempts=0 if held_out else 1,
        origin_type=Delivery.Origin.BROADCAST,
        origin_id=broadcast.pk,
        queued_at=at,
        sent_at=None if held_out else at,
    )


def _react(past: Month, sent: Delivery, person: Profile, words: Wording | None) -> None:
    """What somebody did about it: more in the evening, less where the words are dull."""
    chance, at, channel = past.chance, sent.queued_at, sent.channel
    origin = {"type": sent.origin_type, "id": sent.origin_id, "step": ""}
    facts = {
        "message": sent.message.slug,
        "delivery": sent.pk,
        "channel": channel,
        "variant": sent.variant,
        "origin": origin,
    }

    def tell(name: str, when: datetime, source: str = "device", **more: object) -> None:
        past.happened(person.pk, f"message_{name}", when, source, **facts, **more)

    if sent.sent_at is None:
        tell("suppressed", at, "nudge", reason=sent.reason)
        if chance.random() < 0.01:
            _buy(past, person, at + timedelta(hours=chance.uniform(1, 60)))
        return
    opens, clicks, bounces, spam, leaves = REACTIONS[channel]
    domain = (person.email or "@").rpartition("@")[2]
    carrier = domain if channel == "email" else "sandbox"
    tell(
        "sent",
        at,
        "nudge",
        locale=sent.locale,
        country=person.country or "",
        zone=person.timezone or "",
        provider=carrier,
    )
    if chance.random() < bounces:
        tell("bounced", at + timedelta(seconds=20), "provider", reason="550 no such mailbox")
        return
    tell("delivered", at + timedelta(seconds=chance.expovariate(1 / 9)), "provider")
    if channel == "email" and chance.random() < MACHINES:
        tell("machine_opened", at + timedelta(seconds=chance.uniform(2, 40)))
    here = at.astimezone(ZoneInfo(person.timezone or "UTC"))
    mood = 0.55 + 1.1 * math.exp(-(((here.hour - BEST_HOUR) / 2.2) ** 2)) + 0.2 * (here.weekday() == BEST_DAY)
    if chance.random() > opens * mood * (words.opens if words else 1):
        return
    device = "phone" if chance.random() < 0.68 else "desktop"
    seen = at + timedelta(minutes=chance.expovariate(1 / 25))
    tell("read" if channel == "whatsapp" else "opened", seen, device=device)
    if chance.random() < spam:
        tell("complained", seen + timedelta(minutes=1), "provider")
    if chance.random() < leaves:
        state, when = consent.UNSUBSCRIBED, seen + timedelta(minutes=2)
        change = consent.Change(person.pk, consent.CHANNEL, channel, state, "link", when, delivery=sent.pk)
        past.answers.append(change)
    if chance.random() < min(0.9, clicks * (max(1.0, words.buys / 2) if words else 1)):
        clicked = seen + timedelta(minutes=chance.uniform(0.2, 3))
        tell("clicked", clicked, device=device)
        if chance.random() < 0.1:
            past.happened(person.pk, JOINED, clicked + timedelta(minutes=9), "sdk", club="Kahwa")
        if chance.random() < min(0.9, BUYS * (words.buys if words else 1) * 1.5):
            _buy(past, person, clicked + timedelta(minutes=chance.uniform(4, 900)))


def _shop(past: Month, readers: Sequence[Profile]) -> None:
    """Orders that no message led to; who has bought comes back now and then, and newer customers less surely."""
    for person in readers:
        first = past.chance.uniform(-40, DAYS)
        day = first
        while day < DAYS and past.chance.random() < (0.97 if day == first else 0.62):
            if day > 0:
                _buy(past, person, past.now - timedelta(days=DAYS - day))
            day += past.chance.uniform(14, 55)


def _buy(past: Month, person: Profile, at: datetime) -> None:
    items = past.chance.sample(list(PRODUCTS.values()), k=past.chance.choice((1, 1, 2, 3)))
    currency, rate = CURRENCIES.get(person.country or "", (CURRENCY, 1.0))
    total = round(float(sum(item.price for item in items)) * rate, 2)
    past.happened(
        *(person.pk, "purchase", at, "pos"),
        order_id=f"K-{past.name}-{len(past.events):06d}",
        total=total,
        currency=currency,
        items=[article(item) for item in items],
    )
