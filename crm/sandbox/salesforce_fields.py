"""What fields are: their types, what describe says of them, and the values they take and show."""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, date, datetime
from functools import lru_cache
from typing import TYPE_CHECKING, Any

from crm.sandbox.salesforce_ids import long_form
from crm.sandbox.salesforce_replies import ApiError

if TYPE_CHECKING:
    from crm.sandbox.salesforce_store import Record

SOAP_TYPES = {
    "id": "tns:ID",
    "reference": "tns:ID",
    "boolean": "xsd:boolean",
    "int": "xsd:int",
    "double": "xsd:double",
    "currency": "xsd:double",
    "percent": "xsd:double",
    "date": "xsd:date",
    "datetime": "xsd:dateTime",
    "address": "urn:address",
}
LENGTHS = {"email": 80, "phone": 40, "url": 255, "picklist": 255, "multipicklist": 4099, "textarea": 32000}
NUMBERS = {"int", "double", "currency", "percent"}
TEXTS = {"string", "email", "phone", "url", "picklist", "multipicklist", "textarea"}
EMAIL = re.compile(r"[^@\s,;<>]+@[^@\s,;<>.]+(?:\.[^@\s,;<>.]+)+")
TRUE, FALSE = {"true", "1"}, {"false", "0"}
LARGEST = 10.0**18
CANNOT_READ = (
    "Cannot deserialize instance of {} from VALUE_STRING value {} or request may be missing a required field"
)


