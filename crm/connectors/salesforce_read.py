"""Queries for one object's records, and the records in their answers.

Facts about Salesforce that shape this file:

- A query is part of the address, and addresses have a limit: where there are too many fields, the query finds
  ids and a second call, whose body may be long, gets the values.
- An answer may hold fewer rows than the query's LIMIT and yet not be the end (`done` is false). Its locator
  lives two days; going on behind its last row needs none.
- Who bought, and what a product costs, stands in rows of other objects. They are selected inside; that they
  change does not stamp the record itself, so it is looked for by them.
- A field can vanish, or be hidden from the user, at any moment: then the object is described again.
"""

import hashlib
from collections.abc import Callable, Iterable, Sequence
from datetime import UTC, datetime
from functools import partial
from typing import TypeVar
from urllib.parse import quote_plus

import msgspec

from crm.connectors.base import Record
from crm.connectors.salesforce_api import Api, Refused, Row
from crm.connectors.salesforce_fields import CONTACT, DELETED, ID, MASTER, PRICE, STAMP, Schema, iso
from crm.connectors.salesforce_ids import long_form

T = TypeVar("T")

IDS_IN_QUERY = 200
RETRIEVED = 500  # records whose many fields are got at once
ADDRESS = 12_000  # characters of a query that fit into an address
BUYER = "ContactId"
CONVERTED = "IsConverted"


class Found(msgspec.Struct):
    """Some rows of a query in its order.

    Args:
        last: the last one that the query found; its record may be gone from `rows`.
        more: whether there may be others behind it.
        total: how many there are in all, as far as the query's LIMIT lets Salesforce count.
    """

    rows: list[Row]
    last: Row | None
    more: bool
    total: int


