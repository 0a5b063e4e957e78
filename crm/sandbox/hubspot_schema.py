"""HubSpot contact properties: definitions, what a write may put into them, how search compares them.

Shapes follow the `ModelProperty` model of HubSpot's client library; the codes of refused values
(PROPERTY_DOESNT_EXIST, INVALID_EMAIL, …) are those HubSpot puts into its 400 messages.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable
from datetime import UTC, datetime
from typing import Any
from zoneinfo import available_timezones

from crm.sandbox.people import CATEGORIES, LIFECYCLE_STAGES, PLANS, Person
from crm.sandbox.places import COUNTRIES
from crm.sandbox.store import Record, iso, parse_stamp

PORTAL_ID = 1234567
UNIQUE_PROPERTIES = ("email", "hs_object_id")
# Always in a record's `properties`; the second list only if the caller names no property.
ALWAYS_RETURNED = ("createdate", "hs_object_id", "lastmodifieddate")
RETURNED_BY_DEFAULT = ("email", "firstname", "lastname")
EMAIL = re.compile(r"[^@\s]+@[^@\s]+\.[^@\s.]{2,}\Z")
PROPERTY_NAME = re.compile(r"[a-z][a-z0-9_]{0,99}\Z")
VALUE_LIMIT = 65_536
TYPES = {
    "string": {"text", "textarea", "file", "calculation_equation"},
    "number": {"number", "calculation_equation"},
    "date": {"date"},
    "datetime": {"date"},
    "enumeration": {"select", "radio", "checkbox", "booleancheckbox", "calculation_equation"},
    "bool": {"booleancheckbox", "calculation_equation"},
}
KNOWN_ZONES = available_timezones()
DEFINED_AT = "2022-01-01T00:00:00.000Z"


class DefinitionError(ValueError):
    """A property definition that HubSpot refuses; the message says why."""


def hubspot_timezone(name: str) -> str:
    """HubSpot's option for an IANA time zone: `Africa/Porto-Novo` is `africa_slash_porto_hyphen_novo`."""
    return name.lower().replace("/", "_slash_").replace("-", "_hyphen_")


def _options(pairs: Iterable[tuple[str, str]]) -> list[dict[str, Any]]:
    return [
        {"label": label, "value": value, "description": "", "displayOrder": order, "hidden": False}
        for order, (value, label) in enumerate(pairs)
    ]


def _property(
    name: str,
    label: str,
    kind: str = "string",
    field: str = "text",
    *,
    options=(),
    own: bool = True,
    read_only: bool = False,
    unique: bool = False,
    description: str = "",
) -> dict[str, Any]:
    """One definition; `own` tells HubSpot's standard properties from the portal's custom ones."""
    definition = {
        "name": name,
        "label": label,
        "type": kind,
        "fieldType": field,
        "description": description,
        "groupName": "contactinformation" if own else "shop",
        "options": _options(options),
        "displayOrder": -1,
        "calculated": False,
        "externalOptions": False,
        "hasUniqueValue": unique,
        "hidden": False,
        "hubspotDefined": own,
        "formField": not read_only,
        "archived": False,
        "createdAt": DEFINED_AT,
        "updatedAt": DEFINED_AT,
        "modificationMetadata": {
            "archivable": not own,
            "readOnlyDefinition": own,
            "readOnlyValue": read_only,
        },
    }
    if not own:  # HubSpot leaves the flag out of custom properties
        del definition["hubspotDefined"]
    return definition


def _titles(values: Iterable[str]) -> list[tuple[str, str]]:
    return [(value, value.capitalize()) for value in values]


YES_NO = (("true", "Yes"), ("false", "No"))


