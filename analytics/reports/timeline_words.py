"""What the lines of a person's story are called: events in plain words, with the facts that matter."""

import json
from collections.abc import Callable, Sequence
from typing import Any

from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy, ngettext

from analytics.written import money
from campaigns.models import Flow, Segment
from crm import masking
from crm.models import Event, Product, Topic
from delivery.models import Message

FACTS = 20  # shown of one event
ITEMS = 3  # of a cart that are named
_TITLES = ("name", "product_name", "product", "title")
_NUMBERS = ("product_id", "sku")

# Event name -> icon and title, of what only we record.
OURS = {
    "message_sent": ("send", gettext_lazy("Sent: %(message)s")),
    "message_delivered": ("mark_chat_read", gettext_lazy("Shown on the device: %(message)s")),
    "message_opened": ("drafts", gettext_lazy("Opened: %(message)s")),
    "message_clicked": ("ads_click", gettext_lazy("Clicked: %(message)s")),
    "message_dismissed": ("notifications_off", gettext_lazy("Swiped away: %(message)s")),
    "message_read": ("done_all", gettext_lazy("Read: %(message)s")),
    "message_machine_opened": ("smart_toy", gettext_lazy("Opened by a machine: %(message)s")),
    "message_machine_clicked": ("smart_toy", gettext_lazy("Clicked by a machine: %(message)s")),
    "message_withdrawn": ("undo", gettext_lazy("Found to be a machine's after all: %(message)s")),
    "message_bounced": ("undo", gettext_lazy("Came back: %(message)s")),
    "message_complained": ("report", gettext_lazy("Reported as spam: %(message)s")),
    "message_received": ("forum", gettext_lazy("Wrote to us")),
    "message_converted": ("paid", gettext_lazy("Goal reached after: %(message)s")),
    "message_suppressed": ("block", gettext_lazy("Not sent: %(message)s")),
    "message_failed": ("error", gettext_lazy("Could not be sent: %(message)s")),
    "flow_entered": ("login", gettext_lazy("Entered the flow %(flow)s")),
    "flow_completed": ("task_alt", gettext_lazy("Completed the flow %(flow)s")),
    "flow_exited": ("logout", gettext_lazy("Left the flow %(flow)s")),
    "segment_entered": ("filter_alt", gettext_lazy("Entered the segment %(segment)s")),
    "segment_left": ("filter_alt_off", gettext_lazy("Left the segment %(segment)s")),
    "push_subscribed": ("notifications_active", gettext_lazy("Subscribed a browser to push")),
    "push_unsubscribed": ("notifications_off", gettext_lazy("A browser can no longer receive push")),
    "consent_changed": ("how_to_reg", gettext_lazy("Consent for %(key)s: %(state)s")),
    "consent_requested": ("contact_support", gettext_lazy("Asked to confirm: %(key)s")),
    "profile_merged": ("merge", gettext_lazy("Joined with profile %(merged)s")),
    "profile_unmerged": ("call_split", gettext_lazy("Parted again from profile %(parted)s")),
    "profile_erased": ("person_off", gettext_lazy("Everything about this person was erased")),
    "back_in_stock": ("inventory", gettext_lazy("Back in stock: %(product)s")),
    "price_dropped": ("trending_down", gettext_lazy("Cheaper: %(product)s, %(now)s instead of %(was)s")),
    "entered_place": ("location_on", gettext_lazy("Came into %(name)s")),
    "attribute_changed": ("edit", gettext_lazy("Changed: %(field)s")),
    "experiment_exposed": ("call_split", gettext_lazy("Came into the comparison %(experiment)s: %(arm)s")),
}
# Of those, what the person did themselves.
THEIR_OWN = ("entered_place", "message_received")
STATES = {
    "subscribed": gettext_lazy("yes"),
    "unsubscribed": gettext_lazy("no"),
    "pending": gettext_lazy("not confirmed yet"),
}
CARES = {
    "asked": gettext_lazy("They had asked to be told."),
    "saved": gettext_lazy("They had saved the product."),
    "viewed": gettext_lazy("They had looked at the product."),
}
JOINED = {
    "identified": gettext_lazy("Both were named together."),
    "crm": gettext_lazy("The CRM merged them."),
    "admin": gettext_lazy("Somebody joined them by hand."),
}
CHANNELS = {
    "webpush": gettext_lazy("web push"),
    "inapp": gettext_lazy("messages in the site"),
    "email": gettext_lazy("email"),
    "sms": gettext_lazy("SMS"),
    "whatsapp": gettext_lazy("WhatsApp"),
}


