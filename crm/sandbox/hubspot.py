"""One HubSpot portal: contacts, companies, deals and products behind HubSpot's API.

Paths, parameters and bodies follow the models of HubSpot's own client library (hubspot-api-client 12);
limits and messages follow its developer documentation.
"""

from __future__ import annotations

import json
import random
from collections.abc import Awaitable, Callable, Iterable, Iterator
from functools import partial, wraps
from typing import Any

from aiohttp import web

from crm.sandbox import hubspot_outside as outside
from crm.sandbox import hubspot_properties as properties
from crm.sandbox import hubspot_replies as replies
from crm.sandbox.hubspot_access import Access, Limits
from crm.sandbox.hubspot_associations import Associations
from crm.sandbox.hubspot_definitions import Definitions
from crm.sandbox.hubspot_kinds import Kind
from crm.sandbox.hubspot_objects import Objects
from crm.sandbox.hubspot_portal import Portal
from crm.sandbox.hubspot_replies import ApiError, reply
from crm.sandbox.hubspot_search import SearchError
from crm.sandbox.hubspot_seed import seeds
from crm.sandbox.hubspot_webhooks import Webhooks
from crm.sandbox.store import Clock, ConflictError, Store
from crm.sandbox.vendor import Task

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


class HubSpot:
    """The portal's objects, and the parts of its API over them.

    `contacts`, `companies`, `deals` and `products` are the stores; `schema` is the contacts' schema.
    """

    name = "hubspot"
    prefixes = ("/crm/v3/", "/crm/v4/", "/crm-object-schemas/", "/oauth/v1/", "/events/", "/account-info/")

    def __init__(self, clock: Clock, contacts: int, seed: int) -> None:
        self.clock = clock
        self.accepts: set[str] | None = None
        self.kinds: dict[str, Kind] = {}
        self._names: dict[str, Kind] = {}  # every name that an object has in a path
        self.associations = Associations(self)
        self.webhooks = Webhooks(self)
        self.access = Access(self)
        self.definitions = Definitions(self)
        self.portal = Portal(self)
        for kind in _standard_kinds(clock):
            self.add_kind(kind)
        self.contacts, self.companies = self.kinds["contacts"].store, self.kinds["companies"].store
        self.deals, self.products = self.kinds["deals"].store, self.kinds["products"].store
        self.schema = self.kinds["contacts"].schema
        self._seed(contacts, seed)

    def _seed(self, contacts: int, seed: int) -> None:
        rows = seeds(contacts, seed)
        for name, kind in self.kinds.items():
            kind.store.seed(getattr(rows, name))
        people, companies, deals = (_ids(store) for store in (self.contacts, self.companies, self.deals))
        for person, company in rows.employment:
            self.associations.link("contacts", people[person], "companies", companies[company])
        for deal, person in rows.purchases:
            self.associations.link("deals", deals[deal], "contacts", people[person])

    # Objects

    def add_kind(self, kind: Kind) -> None:
        """Serve one more object."""
        self.kinds[kind.name] = kind
        self._names |= dict.fromkeys((kind.name, kind.singular, kind.type_id), kind)
        kind.store.listeners.append(partial(self.associations.follow, kind))
        kind.store.listeners.append(partial(self.webhooks.follow, kind))

    def kind_named(self, name: str) -> Kind:
        """The object of this name, singular or type id; a 400 if there is none."""
        kind = self._names.get(name) or self._names.get(name.lower())
        if kind is None:
            raise ApiError(400, f"Unable to infer object type from: {name}")
        return kind

    def kind(self, request: web.Request) -> Kind:
        """The object that a request's path names."""
        return self.kind_named(request.match_info["object"])

    @property
    def events(self) -> list[dict[str, Any]]:
        """The custom events that the portal was sent."""
        return self.portal.events

    @property
    def lag_seconds(self) -> float:
        """How long the search trails the stores."""
        return self.kinds["contacts"].index.lag_seconds

    @lag_seconds.setter
    def lag_seconds(self, seconds: float) -> None:
        for kind in self.kinds.values():
            kind.index.lag_seconds = seconds

    def hide(self, kind: str, ids: Iterable[str] | None = None) -> None:
        """Show these records (default: all of the object's) no longer, as after a loss of rights."""
        found = self.kinds[kind]
        found.hidden |= set(found.store.records if ids is None else map(int, ids))

    def show(self, kind: str) -> None:
        """Undo `hide`."""
        self.kinds[kind].hidden.clear()

    # What the server and the control API ask of a vendor

    def routes(self) -> list[web.RouteDef]:
        """The whole route table."""
        parts = (Objects(self), self.definitions, self.associations, self.portal)
        guarded = [(*row[:2], self._guarded(row[2])) for part in parts for row in part.routes()]
        free = [(*row[:2], self._answering(row[2])) for row in self.access.routes()]
        return [web.route(method, path, handler) for method, path, handler in (*guarded, *free)]

    def tasks(self) -> list[Task]:
        """The delivery of webhooks."""
        return [self.webhooks.run]

    def error_response(self, status: int, path: str) -> web.Response:
        """The answer to an error that no handler made: a scripted fault, an unknown path."""
        return reply(replies.error_body(status, path), status)

    def dump(self, kind: str, /) -> Iterator[dict[str, Any]] | None:
        """What the portal holds of an object or of `events`, or None if there is no such thing."""
        if kind == "events":
            return iter(self.events)
        if kind not in self.kinds:
            return None
        found = self.kinds[kind]
        return map(found.dump, found.store.records.values())

    def create(self, kind: str, values: dict[str, Any], /) -> dict[str, Any]:
        """A new record; its values are not validated."""
        found = self.kinds[kind]
        return found.dump(found.store.create(outside.texts(values)))

    def edit(self, kind: str, key: str, body: dict[str, Any], /) -> dict[str, Any]:
        """Change a record from outside."""
        return outside.edit(self.kinds[kind], key, body)

    def random_write(self, rng: random.Random) -> str:
        """Make one believable change."""
        return outside.random_write(self, rng)

    def expire_tokens(self) -> int:
        """Refuse from now on every token seen so far."""
        return self.access.expire()

    def configure(self, body: dict[str, Any]) -> dict[str, Any]:
        """The portal's own settings, each optional; ValueError for one that is unknown or wrong.

        `webhooks`: {"target_url", "client_secret", "public_url"?}; an empty `target_url` stops them.
        `limits`: {"burst"?, "searches_per_second"?, "daily"?} to enforce, or null to enforce none.
        `token_seconds`: when issued access tokens end, or null for never.
        """
        unknown = sorted(set(body) - {"webhooks", "limits", "token_seconds"})
        if unknown:
            raise ValueError(f"Unknown settings: {', '.join(unknown)}.")
        try:
            if "webhooks" in body:
                self.webhooks.set(**body["webhooks"])
            if "limits" in body:
                self.access.limits = None if body["limits"] is None else Limits(**body["limits"])
        except TypeError as error:
            raise ValueError(f"A setting is wrong: {error}.") from None
        if "token_seconds" in body:
            self.access.token_seconds = body["token_seconds"]
        return body

    def change_schema(self, kind: str, body: dict[str, Any], /) -> dict[str, Any]:
        """Add (by a `PropertyCreate` body), archive or rename a property."""
        schema, now = self.kinds[kind].schema, self.clock.now()
        if "add" in body:
            defaults = {"label": body["add"].get("name"), "type": "string", "fieldType": "text"}
            return schema.add({**defaults, **body["add"]}, now)
        if "remove" in body:
            return schema.remove(body["remove"], now)
        old, new = body["rename"]
        return schema.rename(old, new, now)

    # Requests

    def _answering(self, handler: Handler) -> Handler:
        """Turn the errors a handler raises into HubSpot's bodies."""

        @wraps(handler)
        async def answer(request: web.Request) -> web.StreamResponse:
            try:
                return await handler(request)
            except ApiError as error:
                return error.response()
            except SearchError as error:
                return ApiError(400, f"There was a problem with the request: {error}").response()
            except ConflictError as error:
                return self.kind(request).already_exists(error).response()

        return answer

    def _guarded(self, handler: Handler) -> Handler:
        """Ask for a bearer token, keep to the limits, and add the rate limit headers, which search lacks."""

        @wraps(handler)
        async def guard(request: web.Request) -> web.StreamResponse:
            try:
                self.access.check(request)
            except ApiError as error:
                return error.response()
            response = await answering(request)
            if not request.path.endswith("/search"):
                response.headers.update(self.access.headers())
            return response

        answering = self._answering(handler)
        return guard

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


def _standard_kinds(clock: Clock) -> list[Kind]:
    return [
        Kind(
            clock,
            "contacts",
            "contact",
            "0-1",
            properties.contacts(),
            unique="email",
            by_default=("email", "firstname", "lastname"),
        ),
        Kind(clock, "companies", "company", "0-2", properties.companies(), by_default=("name", "domain")),
        Kind(
            clock,
            "deals",
            "deal",
            "0-3",
            properties.deals(),
            by_default=("dealname", "amount", "closedate", "dealstage", "pipeline"),
        ),
        Kind(
            clock,
            "products",
            "product",
            "0-7",
            properties.products(),
            by_default=("name", "description", "price"),
        ),
    ]


def _ids(store: Store) -> list[int]:
    return list(store.records)
