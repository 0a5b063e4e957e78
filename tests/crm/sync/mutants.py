"""Mistakes that engines like this one have made, put into the connectors and the engine on purpose.

A mutant's `mutate` changes the code through pytest's monkeypatch for one connector; its story (see `stories`) must
then break one of the invariants in `caught`.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Any

import msgspec
from django.utils import timezone

from crm import tombstones
from crm.connectors import hubspot_reading, salesforce_walk, zoho_reading
from crm.connectors.base import Page
from crm.connectors.hubspot import HubSpot
from crm.connectors.hubspot_reading import Reader
from crm.connectors.salesforce import Salesforce
from crm.connectors.salesforce_api import Api as SalesforceApi
from crm.connectors.salesforce_read import Reader as SalesforceReader
from crm.connectors.zoho import Zoho
from crm.connectors.zoho_reading import Reading as ZohoReading
from crm.models import Connection, WrittenRecord
from crm.sync import apply, brake, merges, reading, writeback
from tests.crm.sync import stories
from tests.crm.sync.harness import World
from tests.crm.sync.stories import Story

CLASSES = {"hubspot": HubSpot, "salesforce": Salesforce, "zoho": Zoho}
ALL = tuple(CLASSES)
PATCH = Any  # pytest.MonkeyPatch


@dataclass(frozen=True)
class Mutant:
    """One mistake."""

    name: str
    kinds: tuple[str, ...]
    story: Story
    caught: tuple[str, ...]
    mutate: Callable[[PATCH, World], None]


# Ways through changes that lose records


def _by_time(operator: str) -> Any:
    """HubSpot's changes by their time alone, page after page from the newest time seen."""

    def changes(self: Reader, state: dict[str, Any], started: int, last: bool) -> Any:
        at = state["until"] - 600_000
        while True:
            found = self.api.search(self.kind, _search(self, operator, at))
            records = self._records(found.results)
            if len(records) < hubspot_reading.SEARCH_PAGE:
                break
            at = hubspot_reading.milliseconds(records[-1].modified_at - hubspot_reading.EPOCH)
            yield self._page(records, state)
        state = {**state, "until": started - 5_000}
        yield self._page(records, state, last=last)
        return state

    return changes


def _search(reader: Reader, operator: str, at: int, **more: Any) -> dict[str, Any]:
    name = reader.kind.modified
    return {
        "filterGroups": [{"filters": [{"propertyName": name, "operator": operator, "value": str(at)}]}],
        "sorts": [{"propertyName": name, "direction": "ASCENDING"}],
        "properties": list(reader.wanted),
        "limit": hubspot_reading.SEARCH_PAGE,
        **more,
    }


def _strict(patch: PATCH, world: World) -> None:
    match world.crm.kind:
        case "hubspot":
            patch.setattr(Reader, "_changes", _by_time("GT"))
        case "salesforce":
            patch.setattr(salesforce_walk, "_where", partial(_where, "SystemModstamp > {stamp}"))
        case _:
            listed = ZohoReading._listed
            patch.setattr(
                ZohoReading, "_listed", lambda self, name, at, chunks: listed(self, name, at + 1, chunks)
            )


def _where(begin: str, window: dict[str, Any]) -> str:
    start = begin.format(**window) if window["stamp"] else f"SystemModstamp >= {window['from']}"
    return f"{start} AND SystemModstamp <= {window['to']}"


def _no_tie_break(patch: PATCH, world: World) -> None:
    match world.crm.kind:
        case "hubspot":
            patch.setattr(Reader, "_changes", _by_time("GTE"))
        case "salesforce":
            patch.setattr(salesforce_walk, "_where", partial(_where, "SystemModstamp >= {stamp}"))
        case _:

            def one_second(
                self: Any, name: str, state: Any, walk: dict[str, Any], names: Any
            ) -> Iterator[Page]:
                rows, _more = self._listed(name, walk["at"], zoho_reading._asked(name, names))
                records = [zoho_reading._record(name, row, names) for row in rows]
                yield Page(name, records, {**state, "walk": walk}, current=True)
                return {**walk, "tie": None}

            patch.setattr(ZohoReading, "_one_second", one_second)


def _no_look_back(patch: PATCH, _world: World) -> None:
    patch.setattr(hubspot_reading, "LOOK_BACK", timedelta(0))
    patch.setattr(salesforce_walk, "LOOK_BACK", timedelta(0))
    patch.setattr(zoho_reading, "LOOK_BACK", 0)


def _offset(patch: PATCH, world: World) -> None:
    """Pages by number instead of by where the last one ended."""
    match world.crm.kind:
        case "hubspot":

            def changes(self: Reader, state: dict[str, Any], started: int, last: bool) -> Any:
                after: str | None = "0"
                while after is not None:
                    body = _search(self, "GTE", state["until"] - 600_000, after=after)
                    found = self.api.search(self.kind, body)
                    after = found.after
                    yield self._page(self._records(found.results), {**state, "page": after})
                state = {**state, "until": started - 5_000}
                yield self._page([], state, last=last)
                return state

            patch.setattr(Reader, "_changes", changes)
        case _:

            def turned(self: ZohoReading, name: str, state: dict[str, Any], names: Any) -> Any:
                walk, number, more = state["walk"], 0, True
                header = {"If-Modified-Since": datetime.fromtimestamp(max(1, walk["at"]), UTC).isoformat()}
                chunks = zoho_reading._asked(name, names)
                while more:
                    number += 1
                    asked = {
                        "fields": ",".join(chunks[0]),
                        "sort_by": "Modified_Time",
                        "sort_order": "asc",
                        "per_page": 20,
                        "page": number,
                    }
                    answer = self._api._call("GET", "/crm/v8/Contacts", asked, headers=header) or {}
                    more = answer.get("info", {}).get("more_records", False)
                    rows = [zoho_reading._record(name, row, names) for row in answer.get("data", [])]
                    yield Page(name, rows, {**state, "number": number}, current=True)
                state = {"until": walk["to"], "deleted_until": state["deleted_until"]}
                yield Page(name, [], state, current=True)
                return state

            patch.setattr(ZohoReading, "_changes", turned)


