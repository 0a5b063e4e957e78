"""HubSpot's objects and properties: their names, their values as text, and what they usually become here."""

import math
import re
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

import msgspec
from django.utils.translation import gettext_lazy

from crm.connectors.base import Field, FieldKind, ObjectType, Role, Suggestion


class Kind(msgspec.Struct, frozen=True):
    """One kind of HubSpot record.

    Args:
        type_id: HubSpot's number for it, in webhooks of newer apps.
        singular: its name in the other webhooks.
        modified: the property by which changes are found; any other finds nothing, without an error.
        scope: what an app needs to read it.
    """

    type: ObjectType
    type_id: str
    singular: str
    modified: str
    scope: str

    @property
    def name(self) -> str:
        """The connector's and the API's word for it."""
        return self.type.name


CONTACTS, DEALS, PRODUCTS = "contacts", "deals", "products"
OBJECTS = (
    ObjectType(CONTACTS, gettext_lazy("Contacts"), "person", chosen=True),
    ObjectType(DEALS, gettext_lazy("Deals"), "purchase", chosen=True),
    ObjectType(PRODUCTS, gettext_lazy("Products"), "product"),
)
KINDS = {
    found.name: Kind(found, type_id, found.name.removesuffix("s"), modified, f"crm.objects.{found.name}.read")
    for found, type_id, modified in zip(
        OBJECTS,
        ("0-1", "0-3", "0-7"),
        ("lastmodifieddate", "hs_lastmodifieddate", "hs_lastmodifieddate"),
        strict=True,
    )
}

# Which records went into this one: ids; on contacts also with times ("12:1700000000000").
MERGED, MERGED_AT = "hs_merged_object_ids", "hs_calculated_merged_vids"
WON = "hs_is_closed_won"

FIELDS: dict[str, dict[str, str]] = {
    CONTACTS: {
        "email": "email",
        "phone": "phone",
        "firstname": "first_name",
        "lastname": "last_name",
        "hs_language": "language",
        "hs_timezone": "timezone",
        "country": "country",
        "city": "city",
        "date_of_birth": "birthday",
        "lifecyclestage": "lifecycle_stage",
        "company": "attributes.company",
        "jobtitle": "attributes.job_title",
    },
    DEALS: {
        "amount": "value",
        "deal_currency_code": "currency",
        "closedate": "occurred_at",
        "dealname": "properties.name",
        "dealtype": "properties.deal_type",
        "pipeline": "properties.pipeline",
    },
    PRODUCTS: {
        "hs_sku": "sku",
        "name": "name",
        "price": "price",
        "description": "description",
        "hs_url": "url",
        "hs_images": "image_url",
        "category": "category",
        "stock": "stock",
        "currency": "currency",
    },
}
FREE: dict[Role, str] = {"person": "attributes.", "purchase": "properties.", "product": "attributes."}
CONSENT: dict[str, dict[str, Any]] = {
    "webpush_opt_in": {"kind": "channel", "key": "webpush"},
    "newsletter_opt_in": {"kind": "topic", "key": "newsletter"},
    "hs_email_optout": {"kind": "channel", "key": "email", "inverted": True},
}
WRITE = {
    f"nudge_{value}": value
    for value in (
        *(
            "opens",
            "clicks",
            "conversions",
            "last_engagement",
            "unsubscribed",
            "score",
            "messages_sent",
            "revenue",
        ),
        *("last_message", "last_message_at", "last_opened_at", "last_clicked", "last_clicked_at"),
        *("last_goal", "last_goal_at"),
    )
}


class Property(msgspec.Struct, rename="camel"):
    """The definition of a property, as the API tells it."""

    class Modification(msgspec.Struct, rename="camel"):
        read_only_value: bool = False

    name: str
    label: str
    type: str
    field_type: str = ""
    hidden: bool = False
    hubspot_defined: bool = False
    calculated: bool = False
    modification_metadata: Modification | None = None

    def kind(self) -> FieldKind:
        """How its values are shown here."""
        if self.type == "bool" or self.field_type == "booleancheckbox":
            return "boolean"
        if self.type == "enumeration":
            return "list" if self.field_type == "checkbox" else "choice"
        kinds: dict[str, FieldKind] = {"number": "number", "date": "date", "datetime": "datetime"}
        return kinds.get(self.type, "text")

    def field(self) -> Field:
        """It as one of the connector's fields."""
        fixed = self.modification_metadata is not None and self.modification_metadata.read_only_value
        return Field(
            self.name,
            self.label or self.name,
            self.kind(),
            custom=not self.hubspot_defined,
            writable=not fixed and not self.calculated,
            # Whether a deal is won follows its stage, and changing that does move the time.
            volatile=self.calculated and not self.name.startswith("hs_is_closed"),
        )


def suggestion(kind: Kind, fields: Sequence[Field]) -> Suggestion:
    """A mapping to start from. Custom properties become attributes; ours (`nudge_…`) are written back."""
    known = {field.name: field for field in fields}
    chosen = {name: target for name, target in FIELDS[kind.name].items() if name in known}
    if kind.type.role != "person":
        consent, write = {}, {}
    else:
        consent = {name: dict(rule) for name, rule in CONSENT.items() if name in known}
        write = {name: value for name, value in WRITE.items() if name in known and known[name].writable}
    taken = set(chosen.values())
    for field in fields:
        if field.custom and field.name not in {*chosen, *consent, *WRITE, *taken}:
            chosen[field.name] = FREE[kind.type.role] + field.name
    won: dict[str, Any] | None = None
    if kind.type.role == "purchase":
        # Older accounts lack the flag; the stage is called so in the pipeline every account begins with.
        flag = {"field": WON, "equals": True}
        won = flag if WON in known else {"field": "dealstage", "equals": "closedwon"}
    return Suggestion(chosen, consent, won, write)


def typed(value: Any, kind: FieldKind) -> Any:
    """HubSpot sends every value as text; an empty one counts as none."""
    if value is None or value == "":
        return None
    if not isinstance(value, str):
        return value
    if kind == "boolean":
        return {"true": True, "false": False}.get(value.lower(), value)
    if kind == "list":
        return [part for part in value.split(";") if part]
    if kind == "number":
        try:
            # Long whole numbers are ids: a float would round them.
            number = int(value) if value.removeprefix("-").isdecimal() else float(value)
        except ValueError:
            return value  # no number, or longer than Python reads
        return number if isinstance(number, int) or math.isfinite(number) else value
    return value


def written(value: Any, kind: FieldKind) -> str:
    """A value as HubSpot takes it: always text, "" to clear, a day without a time where it keeps days only."""
    match value:
        case None:
            return ""
        case bool():
            return "true" if value else "false"
        case datetime():
            moment = value.astimezone(UTC)
            if kind == "date":
                return moment.date().isoformat()
            return moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")
        case list() | tuple():
            return ";".join(map(str, value))
        case float() if value.is_integer():
            return str(int(value))
    return str(value)


def merged_ids(properties: dict[str, Any], own_id: str) -> list[str]:
    """The ids of the records that were merged into this one."""
    told = f"{properties.get(MERGED) or ''};{properties.get(MERGED_AT) or ''}"
    ids = (part.split(":")[0].strip() for part in told.split(";"))
    return [one for one in dict.fromkeys(ids) if re.fullmatch(r"\d+", one) and one != own_id]