def standard_properties() -> dict[str, dict[str, Any]]:
    """The definitions a fresh portal has: HubSpot's own (those a sync meets), then the shop's custom ones."""
    languages = sorted({country.language for country in COUNTRIES} | {"en", "ar", "pt", "es", "fr", "zh-cn"})
    definitions = [
        _property("email", "Email", unique=True),
        _property("firstname", "First Name"),
        _property("lastname", "Last Name"),
        _property("phone", "Phone Number"),
        _property("company", "Company Name"),
        _property("jobtitle", "Job Title"),
        _property("city", "City"),
        _property("country", "Country/Region"),
        _property(
            "hs_country_region_code",
            "Country/Region Code",
            "enumeration",
            "select",
            options=[(country.code, country.name) for country in COUNTRIES],
        ),
        _property(
            "hs_language",
            "Preferred language",
            "enumeration",
            "select",
            options=[(code, code) for code in languages],
        ),
        _property(
            "hs_timezone",
            "Time Zone",
            "enumeration",
            "select",
            options=[(hubspot_timezone(zone), zone) for zone in sorted(KNOWN_ZONES)],
        ),
        _property("date_of_birth", "Date of birth"),
        _property(
            "lifecyclestage", "Lifecycle Stage", "enumeration", "radio", options=_titles(LIFECYCLE_STAGES)
        ),
        _property(
            "hs_additional_emails", "Additional email addresses", "enumeration", "checkbox", read_only=True
        ),
        _property("hs_merged_object_ids", "Merged record IDs", "enumeration", "checkbox", read_only=True),
        _property(
            "hs_calculated_merged_vids",
            "Merged vids with timestamps of a contact",
            "enumeration",
            "checkbox",
            read_only=True,
        ),
        _property("hs_object_id", "Record ID", "number", "number", read_only=True, unique=True),
        _property("createdate", "Create Date", "datetime", "date", read_only=True),
        _property("lastmodifieddate", "Last Modified Date", "datetime", "date", read_only=True),
        # Filled for every object except contacts: a sync that filters contacts by it finds nothing.
        _property(
            "hs_lastmodifieddate", "Object last modified date/time", "datetime", "date", read_only=True
        ),
        _property(
            "timezone", "Time zone as the shop's sign-up form sent it", own=False, description="IANA name"
        ),
        _property("plan", "Plan", "enumeration", "select", options=_titles(PLANS), own=False),
        _property("loyalty_points", "Loyalty points", "number", "number", own=False),
        _property(
            "favourite_category",
            "Favourite category",
            "enumeration",
            "select",
            options=_titles(CATEGORIES),
            own=False,
        ),
        _property(
            "newsletter_opt_in", "Newsletter opt-in", "bool", "booleancheckbox", options=YES_NO, own=False
        ),
        _property("webpush_opt_in", "Web push opt-in", "bool", "booleancheckbox", options=YES_NO, own=False),
    ]
    return {definition["name"]: definition for definition in definitions}


def contact_values(person: Person) -> dict[str, str]:
    """A person as contact properties; values nobody has entered are left out."""
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
        "hs_timezone": hubspot_timezone(person.timezone) if person.timezone in KNOWN_ZONES else "",
        "timezone": person.timezone,
        "date_of_birth": person.birthday,
        "lifecyclestage": person.lifecycle_stage,
        "plan": person.plan,
        "loyalty_points": str(person.loyalty_points),
        "favourite_category": person.favourite_category,
        "newsletter_opt_in": str(person.newsletter_opt_in).lower(),
        "webpush_opt_in": "" if person.webpush_opt_in is None else str(person.webpush_opt_in).lower(),
    }
    return {name: value for name, value in values.items() if value}


def value_of(record: Record, name: str) -> str | None:
    """A property's value as HubSpot shows it, those that the service itself fills included."""
    match name:
        case "hs_object_id":
            return str(record.id)
        case "createdate":
            return iso(record.created)
        case "lastmodifieddate":
            return iso(record.modified)
        case "hs_merged_object_ids":
            return ";".join(map(str, record.merged)) or None
        case "hs_calculated_merged_vids":
            return ";".join(f"{loser}:{at}" for loser, at in record.merged.items()) or None
    return record.properties.get(name)


