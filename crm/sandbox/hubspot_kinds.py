"""One object of a HubSpot portal: its records, its properties, and the rules of finding and writing them."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable
from typing import Any

from crm.sandbox import hubspot_replies as replies
from crm.sandbox.hubspot_index import SearchIndex
from crm.sandbox.hubspot_replies import ApiError
from crm.sandbox.hubspot_schema import RECORD_ID, Schema
from crm.sandbox.store import Clock, ConflictError, Record, Store, iso

# A prepared row: does the write, tells the record and whether it is new.
Write = Callable[[], tuple[Record, bool]]


class Kind:
    """An object type: `contacts` is `contact` in the singular and 0-1 as HubSpot's type id.

    `unique` is the property that identifies a record beside its id (the e-mail address of contacts);
    `by_default` are the properties of a reply to a caller who names none.
    """

    def __init__(
        self,
        clock: Clock,
        name: str,
        singular: str,
        type_id: str,
        schema: Schema,
        *,
        unique: str = "",
        by_default: Iterable[str] = (),
    ) -> None:
        self.name, self.singular, self.type_id = name, singular, type_id
        self.schema = schema
        self.store = Store(clock, unique)
        self.index = SearchIndex(self.store)
        self.by_default = tuple(by_default)
        self.hidden: set[int] = set()  # records that the API shows no longer, as after a loss of rights

    # Showing

    def shape(
        self, record: Record, names: Iterable[str] | None = None, history: Iterable[str] = ()
    ) -> dict[str, Any]:
        """A record as the API shows it, with the named properties or those of a default reply."""
        return replies.record(self.schema, record, self.shown(names), history)

    def shown(self, names: Iterable[str] | None) -> list[str]:
        """The properties of a reply to a caller who asks for these."""
        return self.schema.shown(names or self.by_default)

    def dump(self, record: Record) -> dict[str, Any]:
        """A record as the control API shows it: what the store holds, and what HubSpot computes from it."""
        computed = {name: self.schema.value_of(record, name) for name in self.schema.computed}
        return {
            "id": str(record.id),
            "archived": record.archived,
            "created": iso(record.created),
            "modified": iso(record.modified),
            "archived_at": iso(record.archived_at) if record.archived_at else None,
            "merged_ids": [str(loser) for loser in record.merged],
            "properties": {**record.properties, **computed},
        }

    # Finding

    def lookup(self, key: str, id_property: str | None = None) -> Record | None:
        """The record by id or by a unique property, archived or not; a merged-away id gives its winner."""
        if id_property in (None, "", RECORD_ID):
            return self._seen(self.store.get(int(key))) if re.fullmatch(r"[0-9]{1,18}", key) else None
        if not self.schema.is_unique(id_property):
            raise ApiError(
                400, f"{id_property} is not a unique identifier property of {self.singular.upper()}."
            )
        if id_property == self.store.unique:
            return self._seen(self.store.find(key))
        holders = (row for row in self.store.live() if self.schema.value_of(row, id_property) == key)
        return self._seen(next(holders, None))

    def _seen(self, record: Record | None) -> Record | None:
        return None if record is None or record.id in self.hidden else record

    def found(self, key: str, id_property: str | None = None, *, archived: bool = False) -> Record:
        """Like `lookup`, but 404 unless the record exists and is as archived as asked."""
        record = self.lookup(key, id_property)
        if record is None or record.archived != archived:
            raise ApiError(404, replies.NOT_FOUND, context={"id": [key]})
        return record

    # Writing

    def prepare_create(self, properties: Any) -> Write:
        """Check the values; the function returned creates the record."""
        values = self._checked(properties)
        self._refuse_taken(values)
        return lambda: (self.store.create(values), True)

    def prepare_update(self, record: Record, properties: Any) -> Write:
        """Check the values; the function returned writes them into the record."""
        values = self._checked(properties)
        self._refuse_taken(values, record.id)

        def write() -> tuple[Record, bool]:
            self.store.update(record, values)
            return record, False

        return write

    def merge(self, winner: Record, loser: Record) -> None:
        """Fold one record into another; a contact keeps the other's address beside its own."""
        addresses = [
            *winner.properties.get("hs_additional_emails", "").split(";"),
            *loser.properties.get("hs_additional_emails", "").split(";"),
            loser.properties.get("email", ""),
        ]
        kept_own = bool(winner.properties.get("email"))
        self.store.merge(winner, loser)
        others = ";".join(address for address in dict.fromkeys(addresses) if address)
        if kept_own and others:
            winner.properties["hs_additional_emails"] = others

    def already_exists(self, error: ConflictError) -> ApiError:
        """HubSpot's refusal of a second record with the same unique value."""
        label = self.singular.capitalize()
        return ApiError(409, f"{label} already exists. Existing ID: {error.record_id}")

    def _checked(self, properties: Any) -> dict[str, str | None]:
        if not isinstance(properties, dict):
            raise ApiError(400, "Invalid input JSON: some required fields were not set: [properties]")
        problems = self.schema.problems(properties)
        if problems:
            details = [
                {"message": row["message"], "code": row["error"], "context": {"propertyName": [row["name"]]}}
                for row in problems
            ]
            raise ApiError(400, f"Property values were not valid: {json.dumps(problems)}", errors=details)
        return self.schema.cleaned(properties)

    def _refuse_taken(self, values: dict[str, str | None], own_id: int | None = None) -> None:
        try:
            self.store.check_unique(values, own_id)
        except ConflictError as error:
            raise self.already_exists(error) from None