class Names:
    """The human names of what events mention by short name, in a fixed number of queries."""

    def __init__(self, events: Sequence[Event]):
        def mentioned(key: str) -> set[Any]:
            return {event.properties[key] for event in events if isinstance(event.properties.get(key), str)}

        self.by_key: dict[str, dict[str, str]] = {}
        for key, model in (("message", Message), ("flow", Flow), ("segment", Segment), ("key", Topic)):
            slugs = mentioned(key) - set(CHANNELS) if key == "key" else mentioned(key)
            self.by_key[key] = (
                dict(model.objects.filter(slug__in=slugs).values_list("slug", "name")) if slugs else {}
            )
        self.by_key["key"] |= {name: str(label) for name, label in CHANNELS.items()}
        skus = {sku for event in events if (sku := _sku(event))}
        self.products: dict[str, str] = (
            dict(Product.objects.filter(sku__in=skus).exclude(name="").values_list("sku", "name"))
            if skus
            else {}
        )

    def of(self, properties: dict[str, Any]) -> dict[str, Any]:
        """The properties with names in place of short names."""
        return {
            key: self.by_key.get(key, {}).get(value, value) if isinstance(value, str) else value
            for key, value in properties.items()
        }


def ours(event: Event, names: Names) -> tuple[str, str]:
    """Icon and title of an event that only we record."""
    icon, title = OURS[event.name]
    words = names.of(event.properties)
    if event.name.startswith("consent_"):
        words["state"] = STATES.get(words.get("state", ""), words.get("state", ""))
    if event.name in ("back_in_stock", "price_dropped"):
        words["product"] = names.products.get(_sku(event)) or words.get("name") or words.get("sku")
        currency = str(words.get("currency") or "")
        words |= {
            "was": _price(words.get("old_price"), currency),
            "now": _price(words.get("price"), currency),
        }
    return icon, _fill(str(title), words)


def theirs(event: Event, names: Names) -> tuple[str, str]:
    """Icon and title of what a person did: in words where the name is a usual one, else the name itself."""
    icon, words = _KNOWN.get(event.name, ("bolt", None))
    product = names.products.get(_sku(event))
    properties = {**event.properties, "name": product} if product else event.properties
    title = words(properties) if words else ""
    title = title or event.name.replace("_", " ").replace(".", " ").strip().capitalize() or event.name
    return icon, masking.text(title) if masking.hidden() else title


def facts(properties: dict[str, Any]) -> list[tuple[str, str]]:
    """Names and values, as far as the reader may see them."""
    shown = masking.data(properties) if masking.hidden() else properties
    return [
        (name, value if isinstance(value, str) else json.dumps(value, ensure_ascii=False))
        for name, value in list(shown.items())[:FACTS]
    ]


def _first(properties: dict[str, Any], names: Sequence[str]) -> str:
    return next(
        (value for name in names if isinstance(value := properties.get(name), str) and value),
        "",
    )


def _sku(event: Event) -> str:
    """The product's number, where what people did does not name the product itself, and where we told of it."""
    if event.name in ("back_in_stock", "price_dropped"):
        return _first(event.properties, ("sku",))
    named = event.name in OURS or _first(event.properties, _TITLES)
    return "" if named else _first(event.properties, _NUMBERS)[:120]


