"""Which of the site's own events is a purchase, a full cart, a look at a product, a visit.

Each shop names its events as it likes. Where a standard name occurs the answer is clear; otherwise somebody has to
say, for a ready segment about an event that never happens would be of no use to anybody.
"""

from collections.abc import Mapping
from typing import NamedTuple

from django.utils.functional import Promise
from django.utils.translation import gettext_lazy as _

from crm.rules import paths, seen
from crm.rules.errors import RuleError

# Names that libraries and shops use, the most usual first.
STANDARD: dict[str, tuple[str, ...]] = {
    "purchase": (
        *("purchase", "order_completed", "order_placed", "order_created", "order_paid", "checkout_completed"),
        *("purchased", "Order Completed", "order", "transaction"),
    ),
    "cart": (
        *(
            "cart_updated",
            "product_added",
            "add_to_cart",
            "added_to_cart",
            "cart_created",
            "checkout_started",
        ),
        *("begin_checkout", "Product Added"),
    ),
    "view": (
        "product_viewed",
        "view_item",
        "product_view",
        "viewed_product",
        "Product Viewed",
        "item_viewed",
    ),
    "visit": (
        "page_viewed",
        "page_view",
        "session_started",
        "session_start",
        "visit",
        "pageview",
        "app_opened",
    ),
}
QUESTIONS: dict[str, Promise] = {
    "purchase": _("a purchase"),
    "cart": _("a full cart"),
    "view": _("a look at a product"),
    "visit": _("a visit"),
}
AMOUNTS = ("total", "amount", "value", "revenue", "price", "total_price", "grand_total")


class Roles(NamedTuple):
    """The names of the events, "" where there is none, and the property of a purchase that says what was paid."""

    purchase: str = ""
    cart: str = ""
    view: str = ""
    visit: str = ""
    amount: str = ""


def find(chosen: Mapping[str, str] | None = None) -> Roles:
    """The events of this installation, by what somebody chose where that occurs, else by their standard names.

    Args:
        chosen: role -> name, and `amount` -> property.
    """
    wanted, names = chosen or {}, set(seen.event_names())
    found = {}
    for role, standard in STANDARD.items():
        choice = wanted.get(role, "")
        found[role] = choice if choice in names else next((name for name in standard if name in names), "")
    found["visit"] = found["visit"] or found["view"]  # where pages are not tracked, a look is a visit
    return Roles(**found, amount=amount(found["purchase"], wanted.get("amount", "")))


def amounts(purchase: str) -> list[str]:
    """The properties of purchases that hold numbers, the likeliest price first."""
    numbers = [
        path
        for path, (kind, _values) in seen.properties(purchase).items()
        if kind == "number" and _askable(path)
    ]
    return sorted(numbers, key=lambda path: (AMOUNTS.index(path) if path in AMOUNTS else len(AMOUNTS), path))


def _askable(path: str) -> bool:
    try:
        paths.json_path(path, "amount")
    except RuleError:
        return False
    return True


def amount(purchase: str, choice: str = "") -> str:
    """What a purchase cost: the property chosen, or the one that is called so; "" when none is."""
    known = amounts(purchase) if purchase else []
    if choice in known:
        return choice
    return known[0] if known and known[0] in AMOUNTS else ""
