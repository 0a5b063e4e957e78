"""The sandbox's memory: records with stamps, archiving, merging and erasure; it knows no HTTP and no vendor.

Times are integers, milliseconds since 1970 in UTC: the precision that CRMs show. The server's thread
writes; a test may read from another thread between requests.
"""

from __future__ import annotations

import random
import time
from bisect import bisect_left
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime

# How far apart the ids of neighbouring seeded records lie, in turn: clients must not count on neighbours.
ID_STEPS = (1, 1, 3, 1, 2, 7, 1)


class Clock:
    """The sandbox's own time: the machine's plus an offset that a test can set."""

    def __init__(self) -> None:
        self.offset_seconds = 0.0

    def now(self) -> int:
        """Milliseconds since 1970."""
        return int((time.time() + self.offset_seconds) * 1000)


def iso(stamp: int) -> str:
    """`2026-01-01T00:00:00.000Z` for a stamp in milliseconds."""
    moment = datetime.fromtimestamp(stamp // 1000, UTC)
    return f"{moment:%Y-%m-%dT%H:%M:%S}.{stamp % 1000:03d}Z"


def parse_stamp(text: str) -> int:
    """Milliseconds from `1700000000000` or an ISO 8601 text (UTC if it names no offset); else ValueError."""
    if text.lstrip("-").isdecimal():
        return int(text)
    moment = datetime.fromisoformat(text)
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=UTC)
    return round(moment.timestamp() * 1000)


@dataclass(slots=True)
class Record:
    """One CRM record. `properties` holds only entered values, all strings."""

    id: int
    properties: dict[str, str]
    created: int
    modified: int
    archived_at: int | None = None
    merged: dict[int, int] = field(default_factory=dict)  # loser's id -> when
    history: dict[str, list[tuple[str, int]]] = field(
        default_factory=dict
    )  # property -> (value, since), newest first

    @property
    def archived(self) -> bool:
        """Whether the record is in the recycle bin."""
        return self.archived_at is not None


class ConflictError(Exception):
    """Another live record already holds the unique value."""

    def __init__(self, record_id: int) -> None:
        super().__init__(f"Record {record_id} already holds this value.")
        self.record_id = record_id


@dataclass(frozen=True, slots=True)
class Change:
    """Something that has happened to one record."""

    kind: str  # create, update, archive, restore, merge or erase
    record: Record  # as it is now; of a merge the winner
    before: Record | None  # as it was
    names: tuple[str, ...] = ()  # the properties that have another value now
    loser: Record | None = None  # of a merge


