"""The organisation's schema as it is now: objects and fields by any case, changes at run time, describe."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from crm.sandbox.salesforce_fields import LENGTHS, SOAP_TYPES, Field
from crm.sandbox.salesforce_objects import Definition, definitions
from crm.sandbox.salesforce_replies import not_found
from crm.sandbox.salesforce_store import Record, Table
from crm.sandbox.store import Clock

FIELD_NAME = re.compile(r"[A-Za-z](?:_?[A-Za-z0-9])*(?:__c)?")
FIELD_TYPES = {"string", *LENGTHS, *SOAP_TYPES} - {"id", "address"}
FIELD_ATTRIBUTES = {"type", "label", "length", "picklist", "external_id", "unique", "scale"}
# Names under which the control API knows an object.
ALIASES = {
    "contacts": "Contact",
    "leads": "Lead",
    "opportunities": "Opportunity",
    "deals": "Opportunity",
    "products": "Product2",
    "accounts": "Account",
    "companies": "Account",
}

Getter = Callable[[Record], Any]


@dataclass(frozen=True)
class Child:
    """One-to-many: the records of `object` whose `field` points at the parent."""

    object: SObject
    field: str


class SObject:
    """One object: its definition, the fields it has now, and its records."""

    def __init__(self, definition: Definition, clock: Clock) -> None:
        self.name, self.prefix = definition.name, definition.prefix
        self.plural, self.writable = definition.plural, definition.writable
        self.table = Table(clock, definition.prefix)
        self._fields = {field.name.lower(): field for field in definition.fields}

    @property
    def fields(self) -> list[Field]:
        """The fields there are now."""
        return list(self._fields.values())

    def field(self, name: str) -> Field | None:
        """A field by its name in any case."""
        return self._fields.get(name.lower())

    def getter(self, field: Field) -> Getter:
        """A function that reads the field's stored value, with its default, from a record."""
        if field.formula is not None:
            return field.formula
        name = field.name
        if field.type == "boolean":
            return lambda record: record.values.get(name, False)
        return lambda record: record.values.get(name)

    def parent(self, relationship: str) -> Field | None:
        """The reference field of a relationship such as `Account`."""
        wanted = relationship.lower()
        return next((f for f in self.fields if f.relationship and f.relationship.lower() == wanted), None)

    def add(self, field: Field) -> None:
        """Add a field; ValueError if there is one of its name."""
        if field.name.lower() in self._fields:
            raise ValueError(f"{self.name} has a field {field.name} already.")
        self._fields[field.name.lower()] = field

    def remove(self, name: str) -> Field:
        """Take a field away, its values stay stored; KeyError if there is none."""
        return self._fields.pop(name.lower())

    def rename(self, old: str, new: str) -> None:
        """Give a field and its values another name; KeyError or ValueError like `remove` and `add`."""
        if self.field(new) is not None:
            raise ValueError(f"{self.name} has a field {new} already.")
        field = self.remove(old)
        self.table.rename(field.name, new)
        field.name, field.label = new, new.removesuffix("__c").replace("_", " ")
        self.add(field)

    def values(self, record: Record) -> dict[str, Any]:
        """What the record holds in the fields there are now, nothing left out but nothing itself."""
        pairs = ((field, self.getter(field)(record)) for field in self.fields)
        return {field.name: field.shown(value) for field, value in pairs if value is not None}

    def summary(self, base: str) -> dict[str, Any]:
        """The object's entry in the list of all; `base` is the path of its API version."""
        here = f"{base}/sobjects/{self.name}"
        return {
            "activateable": False,
            "createable": self.writable,
            "custom": False,
            "customSetting": False,
            "deepCloneable": False,
            "deletable": self.writable,
            "deprecatedAndHidden": False,
            "feedEnabled": False,
            "hasSubtypes": False,
            "isInterface": False,
            "isSubtype": False,
            "keyPrefix": self.prefix,
            "label": re.sub(r"(?<=[a-z])(?=[A-Z])", " ", self.name).replace("2", ""),
            "labelPlural": self.plural,
            "layoutable": True,
            "mergeable": self.field("MasterRecordId") is not None,
            "mruEnabled": True,
            "name": self.name,
            "queryable": True,
            "replicateable": True,
            "retrieveable": True,
            "searchable": True,
            "triggerable": True,
            "undeletable": self.writable,
            "updateable": self.writable,
            "urls": {"sobject": here, "describe": f"{here}/describe", "rowTemplate": f"{here}/{{ID}}"},
        }


