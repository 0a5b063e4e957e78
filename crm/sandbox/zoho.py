"""Zoho CRM's API, version 8: contacts, leads, deals and products of one organisation.

Paths, parameters and bodies follow the models of Zoho's own client library (zohocrmsdk8-0 7.0.0); limits and
messages follow its developer pages. What a test may set: see the attributes of `Zoho`, `Access`, `Records`
and `Bulk`.
"""

from __future__ import annotations

import json
import random
from collections.abc import Awaitable, Callable, Coroutine, Iterable, Iterator
from functools import partial, wraps
from typing import Any

from aiohttp import web

from crm.sandbox import zoho_modules, zoho_replies
from crm.sandbox.people import Person, people
from crm.sandbox.store import Clock, iso, parse_stamp
from crm.sandbox.zoho_access import Access
from crm.sandbox.zoho_bulk import PATH as BULK
from crm.sandbox.zoho_bulk import Bulk
from crm.sandbox.zoho_modules import LEAD_EVERY, STAGES
from crm.sandbox.zoho_records import Records
from crm.sandbox.zoho_replies import USER, ApiError, NothingError, local, reply
from crm.sandbox.zoho_schema import API_NAME, Definition, Schema
from crm.sandbox.zoho_settings import Settings
from crm.sandbox.zoho_store import FIRST_ID, Module, Row
from crm.sandbox.zoho_watch import Watch
from crm.sandbox.zoho_writes import Writes

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]

API = "/crm/v8"
RECORD = "{id:[0-9]+}"
BULK_CREDITS = 50
ROWS_PER_CREDIT = 10


