"""What the demo's marketers have built: messages, segments, flows and a broadcast that is ready to go."""

from django.conf import settings
from django.db import transaction
from django.templatetags.static import static

from campaigns.flows import publish
from campaigns.models import Broadcast, Flow, Segment
from campaigns.segments import editing, gallery, lists
from campaigns.segments.roles import Roles
from config.demo import writing
from crm.models import Profile, Topic
from delivery import coupons
from delivery.models import CouponPool, Message, MessageContent

WELCOME, CART, AFTER = "welcome-series", "abandoned-cart", "after-the-order"
CART_LEAST, CART_GOAL_DAYS = 20, 3  # euros; days after the cart was left
POOL, CODES = "second-thoughts", 500

# Messages that are written as in-app messages too -> locale -> button.
IN_APP = {"first-order": {"": "Choose your beans", "ar": "اختر قهوتك", "pl": "Wybierz kawę"}}

# Message -> name, topic, locale -> title and body. The link and picture are the same in every language.
MESSAGES: dict[str, tuple[str, str, dict[str, tuple[str, str]], str, str]] = {
    "welcome": (
        "Welcome to Kahwa",
        "offers",
        {
            "": (
                "Welcome{% if profile.first_name %}, {{ profile.first_name }}{% endif %}!",
                "Your first cup is on its way: see what we roasted this morning.",
            ),
            "ar": (
                "أهلاً بك{% if profile.first_name %} يا {{ profile.first_name }}{% endif %}!",
                "فنجانك الأول في الطريق: اكتشف ما حمّصناه هذا الصباح.",
            ),
            "pl": (
                "Witaj{% if profile.first_name %}, {{ profile.first_name }}{% endif %}!",
                "Pierwsza filiżanka już czeka: zobacz, co wypaliliśmy dziś rano.",
            ),
        },
        "/demo/shop/",
        "demo/hero.png",
    ),
    "first-order": (
        "Ten per cent off the first order",
        "offers",
        {
            "": ("10% off your first order", "Use FIRSTCUP at the checkout. It is good for three days."),
            "ar": ("خصم ١٠٪ على طلبك الأول", "استخدم الرمز FIRSTCUP عند الدفع. صالح لثلاثة أيام."),
            "pl": ("10% rabatu na pierwsze zamówienie", "Wpisz FIRSTCUP przy kasie. Ważne trzy dni."),
        },
        "/demo/shop/?category=coffee",
        "demo/products/haraz-mocha.png",
    ),
    "cart-reminder": (
        "Something is left in the cart",
        "cart",
        {
            "": (
                'Your {{ event.properties.items[0].name | default: "coffee" }} is waiting',
                "We kept your cart. Order before five and we roast tonight.",
            ),
            "ar": (
                'ما زال {{ event.properties.items[0].name | default: "طلبك" }} في انتظارك',
                "احتفظنا بسلتك. اطلب قبل الخامسة لنحمّص الليلة.",
            ),
            "pl": (
                'Czeka na Ciebie: {{ event.properties.items[0].name | default: "kawa" }}',
                "Zachowaliśmy Twój koszyk. Zamów przed piątą, wypalimy jeszcze dziś.",
            ),
        },
        "/demo/shop/cart/",
        "demo/products/yirgacheffe.png",
    ),
    "cart-offer": (
        "Something off what is left in the cart",
        "cart",
        {
            "": (
                "10% off your cart",
                "Your own code: {{ coupon.code }}. Your coffee is still here.",
            ),
            "ar": ("خصم ١٠٪ على سلتك", "رمزك الخاص: {{ coupon.code }}. قهوتك ما زالت هنا."),
            "pl": ("10% rabatu na koszyk", "Twój własny kod: {{ coupon.code }}. Kawa wciąż czeka."),
        },
        "/demo/shop/cart/",
        "demo/products/yirgacheffe.png",
    ),
    "thanks": (
        "Thank you for your order",
        "offers",
        {
            "": ("Thank you!", "We roast tomorrow morning. Tell us how it tastes?"),
            "ar": ("شكراً لك!", "نحمّص صباح الغد. أخبرنا كيف كان مذاقها؟"),
            "pl": ("Dziękujemy!", "Jutro rano palimy. Powiesz nam, jak smakuje?"),
        },
        "/demo/shop/",
        "demo/hero.png",
    ),
}