class Schema:
    """All objects."""

    def __init__(self, clock: Clock) -> None:
        self.objects = {item.name.lower(): SObject(item, clock) for item in definitions()}

    def find(self, name: str) -> SObject | None:
        """An object by its name in any case."""
        return self.objects.get(name.lower())

    def aliased(self, name: str) -> SObject:
        """An object by its name or its alias in the control API; KeyError if there is none."""
        return self.objects[ALIASES.get(name.lower(), name).lower()]

    def required(self, name: str) -> SObject:
        """An object named in a path, or Salesforce's 404."""
        found = self.find(name)
        if found is None:
            raise not_found()
        return found

    def by_id(self, record_id: str) -> SObject | None:
        """The object whose key prefix an id begins with."""
        return next((item for item in self.objects.values() if item.prefix == record_id[:3]), None)

    def child(self, parent: SObject, relationship: str) -> Child | None:
        """The objects of a one-to-many relationship such as `OpportunityContactRoles`."""
        return self.children(parent).get(relationship.lower())

    def children(self, parent: SObject) -> dict[str, Child]:
        """Every one-to-many relationship of an object, by its name in lower case."""
        return {
            child_name(item).lower(): Child(item, field.name)
            for item in self.objects.values()
            for field in item.fields
            if field.refers_to == parent.name and item.writable and field.formula is None
        }

    def describe_all(self, base: str) -> dict[str, Any]:
        """The list of objects."""
        summaries = [item.summary(base) for item in self.objects.values()]
        return {"encoding": "UTF-8", "maxBatchSize": 200, "sobjects": summaries}

    def describe(self, item: SObject, base: str) -> dict[str, Any]:
        """Everything about one object."""
        return {
            **item.summary(base),
            "fields": [field.describe() for field in item.fields],
            "childRelationships": [
                {
                    "cascadeDelete": False,
                    "childSObject": child.object.name,
                    "deprecatedAndHidden": False,
                    "field": child.field,
                    "relationshipName": child_name(child.object),
                    "restrictedDelete": False,
                }
                for child in self.children(item).values()
            ],
            "recordTypeInfos": [],
            "supportedScopes": [{"label": f"All {item.plural}", "name": "everything"}],
            "actionOverrides": [],
            "namedLayoutInfos": [],
        }

    def change(self, name: str, body: dict[str, Any]) -> dict[str, Any]:
        """Change an object's fields as the control API asks: {"add": {"name", "type"?, ...}}, {"remove": name}
        or {"rename": [old, new]}. KeyError for what does not exist, ValueError for nonsense."""
        item = self.aliased(name)
        match body:
            case {"add": {"name": str(field), **spec}}:
                item.add(new_field(field, **spec))
            case {"remove": str(field)}:
                item.remove(field)
            case {"rename": [str(old), str(new)]}:
                item.rename(old, new)
            case _:
                raise ValueError('Send {"add": {...}}, {"remove": name} or {"rename": [old, new]}.')
        return {"object": item.name, "fields": [field.name for field in item.fields]}


def new_field(name: str, **spec: Any) -> Field:
    """A field that an organisation adds: `type`, `label`, `length`, `picklist`, `external_id`, `unique`, `scale`.

    ValueError for a name, type or attribute that Salesforce lacks.
    """
    if not isinstance(name, str) or not FIELD_NAME.fullmatch(name):
        raise ValueError(f"{name!r} is no name of a field.")
    unknown = sorted(set(spec) - FIELD_ATTRIBUTES)
    if unknown:
        raise ValueError(f"Unknown attributes of a field: {', '.join(unknown)}.")
    if spec.get("type", "string") not in FIELD_TYPES:
        raise ValueError(f"Fields are of the types {', '.join(sorted(FIELD_TYPES))}.")
    return Field(name, **{**spec, "picklist": tuple(spec.get("picklist", ()))})


def child_name(item: SObject) -> str:
    """The relationship's name on the parent's side: the plural without spaces."""
    return item.plural.replace(" ", "")
