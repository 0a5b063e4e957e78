"""HubSpot's batch operations on contacts: read, create, update, upsert, archive.

A row that names no existing record fails alone (207). A row with refused values fails the whole batch,
unless it carries an `objectWriteTraceId`, by which its own error can then be told: so HubSpot behaves.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from aiohttp import web

from crm.sandbox import hubspot_replies as replies
from crm.sandbox.hubspot_replies import ApiError
from crm.sandbox.hubspot_schema import RETURNED_BY_DEFAULT
from crm.sandbox.store import Record

if TYPE_CHECKING:
    from crm.sandbox.hubspot import HubSpot

MAX_INPUTS = 100
SOME_NOT_FOUND = (
    "Could not get some CONTACT objects, they may be deleted or not exist. Check that ids are valid."
)

# A prepared row: does the write, tells the record and whether it is new.
Write = Callable[[], tuple[Record, bool]]


class Batch:
    """The handlers, on top of the single-record operations of `HubSpot`."""

    def __init__(self, hubspot: HubSpot) -> None:
        self.hubspot = hubspot

    def routes(self, base: str) -> list[tuple[str, str, Callable]]:
        """(method, path, handler) of each operation."""
        return [
            ("POST", f"{base}/batch/{verb}", getattr(self, verb))
            for verb in ("read", "create", "update", "upsert", "archive")
        ]

    async def read(self, request: web.Request) -> web.Response:
        """Records by id or by a unique property; unknown ones are listed in one error."""
        body = await self.hubspot.json(request)
        rows, archived = self._rows(body), self.hubspot.flag(request, "archived")
        names = body.get("properties") or RETURNED_BY_DEFAULT
        history = body.get("propertiesWithHistory") or ()
        found: dict[int, Record] = {}
        missing = []
        for row in rows:
            record = self.hubspot.lookup(row["id"], body.get("idProperty"))
            if record is None or record.archived != archived:
                missing.append(row["id"])
            else:
                found[record.id] = record
        errors = [ApiError(404, SOME_NOT_FOUND).standard(ids=missing)] if missing else []
        results = [replies.contact(self.hubspot.schema, record, names, history) for record in found.values()]
        return replies.batch(self.hubspot.clock, results, errors)

    async def create(self, request: web.Request) -> web.Response:
        """New records; a taken or repeated e-mail address is a conflict."""
        rows = self._rows(await self.hubspot.json(request), "properties")
        return self._write(
            rows, lambda row: self.hubspot.prepare_create(row["properties"]), created_status=201
        )

    async def update(self, request: web.Request) -> web.Response:
        """Existing records by id or unique property."""
        rows = self._rows(await self.hubspot.json(request), "id", "properties")
        self._refuse_repeats(rows)
        return self._write(rows, self._prepare_update)

    async def upsert(self, request: web.Request) -> web.Response:
        """Update the record that holds the unique value, or create it; each result tells which by `new`."""
        rows = self._rows(await self.hubspot.json(request), "id", "properties")
        self._refuse_repeats(rows)
        return self._write(rows, self._prepare_upsert, tell_new=True)

    async def archive(self, request: web.Request) -> web.Response:
        """To the recycle bin; unknown ids are passed over in silence."""
        for row in self._rows(await self.hubspot.json(request)):
            record = self.hubspot.lookup(row["id"])
            if record is not None:
                self.hubspot.contacts.archive(record)
        return web.Response(status=204)

    def _rows(self, body: dict[str, Any], *required: str) -> list[dict[str, Any]]:
        rows = body.get("inputs")
        if not isinstance(rows, list) or not all(isinstance(row, dict) for row in rows):
            raise ApiError(400, "Invalid input JSON: 'inputs' must be a list of objects.")
        if len(rows) > MAX_INPUTS:
            raise ApiError(
                400,
                f"A batch request takes at most {MAX_INPUTS} inputs. Received {len(rows)}.",
            )
        for row in rows:
            for key in required or ("id",):
                if not isinstance(row.get(key), dict if key == "properties" else str):
                    raise ApiError(400, f"Invalid input JSON: some required fields were not set: [{key}]")
        return rows

    def _refuse_repeats(self, rows: list[dict[str, Any]]) -> None:
        ids = [row["id"].lower() for row in rows]
        repeated = sorted({item for item in ids if ids.count(item) > 1})
        if repeated:
            raise ApiError(400, f"Duplicate IDs found in batch input: {repeated}. IDs must be unique")

    def _prepare_update(self, row: dict[str, Any]) -> Write:
        record = self.hubspot.found(row["id"], row.get("idProperty"))
        return self.hubspot.prepare_update(record, row["properties"])

    def _prepare_upsert(self, row: dict[str, Any]) -> Write:
        id_property = row.get("idProperty")
        record = self.hubspot.lookup(row["id"], id_property)
        if record is not None and not record.archived:
            return self.hubspot.prepare_update(record, row["properties"])
        if id_property in (None, "hs_object_id"):
            raise ApiError(404, replies.NOT_FOUND, context={"id": [row["id"]]})
        return self.hubspot.prepare_create({id_property: row["id"], **row["properties"]})

    def _write(
        self,
        rows: list[dict[str, Any]],
        prepare: Callable[[dict[str, Any]], Write],
        *,
        created_status: int = 200,
        tell_new: bool = False,
    ) -> web.Response:
        """Check every row before the first write, so that a refused batch changes nothing."""
        writes: list[tuple[dict[str, Any], Write]] = []
        errors: list[dict[str, Any]] = []
        addresses: set[str] = set()
        for row in rows:
            try:
                write = prepare(row)
                self._claim_address(row["properties"], addresses)
                writes.append((row, write))
            except ApiError as error:
                trace = row.get("objectWriteTraceId")
                if error.status != 404 and not trace:
                    raise
                errors.append(
                    error.standard(**({"objectWriteTraceId": [trace]} if trace else {"ids": [row["id"]]}))
                )
        results = []
        for row, write in writes:
            record, new = write()
            result = replies.contact(self.hubspot.schema, record, row["properties"])
            if tell_new:
                result["new"] = new
            if row.get("objectWriteTraceId"):
                result["objectWriteTraceId"] = row["objectWriteTraceId"]
            results.append(result)
        return replies.batch(self.hubspot.clock, results, errors, created_status)

    def _claim_address(self, properties: dict[str, Any], taken: set[str]) -> None:
        """Refuse a second row of the batch that would hold the same e-mail address."""
        address = str(properties.get("email") or "").strip().lower()
        if address in taken:
            raise ApiError(409, f"Contact already exists. Email {address} occurs twice in the batch.")
        if address:
            taken.add(address)
