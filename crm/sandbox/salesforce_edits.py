"""Changes from outside Salesforce's API: the control API's edits, the live writer, and the oracle's view."""

from __future__ import annotations

import random
from collections.abc import Iterator
from typing import Any

from crm.sandbox.people import PLANS
from crm.sandbox.salesforce_fields import TEXTS, Field
from crm.sandbox.salesforce_objects import STAGES
from crm.sandbox.salesforce_replies import ApiError
from crm.sandbox.salesforce_schema import Schema, SObject
from crm.sandbox.salesforce_store import Record
from crm.sandbox.store import iso, parse_stamp

TRIES = 50
OBJECTS = {"Contact": 70, "Lead": 10, "Opportunity": 15, "Product2": 5}
CHANGES = {"update": 84, "create": 8, "delete": 4, "restore": 2, "merge": 2}
CITIES = ("Warszawa", "Berlin", "Lyon", "Porto", "Malmö", "Kraków", "Leeds")


class Edits:
    """What the control API does to the records of a schema."""

    def __init__(self, schema: Schema) -> None:
        self.schema = schema

    def dump(self, name: str) -> Iterator[dict[str, Any]]:
        """Every record as `show` gives it; KeyError if there is no such object."""
        item = self.schema.aliased(name)
        return (self.show(item, record) for record in list(item.table.records.values()))

    def show(self, item: SObject, record: Record) -> dict[str, Any]:
        """One record as the control API shows it; `properties` holds what REST would, without what is null."""
        return {
            "id": record.id,
            "archived": record.deleted,
            "created": iso(record.created),
            "modified": iso(record.modstamp),
            "archived_at": None if record.deleted_at is None else iso(record.deleted_at),
            "merged_ids": list(record.merged),
            "merged_into": record.master,
            "properties": item.values(record),
        }

    def record(self, name: str, record_id: str) -> tuple[SObject, Record]:
        """A record, hidden or not; KeyError if there is none."""
        item = self.schema.aliased(name)
        return item, item.table.records[record_id]

    def create(self, name: str, properties: dict[str, Any]) -> dict[str, Any]:
        """A new record; KeyError or ValueError as in `edit`."""
        item = self.schema.aliased(name)
        return self.show(item, item.table.create(self._stored(item, properties)))

    def edit(self, name: str, record_id: str, body: dict[str, Any]) -> dict[str, Any]:
        """Change a record as the control API asks; KeyError for what does not exist, ValueError for nonsense."""
        item, record = self.record(name, record_id)
        if body.get("erased") is True:
            item.table.erase(record)
            return {"id": record_id, "erased": True}
        values, stamp = body.get("properties") or {}, body.get("modified")
        if not isinstance(values, dict):
            raise ValueError("'properties' must be an object.")
        stored = self._stored(item, values)
        modified = None if stamp is None else parse_stamp(str(stamp))
        loser = item.table.records[str(body["merge"])] if body.get("merge") else None
        if loser is record or (loser is not None and (loser.deleted or record.deleted)):
            raise ValueError("Two records that are not deleted can be merged.")
        if stored:
            item.table.update(record, stored)
        if loser is not None:
            item.table.merge(record, loser)
        if body.get("archived") is True:
            item.table.delete(record)
        elif body.get("archived") is False:
            item.table.restore(record)
        if modified is not None:
            item.table.touch(record, modified)
        return self.show(item, record)

    def _stored(self, item: SObject, values: dict[str, Any]) -> dict[str, Any]:
        """Texts and dates as they come, whatever Salesforce would say of them; the rest as its type asks."""
        stored = {}
        for name, value in values.items():
            field = item.field(name)
            if field is None or field.formula is not None:
                raise ValueError(f"{item.name} has no field {name} that can be set.")
            stored[field.name] = _raw(field, value)
        return stored

    # The live writer

    def random_write(self, rng: random.Random) -> str:
        """One believable change, chosen by `rng` alone; says what it did."""
        name = _weighted(rng, OBJECTS)
        item = self.schema.aliased(name)
        change = _weighted(rng, CHANGES)
        if change == "create":
            return f"create {name} {item.table.create(self._newcomer(rng, name)).id}"
        if change == "restore":
            gone = sorted(
                key for key, record in item.table.records.items() if record.deleted and not record.master
            )
            if gone:
                record = item.table.records[rng.choice(gone)]
                item.table.restore(record)
                return f"restore {name} {record.id}"
        record, other = self._live(rng, item), self._live(rng, item)
        if record is None or other is None:
            return f"create {name} {item.table.create(self._newcomer(rng, name)).id}"
        if change == "delete":
            item.table.delete(record)
            return f"delete {name} {record.id}"
        if change == "merge" and name in ("Contact", "Lead") and record is not other:
            item.table.merge(record, other)
            return f"merge {name} {other.id} into {record.id}"
        values = self._stored(item, _changes(rng, name))
        item.table.update(record, values)
        return f"update {name} {record.id}: {', '.join(values)}"

    def _live(self, rng: random.Random, item: SObject) -> Record | None:
        """A record that is not deleted, if one is found soon."""
        for _ in range(TRIES if item.table.by_id else 0):
            record = item.table.records[rng.choice(item.table.by_id)]
            if not record.deleted:
                return record
        return None

    def _newcomer(self, rng: random.Random, name: str) -> dict[str, Any]:
        number = rng.randrange(10**9)
        values = _changes(rng, name)
        if name == "Opportunity":
            contact = self._live(rng, self.schema.aliased("Contact"))
            values |= {
                "Name": f"New order {number}",
                "CloseDate": "2026-12-31",
                "ContactId": contact.id if contact else None,
                "Order_Number__c": f"NEW-{number}",
            }
        elif name == "Product2":
            values |= {"Name": f"Product {number}", "SKU__c": f"NEW-{number}", "IsActive": True}
        else:
            values |= {"LastName": f"Newcomer {number}", "Email": f"newcomer{number}@example.com"}
            if name == "Lead":
                values["Company"] = "[not provided]"
        return self._stored(self.schema.aliased(name), values)


def _changes(rng: random.Random, name: str) -> dict[str, Any]:
    """What a user would change in a record of this object."""
    if name == "Opportunity":
        return {"StageName": rng.choice(STAGES), "Amount": round(rng.uniform(5, 900), 2)}
    if name == "Product2":
        return {"Price__c": round(rng.uniform(9, 249), 2), "Stock__c": rng.randrange(120)}
    city = "City" if name == "Lead" else "MailingCity"
    choices: list[dict[str, Any]] = [
        {city: rng.choice(CITIES)},
        {"Plan__c": rng.choice(list(PLANS))},
        {"Loyalty_Points__c": rng.randrange(5000)},
        {"Newsletter_Opt_In__c": rng.random() < 0.5},
        {"HasOptedOutOfEmail": rng.random() < 0.5},
        {"Phone": f"+48{rng.randrange(10**8, 10**9)}"},
    ]
    return rng.choice(choices)


def _weighted(rng: random.Random, weights: dict[str, int]) -> str:
    return rng.choices(list(weights), list(weights.values()))[0]


def _raw(field: Field, value: Any) -> Any:
    if value is None or value == "":
        return None
    if isinstance(value, str) and (field.type in TEXTS or field.type == "date"):
        return value
    try:
        return field.stored(value)
    except ApiError as error:
        raise ValueError(error.message) from None