BOUGHT_LATELY = {"kind": "event", "name": "purchase", "within": {"last": {"days": 30}}}
SEGMENTS: dict[str, tuple[str, str, dict]] = {
    "bought-lately": ("Bought in the last 30 days", "At least one order.", {"all": [BOUGHT_LATELY]}),
    "vip": (
        "VIP customers",
        "The plan says so, or 4,000 loyalty points do.",
        {
            "any": [
                {"kind": "attribute", "field": "attributes.plan", "op": "eq", "value": "vip"},
                {"kind": "attribute", "field": "attributes.loyalty_points", "op": "gte", "value": 4000},
            ]
        },
    ),
    "birthday-this-week": (
        "Birthday this week",
        "Today or in the next seven days.",
        {"all": [{"kind": "attribute", "field": "birthday", "op": "anniversary_within", "value": 7}]},
    ),
    "lookers": (
        "Looked, but has not bought",
        "Viewed a product in the last two weeks without an order in that time.",
        {
            "all": [
                {"kind": "event", "name": "product_viewed", "within": {"last": {"days": 14}}},
                {
                    "kind": "event",
                    "name": "purchase",
                    "within": {"last": {"days": 14}},
                    "count": {"op": "eq", "value": 0},
                },
            ]
        },
    ),
    "vip-asleep": (
        "VIP, but not lately",
        "VIP customers without an order in the last 30 days.",
        {
            "all": [
                {"kind": "segment", "slug": "vip"},
                {"not": {"kind": "segment", "slug": "bought-lately"}},
            ]
        },
    ),
}
# Ready segments of the gallery, about the events of the shop.
READY = ("new", "almost-buyers", "cart-abandoners", "repeat-buyers", "at-risk", "unreachable")
SHOP = Roles("purchase", "cart_updated", "product_viewed", "product_viewed", "total")
CIRCLE, CIRCLE_SIZE = "coffee-circle", 25


FLOWS: dict[str, tuple[str, str, dict]] = {
    WELCOME: (
        "Welcome series",
        "Greets new subscribers and offers those who have not ordered a reason to.",
        {
            "trigger": {"kind": "event", "name": "push_subscribed"},
            "reentry": {"mode": "never"},
            "exit_on": [],
            "steps": [
                {"key": "pause", "kind": "wait", "config": {"amount": 1, "unit": "minutes"}},
                {"key": "hello", "kind": "message", "config": {"message": "welcome", "channel": "webpush"}},
                {"key": "day", "kind": "wait", "config": {"amount": 1, "unit": "days"}},
                {
                    "key": "ordered",
                    "kind": "split",
                    "config": {"name": "Ordered already?"},
                    "branches": [
                        {
                            "name": "Has ordered",
                            "rule": {"kind": "event", "name": "purchase", "within": {"last": {"days": 2}}},
                            "steps": [{"key": "done", "kind": "exit", "config": {"reason": "has ordered"}}],
                        },
                        {
                            "name": "Not yet",
                            "steps": [
                                {
                                    "key": "offer",
                                    "kind": "message",
                                    "config": {"message": "first-order", "channel": "webpush"},
                                }
                            ],
                        },
                    ],
                },
            ],
        },
    ),
    CART: (
        "Abandoned cart",
        "Reminds of carts from €20, with a code a day later; one run for each cart, and an order ends it.",
        {
            "trigger": {
                "kind": "event",
                "name": "cart_updated",
                "where": [{"property": "total", "op": "gte", "value": CART_LEAST}],
            },
            "key": "properties.cart_id",
            "reentry": {"mode": "never"},
            "goal": {"name": "purchase", "within_days": CART_GOAL_DAYS, "value": "total", "exit": True},
            "exit_on": [],
            "steps": [
                {"key": "half-hour", "kind": "wait", "config": {"amount": 30, "unit": "minutes"}},
                {
                    "key": "remind",
                    "kind": "message",
                    "config": {"message": "cart-reminder", "channel": "webpush"},
                },
                {"key": "day", "kind": "wait", "config": {"amount": 1, "unit": "days"}},
                {"key": "code", "kind": "coupon", "config": {"pool": POOL, "if_empty": "go_on"}},
                {
                    "key": "offer",
                    "kind": "message",
                    "config": {"message": "cart-offer", "channel": "webpush"},
                },
            ],
        },
    ),
    AFTER: (
        "After the order",
        "A draft: tells the roastery, then thanks. Give it an address of yours and publish it.",
        {
            "trigger": {"kind": "event", "name": "purchase"},
            "key": "properties.order_id",
            "reentry": {"mode": "always"},
            "exit_on": [],
            "steps": [
                {
                    "key": "roastery",
                    "kind": "webhook",
                    "config": {
                        "url": "https://roastery.example.com/orders",
                        "body": {
                            "order": {"from": "event.properties.order_id"},
                            "items": {"from": "event.properties.items"},
                            "name": {"from": "profile.first_name"},
                        },
                    },
                },
                {"key": "while", "kind": "wait", "config": {"amount": 2, "unit": "hours"}},
                {"key": "thanks", "kind": "message", "config": {"message": "thanks", "channel": "webpush"}},
            ],
        },
    ),
}
LIVE = (WELCOME, CART)


