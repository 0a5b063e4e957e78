"""What a text can be filled in with, for offering it while somebody writes."""

from collections.abc import Iterator
from typing import Any, NamedTuple

from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

from crm import log
from crm.models import ComputedAttribute, Product, Profile
from crm.rules import seen
from delivery.content import brand, people
from delivery.models import Snippet

MOST = 40
EVENTS = 40  # names whose properties are looked at
PRODUCTS = 12
ATTRIBUTES = 300  # people whose attributes are looked at


class Offer(NamedTuple):
    """One thing to write: the expression, what it is, under which heading, and an example."""

    insert: str
    label: str
    group: str
    sample: str = ""


# What each filter makes, with how it is written.
FILTERS = {
    'default: "…"': gettext_lazy("what to say where there is nothing"),
    'money: "EUR"': gettext_lazy("an amount, as the reader writes it"),
    "number": gettext_lazy("a number, as the reader writes it"),
    "percent": gettext_lazy("a share of one, in percent"),
    'date: "long"': gettext_lazy("a date, as the reader writes it"),
    "time": gettext_lazy("date and time, in the reader's zone"),
    "capitalize": gettext_lazy("a capital letter first"),
    "upcase": gettext_lazy("capital letters"),
    "downcase": gettext_lazy("small letters"),
    "truncate: 40": gettext_lazy("at most so many characters"),
    "strip_html": gettext_lazy("without markup"),
    "escape": gettext_lazy("with signs of markup shown as they are"),
    "url_encode": gettext_lazy("for a part of a link"),
    "round: 2": gettext_lazy("rounded"),
    "plus: 1": gettext_lazy("more by so much"),
    "minus: 1": gettext_lazy("less by so much"),
    "times: 2": gettext_lazy("so many times"),
    "divided_by: 2": gettext_lazy("divided by so much"),
    "size": gettext_lazy("how many there are"),
    "first": gettext_lazy("the first of a list"),
    'join: ", "': gettext_lazy("a list as a text"),
}


def offers(asked: str, kind: str = "value", event: str = "") -> list[Offer]:
    """Return what fits what was typed so far: names that begin with it first, then those that contain it.

    Args:
        kind: "value" for what stands behind `{{`, "filter" for what stands behind `|`.
        event: only this event's properties, such as the trigger's; of all events by default.
    """
    wanted = asked.strip().lower()[:100]
    found = _filters() if kind == "filter" else _values(wanted, event)
    ranked = [
        (not offer.insert.lower().startswith(wanted), place, offer)
        for place, offer in enumerate(found)
        if wanted in offer.insert.lower() or wanted in offer.label.lower()
    ]
    return [offer for _late, _place, offer in sorted(ranked)[:MOST]]


def _filters() -> Iterator[Offer]:
    for insert, label in FILTERS.items():
        yield Offer(insert, str(label), _("Filters"))


def _values(wanted: str, event: str) -> Iterator[Offer]:
    person = _("Person")
    for name in people.FIELDS:
        if name != "attributes":
            yield Offer(f"profile.{name}", str(Profile._meta.get_field(name).verbose_name), person)
    for path, (kind, _values) in seen.remembered("attributes of texts", _attributes).items():
        yield Offer(f"profile.attributes.{path}", path, person, kind)
    for slug, name in ComputedAttribute.objects.filter(served=True).values_list("slug", "name"):
        yield Offer(f"{people.COMPUTED}.{slug}", name, _("Computed"))
    yield from _of_events(event)
    products = _("Products")
    yield Offer("event.products[0].title", _("the first product of the event"), products)
    yield Offer("event.products[0].price", _("its price"), products)
    yield Offer("event.products[0].image", _("its picture"), products)
    yield Offer("event.products[0].link", _("its page"), products)
    yield Offer("recommended[0].title", _("the first product that suits the person"), products)
    yield Offer("recommended[0].link", _("its page"), products)
    yield Offer("recommended[0].image", _("its picture"), products)
    if wanted.startswith("products"):
        yield from _of_catalogue(wanted)
    else:
        yield Offer('products["', _("a product of the catalogue, by its number"), products)
    yield Offer("coupon.code", _("the code of the coupon step before"), _("Coupons"))
    yield Offer("coupon.expires_at", _("until when the code is taken"), _("Coupons"))
    links = _("Links")
    yield Offer("preferences_url", _("the person's preference page"), links)
    yield Offer("unsubscribe_url", _("the person's link to leave"), links)
    yield Offer("confirm_url", _("the person's link of a double opt-in"), links)
    for slug, name in Snippet.objects.values_list("slug", "name"):
        yield Offer(f"snippets.{slug}", name, _("Snippets"))
    for name in ("name", "website", "postal_address", "logo", "accent", "sender_name"):
        if name in brand.Brand.__struct_fields__:
            yield Offer(f"brand.{name}", name.replace("_", " "), _("Brand"))


def _of_events(event: str) -> Iterator[Offer]:
    group = _("Event")
    yield Offer("event.name", _("the name of the event that started the flow"), group)
    yield Offer("event.occurred_at", _("when it happened"), group)
    names = (
        [event] if event else [name for name in seen.event_names() if name not in log.RESERVED_NAMES][:EVENTS]
    )
    of: dict[str, list[str]] = {}
    for name in names:
        for path in seen.properties(name):
            of.setdefault(path, []).append(name)
    for path, where in sorted(of.items(), key=lambda item: (-len(item[1]), item[0])):
        yield Offer(
            f"event.properties.{path}", ", ".join(where[:3]) + (" …" if len(where) > 3 else ""), group
        )


def _of_catalogue(wanted: str) -> Iterator[Offer]:
    typed = wanted.removeprefix("products").lstrip("[\"'. ")
    found = Product.objects.filter(active=True)
    if typed:
        found = found.filter(sku__istartswith=typed.split('"')[0].split("'")[0])
    for sku, name in found.order_by("sku").values_list("sku", "name")[:PRODUCTS]:
        if '"' not in sku:
            for part in ("title", "price", "link", "image"):
                yield Offer(f'products["{sku}"].{part}', name or sku, _("Products"))


def _attributes() -> dict[str, Any]:
    newest = Profile.objects.order_by("-pk").values_list("attributes", flat=True)[:ATTRIBUTES]
    return {path: (kind, []) for path, (kind, _values) in seen.summary(newest).items()}
