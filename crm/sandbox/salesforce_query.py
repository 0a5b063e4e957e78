"""SOQL run over the store: which records, in which order, and how they are shown."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from itertools import islice
from typing import Any

from crm.sandbox.salesforce_fields import NUMBERS, TEXTS, Field
from crm.sandbox.salesforce_filter import Filter, chosen_ids, lowest_id, stamp_bounds
from crm.sandbox.salesforce_replies import ApiError
from crm.sandbox.salesforce_schema import Child, Getter, Schema, SObject
from crm.sandbox.salesforce_soql import Aggregate, Group, Name, Order, Query, located, parse
from crm.sandbox.salesforce_store import Record
from crm.sandbox.store import Clock

LARGEST_OFFSET = 2000
FIELDS_LIMIT = 200
REFERENCE = (
    "If you are attempting to use a custom {}, be sure to append the '__{}' after the custom {} name. "
    "Please reference your WSDL or the describe call for the appropriate names."
)


@dataclass
class Shape:
    """How a record is shown: its own fields, those of its parents, its children."""

    object: SObject
    columns: list[tuple[str, Field, Getter]] = field(default_factory=list)
    parents: dict[str, tuple[Callable[[Record], Record | None], Shape]] = field(default_factory=dict)
    children: dict[str, Callable[[Record], list[Record]]] = field(default_factory=dict)
    child_shapes: dict[str, Shape] = field(default_factory=dict)

    def row(self, record: Record, base: str) -> dict[str, Any]:
        """The record as REST shows it; `base` is the path of the API version."""
        row = self.attributes(record, base)
        for name, kind, get in self.columns:
            value = get(record)
            row[name] = kind.shown(value) if value is not None else None
        for name, (find, shape) in self.parents.items():
            parent = find(record)
            row[name] = None if parent is None else shape.row(parent, base)
        for name, find_all in self.children.items():
            rows = [self.child_shapes[name].row(child, base) for child in find_all(record)]
            row[name] = {"totalSize": len(rows), "done": True, "records": rows} if rows else None
        return row

    def attributes(self, record: Record, base: str) -> dict[str, Any]:
        """What every shown record begins with."""
        url = f"{base}/sobjects/{self.object.name}/{record.id}"
        return {"attributes": {"type": self.object.name, "url": url}}


@dataclass
class Result:
    """What a query found: records to be shown by `shape`, or `rows` that are ready (of aggregates)."""

    query: Query
    object: SObject
    shape: Shape
    records: list[Record]
    total: int
    rows: list[dict[str, Any]] | None = None
    columns: list[tuple[str, Field, Getter]] = field(default_factory=list)  # flat, parents' fields by path


class Engine:
    """Runs queries on a schema's tables."""

    def __init__(self, schema: Schema, clock: Clock) -> None:
        self.schema, self.clock = schema, clock
        self.lag_seconds = 0.0  # how long a changed record is missing from queries: its transaction is open

    def run(self, text: str, *, deleted: bool = False) -> Result:
        """Parse and run; `deleted` takes in the recycle bin. ApiError in Salesforce's words."""
        query = parse(text)
        item = self.schema.find(query.object)
        if item is None:
            message = f"sObject type '{query.object}' is not supported. " + REFERENCE.format(
                "object", "c", "entity"
            )
            raise ApiError(400, "INVALID_TYPE", located(text, query.object_at, message))
        if query.offset > LARGEST_OFFSET:
            raise ApiError(
                400, "NUMBER_OUTSIDE_VALID_RANGE", f"Maximum SOQL offset allowed is {LARGEST_OFFSET}"
            )
        return Selection(self, query, item, deleted).result()


