"""Walking through the records of one HubSpot object: all of them, the changed ones, the archived ones.

The cursor says how far each walk is, in ms of HubSpot's clock:

    {"until": 1700000000000, "deleted_until": 1700000000000,      what is known completely
     "list": {"after": "301", "started": …},                      in the middle of reading everything
     "search": {"from": …, "to": …, "last": "4711"},              in the middle of a window of changes
     "deleted": {"after": "301", "started": …}}                   in the middle of the archived records
"""

import re
import time
from collections.abc import Generator, Iterator, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

from django.utils.translation import gettext as _

from crm.connectors import hubspot_errors as errors
from crm.connectors.base import FieldKind, Mode, Page, Record
from crm.connectors.hubspot_api import BATCH, SEARCH_PAGE, Api, Row, Rows
from crm.connectors.hubspot_errors import RefusedError
from crm.connectors.hubspot_values import CONTACTS, KINDS, MERGED, MERGED_AT, Kind, merged_ids, typed

State = dict[str, Any]

URL_PROPERTIES = 4_000  # characters of property names that fit into a URL
HOLD_BACK = timedelta(seconds=5)
LOOK_BACK = timedelta(minutes=10)
EMPTY_PAGES = 50  # in a row; then it is no list any more
RECENT_SECONDS = 2  # an answer's time is HubSpot's present time for so long
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
FEWEST = ["hs_object_id"]  # naming no property would give the usual ones