class Zoho:
    """One Zoho organisation.

    Attributes:
        utc_offset_minutes: the organisation's time zone, in which every time is shown.
        lag_seconds: how long a changed record is missing from lists, searches and COQL.
        hidden: ids that the API no longer shows, as after a loss of rights.
        locked: ids whose updates are refused.
    """

    name = "zoho"
    prefixes = ("/crm/v8/", "/crm/bulk/", "/oauth/v2/")

    def __init__(self, clock: Clock, contacts: int, seed: int) -> None:
        self.clock = clock
        self.utc_offset_minutes = 120
        self.lag_seconds = 0.0
        self.hidden: set[str] = set()
        self.locked: set[str] = set()
        self.modules = {
            schema.module: Module(clock, schema, number)
            for number, schema in enumerate(zoho_modules.schemas(), 1)
        }
        self._aliases = {name.lower(): module for name, module in self.modules.items()}
        self._last_id = FIRST_ID + 900_000_000_000
        self._seed(list(people(contacts, seed)), seed)
        self.access = Access(clock)
        self.records = Records(self)
        self.bulk = Bulk(self)
        self.watch = Watch(self)
        for module in self.modules.values():
            module.listeners.append(partial(self.watch.changed, module.name))

    def _seed(self, known: list[Person], seed: int) -> None:
        contacts = self.modules["Contacts"]
        contacts.seed(map(zoho_modules.contact, known))
        self.modules["Leads"].seed(map(zoho_modules.lead, known[::LEAD_EVERY]))
        buyers = [
            (row.id, contacts.schema.title(row.values), row.created)
            for person, row in zip(known, contacts.rows.values(), strict=True)
            if person.lifecycle_stage in ("customer", "evangelist")
        ]
        self.modules["Deals"].seed(zoho_modules.deals(buyers, seed))
        self.modules["Products"].seed(zoho_modules.products(seed))

    # What the server and the control API ask of a vendor

    @property
    def accepts(self) -> set[str] | None:
        """The client secrets, refresh and access tokens that are let in; None for all."""
        return self.access.accepts

    @accepts.setter
    def accepts(self, value: set[str] | None) -> None:
        self.access.accepts = value

    def routes(self) -> list[web.RouteDef]:
        """The whole route table; what stands first wins."""
        settings, records, writes, one = (
            Settings(self),
            self.records,
            Writes(self),
            API + "/{module}/" + RECORD,
        )
        table: list[tuple[str, str, Handler]] = [
            ("GET", f"{API}/settings/modules", settings.modules),
            ("GET", API + "/settings/modules/{name}", settings.module),
            ("GET", f"{API}/settings/fields", settings.fields),
            ("GET", API + "/settings/fields/{field}", settings.field),
            ("GET", f"{API}/users", settings.users),
            ("GET", f"{API}/org", settings.org),
            ("POST", f"{API}/coql", records.coql),
            ("GET", f"{API}/actions/watch", self.watch.show),
            ("POST", f"{API}/actions/watch", self.watch.enable),
            ("PUT", f"{API}/actions/watch", self.watch.update),
            ("PATCH", f"{API}/actions/watch", self.watch.patch),
            ("DELETE", f"{API}/actions/watch", self.watch.disable),
            ("POST", BULK, self.bulk.create),
            ("GET", BULK + "/{job_id}", self.bulk.state),
            ("GET", BULK + "/{job_id}/result", self.bulk.result),
            ("GET", API + "/{module}/deleted", records.deleted),
            ("GET", API + "/{module}/search", records.search),
            ("GET", API + "/{module}/actions/count", records.count),
            ("POST", API + "/{module}/upsert", writes.upsert),
            ("GET", one, records.get),
            ("PUT", one, writes.update_one),
            ("DELETE", one, writes.delete_one),
            ("GET", API + "/{module}", records.list),
            ("POST", API + "/{module}", writes.create),
            ("PUT", API + "/{module}", writes.update),
            ("DELETE", API + "/{module}", writes.delete),
        ]
        guarded = [web.route(method, path, self._guarded(handler)) for method, path, handler in table]
        return [web.post("/oauth/v2/token", self.access.issue), *guarded]

    def tasks(self) -> list[Callable[[], Coroutine[Any, Any, None]]]:
        """What runs beside the server: notifications being posted."""
        return [self.watch.deliver_forever]

    def error_response(self, status: int, path: str) -> web.Response:
        """The body of an error that no handler made: a scripted fault, an unknown path."""
        return zoho_replies.error_for(status)

    def dump(self, kind: str) -> Iterator[dict[str, Any]] | None:
        """What the store holds of a module, or None if there is no such module."""
        module = self._aliases.get(kind.lower())
        return None if module is None else (_dumped(row) for row in list(module.rows.values()))

    def create(self, kind: str, properties: dict[str, Any]) -> dict[str, Any]:
        """A new record with these values, unchecked; KeyError for an unknown module."""
        return _dumped(self._aliases[kind.lower()].create(properties))

    def edit(self, kind: str, key: str, body: dict[str, Any]) -> dict[str, Any]:
        """Change a record from outside; see the control API. KeyError, ValueError."""
        module = self._aliases[kind.lower()]
        row = module.rows[key]
        values, stamp = body.get("properties", {}), body.get("modified")
        if not isinstance(values, dict):
            raise ValueError("'properties' must be an object.")
        modified = None if stamp is None else parse_stamp(str(stamp))
        if body.get("merge") is not None:
            loser = module.rows[str(body["merge"])]
            if loser is row:
                raise ValueError("A record cannot be merged into itself.")
            module.merge(row, loser)
        if values or modified is not None:
            module.update(row, values, modified)
        if body.get("archived") is True:
            module.archive(row)
        elif body.get("archived") is False:
            module.restore(row)
        if body.get("erased") is True:
            module.erase(row)
            return {"id": key, "erased": True}
        return _dumped(row)

    def expire_tokens(self) -> int:
        """Refuse every access token issued or used so far."""
        return self.access.expire()

    def change_schema(self, kind: str, body: dict[str, Any]) -> dict[str, Any]:
        """Add {"name", "type"?, "label"?, "options"?}, remove or rename a field; KeyError, ValueError."""
        module = self._aliases[kind.lower()]
        fields = module.schema.fields
        if "add" in body:
            added = body["add"]
            name = str(added.get("name", ""))
            if not API_NAME.match(name) or name in fields:
                raise ValueError("'name' must be a new API name.")
            options = tuple(map(str, added.get("options", ())))
            kind_, label = str(added.get("type", "text")), str(added.get("label", name))
            fields[name] = Definition(name, label, kind_, custom=True, options=options)
        elif "remove" in body:
            del fields[str(body["remove"])]
            module.drop(str(body["remove"]))
        elif "rename" in body:
            old, new = map(str, body["rename"])
            if not API_NAME.match(new) or new in fields:
                raise ValueError("The new name must be a new API name.")
            definition = fields.pop(old)
            definition.name = new
            fields[new] = definition
            module.rename(old, new)
        else:
            raise ValueError("One of 'add', 'remove' and 'rename' is needed.")
        return {"fields": list(fields)}

    def random_write(self, rng: random.Random) -> str:
        """One believable change to a random record."""
        module = self.modules[rng.choices(("Contacts", "Leads", "Deals", "Products"), (70, 10, 15, 5))[0]]
        live, roll = list(module.live()), rng.random()
        if roll < 0.08 or len(live) < 2:
            return self._invent(module, rng)
        row = rng.choice(live)
        if roll < 0.13:
            module.archive(row)
            return f"deleted {module.name} {row.id}"
        archived = [one for one in module.rows.values() if one.archived]
        if roll < 0.15 and archived:
            back = rng.choice(archived)
            module.restore(back)
            return f"restored {module.name} {back.id}"
        other = rng.choice(live)
        if roll < 0.17 and other is not row and module.name in ("Contacts", "Leads"):
            module.merge(row, other)
            return f"merged {module.name} {other.id} into {row.id}"
        module.update(row, self._edit_of(module, rng))
        return f"changed {module.name} {row.id}"

    def _invent(self, module: Module, rng: random.Random) -> str:
        number = rng.randrange(10**9)
        values: dict[str, Any] = {
            "Contacts": {
                "First_Name": "Nina",
                "Last_Name": f"New {number}",
                "Email": f"n{number}@example.org",
            },
            "Leads": {"First_Name": "Leo", "Last_Name": f"New {number}", "Email": f"l{number}@example.org"},
            "Deals": {"Deal_Name": f"Order {number}", "Stage": "Closed Won", "Amount": float(number % 900)},
            "Products": {
                "Product_Name": f"Novelty {number}",
                "Product_Code": f"N{number}",
                "Unit_Price": 9.5,
            },
        }[module.name]
        contacts = list(self.modules["Contacts"].live()) if module.name == "Deals" else []
        if contacts:
            buyer = rng.choice(contacts)
            title = self.modules["Contacts"].schema.title(buyer.values)
            values["Contact_Name"] = {"id": buyer.id, "name": title}
        return f"created {module.name} {module.create(values).id}"

    def _edit_of(self, module: Module, rng: random.Random) -> dict[str, Any]:
        if module.name == "Deals":
            return {"Stage": rng.choice(STAGES), "Amount": round(rng.uniform(10, 900), 2)}
        if module.name == "Products":
            return {"Qty_in_Stock": float(rng.randrange(200))}
        city = "Mailing_City" if module.name == "Contacts" else "City"
        return rng.choice(
            (
                {city: rng.choice(("Warszawa", "Kraków", "Berlin", "Lyon"))},
                {"Phone": f"+48{rng.randrange(500_000_000, 899_999_999)}"},
                {"Newsletter_Opt_In": rng.random() < 0.5},
                {"Email_Opt_Out": rng.random() < 0.3},
            )
        )

    # What the handlers ask

    def module(self, name: str) -> Module:
        """The module of this API name, or a 400."""
        if name not in self.modules:
            raise zoho_replies.no_module(name)
        return self.modules[name]

    def next_id(self) -> str:
        """An id for something that is no record."""
        self._last_id += 7
        return str(self._last_id)

    def visible(self, row: Row) -> bool:
        """Whether lists show the record yet."""
        settled = not self.lag_seconds or row.modified <= self.clock.now() - self.lag_seconds * 1000
        return settled and row.id not in self.hidden

    def shown_rows(self, rows: list[Row]) -> list[Row]:
        """Those of the rows that lists show."""
        return [row for row in rows if self.visible(row)] if self.lag_seconds or self.hidden else rows

    def shown(self, row: Row, schema: Schema, name: str) -> Any:
        """One field of a record as the API shows it."""
        match name:
            case "id":
                return row.id
            case "Modified_Time":
                return local(row.modified, self.utc_offset_minutes)
            case "Created_Time":
                return local(row.created, self.utc_offset_minutes)
            case "Full_Name":
                return schema.title(row.values)
            case "Owner" | "Created_By" | "Modified_By":
                return row.values.get(name, USER)
        value = row.values.get(name)
        return [] if value is None and schema.fields[name].type == "multiselectpicklist" else value

    def record(self, row: Row, schema: Schema, names: Iterable[str]) -> dict[str, Any]:
        """A record with those of the named fields that exist, and always its id."""
        shown = {name: self.shown(row, schema, name) for name in names if name in schema.fields}
        return shown | {"id": row.id}

    async def json(self, request: web.Request) -> dict[str, Any]:
        """The request's body as a JSON object, or a 400."""
        try:
            body = json.loads(await request.read())
        except ValueError:
            body = None
        if not isinstance(body, dict):
            raise ApiError(400, "INVALID_DATA", "body")
        return body

    def _guarded(self, handler: Handler) -> Handler:
        """Check token, credits and concurrency; turn what a handler raises into Zoho's replies."""

        @wraps(handler)
        async def answer(request: web.Request) -> web.StreamResponse:
            headers: dict[str, str] = {}
            try:
                self.access.check(request)
                headers = self.access.charge(await _cost(request))
                self.access.enter()
                try:
                    response = await handler(request)
                finally:
                    self.access.leave()
            except ApiError as error:
                response = reply(error.body, error.status)
            except NothingError as nothing:
                response = web.Response(status=nothing.status)
            response.headers.update(headers)
            return response

        return answer


async def _cost(request: web.Request) -> int:
    """Credits of a call: bulk jobs are dear, a write costs one for ten rows."""
    if request.path == BULK and request.method == "POST":
        return BULK_CREDITS
    if request.method in ("POST", "PUT") and not request.path.endswith(("/coql", "/watch")):
        try:
            rows = json.loads(await request.read()).get("data")
        except (ValueError, AttributeError):
            rows = None
        return max(1, -(-len(rows) // ROWS_PER_CREDIT)) if isinstance(rows, list) else 1
    return 1


def _dumped(row: Row) -> dict[str, Any]:
    return {
        "id": row.id,
        "archived": row.archived,
        "created": iso(row.created),
        "modified": iso(row.modified),
        "archived_at": None if row.archived_at is None else iso(row.archived_at),
        "merged_ids": list(row.merged),
        "properties": dict(row.values),
    }
