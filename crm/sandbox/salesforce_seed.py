"""Fills the organisation: contacts, leads, accounts, opportunities and products, the same for the same seed."""

from __future__ import annotations

import random
from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from typing import Any

from crm.sandbox.people import CATEGORIES, HISTORY_END, Person, people
from crm.sandbox.salesforce_ids import ORGANIZATION, USER
from crm.sandbox.salesforce_ids import long_form as id18
from crm.sandbox.salesforce_objects import LEAD_STATUSES, SOURCES, STAGES
from crm.sandbox.salesforce_schema import Schema
from crm.sandbox.salesforce_store import Record

LEADS_SHARE = 10  # one lead for so many contacts
BUYING = ("customer", "evangelist")
WON_SHARE = 0.8
ITEMS = ("Runner", "Trail", "Classic", "Aurora", "Nordic", "City", "Breeze", "Summit")
SHOP = "https://shop.example.com"

Row = tuple[dict[str, Any], int, int]


def seed(schema: Schema, contacts: int, number: int) -> None:
    """Add `contacts` contacts and what belongs to them."""
    rng = random.Random(f"salesforce/{number}")  # noqa: S311  repeatable records, not secrets
    _seed_organization(schema)
    everyone = list(people(contacts, number))
    known = {person.email for person in everyone}
    accounts = _seed_accounts(schema, everyone)
    rows = (
        _contact(person, index, accounts.get(person.company), rng) for index, person in enumerate(everyone)
    )
    records = schema.aliased("Contact").table.seed(rows)
    # A lead is somebody else; whoever happens to have a contact's address is left out.
    leads = [person for person in people(contacts // LEADS_SHARE, number + 1) if person.email not in known]
    schema.aliased("Lead").table.seed(
        _lead(person, contacts + index, rng) for index, person in enumerate(leads)
    )
    _seed_opportunities(schema, everyone, records, rng)
    _seed_products(schema, rng)


def _stamp(moment: datetime) -> int:
    return int(moment.timestamp() * 1000)


def _filled(values: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in values.items() if value not in ("", None)}


def _text(value: str, length: int) -> str:
    """What a text field can hold: no NUL, and no more than its length."""
    return value.replace("\0", "")[:length].strip()


def _date(value: str) -> str:
    """An ISO date, or nothing: a date field cannot hold anything else."""
    try:
        return datetime.strptime(value, "%Y-%m-%d").replace(tzinfo=UTC).date().isoformat()
    except ValueError:
        return ""


def _person(person: Person, index: int, rng: random.Random) -> dict[str, Any]:
    opted = {True: "Yes", False: "No", None: ""}
    return {
        "FirstName": _text(person.first_name, 40),
        "LastName": _text(person.last_name, 80),
        "Email": person.email,
        "Phone": person.phone,
        "Title": person.job_title,
        "LeadSource": rng.choice(SOURCES),
        "HasOptedOutOfEmail": not person.newsletter_opt_in and rng.random() < 0.2,
        "Customer_Number__c": f"{index + 1:06d}",
        "Language__c": person.language,
        "Timezone__c": person.timezone,
        "Country_Code__c": person.country_code,
        "Lifecycle_Stage__c": person.lifecycle_stage,
        "Plan__c": person.plan,
        "Loyalty_Points__c": float(person.loyalty_points),
        "Favourite_Category__c": person.favourite_category,
        "Newsletter_Opt_In__c": person.newsletter_opt_in,
        "Web_Push_Opt_In__c": opted[person.webpush_opt_in],
    }


def _contact(person: Person, index: int, account: str | None, rng: random.Random) -> Row:
    values = {
        **_person(person, index, rng),
        "AccountId": account,
        "Birthdate": _date(person.birthday),
        "MailingCity": person.city,
        "MailingCountry": person.country,
    }
    return _filled(values), _stamp(person.created), _stamp(person.modified)


def _lead(person: Person, index: int, rng: random.Random) -> Row:
    values = {
        **_person(person, index, rng),
        "Company": _text(person.company, 255) or "[not provided]",
        "Status": rng.choice(LEAD_STATUSES[:2]),
        "City": person.city,
        "Country": person.country,
    }
    return _filled(values), _stamp(person.created), _stamp(person.modified)


def _seed_accounts(schema: Schema, everyone: list[Person]) -> dict[str, str]:
    """Company name -> id of its account."""
    first = {person.company: person for person in reversed(everyone) if person.company}
    companies = sorted(first.values(), key=lambda person: person.created)
    rows: Iterable[Row] = (
        (
            _filled(
                {
                    "Name": _text(person.company, 255),
                    "BillingCity": person.city,
                    "BillingCountry": person.country,
                }
            ),
            _stamp(person.created),
            _stamp(person.created),
        )
        for person in companies
    )
    records = schema.aliased("Account").table.seed(rows)
    return {person.company: record.id for person, record in zip(companies, records, strict=True)}


def _seed_opportunities(
    schema: Schema, everyone: list[Person], contacts: list[Record], rng: random.Random
) -> None:
    """Up to three for each buyer: what a shop sells or has sold."""
    rows: list[Row] = []
    for person, contact in zip(everyone, contacts, strict=True):
        for _ in range(rng.choice((1, 1, 2, 3)) if person.lifecycle_stage in BUYING else 0):
            closed = person.created + (HISTORY_END - person.created) * rng.random()
            values = {
                "Name": f"{contact.values.get('LastName', '')} order {len(rows) + 1}"[:120],
                "AccountId": contact.values.get("AccountId"),
                "ContactId": contact.id,
                "Amount": round(rng.lognormvariate(4.2, 0.8), 2),
                "CurrencyIsoCode": rng.choice(("EUR", "EUR", "PLN", "USD")),
                "CloseDate": closed.date().isoformat(),
                "StageName": "Closed Won" if rng.random() < WON_SHARE else rng.choice(STAGES),
                "Type": "Existing Business",
                "Order_Number__c": f"SO-{len(rows) + 1:07d}",
            }
            rows.append(
                (_filled(values), _stamp(closed), _stamp(closed + timedelta(hours=rng.randrange(48))))
            )
    rows.sort(key=lambda row: row[1])
    opportunities = schema.aliased("Opportunity").table.seed(rows)
    roles = (
        (
            {
                "OpportunityId": record.id,
                "ContactId": record.values["ContactId"],
                "Role": "Buyer",
                "IsPrimary": True,
            },
            record.created,
            record.created,
        )
        for record in opportunities
    )
    schema.aliased("OpportunityContactRole").table.seed(roles)


def _seed_products(schema: Schema, rng: random.Random) -> None:
    """Some of each category, each with an entry in the price book."""
    made, rows = _stamp(HISTORY_END - timedelta(days=300)), []
    for number, (category, item) in enumerate((category, item) for category in CATEGORIES for item in ITEMS):
        code = f"{category[:3].upper()}-{number + 1:03d}"
        values = {
            "Name": f"{item} {category}",
            "ProductCode": code,
            "SKU__c": code,
            "Family": category,
            "Description": f"{item}, from our range of {category}.",
            "IsActive": rng.random() < 0.9,
            "DisplayUrl": f"{SHOP}/products/{code.lower()}",
            "Image_URL__c": f"{SHOP}/images/{code.lower()}.jpg",
            "CurrencyIsoCode": "EUR",
            "Price__c": round(rng.uniform(9, 249), 2),
            "Stock__c": float(rng.randrange(120)),
        }
        rows.append((values, made, made + rng.randrange(200 * 86_400) * 1000))
    products = schema.aliased("Product2").table.seed(rows)
    entries = (
        (
            {
                "Name": record.values["Name"],
                "Product2Id": record.id,
                "UnitPrice": record.values["Price__c"],
                "IsActive": True,
                "CurrencyIsoCode": "EUR",
            },
            record.created,
            record.modstamp,
        )
        for record in products
    )
    schema.aliased("PricebookEntry").table.seed(entries)


def _seed_organization(schema: Schema) -> None:
    """The organisation itself and the user as whom the API works."""
    made = _stamp(HISTORY_END - timedelta(days=4 * 365))
    organization = {
        "Name": "Sandbox",
        "IsSandbox": True,
        "OrganizationType": "Enterprise Edition",
        "InstanceName": "EU45",
        "TimeZoneSidKey": "Europe/Warsaw",
    }
    user = {
        "Username": "integration@sandbox.example",
        "Name": "Integration User",
        "Email": "integration@sandbox.example",
        "IsActive": True,
    }
    for name, record_id, values in (
        ("Organization", id18(ORGANIZATION), organization),
        ("User", id18(USER), user),
    ):
        table = schema.aliased(name).table
        (record,) = table.seed([(values, made, made)])
        table.rekey(record, str(record_id))
