"""The control API under /_control: read and edit the stores, script faults, set what else tests need.

    GET    /_control/store/{vendor}/{object}       the store's own records, one JSON object a line
    POST   /_control/store/{vendor}/{object}       {"properties": {...}}: a new record
    POST   /_control/store/{vendor}/{object}/{id}  {"properties"?, "archived"?: bool, "erased"?: true,
                                                    "merge"?: id to fold into this one, "modified"?: time}
    POST   /_control/contacts/{id}                 the same for HubSpot's contacts
    POST   /_control/schema       {"vendor", "object", "add": {...} | "remove": name | "rename": [old, new]}
    GET    /_control/journal      {"requests": [{"vendor", "method", "path", "status" or null, "at"}]}
    DELETE /_control/journal
    POST   /_control/faults       a script (see faults.py); replaces the one before
    DELETE /_control/faults
    POST   /_control/clock        {"offset_seconds": number}
    POST   /_control/lag          {"vendor", "seconds"}: how long the search index trails the store
    POST   /_control/credentials  {"vendor", "accept": [...] or null}: the only credentials accepted, or any
    POST   /_control/tokens/expire  {"vendor"}: refuse every access token issued so far
    POST   /_control/settings     {"vendor", ...}: what only this vendor has, see its `configure`
    POST   /_control/writer       {"writes_per_second", "vendors"?: [...]}: 0 stops it

Values set through the control API are not validated: a CRM's store can hold what its API would refuse.
Times are ISO 8601 or milliseconds since 1970.
"""

from __future__ import annotations

import json
from collections import deque
from collections.abc import Awaitable, Callable, Mapping
from functools import wraps
from typing import Any

from aiohttp import web

from crm.sandbox import faults
from crm.sandbox.store import Clock, ConflictError, iso
from crm.sandbox.vendor import Vendor
from crm.sandbox.writer import Writer

PREFIX = "/_control/"
JOURNAL_LENGTH = 200_000

Handler = Callable[[web.Request], Awaitable[web.Response]]


class ControlError(ValueError):
    """A control request that makes no sense; the message says why."""


class NothingThereError(LookupError):
    """A control request about a vendor, object or record that does not exist; the message says which."""


