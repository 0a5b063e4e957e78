"""HubSpot's contacts, properties, OAuth and event APIs over the store.

Paths, parameters and bodies follow the models of HubSpot's own client library (hubspot-api-client 12);
limits and messages follow its developer documentation. Associations are always empty: the sandbox has
no companies.
"""

from __future__ import annotations

import json
import random
import re
import uuid
from collections import deque
from collections.abc import Awaitable, Callable, Iterator
from functools import wraps
from typing import Any

from aiohttp import web

from crm.sandbox import hubspot_replies as replies
from crm.sandbox.hubspot_batch import Batch, Write
from crm.sandbox.hubspot_portal import Portal
from crm.sandbox.hubspot_replies import ApiError, reply
from crm.sandbox.hubspot_schema import (
    RETURNED_BY_DEFAULT,
    UNIQUE_PROPERTIES,
    Schema,
    as_text,
    contact_values,
    value_of,
)
from crm.sandbox.hubspot_search import SearchError, search
from crm.sandbox.people import people
from crm.sandbox.store import Clock, ConflictError, Record, Store, iso, parse_stamp
from crm.sandbox.vendor import Task

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]

CONTACTS = "/crm/v3/objects/{object:contacts|contact|0-1}"
PAGE = 100
PAGE_WITH_HISTORY = 50
BURST, BURST_SECONDS = 100, 10
TOKEN_SECONDS = 1800


