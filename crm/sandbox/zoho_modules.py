"""The four modules of the sandbox's Zoho organisation, and the people, deals and products in them."""

from __future__ import annotations

import random
from collections.abc import Iterator
from datetime import datetime, timedelta
from typing import Any

from crm.sandbox.people import CATEGORIES, HISTORY_END, LIFECYCLE_STAGES, PLANS, Person
from crm.sandbox.zoho_schema import Definition, Schema

Seed = tuple[dict[str, Any], int, int]

STAGES = ("Qualification", "Needs Analysis", "Proposal/Price Quote", "Closed Won", "Closed Lost")
CURRENCIES = ("EUR", "USD", "PLN")
LEAD_EVERY = 10  # one person in ten is known as a lead as well
PRODUCT_WORDS = ("Classic", "Light", "Winter", "City", "Trail")


def schemas() -> list[Schema]:
    """Fresh definitions: a test may add, rename and remove fields."""
    return [
        Schema("Contacts", "Contact", ("First_Name", "Last_Name"), [*_person_fields(), *_contact_fields()]),
        Schema("Leads", "Lead", ("First_Name", "Last_Name"), [*_person_fields(), *_lead_fields()]),
        Schema("Deals", "Deal", ("Deal_Name",), _deal_fields()),
        Schema("Products", "Product", ("Product_Name",), _product_fields()),
    ]


def _system_fields() -> list[Definition]:
    return [
        Definition("id", "Record Id", "bigint", read_only=True),
        Definition("Owner", "Owner", "ownerlookup"),
        Definition("Created_By", "Created By", "ownerlookup", read_only=True),
        Definition("Modified_By", "Modified By", "ownerlookup", read_only=True),
        Definition("Created_Time", "Created Time", "datetime", read_only=True),
        Definition("Modified_Time", "Modified Time", "datetime", read_only=True),
    ]


def _person_fields() -> list[Definition]:
    return [
        *_system_fields(),
        Definition("First_Name", "First Name"),
        Definition("Last_Name", "Last Name", mandatory=True),
        Definition("Full_Name", "Full Name", read_only=True),
        Definition("Email", "Email", "email"),
        Definition("Phone", "Phone", "phone"),
        Definition("Email_Opt_Out", "Email Opt Out", "boolean"),
        Definition("Description", "Description", "textarea"),
        Definition("Newsletter_Opt_In", "Newsletter", "boolean", custom=True),
        Definition("Web_Push_Opt_In", "Web push", "boolean", custom=True),
        Definition("Preferred_Language", "Preferred language", custom=True),
        Definition("Time_Zone", "Time zone", custom=True),
        Definition("Nudge_Last_Engagement", "Nudge: last engagement", "datetime", custom=True),
        Definition("Nudge_Opens", "Nudge: opens", "integer", custom=True),
        Definition("Nudge_Clicks", "Nudge: clicks", "integer", custom=True),
        Definition("Nudge_Conversions", "Nudge: conversions", "integer", custom=True),
        Definition("Nudge_Unsubscribed", "Nudge: unsubscribed", "boolean", custom=True),
        Definition("Nudge_Lifecycle_Stage", "Nudge: lifecycle stage", custom=True),
        Definition("Nudge_Score", "Nudge: score", "double", custom=True),
    ]


def _contact_fields() -> list[Definition]:
    return [
        Definition("Title", "Title"),
        Definition("Date_of_Birth", "Date of Birth", "date"),
        Definition("Mailing_City", "Mailing City"),
        Definition("Mailing_Country", "Mailing Country"),
        Definition("Company_Name", "Company", "textarea", custom=True),
        Definition("Lifecycle_Stage", "Lifecycle stage", "picklist", True, tuple(LIFECYCLE_STAGES)),
        Definition("Plan", "Plan", "picklist", True, tuple(PLANS)),
        Definition("Loyalty_Points", "Loyalty points", "integer", custom=True),
        Definition(
            "Favourite_Categories", "Favourite categories", "multiselectpicklist", True, tuple(CATEGORIES)
        ),
    ]


def _lead_fields() -> list[Definition]:
    return [
        Definition("Company", "Company"),
        Definition("Designation", "Title"),
        Definition("City", "City"),
        Definition("Country", "Country"),
        Definition("Lead_Status", "Lead Status", "picklist", options=("Not Contacted", "Contacted")),
        Definition("Lead_Source", "Lead Source", "picklist", options=("Web", "Trade Show", "Referral")),
    ]


