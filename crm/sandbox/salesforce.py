"""Salesforce: one organisation's REST, Bulk 2.0, SOAP login and OAuth endpoints over an in-memory store.

Paths, bodies and messages follow Salesforce's public API references and what its usual clients send.
"""

from __future__ import annotations

import json
import random
from collections import deque
from collections.abc import Awaitable, Callable, Iterable, Iterator
from functools import wraps
from typing import Any

from aiohttp import web

from crm.sandbox import salesforce_soap as soap
from crm.sandbox.salesforce_bulk import Bulk
from crm.sandbox.salesforce_collections import Collections
from crm.sandbox.salesforce_edits import Edits
from crm.sandbox.salesforce_ingest import Ingest
from crm.sandbox.salesforce_queries import Queries
from crm.sandbox.salesforce_query import Engine
from crm.sandbox.salesforce_replies import ApiError, error_body, not_found, reply
from crm.sandbox.salesforce_rest import Rest
from crm.sandbox.salesforce_schema import Schema, SObject, new_field
from crm.sandbox.salesforce_seed import seed as seed_records
from crm.sandbox.salesforce_sessions import Sessions, bearer
from crm.sandbox.salesforce_writes import SeveralMatches, Writes
from crm.sandbox.store import Clock

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]

DATA = "/services/data/{version:v[0-9]{2,3}\\.0}"
FIRST_VERSION, LAST_VERSION = 20, 64
DAILY_CALLS = 100_000
DAY_MS = 86_400_000


