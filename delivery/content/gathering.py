"""What a batch of messages needs beside the people: products, recommendations, brand and snippets."""

from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import Any, Protocol

import msgspec
from django.utils import timezone

from delivery.content import brand, products, snippets
from delivery.content.liquid import SNIPPETS
from delivery.content.people import texts

RECOMMENDED, PRODUCTS, BRAND = "recommended", "products", "brand"


class Wanted(Protocol):
    """One message to one person: a Delivery, or what stands for one in a preview."""

    pk: int
    profile_id: int
    context: dict[str, Any]


class Sample(msgspec.Struct):
    """Stands for a delivery where there is none."""

    profile_id: int
    context: dict[str, Any]
    pk: int = 0


class Gathered(msgspec.Struct):
    """The data for a batch; `data` gives one message's."""

    event: dict[int, dict[str, Any]] = {}
    catalogue: dict[str, products.Told] = {}
    recommended: dict[int, list[products.Told]] = {}
    brand: dict[str, Any] = {}
    snippets: dict[str, dict[str, str]] = {}

    def data(self, wanted: Wanted, locale: str = "") -> dict[str, Any]:
        """Return what the text in `locale` of one message sees beside the person and the message's own context."""
        found: dict[str, Any] = {}
        if self.snippets:
            found[SNIPPETS] = snippets.within(self.snippets, locale)
        if self.catalogue:
            found[PRODUCTS] = self.catalogue
        if wanted.pk in self.event:
            found["event"] = self.event[wanted.pk]
        if wanted.profile_id in self.recommended:
            found[RECOMMENDED] = self.recommended[wanted.profile_id]
        if self.brand:
            found[BRAND] = self.brand
        return found


def gather(wanted: Sequence[Wanted], contents: Iterable[Any], now: datetime | None = None) -> Gathered:
    """Fetch what authored `contents` ask for, for all of `wanted`: at most seven queries, none if they ask for nothing.

    Beside the snippets' own texts nothing is read that no content names.
    """
    authored = list(contents)
    found = Gathered()
    if names := snippets.named(authored):
        found.snippets = snippets.sources(names)
        authored += found.snippets.values()
    told = "\n".join(text for content in authored for text in texts(content))
    if BRAND in told:
        found.brand = brand.current().data()
    skus: set[str] = set()
    of_events: dict[int, list[tuple[str, products.Told]]] = {}
    suggested: dict[int, list[str]] = {}
    if PRODUCTS in told:
        skus |= products.named(authored)
        names_of = products.settings().properties
        for one in wanted:
            properties = (one.context.get("event") or {}).get("properties") or {}
            of_events[one.pk] = products.of_event(properties, names_of)
            skus.update(sku for sku, _item in of_events[one.pk])
    if RECOMMENDED in told:
        suggested = products.recommended({one.profile_id for one in wanted}, now or timezone.now())
        skus.update(sku for each in suggested.values() for sku in each)
    found.catalogue = products.look_up(skus)
    for one in wanted:
        if own := of_events.get(one.pk):
            joined = [products.joined(sku, item, found.catalogue.get(sku)) for sku, item in own]
            found.event[one.pk] = {**one.context["event"], PRODUCTS: joined}
    found.recommended = {
        profile_id: [found.catalogue[sku] for sku in each if sku in found.catalogue]
        for profile_id, each in suggested.items()
    }
    return found
