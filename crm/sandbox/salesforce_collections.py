"""sObject collections: up to 200 records written, or 2,000 read, by one request.

A refused row fails alone and the reply is still 200, unless `allOrNone` asks for all or nothing.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from aiohttp import web

from crm.sandbox.salesforce_replies import ApiError, reply
from crm.sandbox.salesforce_rest import full_shape
from crm.sandbox.salesforce_schema import SObject
from crm.sandbox.salesforce_writes import SeveralMatches, Write

if TYPE_CHECKING:
    from crm.sandbox.salesforce import Salesforce

COLLECTION = "/composite/sobjects"
MOST_WRITTEN, MOST_READ = 200, 2000
ROLLED_BACK = ApiError(
    400,
    "ALL_OR_NONE_OPERATION_ROLLED_BACK",
    "Record rolled back because not all records were valid and the request was using AllOrNone header",
)


class Collections:
    """The handlers."""

    def __init__(self, salesforce: Salesforce) -> None:
        self.salesforce = salesforce
        self.schema, self.writes = salesforce.schema, salesforce.writes

    def routes(self) -> list[tuple[str, str, Callable]]:
        """(method, path, handler) of each operation."""
        return [
            ("POST", COLLECTION, self.create),
            ("PATCH", COLLECTION, self.update),
            ("DELETE", COLLECTION, self.delete),
            ("GET", COLLECTION + "/{object:\\w+}", self.retrieve),
            ("POST", COLLECTION + "/{object:\\w+}", self.retrieve),
            ("PATCH", COLLECTION + "/{object:\\w+}/{key:\\w+}", self.upsert),
        ]

    async def create(self, request: web.Request) -> web.Response:
        """New records, of one or several objects."""
        rows, strict = self._rows(await self.salesforce.json(request))
        return self._write(
            rows, lambda row: self.writes.prepare_create(self._object(row), _values(row)), strict
        )

    async def update(self, request: web.Request) -> web.Response:
        """Records by the id that each row carries."""
        rows, strict = self._rows(await self.salesforce.json(request))

        def prepare(row: dict[str, Any]) -> Write:
            item = self._object(row)
            record_id = next((value for name, value in row.items() if name.lower() == "id"), None)
            if not record_id:
                raise ApiError(400, "MISSING_ARGUMENT", "Id not specified in an update call", ["Id"])
            return self.writes.prepare_update(
                item, self.writes.live(item, str(record_id)), _values(row, "id")
            )

        return self._write(rows, prepare, strict)

    async def upsert(self, request: web.Request) -> web.Response:
        """Records by an external id; each result tells whether its record is new."""
        item = self.schema.required(request.match_info["object"])
        key = self.writes.key(item, request.match_info["key"]).name.lower()
        rows, strict = self._rows(await self.salesforce.json(request))
        keys = Counter(str(_under(row, key)).casefold() for row in rows)

        def prepare(row: dict[str, Any]) -> Write:
            value = _under(row, key)
            if self._object(row, item) is not item:
                raise ApiError(400, "INVALID_TYPE", f"The record is not of type {item.name}")
            if value not in (None, "") and keys[str(value).casefold()] > 1:
                raise ApiError(400, "DUPLICATE_VALUE", f"Duplicate external id specified: {value}", [key])
            try:
                return self.writes.prepare_upsert(item, key, value, _values(row, key))
            except SeveralMatches as several:
                ids = ", ".join(record.id for record in several.records)
                message = f"{key}: more than one record found for external id field: [{ids}]"
                raise ApiError(400, "DUPLICATE_EXTERNAL_ID", message) from None

        return self._write(rows, prepare, strict, tell_new=True)

    async def delete(self, request: web.Request) -> web.Response:
        """Records of the ids in `ids`, with commas between them."""
        ids = [{"id": key} for key in request.query.get("ids", "").split(",") if key]
        if not ids:
            raise ApiError(400, "MISSING_ARGUMENT", "The ids parameter is required")
        _limit(ids, MOST_WRITTEN)

        def prepare(row: dict[str, Any]) -> Write:
            item = self.schema.by_id(row["id"])
            if item is None:
                raise ApiError(400, "MALFORMED_ID", f"malformed id {row['id']}")
            return self.writes.prepare_delete(item, self.writes.live(item, row["id"]))

        strict = request.query.get("allOrNone", "").lower() == "true"
        return self._write(ids, prepare, strict)

    async def retrieve(self, request: web.Request) -> web.Response:
        """Live records by id in the order asked for, null where there is none."""
        item = self.schema.required(request.match_info["object"])
        if request.method == "POST":
            body = await self.salesforce.json(request)
            ids, names = body.get("ids"), body.get("fields")
        else:
            ids, names = (request.query.get(key, "").split(",") for key in ("ids", "fields"))
        if not isinstance(ids, list) or not isinstance(names, list) or not any(names):
            raise ApiError(400, "MISSING_ARGUMENT", "The ids and fields parameters are required")
        _limit(ids, MOST_READ)
        shape, base = full_shape(item, names), self.salesforce.base(request)
        records = [item.table.get(str(key)) for key in ids]
        return reply(
            [shape.row(record, base) if record and not record.deleted else None for record in records]
        )

    def _rows(self, body: dict[str, Any]) -> tuple[list[dict[str, Any]], bool]:
        rows = body.get("records")
        if not isinstance(rows, list) or not rows or not all(isinstance(row, dict) for row in rows):
            raise ApiError(400, "JSON_PARSER_ERROR", "The records property must be a list of records")
        _limit(rows, MOST_WRITTEN)
        return rows, body.get("allOrNone") is True

    def _object(self, row: dict[str, Any], default: SObject | None = None) -> SObject:
        attributes = row.get("attributes")
        name = attributes.get("type") if isinstance(attributes, dict) else None
        found = self.schema.find(name) if isinstance(name, str) else default
        if found is None:
            raise ApiError(400, "INVALID_TYPE", f"sObject type '{name}' is not supported.")
        return found

    def _write(
        self,
        rows: list[dict[str, Any]],
        prepare: Callable[[dict[str, Any]], Write],
        strict: bool,
        *,
        tell_new: bool = False,
    ) -> web.Response:
        """Check every row, then write those that may be written, unless `strict` and one may not.

        A second check before each write sees what the rows before it have written.
        """
        errors: dict[int, ApiError] = {}
        for index, row in enumerate(rows):
            try:
                prepare(row)
            except ApiError as error:
                errors[index] = error
        if errors and strict:
            return reply([errors.get(index, ROLLED_BACK).row() for index in range(len(rows))])
        results: list[dict[str, Any]] = []
        for index, row in enumerate(rows):
            try:
                if index in errors:
                    raise errors[index]
                record, new = prepare(row)()
            except ApiError as error:
                results.append(error.row() | ({"created": False} if tell_new else {}))
                continue
            result: dict[str, Any] = {"id": record.id, "success": True, "errors": []}
            results.append({**result, "created": new} if tell_new else result)
        return reply(results)


def _limit(items: list[Any], most: int) -> None:
    if len(items) > most:
        raise ApiError(400, "EXCEEDED_MAX_SIZE_REQUEST", f"The request exceeds the limit of {most} records")


def _under(row: dict[str, Any], key: str) -> Any:
    """A row's value under a field's name in any case."""
    return next((value for name, value in row.items() if name.lower() == key), None)


def _values(row: dict[str, Any], *keys: str) -> dict[str, Any]:
    """A row without its attributes and these fields."""
    return {name: value for name, value in row.items() if name.lower() not in ("attributes", *keys)}
