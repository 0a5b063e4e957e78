"""Ready segments: rules that most shops need, about the events that this one really records."""

from collections.abc import Callable, Mapping, Sequence
from contextlib import nullcontext
from datetime import datetime
from typing import Any, NamedTuple

from django.core.cache import cache
from django.db import connection
from django.utils.functional import Promise
from django.utils.translation import gettext_lazy as _
from django.utils.translation import pgettext_lazy

from campaigns.segments import compiler, editing, grammar, sampling, scopes, topspenders
from campaigns.segments.limits import TooSlow, fetch
from campaigns.segments.roles import Roles
from crm import masking
from crm.models import Place
from crm.rules.sql import joined, sql
from delivery import channels

REMEMBERED = 300  # seconds that sizes are kept
BUSY = 20  # seconds until they are asked for again when that took too long
FEW = 1_000  # people looked at when the usual sample takes too long
TIMEOUT_MS = 3_000
NEAR_KM = 10
MOST_PLACES = 20

Build = Callable[[Roles], dict[str, Any] | None]


class Ready(NamedTuple):
    """One segment of the gallery.

    Args:
        needs: the roles of events without which it can't be built.
        build: its rule as JSON; None when there is nothing in this installation to ask about.
    """

    slug: str
    group: Promise
    icon: str
    name: Promise
    help: Promise
    needs: tuple[str, ...]
    build: Build


class Card(NamedTuple):
    """A ready segment as it is here: its `rule`, or the roles of events that are `missing`."""

    ready: Ready
    rule: dict[str, Any] | None
    missing: tuple[str, ...] = ()


def event(name: str, days: int | None = None, **more: Any) -> dict[str, Any]:
    """A condition on an event, within the last `days` if given."""
    window = {"within": {"last": {"days": days}}} if days else {}
    return {"kind": "event", "name": name, **window, **more}


def never(name: str, days: int | None = None) -> dict[str, Any]:
    """A condition that somebody did not do it, within the last `days` if given."""
    return event(name, days, count={"op": "eq", "value": 0})


def often(name: str, days: int | None, times: int, op: str = "gte") -> dict[str, Any]:
    """A condition on how many times somebody did it."""
    return event(name, days, count={"op": op, "value": times})


def _attribute(field: str, op: str, value: Any = None) -> dict[str, Any]:
    found = {"kind": "attribute", "field": field, "op": op}
    return found if value is None else {**found, "value": value}


def _last(field: str, days: int) -> dict[str, Any]:
    return _attribute(field, "within_last", {"days": days})


def _lapsed(after: int, before: int | None) -> Build:
    """Seen last between `before` and `after` days ago."""

    def build(_roles: Roles) -> dict[str, Any]:
        gone = [{"not": _last("last_seen", after)}]
        known = _last("last_seen", before) if before else _attribute("last_seen", "is_set")
        return {"all": [known, *gone]}

    return build


def _near(_roles: Roles) -> dict[str, Any] | None:
    places = Place.objects.filter(active=True, kind="store")[:MOST_PLACES]
    around = [
        {"kind": "near", "latitude": each.latitude, "longitude": each.longitude, "radius_km": NEAR_KM}
        for each in places
    ]
    return {"any": around} if around else None


def _unreachable(_roles: Roles) -> dict[str, Any]:
    ways = [
        {"kind": "reachable", "channel": kind}
        for kind, channel in channels.everything().items()
        if channel.listed and channel.reaches_people
    ]
    return {"not": {"any": ways}}


def _top_spenders(roles: Roles) -> dict[str, Any] | None:
    threshold = topspenders.threshold(roles.purchase, roles.amount)
    if threshold is None:
        return None
    spent = {"fn": "sum", "property": roles.amount, "op": "gte", "value": threshold}
    return {"all": [event(roles.purchase, topspenders.DAYS, aggregate=spent)]}


def _message(did: str, days: int, **more: str) -> dict[str, Any]:
    return {"kind": "message", "did": did, **more, "within": {"last": {"days": days}}}


LIFE, SHOP, ORDERS, REACH = _("Life cycle"), _("On the way to an order"), _("Customers"), _("Messages")

