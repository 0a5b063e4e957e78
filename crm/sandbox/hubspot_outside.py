"""A HubSpot portal from outside its API: the control API's edits, and the live writer's changes."""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from crm.sandbox.hubspot_kinds import Kind
from crm.sandbox.hubspot_properties import DEAL_STAGES
from crm.sandbox.hubspot_schema import as_text
from crm.sandbox.names import POOLS
from crm.sandbox.people import CATEGORIES, JOB_TITLES, PLANS
from crm.sandbox.places import COUNTRIES
from crm.sandbox.store import Record, parse_stamp

if TYPE_CHECKING:
    from crm.sandbox.hubspot import HubSpot

OBJECTS = {"contacts": 75, "deals": 15, "products": 5, "companies": 5}
ACTIONS = {"update": 80, "create": 8, "archive": 5, "restore": 4, "merge": 3}


def edit(kind: Kind, key: str, body: dict[str, Any]) -> dict[str, Any]:
    """Change a record as `Vendor.edit` says."""
    record = _record(kind, key)
    values, stamp = body.get("properties") or {}, body.get("modified")
    modified = None if stamp is None else parse_stamp(str(stamp))
    if values or modified is not None:
        kind.store.update(record, texts(values), modified)
    if body.get("merge") is not None:
        kind.merge(record, _record(kind, str(body["merge"])))
    if body.get("archived") is True:
        kind.store.archive(record)
    elif body.get("archived") is False:
        kind.store.restore(record)
    if body.get("erased") is True:
        kind.store.erase(record)
        return {"id": key, "erased": True}
    return kind.dump(record)


def texts(properties: dict[str, Any]) -> dict[str, str | None]:
    """JSON values as HubSpot keeps them."""
    return {name: None if value is None else as_text(value) for name, value in properties.items()}


def _record(kind: Kind, key: str) -> Record:
    if not key.isdecimal() or int(key) not in kind.store.records:
        raise KeyError(key)
    return kind.store.records[int(key)]


def random_write(hubspot: HubSpot, rng: random.Random) -> str:
    """One believable change; says what it was."""
    kind = hubspot.kinds[rng.choices([*OBJECTS], [*OBJECTS.values()])[0]]
    action = rng.choices([*ACTIONS], [*ACTIONS.values()])[0]
    record = None if action == "create" else kind.store.pick(rng, archived=action == "restore")
    if record is None:
        return _create(hubspot, kind, rng)
    match action:
        case "archive":
            kind.store.archive(record)
        case "restore":
            if kind.store.find(record.properties.get(kind.store.unique, "")) is not None:
                return _create(hubspot, kind, rng)  # its address has been taken meanwhile
            kind.store.restore(record)
        case "merge":
            other = kind.store.pick(rng)
            if other is None or other is record or kind.name == "products":
                return _create(hubspot, kind, rng)
            kind.merge(record, other)
            return f"merge {kind.singular} {other.id} into {record.id}"
        case _:
            kind.store.update(record, dict(VALUES[kind.name](rng)))
    return f"{action} {kind.singular} {record.id}"


def _create(hubspot: HubSpot, kind: Kind, rng: random.Random) -> str:
    values = {**NEW[kind.name](rng), **VALUES[kind.name](rng)}
    record = kind.store.create(dict(values))
    buyer = hubspot.contacts.pick(rng) if kind.name == "deals" else None
    if buyer is not None:
        hubspot.associations.link("deals", record.id, "contacts", buyer.id)
    return f"create {kind.singular} {record.id}"


Values = Callable[[random.Random], dict[str, str]]


def _contact_values(rng: random.Random) -> dict[str, str]:
    country = rng.choice(COUNTRIES)
    return rng.choice(
        (
            {"loyalty_points": str(rng.randrange(5000))},
            {"jobtitle": rng.choice(JOB_TITLES)},
            {"plan": rng.choice([*PLANS])},
            {"favourite_category": rng.choice(CATEGORIES)},
            {"newsletter_opt_in": rng.choice(("true", "false"))},
            {"city": rng.choice(country.cities)[0], "country": country.name},
        )
    )


def _new_contact(rng: random.Random) -> dict[str, str]:
    pool = POOLS[rng.choice([*POOLS])]
    first, last = rng.choice(pool.women + pool.men), rng.choice(pool.families)[0]
    # Long enough a number that no two new contacts get the same address.
    return {
        "email": f"new.{rng.randrange(10**12):012d}@example.com",
        "firstname": first.native,
        "lastname": last.native,
        "lifecyclestage": "lead",
        "plan": "free",
    }


def _deal_values(rng: random.Random) -> dict[str, str]:
    amount = {"amount": f"{rng.randrange(990, 90_000) / 100:.2f}"}
    return rng.choice((amount, {"dealstage": rng.choice([*DEAL_STAGES])}))


def _new_deal(rng: random.Random) -> dict[str, str]:
    return {
        "dealname": f"Order {rng.randrange(10**9)}",
        "dealstage": rng.choice([*DEAL_STAGES]),
        "pipeline": "default",
        "amount": f"{rng.randrange(990, 90_000) / 100:.2f}",
        "deal_currency_code": "EUR",
        "closedate": "2026-11-01T12:00:00.000Z",
    }


def _product_values(rng: random.Random) -> dict[str, str]:
    return rng.choice(
        ({"stock": str(rng.randrange(300))}, {"price": f"{rng.randrange(490, 25_000) / 100:.2f}"})
    )


def _new_product(rng: random.Random) -> dict[str, str]:
    number = rng.randrange(10**9)
    return {
        "name": f"Novelty {number}",
        "hs_sku": f"NEW-{number:09d}",
        "price": "19.90",
        "hs_status": "active",
        "category": rng.choice(CATEGORIES),
        "currency": "EUR",
    }


def _company_values(rng: random.Random) -> dict[str, str]:
    return {"city": rng.choice(rng.choice(COUNTRIES).cities)[0]}


def _new_company(rng: random.Random) -> dict[str, str]:
    number = rng.randrange(10**9)
    return {"name": f"Company {number}", "domain": f"company{number}.example"}


VALUES: dict[str, Values] = {
    "contacts": _contact_values,
    "deals": _deal_values,
    "products": _product_values,
    "companies": _company_values,
}
NEW: dict[str, Values] = {
    "contacts": _new_contact,
    "deals": _new_deal,
    "products": _new_product,
    "companies": _new_company,
}
