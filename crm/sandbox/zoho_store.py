"""The records of one Zoho module: typed values, 18-digit ids, recycle bin, merges and what is left of the deleted.

Times are integers, milliseconds since 1970 in UTC; Zoho shows them by the second. Zoho keeps a line in the
list of deleted records for what is in the recycle bin ("recycle") and for what has left it ("permanent"),
and knows a merge's loser only as a permanent deletion.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any

from crm.sandbox.store import ID_STEPS, Clock
from crm.sandbox.zoho_schema import Schema

FIRST_ID = 554023000000000000

Values = dict[str, Any]
# What happened ("insert", "update", "delete"), to which ids, in which fields.
Listener = Callable[[str, list[str], list[str]], None]


@dataclass(slots=True)
class Row:
    """One record. `values` holds JSON values by field name; system fields are attributes."""

    id: str
    values: Values
    created: int
    modified: int
    archived_at: int | None = None
    merged: list[str] = field(default_factory=list)

    @property
    def archived(self) -> bool:
        """Whether the record is in the recycle bin."""
        return self.archived_at is not None

    @property
    def second(self) -> int:
        """The modified stamp in seconds, as Zoho shows and compares it."""
        return self.modified // 1000


@dataclass(frozen=True, slots=True)
class Gone:
    """A record that left for good: erased, or merged into another."""

    id: str
    name: str
    at: int


class Module:
    """All records of one module, with the definition of its fields."""

    def __init__(self, clock: Clock, schema: Schema, number: int) -> None:
        self.clock = clock
        self.schema = schema
        self.rows: dict[str, Row] = {}  # ascending ids, as dicts keep insertion order
        self.gone: dict[str, Gone] = {}
        self.listeners: list[Listener] = []
        self._next_id = FIRST_ID + number * 1_000_000_000 + 1001
        self._version = 0
        self._sorted: tuple[int, list[Row]] = (-1, [])

    @property
    def name(self) -> str:
        """The API name, such as Contacts."""
        return self.schema.module

    def live(self) -> Iterator[Row]:
        """The records outside the recycle bin, by ascending id."""
        return (row for row in list(self.rows.values()) if not row.archived)

    def get(self, record_id: str) -> Row | None:
        """The live record with this id; ids of merge losers lead nowhere."""
        row = self.rows.get(record_id)
        return None if row is None or row.archived else row

    def by_time(self) -> list[Row]:
        """Live records by ascending second of change; the order among equals is nobody's business."""
        version = self._version
        if self._sorted[0] != version:
            newest_first = sorted(self.live(), key=lambda row: row.id, reverse=True)
            self._sorted = (version, sorted(newest_first, key=lambda row: row.second))
        return self._sorted[1]

    def changed_after(self, second: int) -> list[Row]:
        """Those of `by_time` changed in a later second than this one."""
        rows = self.by_time()
        return rows[bisect_right(rows, second, key=lambda row: row.second) :]

    def seed(self, rows: Iterable[tuple[Values, int, int]]) -> None:
        """Add rows of (values, created, modified)."""
        for index, (values, created, modified) in enumerate(rows):
            row = Row(str(self._next_id), self.schema.with_defaults(values), created, modified)
            self.rows[row.id] = row
            self._next_id += ID_STEPS[index % len(ID_STEPS)]
        self._version += 1

    def create(self, values: Values, modified: int | None = None) -> Row:
        """A new record, of now or of `modified`."""
        stamp = self.clock.now() if modified is None else modified
        row = Row(str(self._next_id), self.schema.with_defaults(values), stamp, stamp)
        self._next_id += 1
        self.rows[row.id] = row
        self._tell("insert", [row.id], list(values))
        return row

    def update(self, row: Row, values: Values, modified: int | None = None) -> None:
        """Change values and stamp the record with `modified` or now."""
        row.values |= values
        row.modified = self.clock.now() if modified is None else modified
        self._tell("update", [row.id], list(values))

    def archive(self, row: Row) -> None:
        """Put into the recycle bin; the modified stamp stays."""
        if not row.archived:
            row.archived_at = self.clock.now()
            self._tell("delete", [row.id], [])

    def restore(self, row: Row) -> None:
        """Take out of the recycle bin; the modified stamp stays."""
        row.archived_at = None
        self._tell("insert", [row.id], [])

    def erase(self, row: Row) -> None:
        """Delete for good."""
        del self.rows[row.id]
        self.gone[row.id] = Gone(row.id, self.schema.title(row.values), self.clock.now())
        self._tell("delete", [row.id], [])

    def merge(self, winner: Row, loser: Row) -> None:
        """Fill the winner's gaps from the loser, which then no longer exists."""
        gaps = {
            name: value for name, value in loser.values.items() if winner.values.get(name) in (None, "", [])
        }
        self.erase(loser)
        winner.merged += [*loser.merged, loser.id]
        self.update(winner, gaps)

    def rename(self, old: str, new: str) -> None:
        """Move every value of a field to another name."""
        for row in self.rows.values():
            row.values[new] = row.values.pop(old, None)

    def drop(self, name: str) -> None:
        """Forget every value of a field."""
        for row in self.rows.values():
            row.values.pop(name, None)

    def _tell(self, operation: str, ids: list[str], names: list[str]) -> None:
        self._version += 1
        for listener in self.listeners:
            listener(operation, ids, names)
