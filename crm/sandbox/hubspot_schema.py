"""HubSpot's properties: what a definition is, what a write may put into it, how search compares values.

Shapes follow the `ModelProperty` model of HubSpot's client library; the codes of refused values
(PROPERTY_DOESNT_EXIST, INVALID_EMAIL, …) are those HubSpot puts into its 400 messages.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable
from datetime import UTC, datetime
from typing import Any

from crm.sandbox.store import Record, iso, parse_stamp

PORTAL_ID = 1234567
RECORD_ID = "hs_object_id"
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
SHOP_GROUP = "shop"
DEFINED_AT = "2022-01-01T00:00:00.000Z"


class DefinitionError(ValueError):
    """A property definition that HubSpot refuses; the message says why."""


def options(pairs: Iterable[tuple[str, str]]) -> list[dict[str, Any]]:
    """The options of an enumeration from (value, label) pairs."""
    return [
        {"label": label, "value": value, "description": "", "displayOrder": order, "hidden": False}
        for order, (value, label) in enumerate(pairs)
    ]


def define(
    name: str,
    label: str,
    kind: str = "string",
    field: str = "text",
    *,
    group: str = "",
    choices: Iterable[tuple[str, str]] = (),
    own: bool = True,
    read_only: bool = False,
    unique: bool = False,
    calculated: bool = False,
    description: str = "",
) -> dict[str, Any]:
    """One definition; `own` tells HubSpot's standard properties from the portal's custom ones.

    `choices` are the (value, label) pairs of an enumeration.
    """
    definition = {
        "name": name,
        "label": label,
        "type": kind,
        "fieldType": field,
        "description": description,
        "groupName": group or SHOP_GROUP,
        "options": options(choices),
        "displayOrder": -1,
        "calculated": calculated,
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


class Schema:
    """The property definitions of one object of the portal.

    `created` and `modified` name the properties that show a record's stamps. `computed` are properties that
    HubSpot works out from others: a function of the stored properties for each name.
    """

    def __init__(
        self,
        definitions: Iterable[dict[str, Any]],
        *,
        created: str = "createdate",
        modified: str = "hs_lastmodifieddate",
        computed: dict[str, Callable[[dict[str, str]], str | None]] | None = None,
    ) -> None:
        self.definitions = {definition["name"]: definition for definition in definitions}
        self.created, self.modified = created, modified
        self.computed = computed or {}
        groups = dict.fromkeys(definition["groupName"] for definition in self.definitions.values())
        self.groups: dict[str, dict[str, Any]] = {}
        for order, name in enumerate(groups):
            self.add_group(name, name.replace("information", " information").capitalize(), order)

    def add_group(self, name: str, label: str, order: int = -1) -> dict[str, Any]:
        """A group that properties can belong to."""
        group = {"name": name, "label": label, "displayOrder": order, "archived": False}
        self.groups[name] = group
        return group

    def value_of(self, record: Record, name: str) -> str | None:
        """A property's value as HubSpot shows it, those that the service itself fills included."""
        if name in record.properties and name not in self.computed:
            return record.properties[name]
        if name == RECORD_ID:
            return str(record.id)
        if name == self.created:
            return iso(record.created)
        if name == self.modified:
            return iso(record.modified)
        if name in self.computed:
            return self.computed[name](record.properties)
        match name:
            case "hs_merged_object_ids":
                return ";".join(map(str, record.merged)) or None
            case "hs_calculated_merged_vids":
                return ";".join(f"{loser}:{at}" for loser, at in record.merged.items()) or None
        return None

    def shown(self, names: Iterable[str]) -> list[str]:
        """Those of the names that exist, with those that every reply has, in order."""
        always = (self.created, RECORD_ID, self.modified)
        return sorted(name for name in {*always, *names} if self.active(name))

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
        definition = define(
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

    def remove(self, name: str, now: int) -> dict[str, Any]:
        """Archive a property: its values are no longer shown. KeyError if there is none of the name."""
        definition = self.active(name)
        if definition is None:
            raise KeyError(name)
        definition |= {"archived": True, "archivedAt": iso(now)}
        return definition

    def rename(self, old: str, new: str, now: int) -> dict[str, Any]:
        """Replace a property by one of another name and no values, which is all that HubSpot allows."""
        definition = self.remove(old, now)
        added = {**definition, "name": new, "archived": False, "createdAt": iso(now), "updatedAt": iso(now)}
        added.pop("archivedAt")
        self.definitions[new] = added
        return added

    def is_unique(self, name: str) -> bool:
        """Whether no two records can have the same value of it."""
        definition = self.active(name)
        return definition is not None and definition["hasUniqueValue"]

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
