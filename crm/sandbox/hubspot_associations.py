"""HubSpot's associations: which records belong together, and the v4 API over them.

Only HubSpot's own unlabelled associations exist. Ids are texts here, as in HubSpot's client library; an
association's `label` is left out where HubSpot writes null.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any

from aiohttp import web

from crm.sandbox import hubspot_replies as replies
from crm.sandbox.hubspot_kinds import Kind
from crm.sandbox.hubspot_replies import ApiError, reply
from crm.sandbox.store import Change, Record

if TYPE_CHECKING:
    from crm.sandbox.hubspot import HubSpot

PAIR = "/crm/v4/associations/{from}/{to}"
ONE = "/crm/v4/objects/{from}/{id}/associations/{to}"
DEFAULT_ONE = "/crm/v4/objects/{from}/{id}/associations/default/{to}/{other}"
NO_ASSOCIATIONS = "crm.associations.NO_ASSOCIATIONS_FOUND"
TYPE_IDS = {
    ("contacts", "companies"): 279,
    ("companies", "contacts"): 280,
    ("deals", "contacts"): 3,
    ("contacts", "deals"): 4,
    ("deals", "companies"): 341,
    ("companies", "deals"): 342,
}
CUSTOM_TYPE_ID = 1000  # of a pair that has none in the table
MAX_READ, MAX_WRITTEN, PAGE = 1000, 2000, 500

Links = list[tuple[Kind, Record]]


class Associations:
    """What belongs together, kept in both directions, and the handlers."""

    def __init__(self, hubspot: HubSpot) -> None:
        self.hubspot = hubspot
        self._links: dict[tuple[str, str], dict[int, dict[int, None]]] = {}

    def routes(self) -> list[tuple[str, str, Callable]]:
        """(method, path, handler) of each operation."""
        return [
            ("POST", PAIR + "/batch/read", self.batch_read),
            ("POST", PAIR + "/batch/create", self.batch_create),
            ("POST", PAIR + "/batch/associate/default", self.batch_default),
            ("POST", PAIR + "/batch/archive", self.batch_archive),
            ("GET", ONE, self.list_of_one),
            ("PUT", DEFAULT_ONE, self.create_default),
            ("PUT", ONE + "/{other}", self.create_one),
            ("DELETE", ONE + "/{other}", self.archive_one),
        ]

    # The links themselves

    def link(self, kind: str, one: int, other_kind: str, other: int) -> None:
        """Put two records together."""
        self._links.setdefault((kind, other_kind), {}).setdefault(one, {})[other] = None
        self._links.setdefault((other_kind, kind), {}).setdefault(other, {})[one] = None

    def unlink(self, kind: str, one: int, other_kind: str, other: int) -> None:
        """Take them apart."""
        self._links.get((kind, other_kind), {}).get(one, {}).pop(other, None)
        self._links.get((other_kind, kind), {}).get(other, {}).pop(one, None)

    def of(self, kind: Kind, record: Record, other: Kind) -> list[int]:
        """Ids of the live records of the other object that belong to this one."""
        found = self._links.get((kind.name, other.name), {}).get(record.id, ())
        live = (other.store.records.get(key) for key in found)
        return [row.id for row in live if row is not None and not row.archived]

    def follow(self, kind: Kind, change: Change) -> None:
        """Give a merge's winner what belonged to the loser; forget what belonged to an erased record."""
        gone = change.loser if change.kind == "merge" else change.record if change.kind == "erase" else None
        if gone is None:
            return
        for (mine, theirs), links in list(self._links.items()):
            if mine == kind.name:
                for other in list(links.get(gone.id, ())):
                    self.unlink(mine, gone.id, theirs, other)
                    if change.kind == "merge":
                        self.link(mine, change.record.id, theirs, other)

    def shown(self, kind: Kind, record: Record, other: Kind) -> list[dict[str, str]]:
        """What a record's `associations` say of one other object."""
        label = f"{kind.singular}_to_{other.singular}"
        return [{"id": str(key), "type": label} for key in self.of(kind, record, other)]

    def wanted(self, kind: Kind, rows: Any) -> Links:
        """The records that a create body's `associations` name, or a 400."""
        links = []
        for row in rows or ():
            types = [item.get("associationTypeId") for item in row.get("types") or ()]
            pair = next((pair for pair, number in TYPE_IDS.items() if number in types), None)
            other = self.hubspot.kinds.get(pair[1]) if pair and pair[0] == kind.name else None
            record = other.lookup(str((row.get("to") or {}).get("id"))) if other else None
            if other is None or record is None or record.archived:
                raise ApiError(400, f"Invalid association {row}: the type or the record does not exist.")
            links.append((other, record))
        return links

    def associate(self, kind: Kind, record: Record, links: Links) -> None:
        """Put a record together with those that `wanted` has found."""
        for other, theirs in links:
            self.link(kind.name, record.id, other.name, theirs.id)

    # Requests

    async def batch_read(self, request: web.Request) -> web.Response:
        """What belongs to each record asked about; a record that nothing belongs to is an error row."""
        kind, other = self._pair(request)
        results, errors = [], []
        for row in self._inputs(await self.hubspot.json(request), MAX_READ):
            key = str(row.get("id"))
            record = kind.lookup(key)
            found = self.of(kind, record, other) if record is not None and not record.archived else []
            start = int(row["after"]) if str(row.get("after") or "").isdecimal() else 0
            if found:
                results.append(self._page(kind, other, key, found, start))
            else:
                errors.append(_nothing(kind, other, key))
        return replies.batch(self.hubspot.clock, results, errors)

    async def batch_create(self, request: web.Request) -> web.Response:
        """201; 207 if some of the records do not exist."""
        kind, other = self._pair(request)
        made, errors = self._create(kind, other, await self.hubspot.json(request))
        labels = [
            {
                "fromObjectTypeId": kind.type_id,
                "fromObjectId": str(one.id),
                "toObjectTypeId": other.type_id,
                "toObjectId": str(theirs.id),
                "labels": [],
            }
            for one, theirs in made
        ]
        return replies.batch(self.hubspot.clock, labels, errors, 201)

    async def batch_default(self, request: web.Request) -> web.Response:
        """Associate without naming a type."""
        kind, other = self._pair(request)
        made, errors = self._create(kind, other, await self.hubspot.json(request))
        results = [_default(kind, one, other, theirs) for one, theirs in made]
        return replies.batch(self.hubspot.clock, results, errors)

    async def batch_archive(self, request: web.Request) -> web.Response:
        """Take apart; what is not together is passed over in silence."""
        kind, other = self._pair(request)
        for row in self._inputs(await self.hubspot.json(request), MAX_WRITTEN):
            one = kind.lookup(str((row.get("from") or {}).get("id")))
            for item in row.get("to") or ():
                theirs = other.lookup(str(item.get("id")))
                if one is not None and theirs is not None:
                    self.unlink(kind.name, one.id, other.name, theirs.id)
        return web.Response(status=204)

    async def list_of_one(self, request: web.Request) -> web.Response:
        """What belongs to one record, a page at a time."""
        kind, other = self._pair(request)
        record = kind.found(request.match_info["id"])
        limit, after = request.query.get("limit", str(PAGE)), request.query.get("after", "0")
        if not limit.isdecimal() or not 0 < int(limit) <= PAGE or not after.isdecimal():
            raise ApiError(400, f"Invalid paging: limit must be 1 to {PAGE}.")
        found = self.of(kind, record, other)
        end = int(after) + int(limit)
        body: dict[str, Any] = {"results": [_associated(kind, other, key) for key in found[int(after) : end]]}
        if end < len(found):
            body["paging"] = {"next": {"after": str(end)}}
        return reply(body)

    async def create_one(self, request: web.Request) -> web.Response:
        """201 with the pair."""
        kind, other = self._pair(request)
        one, theirs = kind.found(request.match_info["id"]), other.found(request.match_info["other"])
        self.link(kind.name, one.id, other.name, theirs.id)
        pair = {
            "fromObjectTypeId": kind.type_id,
            "fromObjectId": str(one.id),
            "toObjectTypeId": other.type_id,
            "toObjectId": str(theirs.id),
            "labels": [],
        }
        return reply(pair, 201)

    async def create_default(self, request: web.Request) -> web.Response:
        """The pair in both directions."""
        kind, other = self._pair(request)
        one, theirs = kind.found(request.match_info["id"]), other.found(request.match_info["other"])
        self.link(kind.name, one.id, other.name, theirs.id)
        both = [_default(kind, one, other, theirs), _default(other, theirs, kind, one)]
        return replies.batch(self.hubspot.clock, both, [])

    async def archive_one(self, request: web.Request) -> web.Response:
        """204, also for what is not together."""
        kind, other = self._pair(request)
        one, theirs = kind.lookup(request.match_info["id"]), other.lookup(request.match_info["other"])
        if one is not None and theirs is not None:
            self.unlink(kind.name, one.id, other.name, theirs.id)
        return web.Response(status=204)

    def _pair(self, request: web.Request) -> tuple[Kind, Kind]:
        names = request.match_info["from"], request.match_info["to"]
        return self.hubspot.kind_named(names[0]), self.hubspot.kind_named(names[1])

    def _inputs(self, body: dict[str, Any], most: int) -> Iterable[dict[str, Any]]:
        rows = body.get("inputs")
        if not isinstance(rows, list) or not all(isinstance(row, dict) for row in rows) or len(rows) > most:
            raise ApiError(400, f"Invalid input JSON: 'inputs' must be a list of at most {most} objects.")
        return rows

    def _create(
        self, kind: Kind, other: Kind, body: dict[str, Any]
    ) -> tuple[list[tuple[Record, Record]], list[dict[str, Any]]]:
        made, errors = [], []
        for row in self._inputs(body, MAX_WRITTEN):
            keys = [str((row.get(side) or {}).get("id")) for side in ("from", "to")]
            one, theirs = kind.lookup(keys[0]), other.lookup(keys[1])
            if one is None or theirs is None or one.archived or theirs.archived:
                errors.append(ApiError(404, replies.NOT_FOUND).standard(ids=keys))
            else:
                self.link(kind.name, one.id, other.name, theirs.id)
                made.append((one, theirs))
        return made, errors

    def _page(self, kind: Kind, other: Kind, key: str, found: list[int], start: int) -> dict[str, Any]:
        rows = [_associated(kind, other, other_id) for other_id in found[start : start + PAGE]]
        result: dict[str, Any] = {"from": {"id": key}, "to": rows}
        if start + PAGE < len(found):
            result["paging"] = {"next": {"after": str(start + PAGE)}}
        return result


def _type_id(kind: Kind, other: Kind) -> int:
    return TYPE_IDS.get((kind.name, other.name), CUSTOM_TYPE_ID)


def _associated(kind: Kind, other: Kind, key: int) -> dict[str, Any]:
    types = [{"category": "HUBSPOT_DEFINED", "typeId": _type_id(kind, other)}]
    return {"toObjectId": str(key), "associationTypes": types}


def _default(kind: Kind, one: Record, other: Kind, theirs: Record) -> dict[str, Any]:
    spec = {"associationCategory": "HUBSPOT_DEFINED", "associationTypeId": _type_id(kind, other)}
    return {"from": {"id": str(one.id)}, "to": {"id": str(theirs.id)}, "associationSpec": spec}


def _nothing(kind: Kind, other: Kind, key: str) -> dict[str, Any]:
    error = ApiError(404, f"No {other.singular} is associated with {kind.singular} {key}.")
    context = {"fromObjectId": [key], "fromObjectType": [kind.singular], "toObjectType": [other.singular]}
    return {**error.standard(**context), "subCategory": NO_ASSOCIATIONS}