def _product(properties: dict[str, Any]) -> str:
    return _first(properties, (*_TITLES, *_NUMBERS))[:120]


def _items(properties: dict[str, Any]) -> str:
    """Such as "Cup, Pot and 2 more"."""
    items = properties.get("items")
    found = [_product(item) for item in items if isinstance(item, dict)] if isinstance(items, list) else []
    found = [name for name in found if name]
    more = len(found) - ITEMS
    text = ", ".join(found[:ITEMS])
    if more > 0:
        return ngettext("%(text)s and %(more)d more", "%(text)s and %(more)d more", more) % {
            "text": text,
            "more": more,
        }
    return text or _product(properties)


def _sum(properties: dict[str, Any]) -> str:
    for name in ("total", "value", "amount", "price"):
        value = properties.get(name)
        if isinstance(value, int | float) and not isinstance(value, bool) and abs(value) < 1e13:
            return money(value, str(properties.get("currency") or ""))
    return ""


def _price(value: Any, currency: str) -> str:
    usable = isinstance(value, int | float) and not isinstance(value, bool)
    return money(value, currency) if usable else "—"


def _about(sentence: Any) -> Callable[[dict[str, Any]], str]:
    """Words about a product; nothing without one."""
    return lambda properties: str(sentence) % product if (product := _product(properties)) else ""


def _bought(properties: dict[str, Any]) -> str:
    items, total = _items(properties), _sum(properties)
    if items and total:
        return _("Bought %(items)s for %(total)s") % {"items": items, "total": total}
    return _("Bought %s") % items if items else _("Bought for %s") % total if total else ""


def _cart(properties: dict[str, Any]) -> str:
    items = _items(properties)
    return _("Put into the cart: %s") % items if items else ""


def _page(properties: dict[str, Any]) -> str:
    for name in ("title", "path", "url"):
        if isinstance(value := properties.get(name), str) and value:
            return _("Opened the page %s") % value[:200]
    return ""


def _searched(properties: dict[str, Any]) -> str:
    words = properties.get("query") or properties.get("term")
    return _("Searched for “%s”") % words[:120] if isinstance(words, str) and words else ""


def _was_at(properties: dict[str, Any]) -> str:
    if masking.hidden() or "latitude" not in properties or "longitude" not in properties:
        return _("Told where they are")
    return _("Was at %(latitude)s, %(longitude)s") % properties


# Usual names of events -> icon, and the words made of the properties ("" if they do not tell enough).
_KNOWN: dict[str, tuple[str, Callable[[dict[str, Any]], str]]] = {
    "product_viewed": ("visibility", _about(gettext_lazy("Looked at %s"))),
    "product_saved": ("favorite", _about(gettext_lazy("Saved %s"))),
    "wishlist_added": ("favorite", _about(gettext_lazy("Saved %s"))),
    "back_in_stock_requested": (
        "notification_add",
        _about(gettext_lazy("Asked to be told when %s is back")),
    ),
    "price_drop_requested": ("notification_add", _about(gettext_lazy("Asked to be told when %s is cheaper"))),
    "cart_updated": ("shopping_cart", _cart),
    "checkout_started": ("shopping_cart_checkout", lambda _properties: _("Went to the checkout")),
    "purchase": ("shopping_bag", _bought),
    "purchase_corrected": ("receipt_long", lambda properties: _("Purchase corrected: %s") % _sum(properties)),
    "purchase_cancelled": ("remove_shopping_cart", lambda _properties: _("Purchase cancelled")),
    "page_viewed": ("public", _page),
    "page": ("public", _page),
    "searched": ("search", _searched),
    "search": ("search", _searched),
    "identified": ("badge", lambda _properties: _("Told who they are")),
    "location": ("my_location", _was_at),
}


def _fill(title: str, properties: dict[str, Any]) -> str:
    class Blank(dict):
        def __missing__(self, key: str) -> str:
            return "—"

    return title % Blank(properties)
