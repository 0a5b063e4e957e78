"""Bulk API 2.0 ingest jobs: CSV in, one result for each row."""

from __future__ import annotations

import csv
import io
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from aiohttp import web

from crm.sandbox.salesforce_jobs import DELIMITERS, Job, Jobs
from crm.sandbox.salesforce_replies import ApiError, not_found, reply
from crm.sandbox.salesforce_schema import SObject
from crm.sandbox.salesforce_writes import SeveralMatches, Write

if TYPE_CHECKING:
    from crm.sandbox.salesforce import Salesforce

OPERATIONS = ("insert", "update", "upsert", "delete", "hardDelete")
RESULTS = {"successfulresults", "failedresults", "unprocessedrecords"}
JOBS, JOB = "/jobs/ingest", "/jobs/ingest/{id:[A-Za-z0-9]+}"
LARGEST_UPLOAD = 150 * 1024 * 1024
NOTHING = "#N/A"  # in CSV an empty value leaves a field as it is, this one clears it
Row = dict[str, str]


@dataclass
class Load:
    """An ingest job's own part: the object, the external id's field, the CSV, and what became of its rows."""

    item: SObject
    key: str
    text: str | None = None
    header: list[str] = field(default_factory=list)
    done: list[tuple[str, bool, Row]] = field(default_factory=list)
    refused: list[tuple[str, str, Row]] = field(default_factory=list)
    untouched: list[Row] = field(default_factory=list)


