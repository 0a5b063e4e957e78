"""What Salesforce's fields are here: their kinds, their values either way, and what to make of them."""

import math
from collections.abc import Callable, Sequence
from datetime import UTC, date, datetime
from typing import Any

import msgspec
from django.utils.translation import gettext as _

from crm.connectors.base import Field, FieldKind, Suggestion
from crm.connectors.salesforce_api import Described, DescribedField

CONTACT, LEAD, OPPORTUNITY, PRODUCT = "Contact", "Lead", "Opportunity", "Product2"
ID, STAMP, DELETED, MASTER = "Id", "SystemModstamp", "IsDeleted", "MasterRecordId"
PRICE = "UnitPrice"  # of a product's first price book entry; not a field of the product
COMPOUND = ("address", "location", "base64", "complexvalue", "json")  # several values, or none to show
KINDS: dict[str, FieldKind] = {
    "boolean": "boolean",
    "int": "number",
    "long": "number",
    "double": "number",
    "currency": "number",
    "percent": "number",
    "date": "date",
    "datetime": "datetime",
    "picklist": "choice",
    "combobox": "choice",
    "multipicklist": "list",
}
YES_NO = {"yes": True, "no": False}
LARGEST_EXACT = 2**53  # up to here a float holds every whole number

PERSON = {
    "Email": "email",
    "FirstName": "first_name",
    "LastName": "last_name",
    "Title": "attributes.job_title",
    "LeadSource": "attributes.lead_source",
}
# The first of several fields that exist; codes are safer to understand than names.
FIRST_OF: dict[str, dict[str, tuple[str, ...]]] = {
    CONTACT: {
        "phone": ("Phone", "MobilePhone"),
        "city": ("MailingCity",),
        "country": ("MailingCountryCode", "Country_Code__c", "MailingCountry"),
        "birthday": ("Birthdate",),
    },
    LEAD: {
        "phone": ("Phone", "MobilePhone"),
        "city": ("City",),
        "country": ("CountryCode", "Country_Code__c", "Country"),
        "attributes.company": ("Company",),
    },
    OPPORTUNITY: {
        "value": ("Amount",),
        "currency": ("CurrencyIsoCode",),
        "occurred_at": ("CloseDate",),
        "properties.name": ("Name",),
        "properties.stage": ("StageName",),
        "properties.type": ("Type",),
    },
    PRODUCT: {
        "sku": ("SKU__c", "ProductCode", "StockKeepingUnit"),
        "name": ("Name",),
        "price": ("Price__c", PRICE),
        "category": ("Family",),
        "description": ("Description",),
        "url": ("DisplayUrl",),
        "currency": ("CurrencyIsoCode",),
        "active": ("IsActive",),
    },
}
# Custom fields that say by their name what they are; others become attributes.
BY_NAME: dict[str, dict[str, str]] = {
    "person": {
        "language": "language",
        "preferred_language": "language",
        "timezone": "timezone",
        "time_zone": "timezone",
        "birthday": "birthday",
        "birthdate": "birthday",
        "lifecycle_stage": "lifecycle_stage",
    },
    "purchase": {"currency": "currency"},
    "product": {
        "price": "price",
        "unit_price": "price",
        "list_price": "price",
        "currency": "currency",
        "stock": "stock",
        "quantity": "stock",
        "image_url": "image_url",
        "image": "image_url",
    },
}
CONSENT: dict[str, dict[str, Any]] = {
    "HasOptedOutOfEmail": {"kind": "channel", "key": "email", "inverted": True},
    "Web_Push_Opt_In__c": {"kind": "channel", "key": "webpush"},
    "SMS_Opt_In__c": {"kind": "channel", "key": "sms"},
    "Newsletter_Opt_In__c": {"kind": "topic", "key": "newsletter"},
}
WON = {"field": "IsWon", "equals": True}
WRITE = {
    "Nudge_Opens__c": "opens",
    "Nudge_Clicks__c": "clicks",
    "Nudge_Conversions__c": "conversions",
    "Nudge_Last_Engagement__c": "last_engagement",
    "Nudge_Unsubscribed__c": "unsubscribed",
    "Nudge_Score__c": "score",
    "Nudge_Messages_Sent__c": "messages_sent",
    "Nudge_Revenue__c": "revenue",
    "Nudge_Last_Message__c": "last_message",
    "Nudge_Last_Message_At__c": "last_message_at",
    "Nudge_Last_Opened_At__c": "last_opened_at",
    "Nudge_Last_Clicked__c": "last_clicked",
    "Nudge_Last_Clicked_At__c": "last_clicked_at",
    "Nudge_Last_Goal__c": "last_goal",
    "Nudge_Last_Goal_At__c": "last_goal_at",
}


class Related(msgspec.Struct, frozen=True):
    """Rows of another object inside an object's rows.

    Args:
        relationship: what they are called there; object: what they are.
        key: their field that names the record they belong to.
        select: the query inside the query, with a place for the relationship.
    """

    relationship: str
    object: str
    key: str
    select: str


RELATED = {
    OPPORTUNITY: Related(
        "OpportunityContactRoles",
        "OpportunityContactRole",
        "OpportunityId",
        "(SELECT ContactId, IsPrimary FROM {} ORDER BY IsPrimary DESC)",
    ),
    # A product gets its standard price before any other price.
    PRODUCT: Related(
        "PricebookEntries",
        "PricebookEntry",
        "Product2Id",
        "(SELECT UnitPrice FROM {} WHERE IsActive = true ORDER BY CreatedDate ASC LIMIT 1)",
    ),
}