class Salesforce:
    """One organisation. `accepts` holds the client secrets and tokens that are valid, or is None for any."""

    name = "salesforce"
    prefixes = ("/services/", "/id/")

    def __init__(self, clock: Clock, contacts: int, seed: int) -> None:
        self.clock = clock
        self.accepts: set[str] | None = None
        self.daily_calls = DAILY_CALLS
        self.schema = Schema(clock)
        self.engine = Engine(self.schema, clock)
        self.writes = Writes(self.schema)
        self.sessions = Sessions(self)
        self.queries = Queries(self)
        self.bulk = Bulk(self)
        self.ingest = Ingest(self)
        self.edits = Edits(self.schema)
        self._calls: deque[int] = deque()
        self._messages = 0
        seed_records(self.schema, contacts, seed)

    # What the server and the control API ask of a vendor

    @property
    def lag_seconds(self) -> float:
        """How long a changed record is missing from queries, and then appears under its old stamp."""
        return self.engine.lag_seconds

    @lag_seconds.setter
    def lag_seconds(self, seconds: float) -> None:
        self.engine.lag_seconds = seconds

    def routes(self) -> list[web.RouteDef]:
        """The whole route table."""
        parts = (Rest(self), Collections(self), self.queries, self.bulk, self.ingest)
        table = [row for part in parts for row in part.routes()]
        return [
            *self.sessions.routes(),
            web.get("/services/data{slash:/?}", self.versions),
            *(
                web.route(method, DATA + path + "{slash:/?}", self.guarded(handler))
                for method, path, handler in table
            ),
        ]

    def tasks(self) -> list[Callable]:
        """Nothing runs beside the server."""
        return []

    def error_response(self, status: int, path: str) -> web.Response:
        """What Salesforce sends with a bare status: for scripted faults and unknown paths."""
        if path.startswith("/services/oauth2/"):
            code = "invalid_grant" if status < 500 else "server_error"
            return reply({"error": code, "error_description": "expired access/refresh token"}, status)
        if path.startswith("/services/Soap/") and status >= 500:
            return soap.fault("SERVER_UNAVAILABLE", "The server is temporarily unavailable")
        return reply(error_body(status), status, self.usage())

    def dump(self, kind: str) -> Iterator[dict[str, Any]] | None:
        """Every record of an object or alias, hidden and deleted ones too; None if there is no such object."""
        try:
            return self.edits.dump(kind)
        except KeyError:
            return None

    def create(self, kind: str, properties: dict[str, Any]) -> dict[str, Any]:
        """A new record with unvalidated values."""
        return self.edits.create(kind, properties)

    def edit(self, kind: str, key: str, body: dict[str, Any]) -> dict[str, Any]:
        """Change a record from outside the API: values, recycle bin, merge, erasure, stamp."""
        return self.edits.edit(kind, key, body)

    def random_write(self, rng: random.Random) -> str:
        """One believable change."""
        return self.edits.random_write(rng)

    def expire_tokens(self) -> int:
        """Refuse every access token seen so far; says how many."""
        return self.sessions.expire()

    def change_schema(self, kind: str, body: dict[str, Any]) -> dict[str, Any]:
        """Add, remove or rename a field: {"add": {...}}, {"remove": name} or {"rename": [old, new]}."""
        return self.schema.change(kind, body)

    # What tests set up beyond that

    def object(self, name: str) -> SObject:
        """An object by name or alias; KeyError if there is none."""
        return self.schema.aliased(name)

    def add_field(self, kind: str, name: str, **spec: Any) -> None:
        """A new custom field, see `salesforce_schema.new_field`."""
        self.object(kind).add(new_field(name, **spec))

    def remove_field(self, kind: str, name: str) -> None:
        """A field is deleted, or the API's user may no longer see it."""
        self.object(kind).remove(name)

    def rename_field(self, kind: str, old: str, new: str) -> None:
        """A field gets another API name and keeps its values."""
        self.object(kind).rename(old, new)

    def hide(self, kind: str, ids: Iterable[str] | None = None) -> None:
        """The API's user loses sight of these records (default: of all)."""
        table = self.object(kind).table
        table.hidden |= set(table.records if ids is None else ids)

    def show(self, kind: str) -> None:
        """Every record is visible again."""
        self.object(kind).table.hidden.clear()

    def empty_recycle_bin(self, kind: str) -> int:
        """Erase all deleted records and the log of deletions; says how many there were."""
        table = self.object(kind).table
        deleted = [record for record in table.records.values() if record.deleted]
        for record in deleted:
            table.erase(record)
        self.queries.deletions_known_since[self.object(kind).name] = self.clock.now()
        return len(deleted)

    def outbound(self, kind: str, ids: Iterable[str], url: str) -> str:
        """The SOAP body that tells a subscriber of records changed; `url` is where the sandbox is reached.

        KeyError for unknown records, ValueError for more than a message holds.
        """
        item = self.object(kind)
        records = [self.edits.record(kind, key)[1] for key in ids]
        if len(records) > soap.MOST_NOTIFICATIONS:
            raise ValueError(f"An outbound message holds at most {soap.MOST_NOTIFICATIONS} notifications.")
        self._messages += 1
        return soap.outbound_message(item, records, url, self._messages)

    # Requests

    def guarded(self, handler: Handler) -> Handler:
        """Check version, token and budget, count the call, and turn errors into Salesforce's bodies."""

        @wraps(handler)
        async def guard(request: web.Request) -> web.StreamResponse:
            try:
                self.sessions.check(bearer(request))
                self.spend()
                if not FIRST_VERSION <= float(request.match_info["version"][1:]) <= LAST_VERSION:
                    raise not_found()
                response = await handler(request)
            except ApiError as error:
                response = reply(error.body(), error.status)
            except SeveralMatches as several:
                base = f"{self.base(request)}/sobjects/{request.match_info['object']}/"
                response = reply([base + record.id for record in several.records], 300)
            response.headers.update(self.usage())
            return response

        return guard

    def spend(self) -> None:
        """Count one call against the budget of the last 24 hours, or refuse it."""
        now = self.clock.now()
        if self.calls_used() >= self.daily_calls:
            raise ApiError(403, "REQUEST_LIMIT_EXCEEDED", "TotalRequests Limit exceeded.")
        self._calls.append(now)

    def calls_used(self) -> int:
        """Calls of the last 24 hours."""
        while self._calls and self._calls[0] <= self.clock.now() - DAY_MS:
            self._calls.popleft()
        return len(self._calls)

    def usage(self) -> dict[str, str]:
        """The header that every reply carries."""
        return {"Sforce-Limit-Info": f"api-usage={self.calls_used()}/{self.daily_calls}"}

    def base(self, request: web.Request) -> str:
        """The path of the API version that a request uses."""
        return f"/services/data/{request.match_info['version']}"

    async def json(self, request: web.Request) -> dict[str, Any]:
        """The request's body as a JSON object, or a 400."""
        try:
            body = json.loads(await request.read())
        except ValueError as error:
            raise ApiError(400, "JSON_PARSER_ERROR", f"Unexpected character: {error}") from None
        if not isinstance(body, dict):
            raise ApiError(400, "JSON_PARSER_ERROR", "The HTTP entity body must be a JSON object.")
        return body

    async def versions(self, request: web.Request) -> web.Response:
        """Every version of the API; no token is needed to ask."""
        return reply(
            [
                {
                    "label": f"{('Spring', 'Summer', 'Winter')[number % 3]} '{(number + 1) // 3 + 4}",
                    "url": f"/services/data/v{number}.0",
                    "version": f"{number}.0",
                }
                for number in range(FIRST_VERSION, LAST_VERSION + 1)
            ]
        )
