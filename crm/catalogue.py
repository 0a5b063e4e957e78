"""The catalogue: the one place where products are created and changed, whoever says so.

A batch is read in one query, decided in memory row after row and written in bulk; the number of statements does
not depend on its size, and what changes nothing is not written. A change of a price, or of whether a product can be
bought, is written down beside it (`ProductChange`): that is the history of prices, and what `crm.restock` makes
`back_in_stock` and `price_dropped` of.
"""

from collections.abc import Collection, Mapping, Sequence
from datetime import datetime
from typing import Any

import msgspec
from django.db import connection
from django.utils import timezone
from django.utils.translation import gettext as _

from crm import keyed_rows, normalise, wake
from crm.amounts import amount, attribute
from crm.keyed_rows import Row, Table
from crm.models import Product
from crm.normalise import Rejection
from crm.profiles import State

TEXTS = ("name", "currency", "category", "description", "url", "image_url")
NUMBERS = ("price", "stock")
LIMITS = {"currency": 3, "description": 10_000, "url": 2_000, "image_url": 2_000}
TASK, QUEUE = "crm.tasks.tell_of_products", "ingest"
_EMPTY: Row = {
    **dict.fromkeys(TEXTS, ""),
    **dict.fromkeys(NUMBERS),
    "attributes": {},
    "active": True,
}
_TABLE = Table(
    Product,
    "sku",
    {
        **dict.fromkeys(TEXTS, "text"),
        **dict.fromkeys(NUMBERS, "numeric"),
        "attributes": "jsonb",
        "active": "boolean",
    },
)
FIELDS = _TABLE.fields
_CHANGES = """
    INSERT INTO crm_productchange (product_id, changed_at, source, old_price, price, old_currency, currency,
        was_in_stock, in_stock, told_upto, told, told_at)
    SELECT p.id, %(now)s, %(source)s, r.old_price, p.price, r.old_currency, p.currency, r.was_in_stock, r.in_stock,
        0, 0, CASE WHEN r.good THEN NULL ELSE %(now)s END
    FROM jsonb_to_recordset(%(rows)s::jsonb) AS r(
        sku text, old_price numeric, old_currency text, was_in_stock boolean, in_stock boolean, good boolean)
    JOIN crm_product p USING (sku)
"""


class Patch(msgspec.Struct):
    """What somebody says about one product.

    Args:
        values: some of FIELDS in their normal form. Attributes are merged name by name, where None removes one.
        whole: fields that are not given become empty.
    """

    sku: str
    values: dict[str, Any]
    whole: bool = False


class Outcome(msgspec.Struct):
    """What became of one patch."""

    sku: str
    state: State


def patch(data: Mapping[str, Any], whole: bool = False) -> Patch:
    """The patch for a JSON object with a product's fields.

    Raises:
        Rejection: `sku` is missing, a field is unknown, or a value can't be taken.
    """
    unknown = set(data) - {"sku", *FIELDS}
    if unknown:
        name = normalise.shortened(min(unknown))
        raise Rejection(
            "unknown_field",
            name,
            _("There is no field “%(name)s”; own fields go into attributes.") % {"name": name},
        )
    sku = normalise.identifier(data.get("sku"), "sku")
    if sku is None:
        raise Rejection("missing_field", "sku", _("sku is missing."))
    return Patch(sku, {name: _value(name, value) for name, value in data.items() if name != "sku"}, whole)


def _value(name: str, value: Any) -> Any:
    if name in NUMBERS:
        return amount(value, name)
    if name == "active":
        if not isinstance(value, bool):
            raise Rejection("invalid_type", name, _("active is true or false."))
        return value
    if name == "attributes":
        if not isinstance(value, Mapping):
            raise Rejection("invalid_type", name, _("attributes must be an object."))
        return {own: attribute(own, each, f"attributes.{own}"[:200]) for own, each in value.items()}
    return text(name, value, name)


def text(name: str, value: Any, field: str) -> str:
    """One of TEXTS in its normal form; a currency in capitals.

    Raises:
        Rejection: it is none, or too long; about `field`.
    """
    found = normalise.text(value, field, LIMITS.get(name, normalise.TEXT_LIMIT)) or ""
    return found.upper() if name == "currency" else found


def upsert(patches: Sequence[Patch], source: str, now: datetime | None = None) -> list[Outcome]:
    """Create or change the products; two patches of one product act as if they had come one after the other.

    Args:
        source: who says so, such as "api" or "crm:<slug>".

    Raises:
        CollisionError: other writers keep creating the same products.
    """
    if not patches:
        return []
    now = now or timezone.now()
    return keyed_rows.retried(lambda: _upsert(patches, source, now), f"Products from {source}")


def retire(skus: Collection[str], source: str, now: datetime | None = None) -> int:
    """Take these products from sale; return how many were for sale. They stay: people bought them."""
    held = set(Product.objects.filter(sku__in=skus, active=True).values_list("sku", flat=True))
    outcomes = upsert([Patch(sku, {"active": False}) for sku in sorted(held)], source, now)
    return sum(outcome.state == "updated" for outcome in outcomes)


def _upsert(patches: Sequence[Patch], source: str, now: datetime) -> list[Outcome]:
    stored = _TABLE.read(each.sku for each in patches)
    held = {sku: dict(row) for sku, row in stored.items()}
    outcomes = [_apply(each, held) for each in patches]
    changed = _TABLE.write(stored, held, source, now)
    changes = [change for row in changed if (change := _change(stored[row["sku"]], row)) is not None]
    if changes:
        with connection.cursor() as cursor:
            cursor.execute(_CHANGES, {"rows": keyed_rows.as_json(changes), "source": source, "now": now})
        if any(change["good"] for change in changes):
            wake.on_commit(TASK, QUEUE)
    return outcomes


def _apply(given: Patch, held: dict[str, Row]) -> Outcome:
    row = held.get(given.sku)
    state: State = "created" if row is None else "updated"
    before = row or {"sku": given.sku, **_EMPTY}
    after = {**before, **(_EMPTY if given.whole else {}), **given.values}
    attributes = {**({} if given.whole else before["attributes"]), **given.values.get("attributes", {})}
    after["attributes"] = {name: value for name, value in attributes.items() if value is not None}
    if state == "updated" and after == before:
        return Outcome(given.sku, "unchanged")
    held[given.sku] = after
    return Outcome(given.sku, state)


def in_stock(row: Mapping[str, Any]) -> bool | None:
    """As Product.in_stock, of a row of values."""
    if not row["active"]:
        return False
    return None if row["stock"] is None else row["stock"] > 0


def _change(before: Mapping[str, Any], after: Mapping[str, Any]) -> dict[str, Any] | None:
    """What is to be written down of a change, if it is one of the price or of whether it can be bought.

    `good` is news that somebody may want to hear.
    """
    was, is_now = in_stock(before), in_stock(after)
    currency = before["currency"] == after["currency"]
    if was == is_now and currency and before["price"] == after["price"]:
        return None
    known = before["price"] is not None and after["price"] is not None
    cheaper = known and currency and after["price"] < before["price"]
    return {
        "sku": after["sku"],
        "old_price": before["price"],
        "old_currency": before["currency"],
        "was_in_stock": was,
        "in_stock": is_now,
        "good": bool(cheaper or (is_now and not was)),
    }
