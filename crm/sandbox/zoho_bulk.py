"""Bulk read: a job that puts up to 200,000 records of a module into a zipped CSV file."""

from __future__ import annotations

import csv
import io
import secrets
import zipfile
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from aiohttp import web

from crm.sandbox.zoho_coql import comparable
from crm.sandbox.zoho_replies import USER, ApiError, invalid, local, missing, reply, success
from crm.sandbox.zoho_schema import Schema
from crm.sandbox.zoho_store import Row

if TYPE_CHECKING:
    from crm.sandbox.zoho import Zoho

PATH = "/crm/bulk/v8/read"
STATES = ("ADDED", "IN PROGRESS")  # seen by the first polls, before COMPLETED


@dataclass(slots=True)
class Job:
    """One job: a snapshot of the rows it found."""

    id: str
    query: dict[str, Any]
    created: int
    schema: Schema
    rows: list[Row]
    page: int
    token: str | None
    polls: int = 0


class Bulk:
    """The bulk read API. `page_rows` and `purge` let a test see paging and lost jobs."""

    def __init__(self, zoho: Zoho) -> None:
        self.zoho = zoho
        self.page_rows = 200_000
        self.jobs: dict[str, Job] = {}
        self._tokens: dict[str, tuple[dict[str, Any], int]] = {}  # page token -> (query, rows to skip)

    def purge(self) -> None:
        """Forget all jobs, as Zoho does after a day."""
        self.jobs.clear()

    async def create(self, request: web.Request) -> web.Response:
        body = await self.zoho.json(request)
        query = body.get("query")
        if not isinstance(query, dict):
            raise missing("query", "api_name")
        token = query.get("page_token")
        page, skip = int(query.get("page") or 1), 0
        if token is not None:
            if token not in self._tokens:
                raise invalid("page_token")
            query, skip = self._tokens[token]
        else:
            skip = (page - 1) * self.page_rows
        named = query.get("module")
        module = self.zoho.module(str(named.get("api_name") if isinstance(named, dict) else named))
        test = self._criteria(query.get("criteria"), module.schema)
        found = [row for row in module.live() if self.zoho.visible(row) and test(row)]
        rows = found[skip : skip + self.page_rows]
        following = None
        if len(found) > skip + self.page_rows:
            following = secrets.token_hex(16)
            self._tokens[following] = (query, skip + self.page_rows)
        job = Job(self.zoho.next_id(), query, self.zoho.clock.now(), module.schema, rows, page, following)
        self.jobs[job.id] = job
        details = {
            "id": job.id,
            "operation": "read",
            "state": "ADDED",
            "created_by": USER,
            "created_time": local(job.created, self.zoho.utc_offset_minutes),
        }
        row = success("Added successfully.", details) | {"code": "ADDED_SUCCESSFULLY"}
        return reply({"data": [row], "info": {}}, 201)

    async def state(self, request: web.Request) -> web.Response:
        job = self._found(request)
        state = STATES[job.polls] if job.polls < len(STATES) else "COMPLETED"
        job.polls += 1
        shown: dict[str, Any] = {
            "id": job.id,
            "operation": "read",
            "state": state,
            "file_type": "csv",
            "query": {**job.query, "page": job.page},
            "created_by": USER,
            "created_time": local(job.created, self.zoho.utc_offset_minutes),
        }
        if state == "COMPLETED":
            shown["result"] = {
                "page": job.page,
                "per_page": self.page_rows,
                "count": len(job.rows),
                "download_url": f"{PATH}/{job.id}/result",
                "more_records": job.token is not None,
                "next_page_token": job.token,
            }
        return reply({"data": [shown]})

    async def result(self, request: web.Request) -> web.Response:
        job = self._found(request)
        if job.polls <= len(STATES):
            raise ApiError(400, "JOB_NOT_COMPLETED", "The job is not completed yet.", {"id": job.id})
        names = [name for name in job.query.get("fields") or list(job.schema.fields) if name != "id"]
        text = io.StringIO()
        writer = csv.writer(text, lineterminator="\n")
        writer.writerow(["Id", *names])
        for row in job.rows:
            writer.writerow([row.id, *(self._cell(row, job.schema, name) for name in names)])
        packed = io.BytesIO()
        with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as archive:
            archive.writestr(f"{job.id}.csv", text.getvalue().encode("utf-8", "surrogatepass"))
        headers = {"Content-Disposition": f'attachment; filename="{job.id}.zip"'}
        return web.Response(body=packed.getvalue(), content_type="application/zip", headers=headers)

    def _found(self, request: web.Request) -> Job:
        job = self.jobs.get(request.match_info["job_id"])
        if job is None:
            raise ApiError(404, "RESOURCE_NOT_FOUND", "The requested resource doesn't exist.")
        return job

    def _cell(self, row: Row, schema: Schema, name: str) -> str:
        value = self.zoho.shown(row, schema, name)
        if isinstance(value, dict):
            return str(value["id"])
        if isinstance(value, list):
            return ";".join(value)
        if isinstance(value, bool):
            return str(value).lower()
        return "" if value is None else str(value)

    def _criteria(self, criteria: Any, schema: Schema) -> Any:
        """A test on rows from Zoho's nested criteria."""
        if not criteria:
            return lambda row: True
        if "group" in criteria:
            tests = [self._criteria(part, schema) for part in criteria["group"]]
            every = all if str(criteria.get("group_operator", "and")).lower() == "and" else any
            return lambda row: every(test(row) for test in tests)
        field = criteria.get("field")
        name = field.get("api_name") if isinstance(field, dict) else criteria.get("api_name", field)
        definition = schema.fields.get(str(name))
        test = COMPARATORS.get(str(criteria.get("comparator")))
        if definition is None or test is None:
            raise ApiError(400, "INVALID_DATA", "invalid data", {"api_name": "criteria"})
        raw = criteria.get("value")
        wanted = [comparable(definition.type, one) for one in (raw if isinstance(raw, list) else [raw])]

        def holds(row: Row) -> bool:
            value = comparable(definition.type, self.zoho.shown(row, schema, definition.name))
            return value is not None and test(value, wanted)

        return holds


COMPARATORS: dict[str, Any] = {
    "equal": lambda value, wanted: value == wanted[0],
    "not_equal": lambda value, wanted: value != wanted[0],
    "in": lambda value, wanted: value in wanted,
    "not_in": lambda value, wanted: value not in wanted,
    "less_than": lambda value, wanted: value < wanted[0],
    "less_equal": lambda value, wanted: value <= wanted[0],
    "greater_than": lambda value, wanted: value > wanted[0],
    "greater_equal": lambda value, wanted: value >= wanted[0],
    "contains": lambda value, wanted: wanted[0] in value,
    "not_contains": lambda value, wanted: wanted[0] not in value,
    "starts_with": lambda value, wanted: value.startswith(wanted[0]),
    "ends_with": lambda value, wanted: value.endswith(wanted[0]),
    "between": lambda value, wanted: wanted[0] <= value <= wanted[1],
    "not_between": lambda value, wanted: not wanted[0] <= value <= wanted[1],
}
