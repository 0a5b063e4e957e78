"""Creating, changing and deleting records by Salesforce's rules, with its errors.

Each `prepare_…` checks everything and gives a function that writes, so that a collection that must succeed
as a whole can be refused before its first write.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from crm.sandbox.salesforce_fields import Field
from crm.sandbox.salesforce_ids import long_form
from crm.sandbox.salesforce_replies import ApiError, not_found
from crm.sandbox.salesforce_schema import Schema, SObject
from crm.sandbox.salesforce_store import Record

# Does the write, gives the record and whether it is new.
Write = Callable[[], tuple[Record, bool]]


class SeveralMatches(Exception):
    """More than one record holds the value of an external id."""

    def __init__(self, records: list[Record]) -> None:
        super().__init__(len(records))
        self.records = records


class Writes:
    """The rules, on top of a schema and its tables."""

    def __init__(self, schema: Schema) -> None:
        self.schema = schema

    def prepare_create(self, item: SObject, values: dict[str, Any]) -> Write:
        """A new record."""
        self._writable(item)
        stored = self.stored(item, values)
        empty = [
            field.name
            for field in item.fields
            if field.required and field.writable and stored.get(field.name) is None
        ]
        if empty:
            raise _missing(empty)
        self._refuse_taken(item, stored)
        return lambda: (item.table.create(stored), True)

    def prepare_update(self, item: SObject, record: Record, values: dict[str, Any]) -> Write:
        """New values for a live record."""
        self._writable(item)
        stored = self.stored(item, values)
        emptied = [
            field.name
            for name in stored
            if (field := item.field(name)) and field.required and not stored[name]
        ]
        if emptied:
            raise _missing(emptied)
        self._refuse_taken(item, stored, record)

        def write() -> tuple[Record, bool]:
            item.table.update(record, stored)
            return record, False

        return write

    def prepare_upsert(self, item: SObject, key: str, value: Any, values: dict[str, Any]) -> Write:
        """New values for the record that holds the external id, or a new record that does.

        SeveralMatches if more than one holds it.
        """
        field = self.key(item, key)
        if value in (None, ""):
            raise ApiError(400, "MISSING_ARGUMENT", f"{field.name} not specified")
        if field.type == "id":
            return self.prepare_update(item, self.live(item, str(value)), values)
        found = item.table.find(field.name, field.stored(value))
        if len(found) > 1:
            raise SeveralMatches(found)
        if found:
            return self.prepare_update(item, found[0], values)
        return self.prepare_create(item, {**values, field.name: value})

    def prepare_delete(self, item: SObject, record: Record) -> Write:
        """Into the recycle bin."""
        self._writable(item)

        def write() -> tuple[Record, bool]:
            item.table.delete(record)
            return record, False

        return write

    def key(self, item: SObject, name: str) -> Field:
        """The field by which records are upserted: Id or an external id; else Salesforce's 404."""
        field = item.field(name)
        if field is None or not (field.external_id or field.type == "id"):
            raise not_found(f"Provided external ID field does not exist or is not accessible: {name}")
        return field

    def live(self, item: SObject, record_id: str) -> Record:
        """The record of an id, or why it cannot be written."""
        if long_form(record_id) is None or not record_id.startswith(item.prefix):
            message = f"{item.name} ID: id value of incorrect type: {record_id}"
            raise ApiError(400, "MALFORMED_ID", message, ["Id"])
        record = item.table.get(record_id)
        if record is None:
            raise ApiError(404, "INVALID_CROSS_REFERENCE_KEY", "invalid cross reference id")
        if record.deleted:
            raise ApiError(404, "ENTITY_IS_DELETED", "entity is deleted")
        return record

    def stored(self, item: SObject, values: dict[str, Any]) -> dict[str, Any]:
        """The values under their fields' names as the store holds them."""
        stored: dict[str, Any] = {}
        locked = []
        for name, value in values.items():
            if name == "attributes":
                continue
            field = item.field(name)
            if field is None:
                message = f"No such column '{name}' on sobject of type {item.name}"
                raise ApiError(400, "INVALID_FIELD", message)
            if not field.writable:
                locked.append(field.name)
                continue
            stored[field.name] = field.stored(value)
            self._refuse_dangling(field, stored[field.name])
        if locked:
            message = (
                f"Unable to create/update fields: {', '.join(locked)}. Please check the security settings of "
                "this field and verify that it is read/write for your profile or permission set."
            )
            raise ApiError(400, "INVALID_FIELD_FOR_INSERT_UPDATE", message, locked)
        return stored

    def _writable(self, item: SObject) -> None:
        if not item.writable:
            message = f"entity type cannot be inserted or updated: {item.name}"
            raise ApiError(400, "CANNOT_INSERT_UPDATE_ACTIVATE_ENTITY", message)

    def _refuse_dangling(self, field: Field, value: Any) -> None:
        parent = self.schema.find(field.refers_to) if field.refers_to and value is not None else None
        if parent is not None and ((record := parent.table.get(value)) is None or record.deleted):
            message = f"{field.label}: invalid cross reference id: {value}"
            raise ApiError(400, "INVALID_CROSS_REFERENCE_KEY", message, [field.name])

    def _refuse_taken(self, item: SObject, stored: dict[str, Any], own: Record | None = None) -> None:
        for name, value in stored.items():
            field = item.field(name)
            if value is None or field is None or not field.unique:
                continue
            holder = next((record for record in item.table.find(name, value) if record is not own), None)
            if holder is not None:
                message = (
                    f"duplicate value found: {name} duplicates value on record with id: {holder.id[:15]}"
                )
                raise ApiError(400, "DUPLICATE_VALUE", message, [])


def _missing(names: list[str]) -> ApiError:
    return ApiError(
        400, "REQUIRED_FIELD_MISSING", f"Required fields are missing: [{', '.join(names)}]", names
    )
