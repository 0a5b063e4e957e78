"""HubSpot's generic object API: list, read, create, change, archive, search, merge and erase records."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any

from aiohttp import web

from crm.sandbox import hubspot_replies as replies
from crm.sandbox.hubspot_batch import Batch
from crm.sandbox.hubspot_kinds import Kind
from crm.sandbox.hubspot_replies import ApiError, reply
from crm.sandbox.hubspot_search import search
from crm.sandbox.store import Record

if TYPE_CHECKING:
    from crm.sandbox.hubspot import HubSpot

OBJECTS = "/crm/v3/objects/{object}"
PAGE = 100
PAGE_WITH_HISTORY = 50


class Objects:
    """The handlers, for every object of the portal."""

    def __init__(self, hubspot: HubSpot) -> None:
        self.hubspot = hubspot

    def routes(self) -> list[tuple[str, str, Callable]]:
        """(method, path, handler) of each operation."""
        return [
            ("GET", OBJECTS, self.list_page),
            ("POST", OBJECTS, self.create),
            ("POST", f"{OBJECTS}/search", self.search),
            ("POST", f"{OBJECTS}/merge", self.merge),
            ("POST", f"{OBJECTS}/gdpr-delete", self.erase),
            *Batch(self.hubspot).routes(OBJECTS),
            ("GET", OBJECTS + "/{id}", self.read),
            ("PATCH", OBJECTS + "/{id}", self.update),
            ("DELETE", OBJECTS + "/{id}", self.archive),
        ]

    async def list_page(self, request: web.Request) -> web.Response:
        """A page by ascending id; `after` is the id to go on from."""
        kind = self.hubspot.kind(request)
        history = _names(request, "propertiesWithHistory")
        limit, start = _paging(request, PAGE_WITH_HISTORY if history else PAGE)
        archived = self.hubspot.flag(request, "archived")
        page: list[Record] = []
        following = None
        for record in kind.store.walk(start):
            if record.archived != archived or record.id in kind.hidden:
                continue
            if len(page) == limit:
                following = page[-1].id + 1
                break
            page.append(record)
        shown, others = kind.shown(_names(request, "properties")), self._others(request)
        body: dict[str, Any] = {
            "results": [self._with_others(kind, record, shown, history, others) for record in page]
        }
        if following is not None:
            link = request.url.update_query({"after": str(following)})
            body["paging"] = {"next": {"after": str(following), "link": str(link)}}
        return reply(body)

    async def create(self, request: web.Request) -> web.Response:
        """201, or 409 if the unique value is taken."""
        kind, body = self.hubspot.kind(request), await self.hubspot.json(request)
        links = self.hubspot.associations.wanted(kind, body.get("associations"))
        record, _ = kind.prepare_create(body.get("properties"))()
        self.hubspot.associations.associate(kind, record, links)
        return reply(kind.shape(record, body["properties"]), 201)

    async def read(self, request: web.Request) -> web.Response:
        """One record; an archived one only with `archived=true`."""
        kind = self.hubspot.kind(request)
        record = kind.found(
            request.match_info["id"],
            request.query.get("idProperty"),
            archived=self.hubspot.flag(request, "archived"),
        )
        shown, history = kind.shown(_names(request, "properties")), _names(request, "propertiesWithHistory")
        return reply(self._with_others(kind, record, shown, history, self._others(request)))

    async def update(self, request: web.Request) -> web.Response:
        """The changed record with the written properties."""
        kind = self.hubspot.kind(request)
        record = kind.found(request.match_info["id"], request.query.get("idProperty"))
        body = await self.hubspot.json(request)
        kind.prepare_update(record, body.get("properties"))()
        return reply(kind.shape(record, body["properties"]))

    async def archive(self, request: web.Request) -> web.Response:
        """204, for an unknown record as well: HubSpot's delete may be repeated."""
        kind = self.hubspot.kind(request)
        record = kind.lookup(request.match_info["id"])
        if record is not None:
            kind.store.archive(record)
        return web.Response(status=204)

    async def search(self, request: web.Request) -> web.Response:
        """A page of live records that match, with the total."""
        kind, body = self.hubspot.kind(request), await self.hubspot.json(request)
        total, page, following = search(kind, body)
        shown = kind.shown(body.get("properties"))
        result: dict[str, Any] = {
            "total": total,
            "results": [replies.record(kind.schema, record, shown) for record in page],
        }
        if following is not None:
            result["paging"] = {"next": {"after": str(following)}}
        return reply(result)

    async def merge(self, request: web.Request) -> web.Response:
        """The primary record, with the other's values in its gaps."""
        kind, body = self.hubspot.kind(request), await self.hubspot.json(request)
        winner, loser = (
            kind.lookup(str(body.get(key, ""))) for key in ("primaryObjectId", "objectIdToMerge")
        )
        if winner is None or loser is None or winner is loser or winner.archived or loser.archived:
            raise ApiError(400, "Unable to merge: both records must exist and differ.")
        kind.merge(winner, loser)
        return reply(kind.shape(winner, (*kind.by_default, "hs_merged_object_ids")))

    async def erase(self, request: web.Request) -> web.Response:
        """Delete for good; the id or address is unknown ever after."""
        kind, body = self.hubspot.kind(request), await self.hubspot.json(request)
        key = str(body.get("objectId", ""))
        record = kind.lookup(key, body.get("idProperty"))
        if record is None:
            raise ApiError(404, replies.NOT_FOUND, context={"id": [key]})
        kind.store.erase(record)
        return web.Response(status=204)

    def _others(self, request: web.Request) -> list[Kind]:
        return [self.hubspot.kind_named(name) for name in _names(request, "associations")]

    def _with_others(
        self, kind: Kind, record: Record, shown: list[str], history: Iterable[str], others: list[Kind]
    ) -> dict[str, Any]:
        """A record with the ids of the associated records of the other objects, if any."""
        body = replies.record(kind.schema, record, shown, history)
        found = {
            other.name: {"results": rows}
            for other in others
            if (rows := self.hubspot.associations.shown(kind, record, other))
        }
        return {**body, "associations": found} if found else body


def _names(request: web.Request, key: str) -> list[str]:
    """A list parameter, repeated or with commas."""
    return [name for value in request.query.getall(key, []) for name in value.split(",") if name]


def _paging(request: web.Request, largest: int) -> tuple[int, int]:
    """(limit, id to go on from), or a 400."""
    limit, after = request.query.get("limit", "10"), request.query.get("after", "0")
    if (
        not re.fullmatch(r"[0-9]{1,18}", after)
        or not re.fullmatch(r"[0-9]{1,5}", limit)
        or not 0 < int(limit) <= largest
    ):
        raise ApiError(
            400, f"Invalid paging: limit must be 1 to {largest}, after must come from a previous page."
        )
    return int(limit), int(after)