class Store:
    """The records of one object of one vendor, with at most one unique, case-insensitive key property."""

    def __init__(self, clock: Clock, unique: str = "") -> None:
        self.clock = clock
        self.unique = unique
        self.records: dict[int, Record] = {}  # ascending ids, as dicts keep insertion order
        self.winners: dict[int, int] = {}  # merged-away id -> id it went into
        self.listeners: list[Callable[[Change], None]] = []
        self._ids: list[int] = []  # ascending; ids that are gone stay in it
        self._by_key: dict[str, int] = {}
        self._inherited: dict[int, list[str]] = {}  # id -> unique values that merges brought it
        self._next_id = 1

    def live(self) -> Iterator[Record]:
        """The records that are not archived, by ascending id."""
        return (record for record in self.records.values() if not record.archived)

    def walk(self, start: int) -> Iterator[Record]:
        """The records with this id and greater ones, archived or not, by ascending id."""
        for position in range(bisect_left(self._ids, start), len(self._ids)):
            record = self.records.get(self._ids[position])
            if record is not None:
                yield record

    def pick(self, rng: random.Random, *, archived: bool = False) -> Record | None:
        """A record chosen by `rng`, or None if there is none of the kind asked for."""
        for _ in range(20 if self._ids and not archived else 0):
            record = self.records.get(rng.choice(self._ids))
            if record is not None and not record.archived:
                return record
        fitting = [record for record in self.records.values() if record.archived == archived]
        return rng.choice(fitting) if fitting else None

    def get(self, record_id: int) -> Record | None:
        """The record under this id, or the one it was merged into, archived or not."""
        while record_id in self.winners:
            record_id = self.winners[record_id]
        return self.records.get(record_id)

    def find(self, key: str) -> Record | None:
        """The live record that holds this unique value."""
        found = self._by_key.get(key.strip().lower())
        return None if found is None else self.records[found]

    def seed(self, rows: Iterable[tuple[dict[str, str], int, int]]) -> None:
        """Add rows of (properties, created, modified). The first row to hold a unique value owns it."""
        for index, (properties, created, modified) in enumerate(rows):
            record = Record(self._next_id, properties, created, modified)
            self.records[record.id] = record
            self._ids.append(record.id)
            if self.unique:
                self._by_key.setdefault(properties.get(self.unique, "").lower(), record.id)
            self._next_id += ID_STEPS[index % len(ID_STEPS)]
        self._by_key.pop("", None)

    def check_unique(self, properties: dict[str, str | None], own_id: int | None = None) -> None:
        """Raise ConflictError if a live record other than `own_id` holds the unique value in `properties`."""
        holder = self.find(properties.get(self.unique) or "")
        if holder is not None and holder.id != own_id:
            raise ConflictError(holder.id)

    def create(self, properties: dict[str, str | None]) -> Record:
        """A new record; ConflictError if its unique value is taken."""
        self.check_unique(properties)
        now = self.clock.now()
        record = Record(self._next_id, {}, now, now)
        self._next_id += 1
        self.records[record.id] = record
        self._ids.append(record.id)
        self._assign(record, properties, now)
        self._tell("create", record, None)
        return record

    def update(self, record: Record, properties: dict[str, str | None], modified: int | None = None) -> None:
        """Change values (None or "" clears one) and stamp the record with `modified` or now."""
        self.check_unique(properties, record.id)
        before = self._copy(record)
        self._assign(record, properties, self.clock.now() if modified is None else modified)
        self._tell("update", record, before)

    def archive(self, record: Record) -> None:
        """Put into the recycle bin. The modified stamp stays, as CRMs leave it."""
        if not record.archived:
            before = self._copy(record)
            record.archived_at = self.clock.now()
            self._forget_keys(record)
            self._tell("archive", record, before)

    def restore(self, record: Record) -> None:
        """Take out of the recycle bin; ConflictError if the unique value has been taken meanwhile."""
        if record.archived:
            self.check_unique(dict(record.properties), record.id)
            before = self._copy(record)
            record.archived_at = None
            self._own_key(record)
            self._tell("restore", record, before)

    def merge(self, winner: Record, loser: Record) -> None:
        """Fill the winner's gaps from the loser, whose id and unique value lead to the winner from now on.

        ValueError if they are the same record.
        """
        if winner is loser:
            raise ValueError("A record cannot be merged into itself.")
        now, before = self.clock.now(), self._copy(winner)
        gaps = {name: value for name, value in loser.properties.items() if not winner.properties.get(name)}
        keys = [*self._inherited.get(loser.id, ()), loser.properties.get(self.unique, "").lower()]
        self._forget_keys(loser)
        del self.records[loser.id]
        self.winners[loser.id] = winner.id
        winner.merged |= {**loser.merged, loser.id: now}
        self._assign(winner, dict(gaps), now)
        for key in filter(None, keys):
            if self._by_key.setdefault(key, winner.id) == winner.id:
                self._inherited.setdefault(winner.id, []).append(key)
        self._tell("merge", winner, before, loser)

    def erase(self, record: Record) -> None:
        """Delete for good, with every id that was merged into it."""
        self._forget_keys(record)
        del self.records[record.id]
        for loser in record.merged:
            self.winners.pop(loser, None)
        self._tell("erase", record, record)

    def _copy(self, record: Record) -> Record | None:
        """The record as it is, for listeners; None if nobody listens."""
        if not self.listeners:
            return None
        return replace(record, properties=dict(record.properties), merged=dict(record.merged))

    def _tell(self, kind: str, record: Record, before: Record | None, loser: Record | None = None) -> None:
        if not self.listeners:
            return
        old = before.properties if before else {}
        names = dict.fromkeys((*old, *record.properties))
        changed = tuple(name for name in names if old.get(name) != record.properties.get(name))
        for listener in self.listeners:
            listener(Change(kind, record, before, changed, loser))

    def _assign(self, record: Record, properties: dict[str, str | None], now: int) -> None:
        for name, value in properties.items():
            old = record.properties.get(name, "")
            if name == self.unique and self._by_key.get(old.lower()) == record.id:
                del self._by_key[old.lower()]  # `_own_key` below enters what holds now
            versions = record.history.setdefault(name, [(old, record.created)] if old else [])
            if not versions or versions[0][0] != (value or ""):
                versions.insert(0, (value or "", now))
            if value:
                record.properties[name] = value
            else:
                record.properties.pop(name, None)
        record.modified = now
        self._own_key(record)

    def _own_key(self, record: Record) -> None:
        key = record.properties.get(self.unique, "").lower() if self.unique else ""
        if key and not record.archived:
            self._by_key[key] = record.id

    def _forget_keys(self, record: Record) -> None:
        for key in (record.properties.get(self.unique, "").lower(), *self._inherited.pop(record.id, ())):
            if self._by_key.get(key) == record.id:
                del self._by_key[key]
