"""Zoho's modules and fields: definitions, what a write may put into a field, how a value is shown.

Shapes follow the models `fields.Fields` and `modules.Modules` of Zoho's client library (CRM v8); the codes of
refused values are those that Zoho puts into its row results.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import date, datetime
from typing import Any

EMAIL = re.compile(r"[^@\s]+@[^@\s]+\.[^@\s.]{2,}\Z")
MOMENT = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d[+-]\d\d:\d\d\Z")
API_NAME = re.compile(r"[A-Za-z][A-Za-z0-9_]{0,99}\Z")
JSON_TYPES = {
    "boolean": "boolean",
    "integer": "integer",
    "double": "double",
    "currency": "double",
    "lookup": "jsonobject",
    "ownerlookup": "jsonobject",
    "multiselectpicklist": "jsonarray",
}
LENGTHS = {"text": 255, "email": 100, "phone": 30, "textarea": 32_000, "website": 450, "picklist": 120}
NUMBERS = ("integer", "double", "currency", "bigint")
SYSTEM = ("id", "Created_Time", "Modified_Time", "Created_By", "Modified_By", "Owner")


@dataclass(slots=True)
class Definition:
    """One field."""

    name: str
    label: str
    type: str = "text"
    custom: bool = False
    options: tuple[str, ...] = ()
    mandatory: bool = False
    read_only: bool = False
    module: str = ""  # where a lookup leads
    unique: bool = False

    def show(self, number: int, record_id: str) -> dict[str, Any]:
        """The field as `settings/fields` shows it."""
        shown: dict[str, Any] = {
            "id": record_id,
            "api_name": self.name,
            "field_label": self.label,
            "display_label": self.label,
            "data_type": self.type,
            "json_type": JSON_TYPES.get(self.type, "string"),
            "custom_field": self.custom,
            "system_mandatory": self.mandatory,
            "read_only": self.read_only,
            "field_read_only": self.read_only,
            "created_source": "default",
            "length": LENGTHS.get(self.type, 20),
            "sequence_number": number,
            "visible": True,
            "virtual_field": False,
            "webhook": True,
            "searchable": self.type in ("text", "email", "phone"),
            "filterable": self.type not in ("textarea",),
            "sortable": self.type not in ("textarea", "multiselectpicklist"),
            "mass_update": not self.read_only,
            "display_field": False,
            "unique": {"casesensitive": "false"} if self.unique else {},
            "pick_list_values": [
                {
                    "id": f"{int(record_id) + 100_000_000 + place}",
                    "display_value": option,
                    "actual_value": option,
                    "reference_value": option,
                    "sequence_number": place,
                    "type": "used",
                }
                for place, option in enumerate(self.options, 1)
            ],
            "view_type": {"view": True, "edit": True, "create": True, "quick_create": False},
            "operation_type": {
                "web_update": not self.read_only,
                "api_create": not self.read_only,
                "web_create": not self.read_only,
                "api_update": not self.read_only,
            },
            "lookup": {"module": {"api_name": self.module, "id": record_id}} if self.module else {},
        }
        return shown

    def problem(self, value: Any) -> dict[str, Any] | None:
        """What Zoho says against this value (`code`, `details`, `message`), or None."""
        if value is None or value == "" or value == []:
            return _missing(self.name) if self.mandatory else None
        expected = self._expected(value)
        if expected is not None:
            return _invalid({"expected_data_type": expected, "api_name": self.name})
        limit = LENGTHS.get(self.type)
        if limit and isinstance(value, str) and len(value) > limit:
            return _invalid({"maximum_length": limit, "api_name": self.name})
        return None

    def _expected(self, value: Any) -> str | None:
        match self.type:
            case "boolean":
                return None if isinstance(value, bool) else "boolean"
            case "integer" | "bigint" | "double" | "currency":
                wanted = (int,) if self.type == "integer" else (int, float)
                fits = isinstance(value, wanted) and not isinstance(value, bool)
                return None if fits else self.type
            case "date":
                return None if _is_date(value) else "date"
            case "datetime":
                return None if is_moment(value) else "datetime"
            case "lookup" | "ownerlookup":
                fits = isinstance(value, dict) and str(value.get("id", "")).isdecimal()
                return None if fits else "jsonobject"
            case "multiselectpicklist":
                return None if isinstance(value, list) else "jsonarray"
            case "email":
                return None if isinstance(value, str) and EMAIL.match(value) else "email"
        return None if isinstance(value, str) else "text"


class Schema:
    """The fields of one module."""

    def __init__(
        self, module: str, singular: str, title: Iterable[str], fields: Iterable[Definition]
    ) -> None:
        self.module = module
        self.singular = singular
        self.title_fields = tuple(title)
        self.fields = {definition.name: definition for definition in fields}

    def with_defaults(self, values: dict[str, Any]) -> dict[str, Any]:
        """Values plus false for every checkbox not named: Zoho's checkboxes are never empty."""
        empty = {name: False for name, field in self.fields.items() if field.type == "boolean"}
        return empty | {name: value for name, value in values.items() if value is not None}

    def title(self, values: dict[str, Any]) -> str:
        """What Zoho shows for a record in lookups and in the list of deleted records."""
        return " ".join(str(values[name]) for name in self.title_fields if values.get(name))

    def problem(self, values: dict[str, Any], creating: bool) -> dict[str, Any] | None:
        """The first thing that speaks against writing these values, or None. Unknown names are ignored."""
        for definition in self.fields.values():
            if definition.read_only:
                continue  # what a write says of these is ignored
            if definition.name in values:
                found = definition.problem(values[definition.name])
            else:
                found = _missing(definition.name) if creating and definition.mandatory else None
            if found:
                return found
        return None

    def writable(self, values: dict[str, Any]) -> dict[str, Any]:
        """Those of the values that a write changes; "" empties a field."""
        return {
            name: None if value == "" else value
            for name, value in values.items()
            if name in self.fields and not self.fields[name].read_only
        }


def is_moment(value: Any) -> bool:
    """Whether this is a time as Zoho takes it: to the second, with a numeric offset."""
    if not isinstance(value, str) or not MOMENT.match(value):
        return False
    try:
        datetime.fromisoformat(value)
    except ValueError:
        return False
    return True


def _is_date(value: Any) -> bool:
    try:
        return isinstance(value, str) and len(value) == 10 and bool(date.fromisoformat(value))
    except ValueError:
        return False


def _missing(name: str) -> dict[str, Any]:
    return {
        "code": "MANDATORY_NOT_FOUND",
        "details": {"api_name": name},
        "message": "required field not found",
    }


def _invalid(details: dict[str, Any]) -> dict[str, Any]:
    return {"code": "INVALID_DATA", "details": details, "message": "invalid data"}
