"""The properties that a fresh HubSpot portal has: HubSpot's own that a sync meets, then the shop's custom ones."""

from __future__ import annotations

from collections.abc import Iterable
from functools import partial
from typing import Any
from zoneinfo import available_timezones

from crm.sandbox.hubspot_schema import Schema, define
from crm.sandbox.people import CATEGORIES, LIFECYCLE_STAGES, PLANS
from crm.sandbox.places import COUNTRIES

KNOWN_ZONES = available_timezones()
YES_NO = (("true", "Yes"), ("false", "No"))
WON, LOST = "closedwon", "closedlost"
DEAL_STAGES = {
    "appointmentscheduled": "Appointment Scheduled",
    "qualifiedtobuy": "Qualified To Buy",
    "presentationscheduled": "Presentation Scheduled",
    "decisionmakerboughtin": "Decision Maker Bought-In",
    "contractsent": "Contract Sent",
    WON: "Closed Won",
    LOST: "Closed Lost",
}
CURRENCIES = ("EUR", "USD", "PLN", "GBP")
# What an engagement platform writes back into a contact.
ENGAGEMENT = (
    ("nudge_last_engagement", "Last engagement", "datetime", "date"),
    ("nudge_opens", "Opens", "number", "number"),
    ("nudge_clicks", "Clicks", "number", "number"),
    ("nudge_conversions", "Conversions", "number", "number"),
    ("nudge_score", "Score", "number", "number"),
    ("nudge_unsubscribed", "Unsubscribed", "bool", "booleancheckbox"),
    ("nudge_messages_sent", "Messages sent", "number", "number"),
    ("nudge_revenue", "Revenue from messages", "number", "number"),
    ("nudge_last_message", "Last message sent", "string", "text"),
    ("nudge_last_clicked", "Last message clicked", "string", "text"),
)


def hubspot_timezone(name: str) -> str:
    """HubSpot's option for an IANA time zone: `Africa/Porto-Novo` is `africa_slash_porto_hyphen_novo`."""
    return name.lower().replace("/", "_slash_").replace("-", "_hyphen_")


def _titles(values: Iterable[str]) -> list[tuple[str, str]]:
    return [(value, value.capitalize()) for value in values]


def _system(group: str, created: str = "createdate") -> list[dict[str, Any]]:
    """What every object has; HubSpot itself fills it."""
    own = partial(define, group=group, read_only=True)
    return [
        own("hs_object_id", "Record ID", "number", "number", unique=True),
        own(created, "Create Date", "datetime", "date"),
        # Filled for every object except contacts: a sync that filters contacts by it finds nothing.
        own("hs_lastmodifieddate", "Object last modified date/time", "datetime", "date"),
        own("hs_merged_object_ids", "Merged record IDs", "enumeration", "checkbox"),
    ]


def _owner(group: str) -> dict[str, Any]:
    return define("hubspot_owner_id", "Owner", "enumeration", "select", group=group)


