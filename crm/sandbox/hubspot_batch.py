"""HubSpot's batch operations on the records of one object: read, create, update, upsert, archive.

A row that names no existing record fails alone (207). A row with refused values fails the whole batch,
unless it carries an `objectWriteTraceId`, by which its own error can then be told: so HubSpot behaves.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from aiohttp import web

from crm.sandbox import hubspot_replies as replies
from crm.sandbox.hubspot_kinds import Kind, Write
from crm.sandbox.hubspot_replies import ApiError
from crm.sandbox.hubspot_schema import RECORD_ID
from crm.sandbox.store import Record

if TYPE_CHECKING:
    from crm.sandbox.hubspot import HubSpot

MAX_INPUTS = 100
SOME_NOT_FOUND = "Could not get some {} objects, they may be deleted or not exist. Check that ids are valid."


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
        kind, body = self.hubspot.kind(request), await self.hubspot.json(request)
        rows, archived = self._rows(body), self.hubspot.flag(request, "archived")
        shown, history = kind.shown(body.get("properties")), body.get("propertiesWithHistory") or ()
        found: dict[int, Record] = {}
        missing = []
        for row in rows:
            record = kind.lookup(row["id"], body.get("idProperty"))
            if record is None or record.archived != archived:
                missing.append(row["id"])
            else:
                found[record.id] = record
        message = SOME_NOT_FOUND.format(kind.singular.upper())
        errors = [ApiError(404, message).standard(ids=missing)] if missing else []
        results = [replies.record(kind.schema, record, shown, history) for record in found.values()]
        return replies.batch(self.hubspot.clock, results, errors)

    async def create(self, request: web.Request) -> web.Response:
        """New records; a taken or repeated unique value is a conflict."""
        kind = self.hubspot.kind(request)
        rows = self._rows(await self.hubspot.json(request), "properties")
        return self._write(kind, rows, lambda row: self._prepare_create(kind, row), created_status=201)

    async def update(self, request: web.Request) -> web.Response:
        """Existing records by id or unique property."""
        kind = self.hubspot.kind(request)
        rows = self._rows(await self.hubspot.json(request), "id", "properties")
        self._refuse_repeats(rows)
        return self._write(kind, rows, lambda row: self._prepare_update(kind, row))

    async def upsert(self, request: web.Request) -> web.Response:
        """Update the record that holds the unique value, or create it; each result tells which by `new`."""
        kind = self.hubspot.kind(request)
        rows = self._rows(await self.hubspot.json(request), "id", "properties")
        self._refuse_repeats(rows)
        return self._write(kind, rows, lambda row: self._prepare_upsert(kind, row), tell_new=True)

    async def archive(self, request: web.Request) -> web.Response:
        """To the recycle bin; unknown ids are passed over in silence."""
        kind = self.hubspot.kind(request)
        for row in self._rows(await self.hubspot.json(request)):
            record = kind.lookup(row["id"])
            if record is not None:
                kind.store.archive(record)
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

    def _prepare_create(self, kind: Kind, row: dict[str, Any]) -> Write:
        links = self.hubspot.associations.wanted(kind, row.get("associations"))
        create = kind.prepare_create(row["properties"])

        def write() -> tuple[Record, bool]:
            record, new = create()
            self.hubspot.associations.associate(kind, record, links)
            return record, new

        return write

    def _prepare_update(self, kind: Kind, row: dict[str, Any]) -> Write:
        return kind.prepare_update(kind.found(row["id"], row.get("idProperty")), row["properties"])

    def _prepare_upsert(self, kind: Kind, row: dict[str, Any]) -> Write:
        id_property = row.get("idProperty")
        record = kind.lookup(row["id"], id_property)
        if record is not None and not record.archived:
            return kind.prepare_update(record, row["properties"])
        if id_property in (None, RECORD_ID):
            raise ApiError(404, replies.NOT_FOUND, context={"id": [row["id"]]})
        return kind.prepare_create({id_property: row["id"], **row["properties"]})

    def _write(
        self,
        kind: Kind,
        rows: list[dict[str, Any]],
        prepare: Callable[[dict[str, Any]], Write],
        *,
        created_status: int = 200,
        tell_new: bool = False,
    ) -> web.Response:
        """Check every row before the first write, so that a refused batch changes nothing."""
        writes: list[tuple[dict[str, Any], Write]] = []
        errors: list[dict[str, Any]] = []
        claimed: set[str] = set()
        for row in rows:
            try:
                write = prepare(row)
                self._claim(kind, row["properties"], claimed)
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
            result = kind.shape(record, row["properties"])
            if tell_new:
                result["new"] = new
            if row.get("objectWriteTraceId"):
                result["objectWriteTraceId"] = row["objectWriteTraceId"]
            results.append(result)
        return replies.batch(self.hubspot.clock, results, errors, created_status)

    def _claim(self, kind: Kind, properties: dict[str, Any], taken: set[str]) -> None:
        """Refuse a second row of the batch that would hold the same unique value."""
        value = str(properties.get(kind.store.unique) or "").strip().lower()
        if value in taken:
            label = kind.singular.capitalize()
            raise ApiError(409, f"{label} already exists. {value} occurs twice in the batch.")
        if value:
            taken.add(value)