class Ingest(Jobs):
    """The handlers. `fail_next` and `polls` script the next jobs."""

    def __init__(self, salesforce: Salesforce) -> None:
        super().__init__(salesforce.clock, first=1_000_000)
        self.salesforce = salesforce
        self.schema, self.writes = salesforce.schema, salesforce.writes
        self.loads: dict[str, Load] = {}

    def routes(self) -> list[tuple[str, str, Callable]]:
        """(method, path, handler) of each operation."""
        return [
            ("POST", JOBS, self.create),
            ("GET", JOBS, self.list_jobs),
            ("GET", JOB, self.get),
            ("PATCH", JOB, self.change),
            ("DELETE", JOB, self.delete),
            ("PUT", JOB + "/batches", self.upload),
            ("GET", JOB + "/{kind:[A-Za-z]+}", self.results),
        ]

    async def create(self, request: web.Request) -> web.Response:
        """A new job, open for its CSV."""
        body = await self.salesforce.json(request)
        if body.get("operation") not in OPERATIONS:
            raise ApiError(400, "INVALIDJOB", f"InvalidJob : Unknown operation {body.get('operation')}")
        item = self.schema.find(str(body.get("object")))
        if item is None:
            raise ApiError(400, "INVALIDJOB", f"InvalidJob : Unable to find object: {body.get('object')}")
        key = "Id"
        if body["operation"] == "upsert":
            found = item.field(str(body.get("externalIdFieldName")))
            if found is None or not (found.external_id or found.type == "id"):
                message = f"InvalidJob : Field name provided, {body.get('externalIdFieldName')} is not an External ID"
                raise ApiError(400, "INVALIDJOB", message)
            key = found.name
        version = request.match_info["version"]
        job = self.open(body, item.name, version, "Open")
        job.extra["contentUrl"] = f"services/data/{version}/jobs/ingest/{job.id}/batches"
        if body["operation"] == "upsert":
            job.extra["externalIdFieldName"] = key
        self.loads[job.id] = Load(item, key)
        return reply(job.info())

    async def list_jobs(self, request: web.Request) -> web.Response:
        """Every ingest job."""
        return reply(self.listing())

    async def upload(self, request: web.Request) -> web.Response:
        """201 without a body; a job takes one CSV."""
        job = self.find(request.match_info["id"])
        data = await request.read()
        if job.state != "Open" or self.loads[job.id].text is not None:
            message = f"InvalidBatch : Found multiple contents for job: {job.id}, please 'Close' / 'Abort' / 'Delete'"
            raise ApiError(400, "INVALIDBATCH", message)
        if len(data) > LARGEST_UPLOAD:
            raise ApiError(413, "INVALIDBATCH", "InvalidBatch : The upload is too large")
        self.loads[job.id].text = data.decode("utf-8-sig", "replace")
        return web.Response(status=201)

    async def change(self, request: web.Request) -> web.Response:
        """Close the upload, whereupon the rows are written, or abort."""
        job, state = self.find(request.match_info["id"]), (await self.salesforce.json(request)).get("state")
        if job.finished or state not in ("UploadComplete", "Aborted") or (job.state, state) == (state, state):
            message = f"InvalidJobState : Job {job.id} in state {job.state} cannot become {state}"
            raise ApiError(400, "INVALIDJOBSTATE", message)
        self.move(job, state)
        if state == "UploadComplete":
            self._process(job, self.loads[job.id])
        return reply(job.info())

    async def get(self, request: web.Request) -> web.Response:
        """The job's state; asking brings it forward."""
        job = self.find(request.match_info["id"])
        if job.state in ("UploadComplete", "InProgress"):
            if job.polls > 0:
                job.polls -= 1
                self.move(job, "InProgress")
            else:
                self.move(job, "JobComplete" if job.failure is None else "Failed")
        return reply({**job.results_info(), "numberRecordsFailed": job.failed})

    async def delete(self, request: web.Request) -> web.Response:
        """204; an open job must be aborted first."""
        job = self.find(request.match_info["id"])
        if not job.finished:
            raise ApiError(400, "INVALIDJOBSTATE", "InvalidJobState : Only finished jobs can be deleted")
        del self.jobs[job.id], self.loads[job.id]
        return web.Response(status=204)

    async def results(self, request: web.Request) -> web.Response:
        """The rows that were written, refused, or never looked at, as CSV."""
        job, kind = self.find(request.match_info["id"]), request.match_info["kind"].lower()
        if kind not in RESULTS:
            raise not_found()
        load = self.loads[job.id]
        if kind == "unprocessedrecords":
            rows = [load.header, *(list(row.values()) for row in load.untouched)]
        elif kind == "successfulresults":
            rows = [["sf__Id", "sf__Created", *load.header]]
            rows += [[key, str(new).lower(), *row.values()] for key, new, row in load.done]
        else:
            rows = [["sf__Id", "sf__Error", *load.header]]
            rows += [[key, error, *row.values()] for key, error, row in load.refused]
        return web.Response(
            body=job.csv(row for row in rows if row).encode("utf-8", "replace"),
            content_type="text/csv",
            charset="UTF-8",
        )

    def _process(self, job: Job, load: Load) -> None:
        try:
            rows = self._read(job, load)
        except (csv.Error, ValueError) as error:
            job.failure = f"InvalidBatch : {error}"
            return
        if job.failure is not None:
            load.untouched = rows
            return
        for row in rows:
            try:
                record, new = self._prepare(job, load, row)()
            except ApiError as error:
                fields = ",".join(error.fields or ["--"])
                load.refused.append(
                    (row.get(_column(row, "id"), ""), f"{error.code}:{error.message}:{fields}", row)
                )
            except SeveralMatches as several:
                ids = ", ".join(found.id for found in several.records)
                message = f"DUPLICATE_EXTERNAL_ID:{load.key}: more than one record found for external id field: [{ids}]"
                load.refused.append(("", message + ":--", row))
            else:
                if job.operation == "hardDelete":
                    load.item.table.erase(record)
                load.done.append((record.id, new, row))
        job.processed, job.failed = len(rows), len(load.refused)

    def _read(self, job: Job, load: Load) -> list[Row]:
        """The CSV's rows; ValueError if its header or a row does not fit."""
        reader = csv.reader(
            io.StringIO(load.text or "", newline=""), delimiter=DELIMITERS[job.delimiter], strict=True
        )
        load.header = next(reader, [])
        if not load.header:
            raise ValueError("The 'Content' of the job is empty")
        unknown = [name for name in load.header if load.item.field(name) is None]
        if unknown:
            raise ValueError(f"Field name not found : {unknown[0]}")
        rows = []
        for cells in reader:
            if not cells:
                continue
            if len(cells) != len(load.header):
                raise ValueError("Row has a number of columns that differs from the header's")
            rows.append(dict(zip(load.header, cells, strict=True)))
        return rows

    def _prepare(self, job: Job, load: Load, row: Row) -> Write:
        key = row.get(_column(row, load.key), "")
        values: dict[str, Any] = {
            name: None if value == NOTHING else value
            for name, value in row.items()
            if value != "" and name.lower() not in ("id", load.key.lower())
        }
        if job.operation == "insert":
            return self.writes.prepare_create(load.item, values)
        if job.operation == "upsert":
            return self.writes.prepare_upsert(load.item, load.key, key, values)
        if not key:
            raise ApiError(400, "MISSING_ARGUMENT", "Id not specified", ["Id"])
        record = self.writes.live(load.item, key)
        if job.operation == "update":
            return self.writes.prepare_update(load.item, record, values)
        return self.writes.prepare_delete(load.item, record)


def _column(row: Row, name: str) -> str:
    """The header's spelling of a field's name."""
    return next((column for column in row if column.lower() == name.lower()), name)
