"""The control API under /_control: read the stores, script faults, edit records from outside, set the clock.

    GET    /_control/store/{vendor}/{object}  the store's own records, one JSON object a line
    GET    /_control/journal                  {"requests": [{"method", "path", "status" or null, "at"}]}
    DELETE /_control/journal
    POST   /_control/faults                   a script (see faults.py); replaces the one before
    DELETE /_control/faults
    POST   /_control/contacts/{id}            {"properties"?: {...}, "archived"?: bool, "modified"?: time}
    POST   /_control/clock                    {"offset_seconds": number}

Values set through the control API are not validated: a CRM's store can hold what its API would refuse.
"""

from __future__ import annotations

import json
from collections import deque
from typing import Any

from aiohttp import web

from crm.sandbox import faults
from crm.sandbox.hubspot import HubSpot
from crm.sandbox.hubspot_schema import as_text
from crm.sandbox.store import Clock, ConflictError, iso, parse_stamp

PREFIX = "/_control/"
JOURNAL_LENGTH = 100_000


class ControlError(ValueError):
    """A control request that makes no sense; the message says why."""


class Control:
    """The handlers, and the state they script."""

    def __init__(self, clock: Clock, hubspot: HubSpot) -> None:
        self.clock = clock
        self.hubspot = hubspot
        self.vendors = {hubspot.name: hubspot}
        self.faults: list[faults.Fault] = []
        self.journal: deque[dict[str, Any]] = deque(maxlen=JOURNAL_LENGTH)

    def routes(self) -> list[web.RouteDef]:
        """The route table."""
        return [
            web.get(PREFIX + "store/{vendor}/{object}", self.dump),
            web.get(PREFIX + "journal", self.read_journal),
            web.delete(PREFIX + "journal", self.clear_journal),
            web.post(PREFIX + "faults", self.set_faults),
            web.delete(PREFIX + "faults", self.clear_faults),
            web.post(PREFIX + "contacts/{id}", self.edit_contact),
            web.post(PREFIX + "clock", self.set_clock),
        ]

    def note(self, method: str, path: str, status: int | None) -> None:
        """Write one request into the journal."""
        self.journal.append({"method": method, "path": path, "status": status, "at": iso(self.clock.now())})

    def fault_for(self, method: str, path: str) -> faults.Fault | None:
        """The rule that acts on this request. Every rule counts it, acting or not."""
        acting = [fault for fault in self.faults if fault.acts_on(method, path)]
        return acting[0] if acting else None

    async def dump(self, request: web.Request) -> web.Response:
        vendor = self.vendors.get(request.match_info["vendor"])
        rows = vendor.dump(request.match_info["object"]) if vendor else None
        if rows is None:
            raise web.HTTPNotFound
        return web.Response(
            text="".join(json.dumps(row) + "\n" for row in rows), content_type="application/x-ndjson"
        )

    async def read_journal(self, request: web.Request) -> web.Response:
        return web.json_response({"requests": list(self.journal)})

    async def clear_journal(self, request: web.Request) -> web.Response:
        self.journal.clear()
        return web.Response(status=204)

    async def set_faults(self, request: web.Request) -> web.Response:
        try:
            self.faults = faults.parse(await _body(request))
        except (faults.FaultError, ControlError) as error:
            return _refused(error)
        return web.json_response({"rules": len(self.faults)})

    async def clear_faults(self, request: web.Request) -> web.Response:
        self.faults = []
        return web.Response(status=204)

    async def edit_contact(self, request: web.Request) -> web.Response:
        key = request.match_info["id"]
        record = self.hubspot.contacts.records.get(int(key)) if key.isdecimal() else None
        if record is None:
            raise web.HTTPNotFound
        try:
            body = await _object(request)
            values, stamp = body.get("properties") or {}, body.get("modified")
            if not isinstance(values, dict):
                raise ControlError("'properties' must be an object.")
            modified = None if stamp is None else parse_stamp(str(stamp))
            if values or modified is not None:
                texts = {name: None if value is None else as_text(value) for name, value in values.items()}
                self.hubspot.contacts.update(record, texts, modified)
            if body.get("archived") is True:
                self.hubspot.contacts.archive(record)
            elif body.get("archived") is False:
                self.hubspot.contacts.restore(record)
        except ValueError as error:
            return _refused(error)
        except ConflictError as error:
            return web.json_response({"error": str(error)}, status=409)
        return web.json_response({"id": key, "modified": iso(record.modified), "archived": record.archived})

    async def set_clock(self, request: web.Request) -> web.Response:
        try:
            offset = (await _object(request)).get("offset_seconds")
            if isinstance(offset, bool) or not isinstance(offset, (int, float)):
                raise ControlError("'offset_seconds' must be a number.")
        except ControlError as error:
            return _refused(error)
        self.clock.offset_seconds = float(offset)
        return web.json_response({"offset_seconds": self.clock.offset_seconds, "now": iso(self.clock.now())})


def _refused(error: Exception) -> web.Response:
    return web.json_response({"error": str(error)}, status=400)


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
