"""Salesforce's records in memory: stamps, recycle bin, merging, hidden rows, and indexes for fast reading.

Times are milliseconds since 1970 in whole seconds, as Salesforce keeps them. Deleting, restoring and
merging touch SystemModstamp; erased records vanish at once.
"""

from __future__ import annotations

from bisect import bisect_left, insort
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any

from crm.sandbox import salesforce_ids
from crm.sandbox.salesforce_fields import whole_seconds
from crm.sandbox.store import ID_STEPS, Clock


@dataclass(slots=True, eq=False)
class Record:
    """One record. `values` holds only entered values, under the fields' names."""

    id: str
    values: dict[str, Any]
    created: int
    modstamp: int
    deleted_at: int | None = None
    master: str | None = None  # the record that this one was merged into
    merged: list[str] = field(default_factory=list)

    @property
    def deleted(self) -> bool:
        """Whether the record is in the recycle bin."""
        return self.deleted_at is not None


class Table:
    """The records of one object."""

    def __init__(self, clock: Clock, prefix: str) -> None:
        self.clock, self.prefix = clock, prefix
        self.records: dict[str, Record] = {}
        self.by_id: list[str] = []
        self.by_stamp: list[tuple[int, str]] = []
        self.hidden: set[str] = set()  # records that the API's user may not see
        self._values: dict[
            str, dict[str, dict[str, None]]
        ] = {}  # field -> folded value -> ids in their order
        self._next = 1

    def now(self) -> int:
        """The stamp of a change made now."""
        return whole_seconds(self.clock.now())

    def get(self, record_id: str) -> Record | None:
        """The visible record of a 15- or 18-character id, deleted or not."""
        key = salesforce_ids.long_form(record_id)
        return None if key is None or key in self.hidden else self.records.get(key)

    def visible(self, record: Record) -> bool:
        """Whether the API may still show a record that was found earlier."""
        return record.id in self.records and record.id not in self.hidden

    def find(self, name: str, value: Any) -> list[Record]:
        """The visible live records whose field holds this value, whatever its case, by ascending id."""
        if name not in self._values:
            self._values[name] = {}
            for record in self.records.values():
                self._enter(name, record)
        ids = self._values[name].get(_folded(value), ())
        found = [self.records[key] for key in sorted(ids) if key not in self.hidden]
        return [record for record in found if not record.deleted]

    def seed(self, rows: Iterable[tuple[dict[str, Any], int, int]]) -> list[Record]:
        """Add rows of (values, created, modified), with gaps between their ids."""
        added = []
        for index, (values, created, modified) in enumerate(rows):
            record_id = salesforce_ids.make(self.prefix, self._next)
            record = Record(record_id, values, whole_seconds(created), whole_seconds(modified))
            self.records[record_id] = record
            self.by_id.append(record_id)
            self.by_stamp.append((record.modstamp, record_id))
            self._next += ID_STEPS[index % len(ID_STEPS)]
            added.append(record)
        self.by_stamp.sort()
        return added

    def create(self, values: dict[str, Any]) -> Record:
        """A new record; None among the values stands for nothing."""
        now = self.now()
        record = Record(salesforce_ids.make(self.prefix, self._next), {}, now, now)
        self._next += 1
        self.records[record.id] = record
        self.by_id.append(record.id)
        insort(self.by_stamp, (now, record.id))
        self._assign(record, values)
        return record

    def update(self, record: Record, values: dict[str, Any], stamp: int | None = None) -> None:
        """Change values and stamp the record with `stamp` (milliseconds) or now."""
        self._assign(record, values)
        self.touch(record, stamp)

    def touch(self, record: Record, stamp: int | None = None) -> None:
        """Move the record to a new SystemModstamp."""
        place = bisect_left(self.by_stamp, (record.modstamp, record.id))
        del self.by_stamp[place]
        record.modstamp = self.now() if stamp is None else whole_seconds(stamp)
        insort(self.by_stamp, (record.modstamp, record.id))

    def delete(self, record: Record, master: Record | None = None) -> None:
        """Into the recycle bin; `master` is what the record is merged into."""
        if not record.deleted:
            record.deleted_at = self.now()
            record.master = master.id if master else None
            self.touch(record)

    def restore(self, record: Record) -> None:
        """Out of the recycle bin; a merged record stands on its own again."""
        if record.deleted:
            if record.master in self.records:
                self.records[record.master].merged.remove(record.id)
            record.deleted_at = record.master = None
            self.touch(record)

    def merge(self, winner: Record, loser: Record) -> None:
        """Fill the winner's gaps from the loser and delete the loser."""
        gaps = {name: value for name, value in loser.values.items() if winner.values.get(name) is None}
        self.update(winner, gaps)
        self.delete(loser, winner)
        winner.merged.append(loser.id)

    def erase(self, record: Record) -> None:
        """Delete for good."""
        for name in list(record.values):
            self._leave(name, record)
        del self.records[record.id]
        del self.by_id[bisect_left(self.by_id, record.id)]
        del self.by_stamp[bisect_left(self.by_stamp, (record.modstamp, record.id))]
        self.hidden.discard(record.id)

    def rekey(self, record: Record, record_id: str) -> None:
        """Give a record an id that is known from elsewhere."""
        self.erase(record)
        record.id = record_id
        self.records[record_id] = record
        insort(self.by_id, record_id)
        insort(self.by_stamp, (record.modstamp, record_id))

    def rename(self, old: str, new: str) -> None:
        """Move every record's value from one field to another."""
        self._values.pop(old, None)
        self._values.pop(new, None)
        for record in self.records.values():
            if old in record.values:
                record.values[new] = record.values.pop(old)

    def changed_between(self, lowest: int, highest: int) -> Iterator[Record]:
        """The visible records whose SystemModstamp lies in [lowest, highest], by stamp and id."""
        place = bisect_left(self.by_stamp, (lowest, ""))
        while place < len(self.by_stamp) and self.by_stamp[place][0] <= highest:
            key = self.by_stamp[place][1]
            if key not in self.hidden:
                yield self.records[key]
            place += 1

    def from_id(self, lowest: str) -> Iterator[Record]:
        """The visible records whose id is not below this one, by ascending id."""
        for place in range(bisect_left(self.by_id, lowest), len(self.by_id)):
            if self.by_id[place] not in self.hidden:
                yield self.records[self.by_id[place]]

    def _assign(self, record: Record, values: dict[str, Any]) -> None:
        for name, value in values.items():
            self._leave(name, record)
            if value is None:
                record.values.pop(name, None)
            else:
                record.values[name] = value
            if name in self._values:
                self._enter(name, record)

    def _enter(self, name: str, record: Record) -> None:
        value = record.values.get(name)
        if value is not None:
            self._values[name].setdefault(_folded(value), {})[record.id] = None

    def _leave(self, name: str, record: Record) -> None:
        if name in self._values and name in record.values:
            self._values[name].get(_folded(record.values[name]), {}).pop(record.id, None)


def _folded(value: Any) -> str:
    return str(value).casefold()