class Control:
    """The handlers, and the state they script."""

    def __init__(self, clock: Clock, vendors: Mapping[str, Vendor], writer: Writer) -> None:
        self.clock = clock
        self.vendors = vendors
        self.writer = writer
        self.faults: list[faults.Fault] = []
        self.journal: deque[dict[str, Any]] = deque(maxlen=JOURNAL_LENGTH)

    def routes(self) -> list[web.RouteDef]:
        """The route table."""
        table: list[tuple[str, str, Handler]] = [
            ("GET", "store/{vendor}/{object}", self.dump),
            ("POST", "store/{vendor}/{object}", self.create),
            ("POST", "store/{vendor}/{object}/{id}", self.edit),
            ("POST", "contacts/{id}", self.edit_contact),
            ("POST", "schema", self.change_schema),
            ("GET", "journal", self.read_journal),
            ("DELETE", "journal", self.clear_journal),
            ("POST", "faults", self.set_faults),
            ("DELETE", "faults", self.clear_faults),
            ("POST", "clock", self.set_clock),
            ("POST", "lag", self.set_lag),
            ("POST", "credentials", self.set_credentials),
            ("POST", "tokens/expire", self.expire_tokens),
            ("POST", "settings", self.configure),
            ("POST", "writer", self.set_writer),
        ]
        return [web.route(method, PREFIX + path, _answering(handler)) for method, path, handler in table]

    def note(self, vendor: str | None, method: str, path: str, status: int | None) -> None:
        """Write one request into the journal."""
        entry = {"vendor": vendor, "method": method, "path": path, "status": status}
        self.journal.append({**entry, "at": iso(self.clock.now())})

    def fault_for(self, method: str, path: str) -> faults.Fault | None:
        """The rule that acts on this request. Every rule counts it, acting or not."""
        acting = [fault for fault in self.faults if fault.acts_on(method, path)]
        return acting[0] if acting else None

    # Stores

    async def dump(self, request: web.Request) -> web.Response:
        """Every record, one JSON object a line."""
        rows = self._vendor(request.match_info["vendor"]).dump(request.match_info["object"])
        if rows is None:
            raise NothingThereError(f"There is no object {request.match_info['object']!r}.")
        return web.Response(
            text="".join(json.dumps(row) + "\n" for row in rows), content_type="application/x-ndjson"
        )

    async def create(self, request: web.Request) -> web.Response:
        """201 with the new record."""
        vendor, body = self._vendor(request.match_info["vendor"]), await _object(request)
        made = _known(vendor.create, request.match_info["object"], _properties(body))
        return web.json_response(made, status=201)

    async def edit(self, request: web.Request) -> web.Response:
        """The record as it is now."""
        vendor = self._vendor(request.match_info["vendor"])
        return await self._edit(vendor, request.match_info["object"], request)

    async def edit_contact(self, request: web.Request) -> web.Response:
        """`edit` for HubSpot's contacts."""
        return await self._edit(self._vendor("hubspot"), "contacts", request)

    async def _edit(self, vendor: Vendor, kind: str, request: web.Request) -> web.Response:
        body = await _object(request)
        _properties(body)
        return web.json_response(_known(vendor.edit, kind, request.match_info["id"], body))

    async def change_schema(self, request: web.Request) -> web.Response:
        """What the vendor says of the changed field."""
        body = await _object(request)
        if len({"add", "remove", "rename"} & set(body)) != 1:
            raise ControlError("One of 'add', 'remove' and 'rename' must be given.")
        change = self._vendor(body.get("vendor")).change_schema
        return web.json_response(_known(change, str(body.get("object")), body))

    # Journal and faults

    async def read_journal(self, request: web.Request) -> web.Response:
        """Every request since the start or the last clearing."""
        return web.json_response({"requests": list(self.journal)})

    async def clear_journal(self, request: web.Request) -> web.Response:
        """Forget them."""
        self.journal.clear()
        return web.Response(status=204)

    async def set_faults(self, request: web.Request) -> web.Response:
        """Replace the script."""
        self.faults = faults.parse(await _body(request))
        return web.json_response({"rules": len(self.faults)})

    async def clear_faults(self, request: web.Request) -> web.Response:
        """Behave well."""
        self.faults = []
        return web.Response(status=204)

    # Settings

    async def set_clock(self, request: web.Request) -> web.Response:
        """Set the sandbox's time off from the machine's."""
        self.clock.offset_seconds = _number(await _object(request), "offset_seconds", least=None)
        return web.json_response({"offset_seconds": self.clock.offset_seconds, "now": iso(self.clock.now())})

    async def set_lag(self, request: web.Request) -> web.Response:
        """Set how long the vendor's search trails its store."""
        body = await _object(request)
        vendor = self._vendor(body.get("vendor"))
        vendor.lag_seconds = _number(body, "seconds")
        return web.json_response({"vendor": vendor.name, "seconds": vendor.lag_seconds})

    async def set_credentials(self, request: web.Request) -> web.Response:
        """Set which credentials the vendor accepts."""
        body = await _object(request)
        vendor, accept = self._vendor(body.get("vendor")), body.get("accept")
        if accept is not None and not (
            isinstance(accept, list) and all(isinstance(item, str) for item in accept)
        ):
            raise ControlError("'accept' must be a list of texts or null.")
        vendor.accepts = None if accept is None else set(accept)
        return web.json_response({"vendor": vendor.name, "accept": accept})

    async def expire_tokens(self, request: web.Request) -> web.Response:
        """End the access tokens issued so far."""
        vendor = self._vendor((await _object(request)).get("vendor"))
        return web.json_response({"vendor": vendor.name, "expired": vendor.expire_tokens()})

    async def configure(self, request: web.Request) -> web.Response:
        """Set what only one vendor has."""
        body = await _object(request)
        vendor: Any = self._vendor(body.pop("vendor", None))
        if not hasattr(vendor, "configure"):
            raise ControlError(f"{vendor.name} has no settings of its own.")
        return web.json_response(vendor.configure(body))

    async def set_writer(self, request: web.Request) -> web.Response:
        """Start, change or stop the live writer."""
        body = await _object(request)
        rate, vendors = _number(body, "writes_per_second"), body.get("vendors")
        if vendors is not None and not isinstance(vendors, list):
            raise ControlError("'vendors' must be a list.")
        for name in vendors or ():
            self._vendor(name)
        self.writer.set_rate(rate, vendors)
        return web.json_response(
            {"writes_per_second": rate, "vendors": list(self.writer.chosen), "done": self.writer.done}
        )

    def _vendor(self, name: Any) -> Vendor:
        vendor = self.vendors.get(name) if isinstance(name, str) else None
        if vendor is None:
            raise NothingThereError(
                f"There is no vendor {name!r}; these are served: {', '.join(self.vendors)}."
            )
        return vendor


def _answering(handler: Handler) -> Handler:
    """Turn what a handler raises into a status and a sentence."""

    @wraps(handler)
    async def answer(request: web.Request) -> web.Response:
        try:
            return await handler(request)
        except NothingThereError as error:
            return web.json_response({"error": str(error)}, status=404)
        except ConflictError as error:
            return web.json_response({"error": str(error)}, status=409)
        except ValueError as error:
            return web.json_response({"error": str(error)}, status=400)

    return answer


def _known(call: Callable[..., dict[str, Any]], *args: Any) -> dict[str, Any]:
    """Call a vendor, whose KeyError means that an object or record does not exist."""
    try:
        return call(*args)
    except KeyError as error:
        raise NothingThereError(f"There is no {error.args[0] if error.args else 'such record'!r}.") from None


def _properties(body: dict[str, Any]) -> dict[str, Any]:
    values = body.get("properties") or {}
    if not isinstance(values, dict):
        raise ControlError("'properties' must be an object.")
    return values


def _number(body: dict[str, Any], key: str, least: float | None = 0) -> float:
    value = body.get(key)
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        raise ControlError(f"'{key}' must be a number.")
    if least is not None and value < least:
        raise ControlError(f"'{key}' must be at least {least}.")
    return float(value)


async def _body(request: web.Request) -> Any:
    try:
        return json.loads(await request.read())
    except ValueError as error:
        raise ControlError(f"The body is not JSON: {error}") from None


async def _object(request: web.Request) -> dict[str, Any]:
    body = await _body(request)
    if not isinstance(body, dict):
        raise ControlError("The body must be a JSON object.")
    return body