class Reader:
    """One object's records.

    Args:
        kinds: of all its properties.
        names: the properties to fetch.
    """

    def __init__(self, api: Api, kind: Kind, kinds: dict[str, FieldKind], names: Sequence[str]):
        self.api, self.kind, self.kinds, self.names = api, kind, kinds, names
        # Merges are told by properties of the winner; they are wanted whatever is mapped.
        merges = [name for name in (MERGED, MERGED_AT) if name in kinds and name not in names]
        self.wanted = [*names, *merges] or FEWEST
        self._fits_url = sum(len(name) + len("&properties=") for name in self.wanted) <= URL_PROPERTIES

    def pages(self, cursor: State, mode: Mode, deletions_every: timedelta) -> Iterator[Page]:
        """See Connector.pages."""
        started = self._now()
        state = dict(cursor)
        if "list" not in state and (mode == "full" or "until" not in state):
            looked = state.get("deleted_until")
            state = {"list": {"after": None, "started": started}, "deleted_until": looked or started}
            if looked is not None:
                state["deleted"] = {"after": None, "started": started}
        look = "deleted" in state or started - state["deleted_until"] >= milliseconds(deletions_every)
        if "list" in state:
            state = yield from self._everything(state, last=not look)
        else:
            if "search" in state:  # what an earlier run began; what has changed since comes after it
                state = yield from self._changes(state, started, last=False)
            state = yield from self._changes(state, started, last=not look)
        if look:
            yield from self._deletions(state, started)

    def read(self, ids: Sequence[str]) -> list[Record]:
        """The records that exist, each once and under its own id."""
        ids = [one for one in ids if re.fullmatch(r"[0-9]{1,18}", one)]  # another would spoil its whole batch
        rows = {
            row.id: row
            for start in range(0, len(ids), BATCH)
            for row in self.api.read(self.kind, list(dict.fromkeys(ids[start : start + BATCH])), self.wanted)
        }
        return self._records(list(rows.values()))

    def ids(self) -> Iterator[list[str]]:
        """All that exist now, from the list: the search would trail behind it."""
        for found in self._list(None, FEWEST, archived=False):
            yield [row.id for row in found.results]

    # Three ways through the records. Each returns the state it ends in.

    def _everything(self, state: State, last: bool) -> Generator[Page, None, State]:
        expected = count(self.api, self.kind)
        place = state["list"]
        for found, records in self._listed(place["after"]):
            if found.after:
                state = {**state, "list": {**place, "after": found.after}}
            else:
                state = {**state, "until": place["started"]}
                del state["list"]
            yield self._page(records, state, expected, current=True, last=last and not found.after)
        return state

    def _listed(self, after: str | None) -> Iterator[tuple[Rows, list[Record]]]:
        for found in self._list(after, self.wanted if self._fits_url else FEWEST, archived=False):
            complete = self._fits_url or not found.results
            yield (
                found,
                self._records(found.results) if complete else self.read([r.id for r in found.results]),
            )

    def _list(self, after: str | None, names: Sequence[str], archived: bool) -> Iterator[Rows]:
        """The pages of a list; from its beginning if HubSpot does not know its own `after` any more."""
        seen: set[str] = set()
        empty = 0
        while True:
            try:
                found = self.api.page(self.kind, after, names, archived, seen)
            except RefusedError as error:
                if error.status == 414 and names is self.wanted:
                    self._fits_url, names = False, FEWEST
                    continue
                if error.status != 400 or after is None or seen:
                    raise
                after = None
                continue
            empty = 0 if found.results else empty + 1
            if empty > EMPTY_PAGES:
                raise errors.repeating()
            yield found
            if found.after is None:
                return
            after = found.after
            seen.add(after)

    def _changes(self, state: State, started: int, last: bool) -> Generator[Page, None, State]:
        window = state.get("search") or {
            "from": state["until"] - milliseconds(LOOK_BACK),
            "to": started - milliseconds(HOLD_BACK),
            "last": "0",
        }
        resumed = "search" in state
        expected = None
        while True:
            place = int(window["last"])

            def sane(found: Rows, place: int = place) -> bool:
                ids = [int(row.id) if row.id.isdecimal() else 0 for row in found.results]
                return ids == sorted(ids) and (ids[0] > place if ids else not found.total)

            found = self.api.search(self.kind, self._query(window), sane)
            expected = found.total if expected is None and not resumed else expected
            records = self._records(found.results)
            # The page size is ours to know: HubSpot may give fewer rows at once than it was asked for.
            more = found.after is not None or len(found.results) < (found.total or 0)
            if more and found.results:
                window = {**window, "last": found.results[-1].id}
                state = {**state, "search": window}
                yield self._page(records, state, expected)
                continue
            state = {**state, "until": window["to"]}
            state.pop("search", None)
            yield self._page(records, state, expected, last=last)
            return state

    def _query(self, window: State) -> dict[str, Any]:
        """The search for one page of a window: fixed times, ids beyond the last one seen."""
        filters = [
            (self.kind.modified, "GTE", str(window["from"])),
            (self.kind.modified, "LTE", str(window["to"])),
            ("hs_object_id", "GT", window["last"]),
        ]
        return {
            "filterGroups": [
                {
                    "filters": [
                        {"propertyName": name, "operator": operator, "value": value}
                        for name, operator, value in filters
                    ]
                }
            ],
            "sorts": [{"propertyName": "hs_object_id", "direction": "ASCENDING"}],
            "properties": list(self.wanted),
            "limit": SEARCH_PAGE,
        }

    def _deletions(self, state: State, started: int) -> Generator[Page, None, State]:
        place = state.get("deleted") or {"after": None, "started": started}
        since = moment(state["deleted_until"]) - LOOK_BACK
        for found in self._list(place["after"], FEWEST, archived=True):
            records = [
                Record(row.id, row.archived_at, {}, deleted=True)
                for row in found.results
                if row.archived_at and row.archived_at >= since
            ]
            if found.after:
                place = {**place, "after": found.after}
                state = {**state, "deleted": place}
            else:
                state = {**state, "deleted_until": place["started"]}
                state.pop("deleted", None)
            yield self._page(records, state, current=True, last=not found.after)
        return state

    # What they have in common

    def _page(
        self,
        records: list[Record],
        state: State,
        expected: int | None = None,
        current: bool = False,
        last: bool = False,
    ) -> Page:
        until = moment(state["until"]) if last else None
        return Page(self.kind.name, records, state, expected, current, until)

    def _records(self, rows: Sequence[Row]) -> list[Record]:
        people = self._people(rows) if self.kind.type.role == "purchase" else {}
        return [
            Record(
                row.id,
                row.updated_at,
                {name: typed(row.properties.get(name), self.kinds.get(name, "text")) for name in self.names},
                absorbed=merged_ids(row.properties, row.id),
                people=[(CONTACTS, one) for one in people.get(row.id, ())],
                problem=row.problem and _("HubSpot shows it in a way that can't be read: %s.") % row.problem,
            )
            for row in rows
        ]

    def _people(self, rows: Sequence[Row]) -> dict[str, list[str]]:
        found: dict[str, list[str]] = {}
        ids = list(dict.fromkeys(row.id for row in rows))
        for start in range(0, len(ids), BATCH):
            found |= self.api.associated(self.kind, KINDS[CONTACTS], ids[start : start + BATCH])
        return found

    def _now(self) -> int:
        """HubSpot's clock: ours may be wrong, and a cursor must not be."""
        if time.monotonic() - self.api.answered > RECENT_SECONDS:
            count(self.api, self.kind)
        if self.api.server_time is None:
            raise errors.undated()
        return milliseconds(self.api.server_time - EPOCH)


def count(api: Api, kind: Kind) -> int:
    """How many live records there are, as far as the search index knows."""
    return api.search(kind, {"limit": 1, "properties": FEWEST}).total or 0


def milliseconds(span: timedelta) -> int:
    """A span in ms."""
    return span // timedelta(milliseconds=1)


def moment(stamp: int) -> datetime:
    """The time at this many ms since 1970."""
    return EPOCH + timedelta(milliseconds=stamp)