class Selection:
    """One query, or one child query, being run."""

    def __init__(self, engine: Engine, query: Query, item: SObject, deleted: bool) -> None:
        self.engine, self.query, self.object, self.deleted = engine, query, item, deleted
        self.columns: list[tuple[str, Field, Getter]] = []
        self.filter = Filter(query.text, self.resolve, self.inner_values, engine.clock.now())
        self.matches = self.filter.predicate(query.where) if query.where is not None else None

    def result(self) -> Result:
        """Find and describe the records."""
        query, aggregating = self.query, any(isinstance(item, Aggregate) for item in self.query.fields)
        shape = Shape(self.object) if aggregating or query.group else self.shape()
        if query.counts:
            total = sum(1 for _ in self.limited(self.found()))
            return Result(query, self.object, shape, [], total, rows=[])
        if aggregating or query.group:
            rows = list(self.limited(iter(self.grouped())))
            return Result(query, self.object, shape, [], len(rows), rows=rows)
        records = list(self.limited(self.ordered(self.found())))
        return Result(query, self.object, shape, records, len(records), columns=self.columns)

    # Which records

    def found(self) -> Iterator[Record]:
        """The records that match, in the order of the index that was read."""
        table, where = self.object.table, self.query.where
        ids, (low, high) = chosen_ids(where), stamp_bounds(where)
        records: Iterable[Record]
        if ids is not None:
            records = [record for key in sorted(ids) if (record := table.get(key)) is not None]
        elif self.by_stamp() or (not self.query.order and (low, high) != (-math.inf, math.inf)):
            highest = table.by_stamp[-1][0] if table.by_stamp else 0
            records = table.changed_between(int(max(low, 0)), int(min(high, highest)))
        else:
            records = table.from_id(lowest_id(where))
        return self.matching(records)

    def matching(self, records: Iterable[Record]) -> Iterator[Record]:
        """Those that are committed, satisfy WHERE, and are not deleted, unless asked for."""
        matches, lag = self.matches, self.engine.lag_seconds
        latest = self.engine.clock.now() - lag * 1000 if lag else math.inf
        for record in records:
            if (
                (self.deleted or record.deleted_at is None)
                and record.modstamp <= latest
                and (matches is None or matches(record))
            ):
                yield record

    def by_stamp(self) -> bool:
        """Whether the order is that of the index by stamp and id."""
        wanted = ("systemmodstamp", "id")
        order = self.query.order
        return 0 < len(order) <= 2 and all(
            key.name.path.lower() == name and not key.descending
            for key, name in zip(order, wanted, strict=False)
        )

    def ordered(self, records: Iterator[Record], *, indexed: bool = True) -> Iterator[Record]:
        """In the order that the query asks for; `indexed` says that they come from `found`."""
        order = self.query.order
        by_id = len(order) == 1 and order[0].name.path.lower() == "id" and not order[0].descending
        for key in order:
            self.resolve(key.name)
        if not order or by_id or (indexed and self.by_stamp() and chosen_ids(self.query.where) is None):
            return records
        found = list(records)
        for key in reversed(order):
            found = self.sorted_by(found, key)
        return iter(found)

    def sorted_by(self, records: list[Record], key: Order) -> list[Record]:
        """Stably sorted by one key, with empty values before or after all others."""
        kind, get = self.resolve(key.name)
        folds = kind.type in TEXTS

        def sortable(record: Record) -> Any:
            value = get(record)
            return str(value).casefold() if folds else value

        empty = [record for record in records if get(record) is None]
        full = [record for record in records if get(record) is not None]
        full.sort(key=sortable, reverse=key.descending)
        return full + empty if key.nulls_last else empty + full

    def limited(self, items: Iterator[Any]) -> Iterator[Any]:
        """OFFSET and LIMIT."""
        start, limit = self.query.offset, self.query.limit
        return islice(items, start, None if limit is None else start + limit)

    def inner_values(self, query: Query) -> set[Any]:
        """The values of the one field that an inner query of IN selects."""
        item = self.engine.schema.find(query.object)
        if item is None or len(query.fields) != 1 or not isinstance(query.fields[0], Name):
            raise ApiError(400, "MALFORMED_QUERY", "a semi-join selects one field of an object")
        inner = Selection(self.engine, query, item, self.deleted)
        _, get = inner.resolve(query.fields[0])
        return {get(record) for record in inner.limited(inner.found())}

    # Fields

    def resolve(self, name: Name) -> tuple[Field, Getter]:
        """A path's field and how to read it from a record; ApiError INVALID_FIELD."""
        item, reach = self.object, None
        for relationship in self.parts(name)[:-1]:
            item, reach = self.step(item, reach, relationship, name)
        last = self.parts(name)[-1]
        found = item.field(last)
        if found is None:
            message = f"No such column '{last}' on entity '{item.name}'. " + REFERENCE.format(
                "field", "c", "field"
            )
            raise self.filter.wrong("INVALID_FIELD", name, message)
        get = item.getter(found)
        if reach is None:
            return found, get
        parent_of: Callable[[Record], Record | None] = reach
        return found, lambda record: None if (parent := parent_of(record)) is None else get(parent)

    def parts(self, name: Name) -> list[str]:
        """The words of a path, without the object's own name or alias before them."""
        parts = name.path.split(".")
        own = {self.query.alias.lower(), self.query.object.lower()}
        return parts[1:] if len(parts) > 1 and parts[0].lower() in own else parts

    def step(
        self, item: SObject, reach: Callable[[Record], Record | None] | None, relationship: str, name: Name
    ) -> tuple[SObject, Callable[[Record], Record | None]]:
        """One relationship further: the parent's object, and how to get to it from the query's record."""
        reference = item.parent(relationship)
        parent = self.engine.schema.find(reference.refers_to) if reference and reference.refers_to else None
        if reference is None or parent is None:
            message = f"Didn't understand relationship '{relationship}' in field path. " + REFERENCE.format(
                "relationship", "r", "relationship"
            )
            raise self.filter.wrong("INVALID_FIELD", name, message)
        get, table = item.getter(reference), parent.table

        def parent_of(record: Record | None) -> Record | None:
            key = None if record is None else get(record)
            return None if key is None else table.get(key)

        return parent, parent_of if reach is None else lambda record: parent_of(reach(record))

    def shape(self) -> Shape:
        """What the SELECT list shows; ApiError for unknown and repeated fields."""
        shape = Shape(self.object)
        for item in self.query.fields:
            match item:
                case Name():
                    self.show(shape, item)
                case Group(kind):
                    if kind != "STANDARD" and not 0 < (self.query.limit or 0) <= FIELDS_LIMIT:
                        message = f"The SOQL FIELDS function must have a LIMIT of at most {FIELDS_LIMIT}"
                        raise ApiError(400, "MALFORMED_QUERY", message)
                    for found in self.object.fields:
                        if kind == "ALL" or (kind == "CUSTOM") == found.custom:
                            self.show(shape, Name(found.name, 0))
                case Query():
                    self.show_children(shape, item)
        return shape

    def show(self, shape: Shape, name: Name) -> None:
        """Add one field to the shape, in its parents' shapes if it is theirs."""
        found, get = self.resolve(name)
        parts, item = self.parts(name), self.object
        path = []
        for relationship in parts[:-1]:
            parent, parent_of = self.step(item, None, relationship, name)
            reference = item.parent(relationship)
            label = reference.relationship if reference and reference.relationship else relationship
            path.append(label)
            shape = shape.parents.setdefault(label, (parent_of, Shape(parent)))[1]
            item = parent
        full = ".".join([*path, found.name])
        if any(column[0] == full for column in self.columns):
            raise ApiError(400, "MALFORMED_QUERY", f"duplicate field selected: {full}")
        shape.columns.append((found.name, found, item.getter(found)))
        self.columns.append((full, found, get))

    def show_children(self, shape: Shape, query: Query) -> None:
        """Add a child query to the shape."""
        child = self.engine.schema.child(self.object, query.object)
        if child is None:
            message = f"Didn't understand relationship '{query.object}' in FROM part of query call. "
            message += REFERENCE.format("relationship", "r", "relationship")
            raise ApiError(400, "INVALID_TYPE", located(query.text, query.object_at, message))
        inner = Selection(self.engine, query, child.object, self.deleted)
        name = child.object.plural.replace(" ", "")
        shape.child_shapes[name] = inner.shape()
        shape.children[name] = _children(inner, child)

    # Aggregates

    def grouped(self) -> list[dict[str, Any]]:
        """One row for each group, ready to be shown."""
        keys = [self.resolve(name) for name in self.query.group]
        groups: dict[tuple[Any, ...], list[Record]] = {} if keys else {(): []}
        for record in self.found():
            groups.setdefault(tuple(get(record) for _, get in keys), []).append(record)
        grouped_names = {name.path.lower() for name in self.query.group}
        rows = []
        for records in groups.values():
            row: dict[str, Any] = {"attributes": {"type": "AggregateResult"}}
            unnamed = 0
            for item in self.query.fields:
                if isinstance(item, Aggregate):
                    row[item.alias or f"expr{unnamed}"] = self.aggregate(item, records)
                    unnamed += item.alias is None
                elif isinstance(item, Name) and item.path.lower() in grouped_names:
                    kind, get = self.resolve(item)
                    row[kind.name] = kind.shown(get(records[0]))
                else:
                    shown = item.path if isinstance(item, Name) else "FIELDS"
                    message = f"Field must be grouped or aggregated: {shown}"
                    raise ApiError(400, "MALFORMED_QUERY", message)
            rows.append(row)
        return rows

    def aggregate(self, item: Aggregate, records: list[Record]) -> Any:
        """One function over the records of a group; empty values do not count."""
        if item.name is None:
            return len(records)
        kind, get = self.resolve(item.name)
        values = [value for record in records if (value := get(record)) is not None]
        match item.function:
            case "COUNT":
                return len(values)
            case "COUNT_DISTINCT":
                return len({str(value).casefold() for value in values})
            case "MIN" | "MAX":
                if kind.type == "boolean":
                    raise self.filter.wrong(
                        "MALFORMED_QUERY", item.name, "field can not be aggregated: boolean"
                    )
                choose = min if item.function == "MIN" else max
                return kind.shown(choose(values)) if values else None
        if kind.type not in NUMBERS:
            message = f"field {kind.name} does not support aggregate operator {item.function}"
            raise self.filter.wrong("MALFORMED_QUERY", item.name, message)
        if not values:
            return None
        return sum(values) if item.function == "SUM" else sum(values) / len(values)


def _children(inner: Selection, child: Child) -> Callable[[Record], list[Record]]:
    def find(parent: Record) -> list[Record]:
        records = child.object.table.find(child.field, parent.id)
        return list(inner.limited(inner.ordered(inner.matching(records), indexed=False)))

    return find
