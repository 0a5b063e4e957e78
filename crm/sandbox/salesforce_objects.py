"""The objects of the sandbox's Salesforce organisation and their fields."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from crm.sandbox.people import CATEGORIES, LIFECYCLE_STAGES, PLANS
from crm.sandbox.salesforce_fields import Field
from crm.sandbox.salesforce_ids import USER
from crm.sandbox.salesforce_ids import long_form as id18
from crm.sandbox.salesforce_store import Record

STAGES = (
    "Prospecting",
    "Qualification",
    "Proposal/Price Quote",
    "Negotiation/Review",
    "Closed Won",
    "Closed Lost",
)
LEAD_STATUSES = (
    "Open - Not Contacted",
    "Working - Contacted",
    "Closed - Converted",
    "Closed - Not Converted",
)
SOURCES = ("Web", "Phone Inquiry", "Partner Referral", "Purchased List", "Other")
CURRENCIES = ("EUR", "USD", "PLN", "GBP")
USER_ID = id18(USER)


@dataclass(frozen=True)
class Definition:
    """One object before it has a store: its name, key prefix, labels and fields."""

    name: str
    prefix: str
    plural: str
    fields: tuple[Field, ...]
    writable: bool = True


def _system_fields() -> tuple[Field, ...]:
    """The fields that every object has and nobody can write."""
    return (
        Field("Id", "id", formula=lambda record: record.id),
        Field("IsDeleted", "boolean", formula=lambda record: record.deleted),
        Field("CreatedDate", "datetime", formula=lambda record: record.created),
        Field("CreatedById", "reference", refers_to="User", relationship="CreatedBy", formula=_user),
        Field("LastModifiedDate", "datetime", formula=lambda record: record.modstamp),
        Field(
            "LastModifiedById", "reference", refers_to="User", relationship="LastModifiedBy", formula=_user
        ),
        Field("SystemModstamp", "datetime", formula=lambda record: record.modstamp),
    )


def _user(record: Record) -> str | None:
    return USER_ID


def _full_name(record: Record) -> str | None:
    parts = (record.values.get("FirstName"), record.values.get("LastName"))
    return " ".join(part for part in parts if part) or None


def _address(prefix: str) -> Field:
    """A compound field: REST shows it as an object, Bulk API refuses it."""
    parts = {"street": "Street", "city": "City", "postalCode": "PostalCode", "country": "Country"}

    def compose(record: Record) -> dict[str, Any] | None:
        found = {key: record.values.get(prefix + part) for key, part in parts.items()}
        blank = {"state": None, "latitude": None, "longitude": None, "geocodeAccuracy": None}
        return {**blank, **found} if any(found.values()) else None

    return Field(f"{prefix}Address", "address", formula=compose)


def _place(prefix: str) -> tuple[Field, ...]:
    return (
        Field(f"{prefix}Street", "textarea", length=255),
        Field(f"{prefix}City", length=40),
        Field(f"{prefix}PostalCode", length=20),
        Field(f"{prefix}Country", length=80),
        _address(prefix),
    )


def _person_fields() -> tuple[Field, ...]:
    """What Contact and Lead share: who it is, what the shop knows, what is written back."""
    return (
        Field("FirstName", length=40),
        Field("LastName", length=80, required=True),
        Field("Name", label="Full Name", length=121, formula=_full_name),
        Field("MasterRecordId", "reference", formula=lambda record: record.master),
        Field("OwnerId", "reference", refers_to="User", relationship="Owner", formula=_user),
        Field("Email", "email"),
        Field("Phone", "phone"),
        Field("MobilePhone", "phone"),
        Field("Title", length=128),
        Field("LeadSource", "picklist", picklist=SOURCES),
        Field("Description", "textarea"),
        Field("HasOptedOutOfEmail", "boolean", label="Email Opt Out"),
        Field("Customer_Number__c", length=20, external_id=True),
        Field("Language__c", length=10),
        Field("Timezone__c", length=60),
        Field("Country_Code__c", length=2),
        Field("Lifecycle_Stage__c", "picklist", picklist=tuple(LIFECYCLE_STAGES)),
        Field("Plan__c", "picklist", picklist=tuple(PLANS)),
        Field("Loyalty_Points__c", "double"),
        Field("Favourite_Category__c", "picklist", picklist=CATEGORIES),
        Field("Newsletter_Opt_In__c", "boolean"),
        Field("Web_Push_Opt_In__c", "picklist", picklist=("Yes", "No")),
        Field("Nudge_Id__c", label="Nudge ID", length=64, external_id=True, unique=True),
        Field("Nudge_Last_Engagement__c", "datetime"),
        Field("Nudge_Opens__c", "double"),
        Field("Nudge_Clicks__c", "double"),
        Field("Nudge_Conversions__c", "double"),
        Field("Nudge_Unsubscribed__c", "boolean"),
        Field("Nudge_Score__c", "double", scale=2),
        Field("Nudge_Lifecycle_Stage__c", length=80),
    )


def _account(object_name: str = "Account", field: str = "AccountId") -> Field:
    return Field(field, "reference", refers_to=object_name, relationship=field.removesuffix("Id"))


def _currency() -> Field:
    return Field("CurrencyIsoCode", "picklist", label="Currency ISO Code", picklist=CURRENCIES)


def definitions() -> list[Definition]:
    """Every object, with fresh fields: an organisation may change its own."""
    return [
        Definition(
            "Account",
            "001",
            "Accounts",
            (
                *_system_fields(),
                Field("MasterRecordId", "reference", formula=lambda record: record.master),
                Field("Name", label="Account Name", required=True),
                Field("Industry", "picklist", picklist=("Apparel", "Retail", "Technology", "Other")),
                Field("Phone", "phone"),
                Field("Website", "url"),
                *_place("Billing"),
            ),
        ),
        Definition(
            "Contact",
            "003",
            "Contacts",
            (
                *_system_fields(),
                *_person_fields(),
                _account(),
                Field("Birthdate", "date"),
                *_place("Mailing"),
            ),
        ),
        Definition(
            "Lead",
            "00Q",
            "Leads",
            (
                *_system_fields(),
                *_person_fields(),
                Field("Company", required=True),
                Field("Status", "picklist", picklist=LEAD_STATUSES),
                Field("IsConverted", "boolean", writable=False),
                Field("ConvertedDate", "date", writable=False),
                Field("ConvertedContactId", "reference", writable=False),
                Field("ConvertedAccountId", "reference", writable=False),
                Field("ConvertedOpportunityId", "reference", writable=False),
                *_place(""),
            ),
        ),
        Definition(
            "Opportunity",
            "006",
            "Opportunities",
            (
                *_system_fields(),
                Field("Name", length=120, required=True),
                _account(),
                _account("Contact", "ContactId"),
                Field("Amount", "currency", scale=2),
                _currency(),
                Field("CloseDate", "date", required=True),
                Field("StageName", "picklist", label="Stage", picklist=STAGES, required=True),
                Field("IsClosed", "boolean", formula=_is_closed),
                Field("IsWon", "boolean", formula=_is_won),
                Field("Type", "picklist", picklist=("New Business", "Existing Business")),
                Field("LeadSource", "picklist", picklist=SOURCES),
                Field("Description", "textarea"),
                Field("Order_Number__c", length=40, external_id=True, unique=True),
            ),
        ),
        Definition(
            "OpportunityContactRole",
            "00K",
            "Opportunity Contact Roles",
            (
                *_system_fields(),
                _account("Opportunity", "OpportunityId"),
                _account("Contact", "ContactId"),
                Field("Role", "picklist", picklist=("Decision Maker", "Buyer", "Other")),
                Field("IsPrimary", "boolean"),
            ),
        ),
        Definition(
            "Product2",
            "01t",
            "Products",
            (
                *_system_fields(),
                Field("Name", label="Product Name", required=True),
                Field("ProductCode", label="Product Code"),
                Field("Family", "picklist", label="Product Family", picklist=CATEGORIES),
                Field("Description", "textarea", length=4000),
                Field("IsActive", "boolean", label="Active"),
                Field("DisplayUrl", "url", label="Display URL", length=1000),
                _currency(),
                Field("Price__c", "currency", scale=2),
                Field("Stock__c", "double"),
                Field("Image_URL__c", "url", label="Image URL"),
                Field("SKU__c", length=40, external_id=True, unique=True),
            ),
        ),
        Definition(
            "PricebookEntry",
            "01u",
            "Price Book Entries",
            (
                *_system_fields(),
                Field("Name", label="Product Name", writable=False),
                _account("Product2", "Product2Id"),
                Field("UnitPrice", "currency", scale=2, required=True),
                Field("IsActive", "boolean"),
                _currency(),
            ),
        ),
        Definition(
            "User",
            "005",
            "Users",
            (
                *_system_fields(),
                Field("Username", length=80),
                Field("Name"),
                Field("Email", "email"),
                Field("IsActive", "boolean"),
            ),
            writable=False,
        ),
        Definition(
            "Organization",
            "00D",
            "Organizations",
            (
                *_system_fields(),
                Field("Name"),
                Field("IsSandbox", "boolean"),
                Field("OrganizationType", length=40),
                Field("InstanceName", length=5),
                Field("TimeZoneSidKey", length=40),
            ),
            writable=False,
        ),
    ]


def _is_closed(record: Record) -> bool:
    return str(record.values.get("StageName") or "").startswith("Closed")


def _is_won(record: Record) -> bool:
    return record.values.get("StageName") == "Closed Won"
