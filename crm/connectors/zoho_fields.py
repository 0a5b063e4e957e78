"""Zoho's field types, what their values become here and there, and the mappings to start from."""

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

from crm.connectors.base import Field, FieldKind, Suggestion

KINDS: dict[str, FieldKind] = {
    "boolean": "boolean",
    "integer": "number",
    "double": "number",
    "decimal": "number",
    "currency": "number",
    "percent": "number",
    "date": "date",
    "datetime": "datetime",
    "picklist": "choice",
    "multiselectpicklist": "list",
}
JSON_KINDS: dict[str, FieldKind] = {"boolean": "boolean", "integer": "number", "double": "number"}
CALCULATED = ("formula", "rollup_summary")
UNREADABLE = ("subform", "fileupload", "imageupload", "profileimage", "multiselectlookup", "event_reminder")

PERSON = {
    "Email": "email",
    "Phone": "phone",
    "First_Name": "first_name",
    "Last_Name": "last_name",
    "Date_of_Birth": "birthday",
    "Preferred_Language": "language",
    "Time_Zone": "timezone",
    "Lifecycle_Stage": "lifecycle_stage",
    "Company_Name": "attributes.company",
}
FIELDS: dict[str, dict[str, str]] = {
    "contacts": {
        **PERSON,
        "Mailing_City": "city",
        "Mailing_Country": "country",
        "Title": "attributes.job_title",
        "Account_Name": "attributes.company",
    },
    "leads": {
        **PERSON,
        "City": "city",
        "Country": "country",
        "Designation": "attributes.job_title",
        "Company": "attributes.company",
        "Lead_Status": "attributes.lead_status",
        "Lead_Source": "attributes.lead_source",
    },
    "deals": {
        "Amount": "value",
        "Currency": "currency",
        "Closing_Date": "occurred_at",
        "Deal_Name": "properties.name",
        "Stage": "properties.stage",
    },
    "products": {
        "Product_Code": "sku",
        "Product_Name": "name",
        "Unit_Price": "price",
        "Currency": "currency",
        "Qty_in_Stock": "stock",
        "Product_Category": "category",
        "Description": "description",
        "Product_URL": "url",
        "Image_URL": "image_url",
        "Product_Active": "active",
    },
}
FREE = {"deals": "properties."}  # elsewhere custom fields become attributes
CONSENT: dict[str, dict[str, Any]] = {
    "Web_Push_Opt_In": {"kind": "channel", "key": "webpush"},
    "Newsletter_Opt_In": {"kind": "topic", "key": "newsletter"},
    "Email_Opt_Out": {"kind": "channel", "key": "email", "inverted": True},
}
WON = {"field": "Stage", "equals": "Closed Won"}
WRITE = {
    "Nudge_Opens": "opens",
    "Nudge_Clicks": "clicks",
    "Nudge_Conversions": "conversions",
    "Nudge_Last_Engagement": "last_engagement",
    "Nudge_Unsubscribed": "unsubscribed",
    "Nudge_Score": "score",
    "Nudge_Messages_Sent": "messages_sent",
    "Nudge_Revenue": "revenue",
    "Nudge_Last_Message": "last_message",
    "Nudge_Last_Message_At": "last_message_at",
    "Nudge_Last_Opened_At": "last_opened_at",
    "Nudge_Last_Clicked": "last_clicked",
    "Nudge_Last_Clicked_At": "last_clicked_at",
    "Nudge_Last_Goal": "last_goal",
    "Nudge_Last_Goal_At": "last_goal_at",
}
OUR_FIELDS = "Nudge_"
PEOPLE = ("contacts", "leads")


def field(definition: dict[str, Any]) -> Field | None:
    """A field from its definition in `settings/fields`; None if its values are no plain values."""
    name, kind = definition.get("api_name"), str(definition.get("data_type", "text"))
    if not isinstance(name, str) or not name or kind in UNREADABLE:
        return None
    calculated = kind in CALCULATED
    kinds, word = (JSON_KINDS, str(definition.get("json_type"))) if calculated else (KINDS, kind)
    may = definition.get("operation_type")
    locked = bool(definition.get("read_only") or definition.get("field_read_only"))
    return Field(
        name,
        str(definition.get("field_label") or name),
        kinds.get(word, "text"),
        custom=bool(definition.get("custom_field")),
        writable=not calculated and not locked and (not isinstance(may, dict) or bool(may.get("api_update"))),
        volatile=calculated,
    )


def suggest(object_name: str, fields: Sequence[Field]) -> Suggestion:
    """A mapping to start from: known fields, and custom ones as attributes."""
    names = {found.name: found for found in fields}
    person = object_name in PEOPLE
    consent = {name: dict(rule) for name, rule in CONSENT.items() if person and name in names}
    chosen: dict[str, str] = {}
    for name, target in FIELDS[object_name].items():
        if name in names and target not in chosen.values():
            chosen[name] = target
    prefix = FREE.get(object_name, "attributes.")
    for found in fields:
        target = prefix + found.name.lower()
        spoken_for = found.name in chosen or found.name in consent or found.name.startswith(OUR_FIELDS)
        if found.custom and not spoken_for and target not in chosen.values():
            chosen[found.name] = target
    write = {
        name: value for name, value in WRITE.items() if person and name in names and names[name].writable
    }
    won = dict(WON) if object_name == "deals" and "Stage" in names else None
    return Suggestion(chosen, consent, won, write)


def taken(value: Any) -> Any:
    """A value from Zoho as a connector's record shows it: an empty one as none, a lookup by its name."""
    if value is None or value == "" or value == []:
        return None
    if isinstance(value, dict):
        return value.get("name") or value.get("id")
    if isinstance(value, list):
        return [str(taken(one)) for one in value if taken(one) is not None]
    return value


def given(value: Any, kind: str) -> Any:
    """A value for a Zoho field of data type `kind`."""
    if isinstance(value, datetime):
        text = value.astimezone(UTC).isoformat(timespec="seconds")
        return text[:10] if kind == "date" else text
    if isinstance(value, bool) or value is None:
        return value
    if isinstance(value, int | float):
        if kind == "integer":
            return round(value)
        return value if kind in KINDS else str(value)
    return value