class Reader:
    """One object's records with some of its fields.

    Args:
        describe: gives the schema as it is at this moment.
        page: rows of one query, at most 2,000.
    """

    def __init__(
        self,
        api: Api,
        name: str,
        describe: Callable[[], Schema],
        schema: Schema,
        names: Sequence[str],
        page: int,
    ):
        self.api, self.name, self.page = api, name, page
        self._describe = describe
        self._names = list(names)
        self._learn(schema)

    def _learn(self, schema: Schema) -> None:
        self.schema = schema
        self._basics = [ID, STAMP]
        self._inner = schema.inner(self._names)
        # A lead that was converted is a contact from then on; as a lead it stays as it was for ever.
        self._only = f"{CONVERTED} = false" if CONVERTED in schema.types else ""
        if self._only:
            self._basics.append(CONVERTED)
        if schema.buyers and BUYER in schema.types:
            self._basics.append(BUYER)
        there = [name for name in dict.fromkeys(self._names) if name in schema.types]
        self._wanted = [name for name in there if name not in (*self._basics, DELETED, MASTER)]
        self._readers = [(name, schema.reader(name)) for name in self._names]

    def select(self) -> str:
        """The plain fields of a query for live records, as Bulk takes them."""
        return ", ".join([*self._basics, *self._wanted])

    def fingerprint(self) -> str:
        """Changes with the fields that are fetched."""
        return hashlib.blake2b(f"{self.select()} {self._inner}".encode(), digest_size=8).hexdigest()

    def count(self) -> int:
        """How many live records there are."""
        return self.api.query(self.listing("COUNT()")).total_size

    def listing(self, fields: str) -> str:
        """The query for all live records."""
        return f"SELECT {fields} FROM {self.name}" + (f" WHERE {self._only}" if self._only else "")

    def rows(self, where: str, order: str, deleted: bool) -> Found:
        """At most a page of rows; `deleted` takes in the recycle bin."""
        only = f" AND {self._only}" if self._only and not deleted else ""
        tail = f"{where}{only} ORDER BY {order} LIMIT {self.page}"
        return self.again(lambda: self._rows(tail, deleted))

    def again(self, call: Callable[[], T]) -> T:
        """The call's answer; without a field that has vanished since the object was described."""
        try:
            return call()
        except Refused as error:
            if error.code != "INVALID_FIELD":
                raise
        self._learn(self._describe())
        return call()

    def by_id(self, ids: Sequence[str]) -> list[Row]:
        """The rows with these ids (18 characters, up to IDS_IN_QUERY), deleted ones too."""
        rows: list[Row] = []
        waiting = list(ids)
        while waiting:
            listed = ", ".join(f"'{record_id}'" for record_id in waiting)
            found = self.again(partial(self._rows, f"{ID} IN ({listed})", deleted=True))
            rows += found.rows
            if not found.more or not found.rows:
                break
            there = {long_form(str(row.get(ID))) for row in found.rows}
            waiting = [record_id for record_id in waiting if record_id not in there]
        return rows

    @property
    def simple(self) -> bool:
        """Whether its rows hold no others inside, which Bulk would not take."""
        return not self._inner

    def touched(self, begin: str, end: str, last: str) -> Found:
        """A page, by id, of the records whose inner rows changed within SOQL times: that doesn't stamp them."""
        related = self.schema.related
        if related is None or not self._inner:
            return Found([], None, False, 0)
        behind = f" AND {ID} > '{last}'" if last else ""
        changed = f"{STAMP} >= {begin} AND {STAMP} <= {end}"
        where = f"{ID} IN (SELECT {related.key} FROM {related.object} WHERE {changed}){behind}"
        # A row inside that was taken away is in the recycle bin.
        return self.rows(where, f"{ID} ASC", deleted=True)

    def _rows(self, tail: str, deleted: bool) -> Found:
        columns = [*self._basics, *self._wanted]
        if deleted:
            columns += [DELETED, *([MASTER] if self.schema.merges else [])]
        if self._inner:
            columns.append(self._inner)
        query = self._query(columns, tail)
        wide = len(quote_plus(query)) > ADDRESS
        if wide:
            query = self._query([one for one in columns if one not in self._wanted], tail)
        answer = self.api.query(query, deleted)
        rows = answer.records
        last, more = rows[-1] if rows else None, len(rows) == self.page or not answer.done
        return Found(self._filled(rows) if wide else rows, last, more, answer.total_size)

    def _query(self, columns: Iterable[str], tail: str) -> str:
        return f"SELECT {', '.join(columns)} FROM {self.name} WHERE {tail}"

    def _filled(self, rows: list[Row]) -> list[Row]:
        """The rows with their values; without those that were deleted since."""
        live = [str(row.get(ID)) for row in rows if not row.get(DELETED)]
        values: dict[str, Row | None] = {}
        for start in range(0, len(live), RETRIEVED):
            ids = live[start : start + RETRIEVED]
            values |= zip(ids, self.api.retrieve(self.name, ids, self._wanted), strict=True)
        filled = []
        for row in rows:
            found = {} if row.get(DELETED) else values[str(row.get(ID))]
            if found is not None:
                filled.append({**found, **row})
        return filled

    # Records

    def record(self, row: Row) -> Record:
        """The record in a row of REST's JSON or Bulk's CSV; ConnectorError if the row is none."""
        record_id = long_form(str(row.get(ID)))
        try:
            if record_id is None:
                raise ValueError
            modified_at = datetime.fromisoformat(iso(row[STAMP])).astimezone(UTC)
        except (KeyError, ValueError):
            raise self.api.garbled() from None
        if row.get(DELETED) is True:
            master = long_form(str(row.get(MASTER) or ""))
            return Record(record_id, modified_at, deleted=True, merged_into=master)
        if row.get(CONVERTED) is True:
            return Record(record_id, modified_at, deleted=True)
        inner = self._inner_rows(row)
        if self.schema.priced:
            row = {**row, PRICE: inner[0].get(PRICE) if inner else None}
        fields = {name: read(row.get(name)) for name, read in self._readers}
        people = _people([row, *inner]) if self.schema.buyers else ()
        return Record(record_id, modified_at, fields, people=people)

    def _inner_rows(self, row: Row) -> list[Row]:
        related = self.schema.related
        found = row.get(related.relationship) if related and self._inner else None
        rows = found.get("records") if isinstance(found, dict) else None
        return [one for one in rows or [] if isinstance(one, dict)]


def _people(rows: list[Row]) -> list[tuple[str, str]]:
    """The contacts named in an opportunity and its roles."""
    known = (long_form(str(row[BUYER])) for row in rows if row.get(BUYER))
    return [(CONTACT, one) for one in dict.fromkeys(known) if one]