class Schema:
    """One object's fields, as far as the user may see them."""

    def __init__(self, name: str, described: Described):
        shown = [
            field
            for field in described.fields
            if field.type not in COMPOUND and not field.deprecated_and_hidden
        ]
        self.types = {field.name: field.type for field in shown}
        self.fields = [
            Field(
                name=field.name,
                label=field.label or field.name,
                kind=_kind(field),
                custom=field.custom,
                writable=field.updateable,
                volatile=field.calculated,
            )
            for field in shown
        ]
        self.kinds = {field.name: field.kind for field in self.fields}
        self.writable = {field.name for field in self.fields if field.writable}
        self.merges = MASTER in self.types
        self.related = _related(name, described)
        self.buyers = name == OPPORTUNITY
        self.priced = name == PRODUCT and self.related is not None
        if self.priced:
            self.fields.append(Field(PRICE, _("Standard price"), "number"))
            self.kinds[PRICE] = "number"

    def inner(self, names: Sequence[str]) -> str:
        """The query for rows inside, if what is wanted stands in them."""
        wanted = self.buyers or (self.priced and PRICE in names)
        return self.related.select.format(self.related.relationship) if self.related and wanted else ""

    def reader(self, name: str) -> Callable[[Any], Any]:
        """What makes a value of REST's JSON, or a text of Bulk's CSV, a value of the field's kind; both the same."""
        return READERS.get(self.kinds.get(name, "text"), _text)

    def outgoing(self, name: str, value: Any) -> Any:
        """A value of ours as Salesforce takes it for the field."""
        kind, real = self.kinds[name], self.types[name]
        if value is None:
            return False if real == "boolean" else None  # a checkbox is never empty
        if isinstance(value, datetime):
            text = f"{value.astimezone(UTC):%Y-%m-%dT%H:%M:%S}.000Z"
            return text[:10] if kind == "date" else text
        if isinstance(value, date):
            return value.isoformat()
        if isinstance(value, bool):
            if real == "boolean":
                return value
            return ("Yes" if value else "No") if kind == "boolean" else str(value).lower()
        if isinstance(value, list | tuple):
            return ";".join(map(str, value))
        return value if kind == "number" else str(value)


def _related(name: str, described: Described) -> Related | None:
    """The object's inner rows, if the user may see any, under the name they have there."""
    related = RELATED.get(name)
    if related is None:
        return None
    for child in described.child_relationships:
        if (child.relationship_name or "").lower() == related.relationship.lower():
            return msgspec.structs.replace(related, relationship=child.relationship_name)
    return None


def _kind(field: DescribedField) -> FieldKind:
    if field.type == "picklist":
        values = {(one.value or "").lower() for one in field.picklist_values or [] if one.active}
        if values == set(YES_NO):
            return "boolean"  # a checkbox that can also be unanswered
    return KINDS.get(field.type, "text")


def _text(value: Any) -> Any:
    return None if value == "" else value


def _boolean(value: Any) -> Any:
    if isinstance(value, str):
        return {"": None, "true": True, "false": False, **YES_NO}.get(value.lower(), value)
    return value


def _number(value: Any) -> Any:
    if value is None or value == "":
        return None
    try:
        if isinstance(value, str):
            value = int(value) if value.removeprefix("-").isdecimal() else float(value)
    except ValueError:
        return value  # no number, or longer than Python reads
    if isinstance(value, float):
        if not math.isfinite(value):
            return str(value)
        if value.is_integer() and abs(value) < LARGEST_EXACT:
            return int(value)
    return value


def _datetime(value: Any) -> Any:
    return iso(value) if value else None


def _list(value: Any) -> Any:
    return [part for part in str(value).split(";") if part] if value else None


READERS: dict[FieldKind, Callable[[Any], Any]] = {
    "boolean": _boolean,
    "number": _number,
    "datetime": _datetime,
    "list": _list,
}


def iso(text: Any) -> str:
    """Salesforce's times (`…+0000` in JSON, `…Z` in CSV) as ISO 8601 with `+00:00`."""
    text = str(text)
    if text.endswith("+0000"):
        return f"{text[:-5]}+00:00"
    return f"{text[:-1]}+00:00" if text.endswith("Z") else text


def suggestion(object_name: str, role: str, fields: Sequence[Field]) -> Suggestion:
    """A mapping to start from."""
    known = {field.name for field in fields}
    chosen: dict[str, str] = {}
    if role == "person":
        chosen = {name: target for name, target in PERSON.items() if name in known}
    for target, names in FIRST_OF[object_name].items():
        found = next((name for name in names if name in known), None)
        if found:
            chosen[found] = target
    consent = {}
    if role == "person":
        for field in fields:
            if field.name in CONSENT and field.kind == "boolean":
                consent[field.name] = dict(CONSENT[field.name])
    passed = {name for names in FIRST_OF[object_name].values() for name in names} | set(consent)
    taken = set(chosen.values())
    prefix = "properties." if role == "purchase" else "attributes."
    for field in fields:
        name = field.name.removesuffix("__c").lower()
        if not field.custom or field.name in passed or name.startswith("nudge_"):
            continue
        targets = (BY_NAME[role].get(name), f"{prefix}{name}")
        free = [one for one in targets if one and one not in taken]
        if free:
            chosen[field.name] = free[0]
            taken.add(free[0])
    writable = {field.name for field in fields if field.writable}
    write = {name: value for name, value in WRITE.items() if role == "person" and name in writable}
    won = dict(WON) if role == "purchase" and WON["field"] in known else None
    return Suggestion(chosen, consent, won, write)