class Schema:
    """The property definitions of one portal's contacts."""

    def __init__(self) -> None:
        self.definitions = standard_properties()

    def active(self, name: str) -> dict[str, Any] | None:
        """The definition, unless it does not exist or is archived."""
        definition = self.definitions.get(name)
        return None if definition is None or definition["archived"] else definition

    def add(self, body: dict[str, Any], now: int) -> dict[str, Any]:
        """Create a custom property from a `PropertyCreate` body; DefinitionError or KeyError (it exists)."""
        name, kind, field = body["name"], body["type"], body["fieldType"]
        if not isinstance(name, str) or not PROPERTY_NAME.match(name):
            raise DefinitionError(
                f"Property name {json.dumps(name)} must be lower-case letters, digits and underscores."
            )
        if field not in TYPES.get(kind, ()):
            raise DefinitionError(
                f"Field type {json.dumps(field)} does not fit property type {json.dumps(kind)}."
            )
        if self.active(name):
            raise KeyError(name)
        definition = _property(
            name, str(body["label"]), kind, field, own=False, unique=bool(body.get("hasUniqueValue"))
        )
        definition |= {
            key: body[key]
            for key in ("description", "groupName", "options", "hidden", "displayOrder", "formField")
            if key in body
        }
        definition |= {"createdAt": iso(now), "updatedAt": iso(now)}
        self.definitions[name] = definition
        return definition

    def problems(self, properties: dict[str, Any]) -> list[dict[str, Any]]:
        """What HubSpot would say against writing these values, one entry for each bad one."""
        found = []
        for name, value in properties.items():
            code, message = self._problem(name, value) or ("", "")
            if code:
                found.append(
                    {
                        "isValid": False,
                        "message": message,
                        "error": code,
                        "name": name,
                        "localizedErrorMessage": message,
                        "portalId": PORTAL_ID,
                    }
                )
        return found

    def _problem(self, name: str, value: Any) -> tuple[str, str] | None:
        definition = self.active(name)
        if definition is None:
            return "PROPERTY_DOESNT_EXIST", f'Property "{name}" does not exist'
        if definition["modificationMetadata"]["readOnlyValue"]:
            return "READ_ONLY_VALUE", f'"{name}" is a read only property; its value cannot be set.'
        if value is None or value == "":
            return None
        text = as_text(value)
        if len(text) > VALUE_LIMIT:
            return (
                "PROPERTY_VALUE_TOO_LONG",
                f"Property values must be at most {VALUE_LIMIT} characters long.",
            )
        if name == "email" and not EMAIL.match(text):
            return "INVALID_EMAIL", f"Email address {text} is invalid"
        kind = definition["type"]
        if kind in ("number", "date", "datetime") and typed(kind, text) is None:
            return f"INVALID_{kind.upper()}", f"{text} was not a valid {kind}."
        allowed = [option["value"] for option in definition["options"]]
        if kind in ("enumeration", "bool") and allowed and not set(text.split(";")) <= set(allowed):
            return "INVALID_OPTION", f"{text} was not one of the allowed options: {allowed[:20]}"
        return None

    def cleaned(self, properties: dict[str, Any]) -> dict[str, str | None]:
        """Valid values as HubSpot stores them: text, e-mail in lower case, ISO dates, "" as None."""
        return {name: self._stored(name, value) for name, value in properties.items()}

    def _stored(self, name: str, value: Any) -> str | None:
        if value is None or value == "":
            return None
        text = as_text(value)
        if name == "email":
            return text.strip().lower()
        match self.definitions[name]["type"]:
            case "datetime":
                return iso(parse_stamp(text))
            case "date":
                return datetime.fromtimestamp(typed("date", text) / 1000, UTC).date().isoformat()
        return text


def as_text(value: Any) -> str:
    """A JSON scalar as HubSpot's text: true, 12, 1.5, or the string itself."""
    return value if isinstance(value, str) else json.dumps(value)


def typed(kind: str, text: str) -> int | float | str | None:
    """A value in comparable form: numbers, times in milliseconds, the rest as case-folded text.

    None if the text is no value of this property type.
    """
    try:
        if kind == "number":
            return int(text) if re.fullmatch(r"-?\d+", text) else float(text)
        if kind == "datetime":
            return parse_stamp(text)
        if kind == "date":
            stamp = parse_stamp(text)
            return stamp if stamp % 86_400_000 == 0 else None
    except (ValueError, OverflowError):
        return None
    return text.casefold()
