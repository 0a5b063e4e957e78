"""Zoho's record API: creating, updating, upserting and deleting up to 100 records at once, row by row."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from aiohttp import web

from crm.sandbox.zoho_replies import USER, ApiError, invalid, local, missing, reply, success
from crm.sandbox.zoho_store import Module, Row

if TYPE_CHECKING:
    from crm.sandbox.zoho import Zoho

MOST_ROWS = 100
DUPLICATE_FIELDS = {"Contacts": "Email", "Leads": "Email", "Deals": "Deal_Name", "Products": "Product_Name"}


class Writes:
    """The handlers that change records."""

    def __init__(self, zoho: Zoho) -> None:
        self.zoho = zoho

    async def create(self, request: web.Request) -> web.Response:
        module = self._module(request)
        results = [self._create(module, values, at) for at, values in enumerate(await self._rows(request))]
        return _results(results, 201)

    async def update(self, request: web.Request) -> web.Response:
        module = self._module(request)
        results = [self._update(module, values, at) for at, values in enumerate(await self._rows(request))]
        return _results(results, 200)

    async def update_one(self, request: web.Request) -> web.Response:
        module, rows = self._module(request), await self._rows(request)
        values = {**rows[0], "id": request.match_info["id"]} if rows else {}
        return _results([self._update(module, values, 0)], 200)

    async def upsert(self, request: web.Request) -> web.Response:
        module, body = self._module(request), await self.zoho.json(request)
        checks = body.get("duplicate_check_fields") or [DUPLICATE_FIELDS[module.name]]
        for name in checks:
            if name not in module.schema.fields:
                raise ApiError(400, "INVALID_DATA", "invalid data", {"api_name": "duplicate_check_fields"})
        results = []
        for at, values in enumerate(self._checked_rows(body)):
            field, row = self._duplicate(module, values, checks)
            if row is None and str(values.get("id", "")) in module.rows:
                field, row = "id", module.get(str(values["id"]))
            if row is None:
                results.append(self._create(module, values, at, action="insert", duplicate_field=None))
            else:
                merged = {**values, "id": row.id}
                results.append(self._update(module, merged, at, action="update", duplicate_field=field))
        return _results(results, 200)

    def _duplicate(
        self, module: Module, values: dict[str, Any], checks: Iterable[str]
    ) -> tuple[str | None, Row | None]:
        for name in checks:
            wanted = str(values.get(name) or "").casefold()
            if wanted:
                for row in module.live():
                    if str(row.values.get(name) or "").casefold() == wanted:
                        return name, row
        return None, None

    async def delete(self, request: web.Request) -> web.Response:
        module = self._module(request)
        ids = [one.strip() for one in request.query.get("ids", "").split(",") if one.strip()]
        if not ids:
            raise missing("ids")
        if len(ids) > MOST_ROWS:
            raise invalid("ids", maximum_length=MOST_ROWS)
        return _results([self._delete(module, one) for one in ids], 200)

    async def delete_one(self, request: web.Request) -> web.Response:
        return _results([self._delete(self._module(request), request.match_info["id"])], 200)

    def _create(self, module: Module, values: dict[str, Any], at: int, **more: Any) -> dict[str, Any]:
        problem = module.schema.problem(values, creating=True)
        if problem:
            return _row_error(problem, at)
        row = module.create(self._linked(module.schema.writable(values)))
        return success("record added", self._details(row), **more)

    def _update(self, module: Module, values: dict[str, Any], at: int, **more: Any) -> dict[str, Any]:
        if not values.get("id"):
            return _row_error(
                {
                    "code": "MANDATORY_NOT_FOUND",
                    "details": {"api_name": "id"},
                    "message": "required field not found",
                },
                at,
            )
        row = module.get(str(values["id"]))
        if row is None or row.id in self.zoho.hidden:
            return _row_error(_unknown_id(), at)
        if row.id in self.zoho.locked:
            return _row_error(
                {
                    "code": "RECORD_LOCKED",
                    "details": {"id": row.id},
                    "message": "The record under merge is locked",
                },
                at,
            )
        problem = module.schema.problem(values, creating=False)
        if problem:
            return _row_error(problem, at)
        module.update(row, self._linked(module.schema.writable(values)))
        return success("record updated", self._details(row), **more)

    def _delete(self, module: Module, record_id: str) -> dict[str, Any]:
        row = module.get(record_id)
        if row is None or row.id in self.zoho.hidden:
            return _row_error(_unknown_id(), None)
        module.archive(row)
        return success("record deleted", {"id": row.id})

    def _linked(self, values: dict[str, Any]) -> dict[str, Any]:
        """Give lookups the name of the record they lead to."""
        contacts = self.zoho.modules["Contacts"]
        value = values.get("Contact_Name")
        if isinstance(value, dict):
            row = contacts.rows.get(str(value.get("id")))
            name = contacts.schema.title(row.values) if row else ""
            values["Contact_Name"] = {"name": name, "id": str(value.get("id"))}
        return values

    def _details(self, row: Row) -> dict[str, Any]:
        offset = self.zoho.utc_offset_minutes
        by = {"id": USER["id"], "name": USER["name"]}
        return {
            "Modified_Time": local(row.modified, offset),
            "Modified_By": by,
            "Created_Time": local(row.created, offset),
            "id": row.id,
            "Created_By": by,
        }

    def _module(self, request: web.Request) -> Module:
        return self.zoho.module(request.match_info["module"])

    async def _rows(self, request: web.Request) -> list[dict[str, Any]]:
        return self._checked_rows(await self.zoho.json(request))

    def _checked_rows(self, body: dict[str, Any]) -> list[dict[str, Any]]:
        rows = body.get("data")
        if not isinstance(rows, list) or not rows or not all(isinstance(row, dict) for row in rows):
            raise ApiError(400, "MANDATORY_NOT_FOUND", "required field not found", {"api_name": "data"})
        if len(rows) > MOST_ROWS:
            raise ApiError(
                400, "INVALID_DATA", "invalid data", {"maximum_length": MOST_ROWS, "api_name": "data"}
            )
        return rows


def _results(rows: list[dict[str, Any]], good: int) -> web.Response:
    """The rows' results: `good` if all succeeded, 207 if some did, 400 if none."""
    failed = sum(row["status"] == "error" for row in rows)
    return reply({"data": rows}, good if not failed else 400 if failed == len(rows) else 207)


def _row_error(problem: dict[str, Any], at: int | None) -> dict[str, Any]:
    details = dict(problem["details"])
    if at is not None and "api_name" in details:
        details["json_path"] = f"$.data[{at}].{details['api_name']}"
    return {**problem, "details": details, "status": "error"}


def _unknown_id() -> dict[str, Any]:
    return {
        "code": "INVALID_DATA",
        "details": {"api_name": "id"},
        "message": "the id given seems to be invalid",
    }