def contacts() -> Schema:
    """Contacts, whose modified stamp has a name of its own."""
    own = partial(define, group="contactinformation")
    custom = partial(define, own=False)
    languages = sorted({country.language for country in COUNTRIES} | {"en", "ar", "pt", "es", "fr", "zh-cn"})
    countries = [(country.code, country.name) for country in COUNTRIES]
    zones = [(hubspot_timezone(zone), zone) for zone in sorted(KNOWN_ZONES)]
    return Schema(
        [
            own("email", "Email", unique=True),
            own("firstname", "First Name"),
            own("lastname", "Last Name"),
            own("phone", "Phone Number"),
            own("company", "Company Name"),
            own("jobtitle", "Job Title"),
            own("city", "City"),
            own("country", "Country/Region"),
            own("hs_country_region_code", "Country/Region Code", "enumeration", "select", choices=countries),
            own(
                "hs_language",
                "Preferred language",
                "enumeration",
                "select",
                choices=[(code, code) for code in languages],
            ),
            own("hs_timezone", "Time Zone", "enumeration", "select", choices=zones),
            own("date_of_birth", "Date of birth"),
            own(
                "lifecyclestage",
                "Lifecycle Stage",
                "enumeration",
                "radio",
                choices=_titles(LIFECYCLE_STAGES),
            ),
            own(
                "hs_email_optout",
                "Unsubscribed from all email",
                "bool",
                "booleancheckbox",
                choices=YES_NO,
                read_only=True,
            ),
            own("hs_additional_emails", "Additional emails", "enumeration", "checkbox", read_only=True),
            own("hs_calculated_merged_vids", "Merged vids", "enumeration", "checkbox", read_only=True),
            own("lastmodifieddate", "Last Modified Date", "datetime", "date", read_only=True),
            _owner("contactinformation"),
            *_system("contactinformation"),
            custom("timezone", "Time zone as the shop's sign-up form sent it", description="IANA name"),
            custom("plan", "Plan", "enumeration", "select", choices=_titles(PLANS)),
            custom("loyalty_points", "Loyalty points", "number", "number"),
            custom(
                "favourite_category",
                "Favourite category",
                "enumeration",
                "select",
                choices=_titles(CATEGORIES),
            ),
            custom("newsletter_opt_in", "Newsletter opt-in", "bool", "booleancheckbox", choices=YES_NO),
            custom("webpush_opt_in", "Web push opt-in", "bool", "booleancheckbox", choices=YES_NO),
            *(
                custom(name, label, kind, field, choices=YES_NO if kind == "bool" else (), group="nudge")
                for name, label, kind, field in ENGAGEMENT
            ),
        ],
        modified="lastmodifieddate",
    )


def companies() -> Schema:
    """Companies, known by their domain."""
    own = partial(define, group="companyinformation")
    return Schema(
        [
            own("name", "Company name"),
            own("domain", "Company Domain Name"),
            own("city", "City"),
            own("country", "Country/Region"),
            own("industry", "Industry"),
            _owner("companyinformation"),
            *_system("companyinformation"),
        ]
    )


def deals() -> Schema:
    """Deals of the one sales pipeline; whether a deal is closed and won follows from its stage."""
    own = partial(define, group="dealinformation")
    worked_out = partial(own, read_only=True, calculated=True)
    return Schema(
        [
            own("dealname", "Deal Name"),
            own(
                "dealstage",
                "Deal Stage",
                "enumeration",
                "radio",
                choices=[(*pair,) for pair in DEAL_STAGES.items()],
            ),
            own("pipeline", "Pipeline", "enumeration", "select", choices=[("default", "Sales Pipeline")]),
            own("amount", "Amount", "number", "number"),
            own(
                "deal_currency_code",
                "Currency",
                "enumeration",
                "select",
                choices=[(code, code) for code in CURRENCIES],
            ),
            own("closedate", "Close Date", "datetime", "date"),
            own("dealtype", "Deal Type", "enumeration", "radio", choices=[("newbusiness", "New Business")]),
            worked_out("hs_is_closed", "Is Deal Closed?", "bool", "calculation_equation", choices=YES_NO),
            worked_out("hs_is_closed_won", "Is Closed Won", "bool", "calculation_equation", choices=YES_NO),
            _owner("dealinformation"),
            *_system("dealinformation"),
        ],
        computed={
            "hs_is_closed": lambda values: str(values.get("dealstage") in (WON, LOST)).lower(),
            "hs_is_closed_won": lambda values: str(values.get("dealstage") == WON).lower(),
        },
    )


def products() -> Schema:
    """The shop's products."""
    own = partial(define, group="productinformation")
    custom = partial(define, own=False)
    return Schema(
        [
            own("name", "Name"),
            own("description", "Product description", "string", "textarea"),
            own("price", "Unit price", "number", "number"),
            own("hs_sku", "SKU"),
            own("hs_url", "URL"),
            own("hs_images", "Image URL"),
            own("hs_cost_of_goods_sold", "Unit cost", "number", "number"),
            own(
                "hs_status",
                "Status",
                "enumeration",
                "select",
                choices=[("active", "Active"), ("inactive", "Inactive")],
            ),
            *_system("productinformation"),
            custom("category", "Category", "enumeration", "select", choices=_titles(CATEGORIES)),
            custom("stock", "Stock", "number", "number"),
            custom("currency", "Currency"),
        ]
    )


def custom_object() -> Schema:
    """A custom object before its own properties are added."""
    return Schema(_system("information", created="hs_createdate"), created="hs_createdate")
