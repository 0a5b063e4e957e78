"""Salesforce's REST resources for single records, metadata and limits."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from aiohttp import web

from crm.sandbox.salesforce_ids import USER
from crm.sandbox.salesforce_ids import long_form as id18
from crm.sandbox.salesforce_query import Shape
from crm.sandbox.salesforce_replies import ApiError, not_found, reply
from crm.sandbox.salesforce_schema import SObject
from crm.sandbox.salesforce_store import Record
from crm.sandbox.salesforce_writes import SeveralMatches

if TYPE_CHECKING:
    from crm.sandbox.salesforce import Salesforce

OBJECT = "/sobjects/{object:[A-Za-z]\\w*}"
ONE = OBJECT + "/{id:[^/]+}"
BY_KEY = OBJECT + "/{key:\\w+}/{value:.+?}"  # a value may hold slashes: not every client quotes them
# Limits beside the daily calls: name, most.
OTHER_LIMITS = {
    "DailyBulkV2QueryJobs": 10_000,
    "DailyBulkV2QueryFileStorageMB": 976_562,
    "DailyBulkApiBatches": 15_000,
    "DailyAsyncApexExecutions": 250_000,
    "ConcurrentAsyncGetReportInstances": 200,
    "DataStorageMB": 5_120,
    "FileStorageMB": 20_480,
    "HourlyTimeBasedWorkflow": 1_000,
    "SingleEmail": 5_000,
}


class Rest:
    """The handlers."""

    def __init__(self, salesforce: Salesforce) -> None:
        self.salesforce = salesforce
        self.schema, self.writes = salesforce.schema, salesforce.writes

    def routes(self) -> list[tuple[str, str, Callable]]:
        """(method, path, handler) of each operation."""
        return [
            ("GET", "", self.resources),
            ("GET", "/limits", self.limits),
            ("GET", "/sobjects", self.describe_all),
            ("GET", OBJECT, self.summary),
            ("POST", OBJECT, self.create),
            ("GET", OBJECT + "/describe", self.describe),
            ("GET", OBJECT + "/{feed:updated|deleted}", self.feed),
            ("GET", ONE, self.get),
            ("PATCH", ONE, self.update),
            ("POST", ONE, self.tunnelled),
            ("DELETE", ONE, self.delete),
            ("GET", BY_KEY, self.get),
            ("PATCH", BY_KEY, self.upsert),
            ("POST", BY_KEY, self.tunnelled),
            ("DELETE", BY_KEY, self.delete),
        ]

    async def resources(self, request: web.Request) -> web.Response:
        """What this version of the API offers."""
        base = self.salesforce.base(request)
        names = ("sobjects", "query", "queryAll", "limits", "composite", "jobs")
        identity = f"{request.scheme}://{request.host}/id/{id18(USER)}"
        return reply({**{name: f"{base}/{name}" for name in names}, "identity": identity})

    async def limits(self, request: web.Request) -> web.Response:
        """What is left of each limit."""
        most = self.salesforce.daily_calls
        daily = {"Max": most, "Remaining": max(0, most - self.salesforce.calls_used())}
        others = {name: {"Max": limit, "Remaining": limit} for name, limit in OTHER_LIMITS.items()}
        return reply({"DailyApiRequests": daily, **others})

    async def describe_all(self, request: web.Request) -> web.Response:
        """Every object."""
        return reply(self.schema.describe_all(self.salesforce.base(request)))

    async def describe(self, request: web.Request) -> web.Response:
        """Everything about one object."""
        return reply(self.schema.describe(self._object(request), self.salesforce.base(request)))

    async def summary(self, request: web.Request) -> web.Response:
        """One object in short; nobody has used any record recently."""
        item = self._object(request)
        return reply({"objectDescribe": item.summary(self.salesforce.base(request)), "recentItems": []})

    async def feed(self, request: web.Request) -> web.Response:
        """The ids changed or deleted within a window."""
        item = self._object(request)
        feeds = self.salesforce.queries
        feed = feeds.updated if request.match_info["feed"] == "updated" else feeds.deleted
        return reply(feed(item, request.query))

    async def create(self, request: web.Request) -> web.Response:
        """201 with the new id."""
        values = await self.salesforce.json(request)
        record, _ = self.writes.prepare_create(self._object(request), values)()
        return reply({"id": record.id, "success": True, "errors": []}, 201)

    async def get(self, request: web.Request) -> web.Response:
        """One live record with all its fields or those of `fields`."""
        item = self._object(request)
        names = [name for name in request.query.get("fields", "").split(",") if name]
        record = self._found(request, item)
        return reply(full_shape(item, names).row(record, self.salesforce.base(request)))

    async def update(self, request: web.Request) -> web.Response:
        """204; the body holds what changes."""
        item, values = self._object(request), await self.salesforce.json(request)
        if any(name.lower() == "id" for name in values):
            raise _not_in_body("Id")
        record = self.writes.live(item, request.match_info["id"])
        self.writes.prepare_update(item, record, values)()
        return web.Response(status=204)

    async def upsert(self, request: web.Request) -> web.Response:
        """200 or 201 with the id and whether it is new; 300 with addresses if several records match."""
        item, values = self._object(request), await self.salesforce.json(request)
        key = self.writes.key(item, request.match_info["key"])
        if any(name.lower() == key.name.lower() for name in values):
            raise _not_in_body(key.name)
        record, new = self.writes.prepare_upsert(item, key.name, request.match_info["value"], values)()
        body = {"id": record.id, "success": True, "errors": [], "created": new}
        return reply(body, 201 if new else 200)

    async def delete(self, request: web.Request) -> web.Response:
        """204."""
        item = self._object(request)
        record = self._found(request, item)
        self.writes.prepare_delete(item, record)()
        return web.Response(status=204)

    async def tunnelled(self, request: web.Request) -> web.Response:
        """PATCH for clients that cannot send it: POST with `?_HttpMethod=PATCH`."""
        if request.query.get("_HttpMethod", "").upper() != "PATCH":
            message = "HTTP Method 'POST' not allowed. Allowed are DELETE,GET,HEAD,PATCH"
            raise ApiError(405, "METHOD_NOT_ALLOWED", message)
        return await (self.upsert(request) if "key" in request.match_info else self.update(request))

    def _object(self, request: web.Request) -> SObject:
        return self.schema.required(request.match_info["object"])

    def _found(self, request: web.Request, item: SObject) -> Record:
        """The one live record that the path names, by id or by external id."""
        if "key" not in request.match_info:
            try:
                return self.writes.live(item, request.match_info["id"])
            except ApiError as error:
                if request.method == "GET" and error.code == "INVALID_CROSS_REFERENCE_KEY":
                    raise not_found() from None
                raise
        key = self.writes.key(item, request.match_info["key"])
        if key.type == "id":
            return self.writes.live(item, request.match_info["value"])
        found = item.table.find(key.name, key.stored(request.match_info["value"]))
        if len(found) > 1:
            raise SeveralMatches(found)
        if not found:
            raise not_found()
        return found[0]


def full_shape(item: SObject, names: list[str] | tuple[Any, ...] = ()) -> Shape:
    """A record shown with the named fields, or all of them; ApiError INVALID_FIELD."""
    shape = Shape(item)
    for name in names or [field.name for field in item.fields]:
        field = item.field(str(name))
        if field is None:
            message = f"No such column '{name}' on sobject of type {item.name}"
            raise ApiError(400, "INVALID_FIELD", message)
        shape.columns.append((field.name, field, item.getter(field)))
    return shape


def _not_in_body(name: str) -> ApiError:
    message = f"The {name} field should not be specified in the sobject data."
    return ApiError(400, "INVALID_FIELD", message, [name])
