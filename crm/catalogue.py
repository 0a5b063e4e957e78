"""The catalogue: the one place where products are created and changed, whoever says so.

A batch is read in one query, decided in memory row after row and written in bulk; the number of statements does
not depend on its size, and what changes nothing is not written. A change of a price, or of whether a product can be
bought, is written down beside it (`ProductChange`): that is the history of prices, and what `crm.restock` makes
`back_in_stock` and `price_dropped` of.
"""

import json
from collections.abc import Collection, Mapping, Sequence
from datetime import datetime
from decimal import Decimal
from typing import Any

import msgspec
from django.db import OperationalError, connection, transaction
from django.utils import timezone
from django.utils.translation import gettext as _
from psycopg.errors import DeadlockDetected

from crm import normalise, wake
from crm.amounts import amount, attribute
from crm.models import Product
from crm.normalise import Rejection
from crm.profiles import CollisionError, State

TEXTS = ("name", "currency", "category", "description", "url", "image_url")
NUMBERS = ("price", "stock")
LIMITS = {"currency": 3, "description": 10_000, "url": 2_000, "image_url": 2_000}
FIELDS = (*TEXTS, *NUMBERS, "attributes", "active")
TASK, QUEUE = "crm.tasks.tell_of_products", "ingest"
_TRIES = 5
_EMPTY: dict[str, Any] = {
    **dict.fromkeys(TEXTS, ""),
    **dict.fromkeys(NUMBERS),
    "attributes": {},
    "active": True,
}
_COLUMNS = ("sku", *FIELDS)
_RECORD = (
    "sku text, name text, currency text, category text, description text, url text, image_url text, "
    "price numeric, stock numeric, attributes jsonb, active boolean"
)
_INSERT = f"""
    INSERT INTO crm_product ({", ".join(_COLUMNS)}, source, created_at, updated_at)
    SELECT {", ".join(_COLUMNS)}, %(source)s, %(now)s, %(now)s FROM jsonb_to_recordset(%(rows)s::jsonb) AS r({_RECORD})
    ON CONFLICT DO NOTHING
"""
_UPDATE = f"""
    UPDATE crm_product p SET {", ".join(f"{name} = r.{name}" for name in FIELDS)},
        source = %(source)s, updated_at = %(now)s
    FROM jsonb_to_recordset(%(rows)s::jsonb) AS r({_RECORD}) WHERE p.sku = r.sku
"""
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


class _Conflict(Exception):
    """Another transaction created a product between our reading and our writing."""


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
    now = now or timezone.now()
    for _attempt in range(_TRIES if patches else 0):
        try:
            with transaction.atomic():
                return _upsert(patches, source, now)
        except _Conflict:
            pass
        except OperationalError as error:
            if not isinstance(error.__cause__, DeadlockDetected):
                raise
    if patches:
        raise CollisionError(f"Products from {source} keep colliding with other writers.")
    return []


def retire(skus: Collection[str], source: str, now: datetime | None = None) -> int:
    """Take these products from sale; return how many were for sale. They stay: people bought them."""
    held = set(Product.objects.filter(sku__in=skus, active=True).values_list("sku", flat=True))
    outcomes = upsert([Patch(sku, {"active": False}) for sku in sorted(held)], source, now)
    return sum(outcome.state == "updated" for outcome in outcomes)


def _upsert(patches: Sequence[Patch], source: str, now: datetime) -> list[Outcome]:
    skus = sorted({each.sku for each in patches})
    stored = {
        row["sku"]: row
        for row in Product.objects.select_for_update()
        .filter(sku__in=skus)
        .order_by("sku")
        .values("sku", *FIELDS)
    }
    held = {sku: dict(row) for sku, row in stored.items()}
    outcomes = [_apply(each, held) for each in patches]
    # In one order for everybody, so that no two writers wait for each other.
    new = [held[sku] for sku in sorted(held) if sku not in stored]
    changed = [row for sku, row in held.items() if sku in stored and row != stored[sku]]
    with connection.cursor() as cursor:
        for statement, rows in ((_INSERT, new), (_UPDATE, changed)):
            if rows:
                cursor.execute(statement, {"rows": _json(rows), "source": source, "now": now})
                if cursor.rowcount < len(rows):
                    raise _Conflict
        changes = [change for row in changed if (change := _change(stored[row["sku"]], row)) is not None]
        if changes:
            cursor.execute(_CHANGES, {"rows": _json(changes), "source": source, "now": now})
            if any(change["good"] for change in changes):
                wake.on_commit(TASK, QUEUE)
    return outcomes


def _apply(given: Patch, held: dict[str, dict[str, Any]]) -> Outcome:
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


def _json(rows: Sequence[Mapping[str, Any]]) -> str:
    return json.dumps(rows, default=_exact, ensure_ascii=False)


def _exact(value: Any) -> str:
    """A Decimal as text, which PostgreSQL casts without a double in between."""
    if isinstance(value, Decimal):
        return format(value, "f")
    raise TypeError(type(value).__name__)
