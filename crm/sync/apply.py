"""Storing a CRM's records: what they become, their memory, rejects, counters and cursor together.

Everything about a group of pages happens in one transaction, so a run that dies anywhere has either stored the
group and its cursor, or neither. What a record becomes is the business of its role's module.
"""

import gc
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import datetime

import msgspec
from django.db import transaction
from django.db.models import F

from crm.connectors.base import Page, Record, Role
from crm.models import Connection, SourceRecord, SyncRun
from crm.normalise import Rejection
from crm.sync import brake, gone, memory, people, products, purchases
from crm.sync.mapping import Mapping, fingerprints
from crm.sync.roles import Batch, Handler, Item, Known

ROLES: dict[Role, Handler] = {
    "person": Handler(people.store, people.remove, people.prepare),
    "purchase": Handler(purchases.store, purchases.remove),
    "product": Handler(products.store, products.remove),
}


class SupersededError(Exception):
    """The run was ended by somebody else; nothing more may be stored in its name."""


class Counts(msgspec.Struct):
    """What became of the records: `read` is the sum of the next six. `merged` counts the CRM's new merges."""

    read: int = 0
    created: int = 0
    updated: int = 0
    unchanged: int = 0
    rejected: int = 0
    deleted: int = 0
    held: int = 0
    merged: int = 0


def apply(run: SyncRun, pages: Page | Sequence[Page], mapping: Mapping, role: Role, now: datetime) -> Counts:
    """Store pages of one object, read one after the other, and move the connection's cursor behind the last.

    The number of statements does not depend on the number of records.

    Raises:
        SupersededError: the run is no longer running; nothing was stored.
    """
    pages = [pages] if isinstance(pages, Page) else pages
    connection, last = run.connection, pages[-1]
    expected = next((page.expected for page in pages if page.expected is not None), None)
    batch = Batch(run, connection, last.object, f"{connection.slug}:{last.object}", mapping, now)
    with _uncollected(), transaction.atomic():
        counts = _Work(batch, ROLES[role], role, pages).store()
        moved = SyncRun.objects.filter(pk=run.pk, state=SyncRun.State.RUNNING).update(
            beat_at=now,
            expected=expected if run.expected is None else run.expected,
            cursor_after={**run.cursor_after, last.object: last.cursor},
            **{name: F(name) + number for name, number in msgspec.structs.asdict(counts).items() if number},
        )
        if not moved:
            raise SupersededError
        cursor = {**connection.cursor, last.object: last.cursor}
        Connection.objects.filter(pk=run.connection_id).update(cursor=cursor)
    connection.cursor = cursor
    run.cursor_after = {**run.cursor_after, last.object: last.cursor}
    return counts


@contextmanager
def _uncollected() -> Iterator[None]:
    """Keep the garbage collector from walking all the records again and again; nothing here makes cycles."""
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            gc.enable()


class _Work:
    """One group inside its transaction."""

    def __init__(self, batch: Batch, handler: Handler, role: Role, pages: Sequence[Page]):
        self.batch, self.handler, self.role, self.pages = batch, handler, role, pages
        self.counts = Counts(read=sum(len(page.records) for page in pages))

    def store(self) -> Counts:
        """Sort the records into what has to happen to them, and do that in bulk."""
        batch, counts = self.batch, self.counts
        rejected = [
            (record, _unreadable(record)) for page in self.pages for record in page.records if record.problem
        ]
        records = self._newest()
        if not records and not rejected:
            return counts
        if self.handler.prepare:
            counts.merged = self.handler.prepare(batch, records)
        unreadable = len(rejected)
        removed, items, newer = self._sort(records)
        self._remove(removed)
        outcomes = self.handler.store(batch, items)
        stored = []
        for item, outcome in zip(items, outcomes, strict=True):
            if outcome.rejection is None:
                stored.append((item, outcome))
                setattr(counts, outcome.state, getattr(counts, outcome.state) + 1)
            else:
                rejected.append((item.record, outcome.rejection))
        memory.save(batch, stored)
        memory.move(batch, newer)
        memory.reject(batch, rejected)
        memory.resolve(batch, [record.id for record in records], [record.id for record, _ in rejected])
        counts.rejected = len(rejected)
        counts.unchanged += counts.read - len(items) - unreadable - counts.deleted - counts.held
        return counts

    def _newest(self) -> list[Record]:
        """The newest state of each record, the later one of equals only if nothing tells them apart."""
        newest: dict[str, Record] = {}
        for page in self.pages:
            for record in page.records:
                if record.problem:
                    continue
                held = newest.setdefault(record.id, record)
                if held is not record and record.modified_at > held.modified_at:
                    newest[record.id] = record
        return list(newest.values())

    def _sort(self, records: Sequence[Record]) -> tuple[list[Record], list[Item], list[Record]]:
        """What is gone, what is news, and what has only become newer."""
        removed: list[Record] = []
        items: list[Item] = []
        newer: list[Record] = []
        current = {record.id for page in self.pages if page.current for record in page.records}
        hashes = fingerprints(records, self.batch.mapping)
        for record, content_hash, known in memory.news(self.batch, records, hashes):
            if record.deleted:
                if _vanishes(record, known):
                    removed.append(record)
            elif known is None or _returns(record, known, record.id in current):
                items.append(Item(record, known, content_hash))
            elif known.live and known.content_hash == content_hash:
                newer.append(record)
            elif known.live:
                items.append(Item(record, known, content_hash))
        return removed, items, newer

    def _remove(self, removed: Sequence[Record]) -> None:
        """Let go what may go; the brake remembers the others."""
        batch = self.batch
        going = brake.hold(batch.connection, batch.object, removed, batch.now) if removed else ()
        self.counts.deleted, self.counts.held = len(going), len(removed) - len(going)
        if not going:
            return
        self.handler.remove(batch, going)
        # People's role does that itself, as it matters later which profiles they left.
        if self.role != "person":
            gone.entomb(batch.connection, batch.object, going, {}, batch.now)


def _unreadable(record: Record) -> Rejection:
    return Rejection("unreadable", "", record.problem)


def _vanishes(record: Record, known: Known | None) -> bool:
    """Whether a deleted record is gone only now. That somebody was erased must be known of strangers too."""
    if record.erased:
        return known is None or known.state != SourceRecord.State.ERASED
    return known is not None and known.live


def _returns(record: Record, known: Known, current: bool) -> bool:
    """Whether a record comes back: never an erased one.

    A deleted record comes back only if it was changed since, or if the CRM's own store (and not an
    index that lags behind) says that it is there. Of one that was merged away it has to be both.
    """
    changed = record.modified_at > known.modified_at
    if known.state == SourceRecord.State.MERGED:
        return current and changed
    if known.state not in (SourceRecord.State.DELETED, SourceRecord.State.MISSING):
        return False
    return current or changed