READY: tuple[Ready, ...] = (
    Ready(
        "new",
        LIFE,
        "fiber_new",
        pgettext_lazy("a segment of people", "New"),
        _("Seen for the first time in the last 7 days."),
        (),
        lambda roles: {"all": [_last("first_seen", 7)]},
    ),
    Ready(
        "active",
        LIFE,
        "directions_run",
        pgettext_lazy("a segment of people", "Active"),
        _("Three visits or more in the last 14 days."),
        ("visit",),
        lambda roles: {"all": [often(roles.visit, 14, 3)]},
    ),
    Ready(
        "lapsed-30",
        LIFE,
        "bedtime",
        _("Lapsed for 30 days"),
        _("Last seen between 30 and 60 days ago: time for a first hello."),
        (),
        _lapsed(30, 60),
    ),
    Ready(
        "lapsed-60",
        LIFE,
        "bedtime",
        _("Lapsed for 60 days"),
        _("Last seen between 60 and 90 days ago: give them a reason to come back."),
        (),
        _lapsed(60, 90),
    ),
    Ready(
        "lapsed-90",
        LIFE,
        "bedtime_off",
        _("Lapsed for 90 days"),
        _("Not seen for more than 90 days: the last try before you stop writing."),
        (),
        _lapsed(90, None),
    ),
    Ready(
        "birthday-week",
        LIFE,
        "cake",
        _("Birthday this week"),
        _("Today or in the next seven days."),
        (),
        lambda roles: {"all": [_attribute("birthday", "anniversary_within", 7)]},
    ),
    Ready(
        "near-store",
        LIFE,
        "store",
        _("Near a store"),
        _("Lives within 10 km of one of your stores."),
        (),
        _near,
    ),
    Ready(
        "cart-abandoners",
        SHOP,
        "remove_shopping_cart",
        _("Cart abandoners"),
        _("Filled a cart in the last 7 days, and no order came after it."),
        ("cart", "purchase"),
        lambda roles: {"all": [event(roles.cart, 7, not_followed_by={"name": roles.purchase})]},
    ),
    Ready(
        "almost-buyers",
        SHOP,
        "visibility",
        _("Almost buyers"),
        _("Looked at products three times or more in the last 14 days, and did not buy."),
        ("view", "purchase"),
        lambda roles: {"all": [often(roles.view, 14, 3), never(roles.purchase, 14)]},
    ),
    Ready(
        "lookers",
        SHOP,
        "person_search",
        _("Never bought"),
        _("Was on the site in the last 30 days, and has never ordered anything."),
        ("visit", "purchase"),
        lambda roles: {"all": [event(roles.visit, 30), never(roles.purchase)]},
    ),
    Ready(
        "buyers",
        ORDERS,
        "shopping_bag",
        _("Buyers"),
        _("At least one order in the last 30 days."),
        ("purchase",),
        lambda roles: {"all": [event(roles.purchase, 30)]},
    ),
    Ready(
        "first-order",
        ORDERS,
        "looks_one",
        _("Bought once"),
        _("Exactly one order ever: the second one makes a customer."),
        ("purchase",),
        lambda roles: {"all": [often(roles.purchase, None, 1, "eq")]},
    ),
    Ready(
        "repeat-buyers",
        ORDERS,
        "repeat",
        _("Repeat buyers"),
        _("Two orders or more in the last 180 days."),
        ("purchase",),
        lambda roles: {"all": [often(roles.purchase, 180, 2)]},
    ),
    Ready(
        "at-risk",
        ORDERS,
        "trending_down",
        _("At risk"),
        _("Ordered twice or more in the last half year, but not in the last 60 days."),
        ("purchase",),
        lambda roles: {"all": [often(roles.purchase, 180, 2), never(roles.purchase, 60)]},
    ),
    Ready(
        "vip",
        ORDERS,
        "diamond",
        _("VIP"),
        _("The tenth of your customers who spent most in the last year."),
        ("purchase", "amount"),
        _top_spenders,
    ),
    Ready(
        "engaged",
        REACH,
        "touch_app",
        pgettext_lazy("a segment of people", "Engaged"),
        _("Opened or clicked a message in the last 30 days, by whatever channel."),
        (),
        lambda roles: {"any": [_message("opened", 30), _message("clicked", 30)]},
    ),
    Ready(
        "engaged-push",
        REACH,
        "notifications_active",
        _("Engaged by push"),
        _("Clicked a push message in the last 30 days."),
        (),
        lambda roles: {"all": [_message("clicked", 30, channel="webpush")]},
    ),
    Ready(
        "never-opened",
        REACH,
        "mark_email_unread",
        _("Never opened"),
        _("Got messages in the last 90 days, and opened or clicked none."),
        (),
        lambda roles: {
            "all": [
                _message("received", 90),
                {"not": {"any": [_message("opened", 90), _message("clicked", 90)]}},
            ]
        },
    ),
    Ready(
        "unreachable",
        REACH,
        "signal_disconnected",
        _("Unreachable"),
        _("Nothing you send by any channel would get to them: ask these people for their consent."),
        (),
        _unreachable,
    ),
)