# Topic -> name and description by locale.
TOPICS: dict[str, dict[str, tuple[str, str]]] = {
    "offers": {
        "": ("Offers", "Discounts and new roasts, about once a week."),
        "ar": ("العروض", "تخفيضات ومحاصيل جديدة، مرة في الأسبوع تقريباً."),
        "pl": ("Oferty", "Zniżki i nowe palenia, mniej więcej raz w tygodniu."),
    },
    "newsletter": {
        "": ("Newsletter", "Stories from the farms, once a month."),
        "ar": ("النشرة البريدية", "حكايات من المزارع، مرة في الشهر."),
        "pl": ("Newsletter", "Opowieści z plantacji, raz w miesiącu."),
    },
    "cart": {
        "": ("Reminders of your cart", "When something is still waiting in it."),
        "ar": ("تذكير بسلّتك", "عندما يبقى فيها شيء بانتظارك."),
        "pl": ("Przypomnienia o koszyku", "Gdy coś w nim jeszcze czeka."),
    },
}


def exists() -> bool:
    """Whether the demo was filled before; what somebody has changed or deleted since stays so."""
    return Message.objects.filter(slug="welcome").exists()


@transaction.atomic
def create() -> None:
    """Write topics, messages, a pool of codes, a flow that is a draft, and flows that are published but paused."""
    for place, (slug, words) in enumerate(TOPICS.items()):
        name, description = words[""]
        Topic.objects.get_or_create(
            slug=slug,
            defaults={
                "name": name,
                "description": description,
                "position": place,
                "translations": {
                    locale: {"name": name, "description": description}
                    for locale, (name, description) in words.items()
                    if locale
                },
            },
        )
    for slug, (name, topic, texts, url, picture) in MESSAGES.items():
        message = Message.objects.create(slug=slug, name=name, topic=topic)
        MessageContent.objects.bulk_create(
            MessageContent(
                message=message,
                channel="webpush",
                locale=locale,
                content={
                    "title": title,
                    "body": body,
                    "url": settings.NUDGE_PUBLIC_URL + url,
                    "icon": settings.NUDGE_PUBLIC_URL + static("demo/icon-192.png"),
                    "badge": settings.NUDGE_PUBLIC_URL + static("demo/badge-96.png"),
                    "image": settings.NUDGE_PUBLIC_URL + static(picture),
                },
            )
            for locale, (title, body) in texts.items()
        )
        MessageContent.objects.bulk_create(
            MessageContent(
                message=message,
                channel="inapp",
                locale=locale,
                content={
                    "title": texts[locale][0],
                    "text": texts[locale][1],
                    "button": button,
                    "url": settings.NUDGE_PUBLIC_URL + url,
                },
            )
            for locale, button in IN_APP.get(slug, {}).items()
        )
    pool = CouponPool.objects.create(slug=POOL, name="10% for second thoughts", low_mark=50)
    coupons.generate(pool, CODES, "CUP-")
    writing.create()
    for slug, (name, description, draft) in FLOWS.items():
        flow = Flow.objects.create(slug=slug, name=name, description=description, draft=draft)
        if slug in LIVE:
            publish.publish(flow.pk)
            publish.pause(flow.pk)  # until the history is in


def has_audience() -> bool:
    """Whether the segments were written before."""
    return Broadcast.objects.exists() or Segment.objects.exists()


@transaction.atomic
def create_audience() -> None:
    """Write segments with a rule, some of them straight from the gallery, one list, and a broadcast to one of them.

    They come after the month of history, since nobody enters a segment by what happened before it was made.
    """
    for slug, (name, description, rule) in SEGMENTS.items():
        editing.save(Segment(slug=slug, name=name, description=description), rule, by="demo")
    for slug in READY:
        ready = gallery.get(slug)
        asked = gallery.card(ready, SHOP).rule if ready else None
        if ready and asked:
            segment = Segment(slug=slug, name=str(ready.name), description=str(ready.help))
            editing.save(segment, asked, by="demo")
    circle = lists.create("Coffee circle", CIRCLE, "Guests of the tasting evening, kept by hand.")
    lists.add(circle, Profile.objects.order_by("pk").values_list("pk", flat=True)[:CIRCLE_SIZE])
    Broadcast.objects.create(
        name="Winter roast is here",
        message=Message.objects.get(slug="welcome"),
        segment=Segment.objects.get(slug="bought-lately"),
    )
    Broadcast.objects.create(
        name="The roaster's letter",
        message=Message.objects.get(slug=writing.LETTER),
        segment=Segment.objects.get(slug="repeat-buyers"),
        channel="email",
    )


def go_live() -> None:
    """Let the flows begin, for what happens from now on."""
    for flow in Flow.objects.filter(slug__in=LIVE, state=Flow.State.PAUSED):
        publish.resume(flow.pk)
