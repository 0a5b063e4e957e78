"""How records of a CRM will look here: read and translated, and nothing stored."""

import re
from collections.abc import Iterable
from collections.abc import Mapping as JsonObject
from datetime import date, datetime
from decimal import Decimal
from typing import Any

import msgspec
from django.utils import timezone
from django.utils.formats import date_format
from django.utils.translation import gettext as _
from msgspec import UNSET

from crm.admin.connection_fields import CHANNELS, target_label
from crm.connectors.base import Connector, ObjectType, Record, Role
from crm.normalise import Rejection
from crm.patches import FIELDS
from crm.sync import products, purchases
from crm.sync.mapping import ATTRIBUTE, Mapping, targets, translate

TIME = re.compile(r"\d{4}-\d{2}-\d{2}T\d{2}:")
PEOPLE = 10
PAGES = 5  # at most, to find that many


class Shown(msgspec.Struct):
    """One record as it will be.

    Args:
        facts: label and value, the main ones first.
        rejection: why it would not be taken, and the field; empty if it would.
        left_out: what would be left out because it makes no sense: label, the CRM's value.
        counts: for purchases, whether it is one.
    """

    record_id: str
    title: str
    initials: str = ""
    subtitle: str = ""
    facts: list[tuple[str, str]] = []
    more: list[tuple[str, str]] = []
    consents: list[tuple[str, bool]] = []
    rejection: str = ""
    rejected_field: str = ""
    left_out: list[tuple[str, str]] = []
    counts: bool = True


def sample(connector: Connector, found: ObjectType, mapping: Mapping) -> list[Record]:
    """A few live records, straight from the CRM.

    Raises:
        ConnectorError: the CRM can't be read.
    """
    connector.hurried = True
    mapping = mapping.only({field.name for field in connector.fields(found.name)})
    records: dict[str, Record] = {}
    for number, page in enumerate(connector.pages(found.name, {}, "incremental", mapping.names())):
        for record in page.records:
            if not record.deleted:
                records[record.id] = record
        if len(records) >= PEOPLE or number + 1 >= PAGES:
            break
    chosen = list(records.values())
    if mapping.won:
        chosen.sort(key=lambda record: not _counts(record, mapping))
    return chosen[:PEOPLE]


def values_of(connector: Connector, found: ObjectType, name: str) -> list[str]:
    """Values that a field has in some records, the most frequent first.

    Raises:
        ConnectorError: the CRM can't be read.
    """
    connector.hurried = True
    connector.fields(found.name)
    seen: dict[str, int] = {}
    for number, page in enumerate(connector.pages(found.name, {}, "incremental", [name])):
        for record in page.records:
            value = record.fields.get(name)
            if isinstance(value, str) and value:
                seen[value] = seen.get(value, 0) + 1
        if number + 1 >= PAGES:
            break
    return sorted(seen, key=lambda value: -seen[value])[:40]


def shown(records: Iterable[Record], found: ObjectType, mapping: Mapping) -> list[Shown]:
    """How each will look."""
    show = {"person": _person, "purchase": _purchase, "product": _product}[found.role]
    return [
        Shown(record.id, record.id, rejection=record.problem) if record.problem else show(record, mapping)
        for record in records
    ]


def _person(record: Record, mapping: Mapping) -> Shown:
    try:
        translation = translate(record, mapping, None)
    except Rejection as error:
        raw = {target: record.fields.get(name) for name, target in mapping.fields.items()}
        title = " ".join(str(raw[name]) for name in ("first_name", "last_name") if raw.get(name))
        return Shown(record.id, title or record.id, rejection=error.detail, rejected_field=error.field)
    patch = translation.patch
    values = {name: value for name in FIELDS if (value := getattr(patch, name)) not in (UNSET, None)}
    name = " ".join(values[part] for part in ("first_name", "last_name") if part in values)
    title = name or values.get("email") or values.get("phone") or record.id
    subtitle = values.get("email") if name else ""
    facts = [
        (target_label("person", field), _text(value))
        for field, value in values.items()
        if field not in ("first_name", "last_name") and not (field == "email" and subtitle)
    ]
    attributes = [(key, _text(value)) for key, value in patch.attributes.items() if value is not None]
    consents = [(_question(question), answer) for question, answer in translation.consent.items()]
    left_out = [
        (target_label("person", target), _text(record.fields[name]))
        for name, target in mapping.fields.items()
        if not target.startswith(ATTRIBUTE)
        and record.fields.get(name) not in (None, "")
        and getattr(patch, target) in (UNSET, None)
    ]
    initials = "".join(part[0] for part in title.split()[:2]).upper()
    return Shown(
        record.id,
        title,
        initials,
        subtitle or "",
        facts,
        attributes,
        consents,
        left_out=left_out,
    )


def _purchase(record: Record, mapping: Mapping) -> Shown:
    if not _counts(record, mapping):
        held = {target: record.fields.get(name) for name, target in mapping.fields.items()}
        title = _price(held)
        return Shown(record.id, title or record.id, facts=_facts("purchase", held), counts=False)
    try:
        occurred_at, properties = purchases.translate(record, mapping)
    except Rejection as error:
        return Shown(record.id, record.id, rejection=error.detail, rejected_field=error.field)
    problem = "" if record.people else _("No person is linked to it in the CRM.")
    more = [
        (name, _text(value))
        for name, value in properties.items()
        if name not in ("value", "currency", "order_id")
    ]
    facts = _facts("purchase", {**properties, "occurred_at": occurred_at.isoformat()})
    return Shown(record.id, _price(properties) or record.id, facts=facts, more=more, rejection=problem)


def _product(record: Record, mapping: Mapping) -> Shown:
    try:
        values = products.translate(record, mapping)
    except Rejection as error:
        return Shown(record.id, record.id, rejection=error.detail, rejected_field=error.field)
    attributes = values.pop("attributes")
    more = [(name, _text(value)) for name, value in attributes.items() if value is not None]
    title = values.get("name") or values["sku"]
    return Shown(record.id, title, facts=_facts("product", values), more=more)


def _facts(role: Role, values: JsonObject[str, Any]) -> list[tuple[str, str]]:
    """The fixed targets that hold something."""
    return [
        (target_label(role, target), _text(values[target]))
        for target in targets(role)[0]
        if values.get(target) not in (None, "")
    ]


def _price(values: JsonObject[str, Any]) -> str:
    return " ".join(_text(values[part]) for part in ("value", "currency") if values.get(part) is not None)


def _counts(record: Record, mapping: Mapping) -> bool:
    return mapping.won is not None and mapping.won.holds(record.fields.get(mapping.won.field))


def _question(name: str) -> str:
    """A consent's name in words."""
    kind, _colon, key = name.partition(":")
    return str(CHANNELS.get(key, key)) if kind == "channel" else key


def _text(value: Any) -> str:
    if isinstance(value, bool):
        return _("yes") if value else _("no")
    if isinstance(value, date):
        return date_format(value, "SHORT_DATE_FORMAT")
    if isinstance(value, Decimal):
        return f"{value.normalize():f}"
    if isinstance(value, list):
        return ", ".join(map(str, value))
    if isinstance(value, float) and value.is_integer():
        return str(int(value))
    text = str(value)
    if (moment := _moment(text)) is not None:
        return date_format(timezone.localtime(moment), "SHORT_DATETIME_FORMAT")
    return text if len(text) <= 120 else text[:119] + "…"


def _moment(text: str) -> datetime | None:
    """A time as connectors write it; None if the text is something else."""
    if not TIME.match(text):
        return None
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        return None
    return moment if moment.tzinfo else None