@dataclass(slots=True)
class Field:
    """One field of an object."""

    name: str
    type: str = "string"
    label: str = ""
    length: int = 0
    picklist: tuple[str, ...] = ()
    refers_to: str | None = None
    relationship: str | None = None
    external_id: bool = False
    unique: bool = False
    required: bool = False
    writable: bool = True
    scale: int = 0
    formula: Callable[[Record], Any] | None = None

    def __post_init__(self) -> None:
        plain = self.name.removesuffix("__c").replace("_", " ")
        self.label = self.label or re.sub(r"(?<=[a-z])(?=[A-Z])", " ", plain)
        self.length = self.length or LENGTHS.get(
            self.type, 18 if self.type in ("id", "reference") else 255 * (self.type in TEXTS)
        )
        if self.formula is not None:
            self.writable = False

    @property
    def custom(self) -> bool:
        """Whether the organisation added it."""
        return self.name.endswith("__c")

    def describe(self) -> dict[str, Any]:
        """The field's entry in a describe reply."""
        number = self.type in NUMBERS
        compound = self.type == "address"
        return {
            "aggregatable": not compound,
            "autoNumber": False,
            "byteLength": self.length * 3,
            "calculated": self.formula is not None and not compound and self.custom,
            "calculatedFormula": None,
            "cascadeDelete": False,
            "caseSensitive": False,
            "compoundFieldName": None,
            "createable": self.writable,
            "custom": self.custom,
            "defaultValue": False if self.type == "boolean" else None,
            "defaultedOnCreate": self.type == "boolean",
            "deprecatedAndHidden": False,
            "digits": 9 if self.type == "int" else 0,
            "externalId": self.external_id,
            "filterable": not compound and self.type != "textarea",
            "groupable": self.type
            in ("string", "email", "phone", "picklist", "reference", "boolean", "date"),
            "idLookup": self.external_id or self.type == "id" or self.name == "Email",
            "inlineHelpText": None,
            "label": self.label,
            "length": 0 if number else self.length,
            "name": self.name,
            "nameField": self.name == "Name",
            "nillable": not (self.required or self.type in ("boolean", "id")),
            "permissionable": not self.required,
            "picklistValues": [
                {"active": True, "defaultValue": False, "label": value, "validFor": None, "value": value}
                for value in self.picklist
            ],
            "polymorphicForeignKey": False,
            "precision": 18 if number and self.type != "int" else 0,
            "queryByDistance": False,
            "referenceTo": [self.refers_to] if self.refers_to else [],
            "relationshipName": self.relationship,
            "restrictedPicklist": False,
            "scale": self.scale,
            "soapType": SOAP_TYPES.get(self.type, "xsd:string"),
            "sortable": not compound,
            "type": self.type,
            "unique": self.unique,
            "updateable": self.writable,
            "writeRequiresMasterRead": False,
        }

    def shown(self, value: Any) -> Any:
        """A stored value as REST's JSON shows it."""
        return rest_time(value) if self.type == "datetime" and isinstance(value, int) else value

    def shown_in_csv(self, value: Any) -> str:
        """A stored value as Bulk API's CSV shows it; nothing as an empty text."""
        if value is None:
            return ""
        if isinstance(value, bool):
            return "true" if value else "false"
        if self.type == "datetime" and isinstance(value, int):
            return csv_time(value)
        return str(value)

    def stored(self, value: Any) -> Any:
        """The value as the store holds it, from JSON or from a CSV's text; ApiError if Salesforce refuses it.

        Times become milliseconds since 1970, whole seconds as Salesforce keeps them; nothing becomes None.
        """
        if value is None or value == "":
            return False if self.type == "boolean" and value is not None else None
        if isinstance(value, (dict, list)):
            raise ApiError(
                400, "JSON_PARSER_ERROR", f"Cannot deserialize {self.name} from START_OBJECT", [self.name]
            )
        if self.type == "boolean":
            return self._boolean(value)
        if self.type in NUMBERS:
            return self._number(value)
        if self.type in ("date", "datetime"):
            return self._time(value)
        if isinstance(value, bool):
            value = "true" if value else "false"
        text = str(value).strip()  # Salesforce trims texts
        return self._text(text) if text else None

    def _boolean(self, value: Any) -> bool:
        text = str(value).lower()
        if text in TRUE or text in FALSE:
            return text in TRUE
        raise ApiError(400, "JSON_PARSER_ERROR", CANNOT_READ.format("boolean", value), [self.name])

    def _number(self, value: Any) -> float | int:
        try:
            number = float(value) if not isinstance(value, bool) else math.nan
        except (ValueError, OverflowError):
            number = math.nan
        if math.isnan(number):
            raise ApiError(400, "JSON_PARSER_ERROR", CANNOT_READ.format("double", value), [self.name])
        if abs(number) >= LARGEST:
            message = f"{self.label}: value outside of valid range on numeric field: {value}"
            raise ApiError(400, "NUMBER_OUTSIDE_VALID_RANGE", message, [self.name])
        return int(number) if self.type == "int" else round(number, self.scale)

    def _time(self, value: Any) -> int | str:
        try:
            if self.type == "date":
                return date.fromisoformat(str(value)[:10]).isoformat()
            return whole_seconds(parse_time(str(value)))
        except ValueError:
            raise ApiError(
                400, "JSON_PARSER_ERROR", CANNOT_READ.format(self.type, value), [self.name]
            ) from None

    def _text(self, text: str) -> str:
        if self.type == "reference":
            found = long_form(text)
            if found is None:
                message = f"{self.label}: id value of incorrect type: {text}"
                raise ApiError(400, "MALFORMED_ID", message, [self.name])
            return found
        if self.type == "email" and not EMAIL.fullmatch(text):
            message = f"{self.label}: invalid email address: {text}"
            raise ApiError(400, "INVALID_EMAIL_ADDRESS", message, [self.name])
        if len(text) > self.length:
            shown = text if len(text) <= 80 else text[:80] + "..."
            message = f"{self.label}: data value too large: {shown} (max length={self.length})"
            raise ApiError(400, "STRING_TOO_LONG", message, [self.name])
        return text


def whole_seconds(stamp: int) -> int:
    """Milliseconds cut to whole seconds: Salesforce's times have no finer precision."""
    return stamp - stamp % 1000


def parse_time(text: str) -> int:
    """Milliseconds since 1970 of an ISO 8601 time with or without offset (then UTC); ValueError if it is none."""
    moment = datetime.fromisoformat(text)
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=UTC)
    return round(moment.timestamp() * 1000)


@lru_cache(maxsize=65_536)
def rest_time(stamp: int) -> str:
    """`2026-01-01T00:00:00.000+0000`, as REST's JSON writes times."""
    moment = datetime.fromtimestamp(stamp // 1000, UTC)
    return f"{moment:%Y-%m-%dT%H:%M:%S}.{stamp % 1000:03d}+0000"


def csv_time(stamp: int) -> str:
    """`2026-01-01T00:00:00.000Z`, as Bulk API's CSV writes times."""
    return rest_time(stamp).replace("+0000", "Z")