def _deal_fields() -> list[Definition]:
    return [
        *_system_fields(),
        Definition("Deal_Name", "Deal Name", mandatory=True),
        Definition("Contact_Name", "Contact Name", "lookup", module="Contacts"),
        Definition("Amount", "Amount", "currency"),
        Definition("Currency", "Currency", "picklist", options=CURRENCIES),
        Definition("Stage", "Stage", "picklist", options=STAGES, mandatory=True),
        Definition("Closing_Date", "Closing Date", "date"),
        Definition("Description", "Description", "textarea"),
        Definition("Order_Number", "Order number", custom=True),
    ]


def _product_fields() -> list[Definition]:
    return [
        *_system_fields(),
        Definition("Product_Name", "Product Name", mandatory=True),
        Definition("Product_Code", "Product Code"),
        Definition("Product_Category", "Product Category", "picklist", options=tuple(CATEGORIES)),
        Definition("Product_Active", "Product Active", "boolean"),
        Definition("Unit_Price", "Unit Price", "currency"),
        Definition("Qty_in_Stock", "Quantity in Stock", "double"),
        Definition("Description", "Description", "textarea"),
        Definition("Product_URL", "Product page", "website", custom=True),
        Definition("Image_URL", "Picture", "website", custom=True),
    ]


def contact(person: Person) -> Seed:
    """A person as a row of Contacts."""
    return _dated(
        person,
        {
            "Title": person.job_title,
            "Date_of_Birth": person.birthday,
            "Mailing_City": person.city,
            "Mailing_Country": person.country,
            "Company_Name": person.company,
            "Lifecycle_Stage": person.lifecycle_stage,
            "Plan": person.plan,
            "Loyalty_Points": person.loyalty_points,
            "Favourite_Categories": [person.favourite_category] if person.favourite_category else None,
        },
    )


def lead(person: Person) -> Seed:
    """A person as a row of Leads."""
    return _dated(
        person,
        {
            "Company": person.company,
            "Designation": person.job_title,
            "City": person.city,
            "Country": person.country,
            "Lead_Status": "Not Contacted",
            "Lead_Source": "Web",
        },
    )


def _dated(person: Person, values: dict[str, Any]) -> Seed:
    common = {
        "First_Name": person.first_name,
        "Last_Name": person.last_name,
        "Email": person.email,
        "Phone": person.phone,
        "Email_Opt_Out": person.lifecycle_stage == "subscriber" and not person.newsletter_opt_in,
        "Newsletter_Opt_In": person.newsletter_opt_in,
        "Web_Push_Opt_In": bool(person.webpush_opt_in),
        "Preferred_Language": person.language,
        "Time_Zone": person.timezone,
    }
    kept = {name: value for name, value in {**common, **values}.items() if value not in ("", None)}
    return kept, _stamp(person.created), _stamp(person.modified)


def deals(buyers: list[tuple[str, str, int]], seed: int) -> Iterator[Seed]:
    """One to three deals for every buyer of (contact id, name, created stamp in ms)."""
    rng = random.Random(seed)  # noqa: S311  repeatable deals, not secrets
    end = _stamp(HISTORY_END)
    for record_id, name, created in buyers:
        for number in range(rng.randint(1, 3)):
            at = rng.randrange(created, end)
            closing = HISTORY_END + timedelta(days=rng.randint(1, 90))
            yield (
                {
                    "Deal_Name": f"Order {number + 1} of {name[:60]}",
                    "Contact_Name": {"id": record_id, "name": name},
                    "Amount": round(rng.uniform(10, 900), 2),
                    "Currency": rng.choice(CURRENCIES),
                    "Stage": rng.choice(STAGES),
                    "Closing_Date": closing.date().isoformat(),
                    "Order_Number": f"{rng.randrange(100_000):06d}",  # with leading zeros, as shops have them
                },
                at,
                rng.randrange(at, end),
            )


def products(seed: int) -> Iterator[Seed]:
    """Five products in each category."""
    rng = random.Random(seed)  # noqa: S311  repeatable products, not secrets
    created = _stamp(HISTORY_END - timedelta(days=700))
    for category in CATEGORIES:
        for number, word in enumerate(PRODUCT_WORDS, 1):
            code = f"{category[:3].upper()}-{number:03d}"
            yield (
                {
                    "Product_Name": f"{word} {category}",
                    "Product_Code": code,
                    "Product_Category": category,
                    "Product_Active": True,
                    "Unit_Price": round(rng.uniform(5, 300), 2),
                    "Qty_in_Stock": float(rng.randrange(200)),
                    "Product_URL": f"https://shop.example.com/products/{code.lower()}",
                    "Image_URL": f"https://shop.example.com/images/{code.lower()}.jpg",
                },
                created,
                created + rng.randrange(86_400_000 * 600),
            )


def _stamp(moment: datetime) -> int:
    return int(moment.timestamp() * 1000)