def get(slug: str) -> Ready | None:
    """The ready segment of this name."""
    return next((ready for ready in READY if ready.slug == slug), None)


def card(ready: Ready, roles: Roles) -> Card:
    """A ready segment for this installation's events."""
    missing = tuple(role for role in ready.needs if not getattr(roles, role))
    return Card(ready, None, missing) if missing else Card(ready, ready.build(roles))


def cards(roles: Roles) -> list[Card]:
    """All that can be asked here, those without an event that they need last in their group.

    What would tell contact data to somebody who may not see any is left out, and what has nothing to ask about.
    """
    found = [card(ready, roles) for ready in READY]
    return [
        each
        for each in found
        if each.missing or (each.rule is not None and not (masking.hidden() and masking.asks(each.rule)))
    ]


def sizes(rules: Mapping[str, dict[str, Any]], now: datetime | None = None) -> dict[str, sampling.Bounds]:
    """About how many people each rule holds for; by one count however many there are, and none for five minutes.

    Args:
        rules: slug -> rule as JSON.

    Returns:
        By slug; exact where all people could be looked at. Empty when it takes too long.
    """
    key = f"gallery:{connection.settings_dict['NAME']}:{editing.fingerprint(rules)}"
    found = cache.get(key)
    if found is None:
        found = _sizes(rules, now) if rules else {}
        cache.set(key, found, REMEMBERED if found else BUSY)
    return found


def _sizes(rules: Mapping[str, dict[str, Any]], now: datetime | None) -> dict[str, sampling.Bounds]:
    everybody = sampling.total()
    for people in (sampling.PEOPLE, FEW):
        try:
            if everybody <= people:
                return _counted(rules, now, None, everybody)
            scope = sampling.people(everybody, TIMEOUT_MS, people)
            return _counted(rules, now, scope, everybody) if scope else {}
        except TooSlow:
            continue  # with fewer people
    return {}


def _counted(
    rules: Mapping[str, dict[str, Any]], now: datetime | None, scope: list[int] | None, everybody: int
) -> dict[str, sampling.Bounds]:
    parsed = [grammar.parse(rule) for rule in rules.values()]
    with scopes.stored(scope) if scope is not None else nullcontext("") as table:
        query = compiler.query(grammar.Group("any", parsed, ""), now, scope, table=table)
        counts = [sql("(SELECT count(*) FROM ({}) AS found)", compiler.ids(rule, query)) for rule in parsed]
        [row] = fetch(sql("SELECT {}", joined(", ", counts)), TIMEOUT_MS)
    if scope is None:
        return {slug: sampling.Bounds(hits, hits, hits) for slug, hits in zip(rules, row, strict=True)}
    return {slug: sampling.bounds(hits, len(scope), everybody) for slug, hits in zip(rules, row, strict=True)}


def groups(found: Sequence[Card]) -> list[tuple[Promise, list[Card]]]:
    """The cards by their group, in order."""
    names = list(dict.fromkeys(each.ready.group for each in found))
    return [(name, [each for each in found if each.ready.group is name]) for name in names]