class HubSpot:
    """One HubSpot portal: its contacts, its property definitions, the events it was sent."""

    name = "hubspot"
    prefixes = ("/crm/v3/", "/crm/v4/", "/crm-object-schemas/", "/oauth/v1/", "/events/", "/account-info/")

    def __init__(self, clock: Clock, contacts: int, seed: int) -> None:
        self.clock = clock
        self.accepts: set[str] | None = None
        self.lag_seconds = 0.0
        self.schema = Schema()
        self.contacts = Store(clock, unique="email")
        self.events: list[dict[str, Any]] = []
        self._calls: deque[int] = deque()
        self.contacts.seed(
            (
                contact_values(person),
                int(person.created.timestamp() * 1000),
                int(person.modified.timestamp() * 1000),
            )
            for person in people(contacts, seed)
        )

    # What the server asks of a vendor

    def routes(self) -> list[web.RouteDef]:
        """The whole route table."""
        table: list[tuple[str, str, Handler]] = [
            ("GET", CONTACTS, self.list_contacts),
            ("POST", CONTACTS, self.create_contact),
            ("POST", f"{CONTACTS}/search", self.search_contacts),
            ("POST", f"{CONTACTS}/merge", self.merge_contacts),
            ("POST", f"{CONTACTS}/gdpr-delete", self.erase_contact),
            *Batch(self).routes(CONTACTS),
            ("GET", CONTACTS + "/{id}", self.get_contact),
            ("PATCH", CONTACTS + "/{id}", self.update_contact),
            ("DELETE", CONTACTS + "/{id}", self.archive_contact),
            *Portal(self).routes(),
        ]
        guarded = [web.route(method, path, self._guarded(handler)) for method, path, handler in table]
        return [*guarded, web.post("/oauth/v1/token", self._answering(self.issue_token))]

    def tasks(self) -> list[Task]:
        """Nothing runs beside the server."""
        return []

    def error_response(self, status: int, path: str) -> web.Response:
        """The answer to an error that no handler made: a scripted fault, an unknown path."""
        return reply(replies.error_body(status, path), status)

    def create(self, kind: str, properties: dict[str, Any]) -> dict[str, Any]:
        """A new record; its values are not validated."""
        return self._shown(self._store(kind).create(_texts(properties)))

    def edit(self, kind: str, key: str, body: dict[str, Any]) -> dict[str, Any]:
        """Change a record from outside; see `Vendor.edit`."""
        store = self._store(kind)
        record = self._record(store, key)
        values, stamp = body.get("properties") or {}, body.get("modified")
        modified = None if stamp is None else parse_stamp(str(stamp))
        if values or modified is not None:
            store.update(record, _texts(values), modified)
        if body.get("merge") is not None:
            store.merge(record, self._record(store, str(body["merge"])))
        if body.get("archived") is True:
            store.archive(record)
        elif body.get("archived") is False:
            store.restore(record)
        if body.get("erased") is True:
            store.erase(record)
            return {"id": key, "erased": True}
        return self._shown(record)

    def random_write(self, rng: random.Random) -> str:
        """Change one contact's loyalty points."""
        record = rng.choice([*self.contacts.live()])
        self.contacts.update(record, {"loyalty_points": str(rng.randrange(5000))})
        return f"updated contact {record.id}"

    def expire_tokens(self) -> int:
        """Tokens of this portal never end."""
        return 0

    def change_schema(self, kind: str, body: dict[str, Any]) -> dict[str, Any]:
        """Add or remove a property."""
        self._store(kind)
        if "add" in body:
            return self.schema.add(body["add"], self.clock.now())
        definition = self.schema.definitions[body["remove"]]
        definition["archived"] = True
        return definition

    def _store(self, kind: str) -> Store:
        if kind != "contacts":
            raise KeyError(kind)
        return self.contacts

    def _record(self, store: Store, key: str) -> Record:
        if not key.isdecimal() or int(key) not in store.records:
            raise KeyError(key)
        return store.records[int(key)]

    def dump(self, kind: str) -> Iterator[dict[str, Any]] | None:
        """What the store holds of `contacts` or `events`, or None if there is no such thing."""
        if kind == "events":
            return iter(self.events)
        if kind != "contacts":
            return None
        return map(self._shown, self.contacts.records.values())

    def _shown(self, record: Record) -> dict[str, Any]:
        return {
            "id": str(record.id),
            "archived": record.archived,
            "created": iso(record.created),
            "modified": iso(record.modified),
            "archived_at": iso(record.archived_at) if record.archived_at else None,
            "merged_ids": [str(loser) for loser in record.merged],
            "properties": record.properties,
        }

    # Requests

    def _answering(self, handler: Handler) -> Handler:
        """Turn the errors a handler raises into HubSpot's bodies."""

        @wraps(handler)
        async def answer(request: web.Request) -> web.StreamResponse:
            try:
                return await handler(request)
            except ApiError as error:
                return reply(error.body(), error.status)
            except SearchError as error:
                return reply(ApiError(400, f"There was a problem with the request: {error}").body(), 400)
            except ConflictError as error:
                return reply(_already_exists(error).body(), 409)

        return answer

    def _guarded(self, handler: Handler) -> Handler:
        """Ask for a bearer token (any will do) and add the rate limit headers, which search lacks."""
        answering = self._answering(handler)

        @wraps(handler)
        async def guard(request: web.Request) -> web.StreamResponse:
            scheme, _, token = request.headers.get("Authorization", "").partition(" ")
            if scheme.lower() != "bearer" or not token.strip():
                return reply(ApiError(401, replies.NO_CREDENTIALS).body(), 401)
            response = await answering(request)
            if not request.path.endswith("/search"):
                response.headers.update(self._rate_headers())
            return response

        return guard

    def _rate_headers(self) -> dict[str, str]:
        now = self.clock.now()
        self._calls.append(now)
        while self._calls and not now - BURST_SECONDS * 1000 < self._calls[0] <= now:
            self._calls.popleft()
        return {
            "X-HubSpot-RateLimit-Max": str(BURST),
            "X-HubSpot-RateLimit-Remaining": str(max(0, BURST - len(self._calls))),
            "X-HubSpot-RateLimit-Interval-Milliseconds": str(BURST_SECONDS * 1000),
        }

    async def json(self, request: web.Request) -> dict[str, Any]:
        """The request's body as a JSON object, or a 400."""
        try:
            body = json.loads(await request.read())
        except ValueError as error:
            raise ApiError(400, f"Invalid input JSON: {error}") from None
        if not isinstance(body, dict):
            raise ApiError(400, "Invalid input JSON: an object is required.")
        return body

    def flag(self, request: web.Request, name: str) -> bool:
        """A boolean query parameter; the Python client writes `True` with a capital letter."""
        return request.query.get(name, "").lower() == "true"

    def _names(self, request: web.Request, key: str, default: tuple[str, ...] = ()) -> list[str]:
        """A list parameter, repeated or with commas."""
        names = [name for value in request.query.getall(key, []) for name in value.split(",") if name]
        return names or list(default)

    # Finding and changing one record

    def lookup(self, key: str, id_property: str | None = None) -> Record | None:
        """The record by id or by a unique property, archived or not; a merged-away id gives its winner."""
        if id_property in (None, "", "hs_object_id"):
            return self.contacts.get(int(key)) if re.fullmatch(r"[0-9]{1,18}", key) else None
        definition = self.schema.active(id_property)
        if definition is None or not (id_property in UNIQUE_PROPERTIES or definition["hasUniqueValue"]):
            raise ApiError(400, f"{id_property} is not a unique identifier property of CONTACT.")
        if id_property == "email":
            return self.contacts.find(key)
        return next((record for record in self.contacts.live() if value_of(record, id_property) == key), None)

    def found(self, key: str, id_property: str | None = None, *, archived: bool = False) -> Record:
        """Like `lookup`, but 404 unless the record exists and is as archived as asked."""
        record = self.lookup(key, id_property)
        if record is None or record.archived != archived:
            raise ApiError(404, replies.NOT_FOUND, context={"id": [key]})
        return record

    def prepare_create(self, properties: dict[str, Any]) -> Write:
        """Check the values; the function returned creates the record."""
        values = self._checked(properties)
        self._refuse_taken(values)
        return lambda: (self.contacts.create(values), True)

    def prepare_update(self, record: Record, properties: dict[str, Any]) -> Write:
        """Check the values; the function returned writes them into the record."""
        values = self._checked(properties)
        self._refuse_taken(values, record.id)

        def write() -> tuple[Record, bool]:
            self.contacts.update(record, values)
            return record, False

        return write

    def _checked(self, properties: Any) -> dict[str, str | None]:
        if not isinstance(properties, dict):
            raise ApiError(400, "Invalid input JSON: some required fields were not set: [properties]")
        problems = self.schema.problems(properties)
        if problems:
            details = [
                {"message": row["message"], "code": row["error"], "context": {"propertyName": [row["name"]]}}
                for row in problems
            ]
            raise ApiError(400, f"Property values were not valid: {json.dumps(problems)}", errors=details)
        return self.schema.cleaned(properties)

    def _refuse_taken(self, values: dict[str, str | None], own_id: int | None = None) -> None:
        try:
            self.contacts.check_unique(values, own_id)
        except ConflictError as error:
            raise _already_exists(error) from None

    # Contacts

    async def list_contacts(self, request: web.Request) -> web.Response:
        """A page by ascending id; `after` is the id to go on from."""
        history = self._names(request, "propertiesWithHistory")
        largest = PAGE_WITH_HISTORY if history else PAGE
        limit, after = request.query.get("limit", "10"), request.query.get("after", "0")
        if (
            not re.fullmatch(r"[0-9]{1,18}", after)
            or not re.fullmatch(r"[0-9]{1,5}", limit)
            or not 0 < int(limit) <= largest
        ):
            raise ApiError(
                400, f"Invalid paging: limit must be 1 to {largest}, after must come from a previous page."
            )
        archived, start = self.flag(request, "archived"), int(after)
        page: list[Record] = []
        following = None
        for record in self.contacts.records.values():
            if record.id < start or record.archived != archived:
                continue
            if len(page) == int(limit):
                following = page[-1].id + 1
                break
            page.append(record)
        names = self._names(request, "properties", RETURNED_BY_DEFAULT)
        body: dict[str, Any] = {
            "results": [replies.contact(self.schema, record, names, history) for record in page]
        }
        if following is not None:
            link = request.url.update_query({"after": str(following)})
            body["paging"] = {"next": {"after": str(following), "link": str(link)}}
        return reply(body)

    async def create_contact(self, request: web.Request) -> web.Response:
        """201, or 409 if the e-mail address is taken."""
        body = await self.json(request)
        record, _ = self.prepare_create(body.get("properties"))()
        return reply(replies.contact(self.schema, record, body["properties"]), 201)

    async def get_contact(self, request: web.Request) -> web.Response:
        """One record; an archived one only with `archived=true`."""
        record = self.found(
            request.match_info["id"], request.query.get("idProperty"), archived=self.flag(request, "archived")
        )
        names = self._names(request, "properties", RETURNED_BY_DEFAULT)
        return reply(
            replies.contact(self.schema, record, names, self._names(request, "propertiesWithHistory"))
        )

    async def update_contact(self, request: web.Request) -> web.Response:
        """The changed record with the written properties."""
        record = self.found(request.match_info["id"], request.query.get("idProperty"))
        body = await self.json(request)
        self.prepare_update(record, body.get("properties"))()
        return reply(replies.contact(self.schema, record, body["properties"]))

    async def archive_contact(self, request: web.Request) -> web.Response:
        """204, for an unknown record as well: HubSpot's delete may be repeated."""
        record = self.lookup(request.match_info["id"])
        if record is not None:
            self.contacts.archive(record)
        return web.Response(status=204)

    async def search_contacts(self, request: web.Request) -> web.Response:
        """A page of live records that match, with the total."""
        body = await self.json(request)
        total, page, following = search(self.contacts, self.schema, body)
        names = body.get("properties") or RETURNED_BY_DEFAULT
        result: dict[str, Any] = {
            "total": total,
            "results": [replies.contact(self.schema, record, names) for record in page],
        }
        if following is not None:
            result["paging"] = {"next": {"after": str(following)}}
        return reply(result)

    async def merge_contacts(self, request: web.Request) -> web.Response:
        """The primary record, with the other's values in its gaps and the other's address beside its own."""
        body = await self.json(request)
        winner, loser = (
            self.lookup(str(body.get(key, ""))) for key in ("primaryObjectId", "objectIdToMerge")
        )
        if winner is None or loser is None or winner is loser or winner.archived or loser.archived:
            raise ApiError(400, "Unable to merge: both records must exist and differ.")
        addresses = [
            *winner.properties.get("hs_additional_emails", "").split(";"),
            *loser.properties.get("hs_additional_emails", "").split(";"),
            loser.properties.get("email", ""),
        ]
        kept_own = bool(winner.properties.get("email"))
        self.contacts.merge(winner, loser)
        others = ";".join(address for address in dict.fromkeys(addresses) if address)
        if kept_own and others:
            winner.properties["hs_additional_emails"] = others
        return reply(replies.contact(self.schema, winner, (*RETURNED_BY_DEFAULT, "hs_merged_object_ids")))

    async def erase_contact(self, request: web.Request) -> web.Response:
        """Delete for good; the id or address is unknown ever after."""
        body = await self.json(request)
        record = self.lookup(str(body.get("objectId", "")), body.get("idProperty"))
        if record is None:
            raise ApiError(404, replies.NOT_FOUND, context={"id": [str(body.get("objectId", ""))]})
        self.contacts.erase(record)
        return web.Response(status=204)

    # Access

    async def issue_token(self, request: web.Request) -> web.Response:
        """An access token for any client and any code or refresh token."""
        form = await request.post()
        grants = {"refresh_token": "refresh_token", "authorization_code": "code"}
        needed = grants.get(str(form.get("grant_type")))
        if needed is None:
            raise ApiError(400, "missing or unknown grant type")
        absent = [key for key in ("client_id", "client_secret", needed) if not form.get(key)]
        if absent:
            raise ApiError(400, f"missing or invalid {absent[0].replace('_', ' ')}")
        refresh = str(form.get("refresh_token") or uuid.uuid4())
        return reply(
            {
                "access_token": f"sandbox-{uuid.uuid4()}",
                "refresh_token": refresh,
                "expires_in": TOKEN_SECONDS,
                "token_type": "bearer",
            }
        )


def _texts(properties: dict[str, Any]) -> dict[str, str | None]:
    return {name: None if value is None else as_text(value) for name, value in properties.items()}


def _already_exists(error: ConflictError) -> ApiError:
    return ApiError(409, f"Contact already exists. Existing ID: {error.record_id}")
