"""HubSpot's search index, which trails the store: a search sees records as they were some time ago."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator

from crm.sandbox.store import Change, Record, Store


class SearchIndex:
    """The records of one object as the search sees them.

    With a lag of 0 these are the store's own. Otherwise a change shows once it is that old: until then a new
    record is missing, a changed one has its old values and stamp, and a deleted one is still found.
    """

    def __init__(self, store: Store) -> None:
        self.store = store
        self.lag_seconds = 0.0
        self._unseen: deque[tuple[int, int, Record | None]] = deque()  # (when, id, record as it was before)
        store.listeners.append(self._note)

    def _note(self, change: Change) -> None:
        if not self.lag_seconds:
            return
        now = self.store.clock.now()
        self._unseen.append((now, change.record.id, change.before))
        if change.loser is not None:
            self._unseen.append((now, change.loser.id, change.loser))

    def records(self) -> Iterator[Record]:
        """The live records that the index holds, in no order."""
        seen_until = self.store.clock.now() - self.lag_seconds * 1000
        while self._unseen and self._unseen[0][0] <= seen_until:
            self._unseen.popleft()
        if not self._unseen:
            yield from self.store.live()
            return
        old: dict[int, Record | None] = {}
        for _, record_id, before in self._unseen:
            old.setdefault(record_id, before)
        for record in self.store.records.values():
            if record.id not in old and not record.archived:
                yield record
        yield from (record for record in old.values() if record is not None and not record.archived)