def _our_clock(patch: PATCH, _world: World) -> None:
    patch.setattr(Reader, "_now", lambda _self: int(timezone.now().timestamp() * 1000))
    patch.setattr(SalesforceApi, "now", property(lambda _self: timezone.now().replace(microsecond=0)))
    patch.setattr(ZohoReading, "_now", lambda _self: int(timezone.now().timestamp()))


# Order of storing


def _early_checkpoint(patch: PATCH, _world: World) -> None:
    store = reading.Reading.store

    def early(self: reading.Reading, pages: Any, also: Any = None) -> None:
        if pages:
            self.connection.cursor = {**self.connection.cursor, self.name: pages[-1].cursor}
            Connection.objects.filter(pk=self.connection.pk).update(cursor=self.connection.cursor)
        store(self, pages, also)

    patch.setattr(reading.Reading, "store", early)


# Deletions and merges


def _no_deletions(patch: PATCH, world: World) -> None:
    match world.crm.kind:
        case "hubspot":

            def none(self: Reader, state: dict[str, Any], started: int) -> Iterator[Page]:
                yield self._page([], {**state, "deleted_until": started}, last=True)

            patch.setattr(Reader, "_deletions", none)
        case "salesforce":
            rows = SalesforceReader.rows
            patch.setattr(
                SalesforceReader, "rows", lambda self, where, order, deleted: rows(self, where, order, False)
            )
            patch.setattr(salesforce_walk.Walk, "_feed", lambda _self, _state: iter(()))
        case _:
            patch.setattr(ZohoReading, "_deletions", lambda _self, _name, _state: iter(()))


def _requested_id(patch: PATCH, _world: World) -> None:
    read = HubSpot.read

    def relabelled(self: HubSpot, name: str, ids: Any, names: Any) -> list[Any]:
        return [
            msgspec.structs.replace(found, id=one) for one in ids for found in read(self, name, [one], names)
        ]

    patch.setattr(HubSpot, "read", relabelled)


def _no_merges(patch: PATCH, _world: World) -> None:
    prepared = msgspec.structs.replace(apply.ROLES["person"], prepare=lambda _batch, _records: 0)
    patch.setitem(apply.ROLES, "person", prepared)


def _no_inheritance(patch: PATCH, _world: World) -> None:
    patch.setattr(merges, "take_over", lambda *_arguments: set())


def _no_brake(patch: PATCH, _world: World) -> None:
    patch.setattr(brake, "check", lambda *_arguments: None)


def _erased_return(patch: PATCH, _world: World) -> None:
    patch.setattr(apply, "_returns", lambda _record, _known, _current: True)
    # The names of the erased are a second lock; it hides what the first one lets through.
    patch.setattr(tombstones, "erased", lambda _names: set())


# Writing back


def _create(patch: PATCH, world: World) -> None:
    """What is written makes a new record, as a repeated create does."""

    def write(_self: Any, _name: str, changes: Any) -> list[None]:
        for change in changes:
            values = {name: value for name, value in change.values.items() if value is not None}
            if world.crm.kind == "hubspot":
                values = {name: str(value).lower() for name, value in values.items()}
            world.crm.vendor.create(world.crm.object, {**world.crm.theirs({"last_name": "Again"}), **values})
        return [None] * len(changes)

    patch.setattr(CLASSES[world.crm.kind], "write", write)


def _echo(patch: PATCH, _world: World) -> None:
    """Everything is sent at every run, as if each value were news."""
    write = writeback._Work.write

    def again(self: Any) -> None:
        WrittenRecord.objects.filter(values__contains={}).exclude(values={}).update(
            due_at=self.now, values={}
        )
        write(self)

    patch.setattr(writeback._Work, "write", again)


MUTANTS = (
    Mutant("strict > cursor", ALL, stories.tied, ("I5",), _strict),
    Mutant("no tie-break", ALL, stories.tied, ("I5",), _no_tie_break),
    Mutant("no look-back", ALL, stories.late, ("I5",), _no_look_back),
    Mutant("offset paging", ("hubspot", "zoho"), stories.shifting, ("I5",), _offset),
    Mutant("our clock in the cursor", ALL, stories.behind, ("I5",), _our_clock),
    Mutant("checkpoint before commit", ALL, stories.crashed, ("I5",), _early_checkpoint),
    Mutant("deletion feed ignored", ALL, stories.deleted, ("I5",), _no_deletions),
    Mutant("keyed by the requested id", ("hubspot",), stories.merged, ("I1", "I3"), _requested_id),
    Mutant("merges ignored", ("hubspot", "salesforce"), stories.merged, ("I1", "I3"), _no_merges),
    Mutant("an address stays with the deleted", ("zoho",), stories.merged, ("I8",), _no_inheritance),
    Mutant("brake removed", ALL, stories.nothing_to_see, ("I1",), _no_brake),
    Mutant("the erased forgotten", ALL, stories.erased, ("I9",), _erased_return),
    Mutant("write-back as create", ALL, stories.scored, ("I5", "I6"), _create),
    Mutant("echo", ALL, stories.scored, ("I6",), _echo),
)
