"""What a fresh HubSpot portal holds: the seeded people as contacts, with companies, deals and products."""

from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import NamedTuple

from crm.sandbox.hubspot_properties import CURRENCIES, DEAL_STAGES, KNOWN_ZONES, LOST, WON, hubspot_timezone
from crm.sandbox.names import ascii_form
from crm.sandbox.people import CATEGORIES, HISTORY_END, Person, people
from crm.sandbox.store import iso

Row = tuple[dict[str, str], int, int]  # properties, created, modified

END = int(HISTORY_END.timestamp() * 1000)
BUYERS = 0.2  # the share of people who have a deal
WON_SHARE = 0.8
PRODUCTS = 60
PRODUCTS_SINCE = int(datetime(2024, 1, 1, tzinfo=UTC).timestamp() * 1000)
OWNERS = 3
THINGS = {
    "shoes": ("Running shoe", "Sandal", "Boot", "Sneaker"),
    "jackets": ("Rain jacket", "Parka", "Denim jacket"),
    "bags": ("Backpack", "Tote bag", "Travel bag"),
    "accessories": ("Belt", "Scarf", "Sunglasses"),
    "home": ("Lamp", "Blanket", "Mug"),
    "beauty": ("Soap", "Hand cream", "Shampoo"),
    "sports": ("Yoga mat", "Football", "Water bottle"),
    "toys": ("Puzzle", "Teddy bear", "Kite"),
}


class Link(NamedTuple):
    """A seeded association, by the positions of the two rows."""

    first: int
    second: int


@dataclass
class Seeds:
    """Rows of each object in the order of their ids, and what belongs together."""

    contacts: list[Row] = field(default_factory=list)
    companies: list[Row] = field(default_factory=list)
    deals: list[Row] = field(default_factory=list)
    products: list[Row] = field(default_factory=list)
    employment: list[Link] = field(default_factory=list)  # contact, company
    purchases: list[Link] = field(default_factory=list)  # deal, contact


def seeds(count: int, seed: int) -> Seeds:
    """The rows for `count` people; equal arguments give equal rows."""
    made = Seeds(products=list(_products(seed)))
    rng = random.Random(f"{seed}/deals")  # noqa: S311  repeatable deals, not secrets
    by_name: dict[str, int] = {}
    for position, person in enumerate(people(count, seed)):
        created, modified = _stamp(person.created), _stamp(person.modified)
        made.contacts.append((contact_values(person), created, modified))
        if person.company:
            if person.company not in by_name:
                by_name[person.company] = len(by_name)
                made.companies.append((_company(person), created, created))
            made.employment.append(Link(position, by_name[person.company]))
        if rng.random() < BUYERS:
            made.purchases.append(Link(len(made.deals), position))
            made.deals.append(_deal(rng, person, created))
    return made


def contact_values(person: Person) -> dict[str, str]:
    """A person as contact properties; values nobody has entered are left out."""
    said_no = not person.newsletter_opt_in and person.webpush_opt_in is False
    opted_out = said_no and person.lifecycle_stage == "subscriber"
    values = {
        "email": person.email,
        "firstname": person.first_name,
        "lastname": person.last_name,
        "phone": person.phone,
        "company": person.company,
        "jobtitle": person.job_title,
        "city": person.city,
        "country": person.country,
        "hs_country_region_code": person.country_code,
        "hs_language": person.language,
        # HubSpot's own property cannot hold a zone that does not exist; the shop's text property can.
        "hs_timezone": ZONES.get(person.timezone, ""),
        "timezone": person.timezone,
        "date_of_birth": person.birthday,
        "lifecyclestage": person.lifecycle_stage,
        "plan": person.plan,
        "loyalty_points": str(person.loyalty_points),
        "favourite_category": person.favourite_category,
        "hs_email_optout": "true" if opted_out else "",
        "newsletter_opt_in": BOOLEANS[person.newsletter_opt_in],
        "webpush_opt_in": BOOLEANS[person.webpush_opt_in],
    }
    return {name: value for name, value in values.items() if value}


ZONES = {zone: hubspot_timezone(zone) for zone in KNOWN_ZONES}
BOOLEANS = {True: "true", False: "false", None: ""}


def _stamp(moment: datetime) -> int:
    return int(moment.timestamp() * 1000)


def _company(person: Person) -> dict[str, str]:
    name = "".join(letter for letter in ascii_form(person.company).lower() if letter.isalnum())[:40]
    values = {"name": person.company, "city": person.city, "country": person.country}
    return {**values, "domain": f"{name or 'company'}.example"}


def _deal(rng: random.Random, person: Person, created: int) -> Row:
    """A deal begun after the person was first known, and closed by the end of history."""
    begun = created + int((END - created) * rng.random() * 0.9)
    closed = begun + int((END - begun) * rng.random() ** 3)
    stage = WON if rng.random() < WON_SHARE else rng.choice([*DEAL_STAGES])
    values = {
        "dealname": f"{person.first_name} {person.last_name}: {rng.choice(THINGS[rng.choice(CATEGORIES)])}",
        "dealstage": stage,
        "pipeline": "default",
        "amount": f"{rng.randrange(990, 90_000) / 100:.2f}",
        "deal_currency_code": rng.choice(CURRENCIES),
        "dealtype": "newbusiness",
        "hubspot_owner_id": str(1 + rng.randrange(OWNERS)),
    }
    if stage in (WON, LOST):
        values["closedate"] = iso(closed)
    return values, begun, closed


def _products(seed: int) -> Iterator[Row]:
    rng = random.Random(f"{seed}/products")  # noqa: S311
    for number in range(1, PRODUCTS + 1):
        category = CATEGORIES[number % len(CATEGORIES)]
        price = rng.randrange(490, 25_000) / 100
        sku = f"{category[:3].upper()}-{number:05d}"
        created = PRODUCTS_SINCE + rng.randrange(END - PRODUCTS_SINCE)
        values = {
            "name": f"{rng.choice(THINGS[category])} {number}",
            "description": f"No. {number} of our {category}.",
            "price": f"{price:.2f}",
            "hs_cost_of_goods_sold": f"{price * 0.4:.2f}",
            "hs_sku": sku,
            "hs_url": f"https://shop.example/products/{sku.lower()}",
            "hs_images": f"https://shop.example/images/{sku.lower()}.jpg",
            "hs_status": "active" if rng.random() < 0.9 else "inactive",
            "category": category,
            "stock": str(rng.randrange(0, 300)),
            "currency": "EUR",
        }
        yield values, created, created
