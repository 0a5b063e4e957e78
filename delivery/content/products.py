"""Products in messages: what an event is about, what a text looks up, and what suits a person. All in batches."""

import re
from collections import Counter, defaultdict
from collections.abc import Collection, Iterable, Mapping
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any

from django.core.cache import cache
from django.db import connection
from django.db.models import Q

from crm import normalise
from crm.models import CatalogueSettings, Product, ProductInterest
from delivery.content.people import texts

MOST_OF_EVENT = 50
RECOMMENDED = 6
SHELF = 24  # best sellers kept for each category
FRESH = timedelta(days=90)  # how long interest in a product counts
CACHED = 3600  # seconds that the best sellers are kept
SAMPLE = 500_000  # rows of interest that they are counted from
BOUGHT, SAVED, VIEWED = 5, 3, 1  # how much each kind of interest weighs

Told = dict[str, Any]
_LITERAL = re.compile(r"""products\s*\[\s*["']([^"'\]]{1,200})["']\s*\]""")
_BEST = """
    SELECT category, sku FROM (
        SELECT p.category, p.sku, sum(weight) AS total,
            row_number() OVER (PARTITION BY p.category ORDER BY sum(weight) DESC, p.sku) AS rank
        FROM (
            SELECT i.sku, (CASE WHEN i.bought_at > %(since)s THEN {bought} ELSE 0 END
                + CASE WHEN i.saved_at > %(since)s THEN {saved} ELSE 0 END
                + CASE WHEN i.viewed_at > %(since)s THEN {viewed} ELSE 0 END) AS weight
            FROM crm_productinterest i {sample}
        ) AS interest JOIN crm_product p USING (sku)
        WHERE weight > 0 AND p.active AND coalesce(p.stock, 1) > 0
        GROUP BY p.category, p.sku
    ) AS ranked WHERE rank <= %(shelf)s ORDER BY total DESC, sku
"""


def named(contents: Iterable[Any]) -> set[str]:
    """Return the product numbers that authored contents look up by name: `products["A-1"]`."""
    return {sku for content in contents for text in texts(content) for sku in _LITERAL.findall(text)}


def of_event(properties: Mapping[str, Any], names: Collection[str]) -> list[tuple[str, Told]]:
    """Return the products that an event is about, each with what the event says of it.

    Args:
        names: of the properties that hold a product's number, such as `product_id`; also looked for in lists of
            objects, such as `items`.
    """
    found = [
        (sku, item)
        for value in properties.values()
        if isinstance(value, list)
        for item in value
        if isinstance(item, dict) and (sku := _number(item, names))
    ]
    if not found:
        for name in names:
            value = properties.get(name)
            found += [
                (sku, {}) for each in (value if isinstance(value, list) else [value]) if (sku := _text(each))
            ]
    return list({sku: (sku, item) for sku, item in reversed(found)}.values())[::-1][:MOST_OF_EVENT]


def look_up(skus: Collection[str]) -> dict[str, Told]:
    """Return {product number: what templates see of it} of those in the catalogue, in one query."""
    return {
        product.sku: _told(product) for product in (Product.objects.filter(sku__in=set(skus)) if skus else ())
    }


def joined(sku: str, item: Told, product: Told | None) -> Told:
    """Return a product of an event: as the catalogue has it now, else as the event has it."""
    own = {key: value for key, value in item.items() if value not in (None, "")}
    fallback = {
        "sku": sku,
        "title": own.get("title") or own.get("name"),
        "price": own.get("price"),
        "currency": own.get("currency"),
        "image": own.get("image") or own.get("image_url"),
        "link": own.get("link") or own.get("url"),
    }
    return own | {key: value for key, value in fallback.items() if value is not None} | (product or {})


def recommended(profile_ids: Collection[int], now: datetime) -> dict[int, list[str]]:
    """Return {profile id: product numbers}: the best sellers of the category that each person cares for most.

    What they bought is left out; where that is too few, the best sellers of all fill up. One query for everybody, and
    one more an hour.
    """
    since = now - FRESH
    by_category = best_sellers(now)
    everywhere = by_category.get("", [])
    weights: dict[int, Counter[str]] = defaultdict(Counter)
    bought: dict[int, set[str]] = defaultdict(set)
    category_of = {sku: category for category, skus in by_category.items() if category for sku in skus}
    for profile_id, sku, bought_at, saved_at, viewed_at in ProductInterest.objects.filter(
        Q(bought_at__gt=since) | Q(saved_at__gt=since) | Q(viewed_at__gt=since), profile_id__in=profile_ids
    ).values_list("profile_id", "sku", "bought_at", "saved_at", "viewed_at"):
        if bought_at and bought_at > since:
            bought[profile_id].add(sku)
        if category := category_of.get(sku):
            weights[profile_id][category] += (
                (BOUGHT if bought_at else 0) + (SAVED if saved_at else 0) + (VIEWED if viewed_at else 0)
            )
    found = {}
    for profile_id in profile_ids:
        liked = min(weights[profile_id].items(), key=lambda item: (-item[1], item[0]), default=("", 0))[0]
        shelf = dict.fromkeys([*(by_category.get(liked, []) if liked else []), *everywhere])
        found[profile_id] = [sku for sku in shelf if sku not in bought[profile_id]][:RECOMMENDED]
    return found


def best_sellers(now: datetime) -> dict[str, list[str]]:
    """Return {category: product numbers}, what people bought, saved and viewed most of late first; "" is for all.

    From a sample where there is much, kept for an hour.
    """
    kept: dict[str, list[str]] | None = cache.get("delivery-best-sellers")
    if kept is not None:
        return kept
    with connection.cursor() as cursor:
        cursor.execute("SELECT reltuples FROM pg_class WHERE oid = 'crm_productinterest'::regclass")
        [(rows,)] = cursor.fetchall()
        sample = f"TABLESAMPLE SYSTEM ({100 * SAMPLE / rows:.4f})" if rows > SAMPLE else ""
        cursor.execute(
            _BEST.format(bought=BOUGHT, saved=SAVED, viewed=VIEWED, sample=sample),
            {"since": now - FRESH, "shelf": SHELF},
        )
        ranked = cursor.fetchall()
    found: dict[str, list[str]] = {"": []}
    for category, sku in ranked:
        found.setdefault(category, [])
        if category:
            found[category].append(sku)
        if len(found[""]) < SHELF:
            found[""].append(sku)
    cache.set("delivery-best-sellers", found, CACHED)
    return found


def settings() -> CatalogueSettings:
    """Return which properties name a product."""
    return CatalogueSettings.load()


def _told(product: Product) -> Told:
    price = product.price
    told: Told = {
        "sku": product.sku,
        "title": product.name or product.sku,
        "price": None if price is None else _plain(price),
        "currency": product.currency,
        "image": product.image_url,
        "link": product.url,
        "category": product.category,
        "description": product.description,
        "in_stock": product.in_stock,
        "attributes": product.attributes,
    }
    return {key: value for key, value in told.items() if value not in (None, "", {})}


def _plain(amount: Decimal) -> int | float:
    return int(amount) if amount == amount.to_integral_value() else float(amount)


def _number(item: Mapping[str, Any], names: Collection[str]) -> str:
    return next((sku for name in names if (sku := _text(item.get(name)))), "")


def _text(value: Any) -> str:
    if isinstance(value, str) or (isinstance(value, int) and not isinstance(value, bool)):
        text = str(value).strip()
        return text if 0 < len(text) <= normalise.IDENTIFIER_LIMIT and "\x00" not in text else ""
    return ""
