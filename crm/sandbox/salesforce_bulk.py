"""Bulk API 2.0 query jobs: created, polled, and read as CSV in pages."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from aiohttp import web

from crm.sandbox.salesforce_jobs import Job, Jobs
from crm.sandbox.salesforce_query import Result
from crm.sandbox.salesforce_replies import ApiError, not_found, reply
from crm.sandbox.salesforce_soql import Aggregate, Query, parse

if TYPE_CHECKING:
    from crm.sandbox.salesforce import Salesforce

PAGE = 50_000
OPERATIONS = ("query", "queryAll")
JOBS, JOB = "/jobs/query", "/jobs/query/{id:[A-Za-z0-9]+}"


@dataclass
class Answer:
    """A query job's own part: its text, and what was found once it is complete."""

    text: str
    result: Result | None = None


class Bulk(Jobs):
    """The handlers. `page_size` is the most rows of a page, `fail_next` and `polls` script the next jobs."""

    def __init__(self, salesforce: Salesforce) -> None:
        super().__init__(salesforce.clock, first=0)
        self.salesforce = salesforce
        self.page_size = PAGE
        self.answers: dict[str, Answer] = {}

    def routes(self) -> list[tuple[str, str, Callable]]:
        """(method, path, handler) of each operation."""
        return [
            ("POST", JOBS, self.create),
            ("GET", JOBS, self.list_jobs),
            ("GET", JOB, self.get),
            ("PATCH", JOB, self.abort),
            ("DELETE", JOB, self.delete),
            ("GET", JOB + "/results", self.results),
        ]

    def expire_results(self) -> None:
        """The results of every job are purged, as after seven days."""
        self.jobs.clear()
        self.answers.clear()

    async def create(self, request: web.Request) -> web.Response:
        """A new job; a query that cannot run is refused at once."""
        body = await self.salesforce.json(request)
        if body.get("operation") not in OPERATIONS:
            raise ApiError(400, "INVALIDJOB", f"InvalidJob : Unknown operation {body.get('operation')}")
        text = body.get("query")
        if not isinstance(text, str) or not text.strip():
            raise ApiError(400, "INVALIDJOB", "InvalidJob : Query is required")
        query = parse(text)
        _refuse_unsupported(query)
        found = self._run(text, body["operation"])
        if any(field.type == "address" for _, field, _ in found.columns):
            message = "Selecting compound data not supported in Bulk Query"
            raise ApiError(400, "FUNCTIONALITY_NOT_ENABLED", message)
        job = self.open(body, found.object.name, request.match_info["version"], "UploadComplete")
        self.answers[job.id] = Answer(text)
        return reply(job.info())

    async def list_jobs(self, request: web.Request) -> web.Response:
        """Every query job."""
        return reply(self.listing())

    async def get(self, request: web.Request) -> web.Response:
        """The job's state; asking brings it forward."""
        job = self.find(request.match_info["id"])
        if not job.finished:
            self._advance(job)
        return reply(job.results_info())

    async def abort(self, request: web.Request) -> web.Response:
        """Stop a job that is not finished."""
        job = self.find(request.match_info["id"])
        body = await self.salesforce.json(request)
        if body.get("state") != "Aborted" or job.finished:
            raise ApiError(400, "INVALIDJOBSTATE", f"InvalidJobState : Job {job.id} is in state {job.state}")
        self.move(job, "Aborted")
        return reply(job.info())

    async def delete(self, request: web.Request) -> web.Response:
        """204; only a finished job can be deleted."""
        job = self.find(request.match_info["id"])
        if not job.finished:
            raise ApiError(400, "INVALIDJOBSTATE", "InvalidJobState : Only finished jobs can be deleted")
        del self.jobs[job.id], self.answers[job.id]
        return web.Response(status=204)

    async def results(self, request: web.Request) -> web.Response:
        """One page as CSV with a header row; Sforce-Locator leads to the next and is `null` on the last."""
        job = self.find(request.match_info["id"])
        result = self.answers[job.id].result
        if job.state != "JobComplete" or result is None:
            message = f"InvalidJobState : Results are not available, the job is {job.state}"
            raise ApiError(400, "INVALIDJOBSTATE", message)
        start, most = _start(request), request.query.get("maxRecords", str(self.page_size))
        if not most.isdecimal() or int(most) < 1:
            raise ApiError(400, "INVALIDBATCH", "maxRecords must be a positive number")
        if start > result.total:
            raise not_found("The locator is not valid")
        end = start + min(int(most), self.page_size)
        table = result.object.table
        records = [record for record in result.records[start:end] if table.visible(record)]
        rows = [[name for name, _, _ in result.columns]]
        rows += [[field.shown_in_csv(get(record)) for _, field, get in result.columns] for record in records]
        locator = base64.b64encode(str(end).encode()).decode() if end < result.total else "null"
        return web.Response(
            body=job.csv(rows).encode("utf-8", "replace"),
            headers={"Sforce-Locator": locator, "Sforce-NumberOfRecords": str(len(records))},
            content_type="text/csv",
            charset="UTF-8",
        )

    def _advance(self, job: Job) -> None:
        if job.polls > 0:
            job.polls -= 1
            self.move(job, "InProgress")
        elif job.failure is not None:
            self.move(job, "Failed")
        else:
            answer = self.answers[job.id]
            try:
                answer.result = self._run(answer.text, job.operation)
            except ApiError as error:  # a field has vanished since the job was made
                job.failure = f"{error.code}: {error.message}"
                self.move(job, "Failed")
                return
            job.processed = answer.result.total
            self.move(job, "JobComplete")

    def _run(self, text: str, operation: str) -> Result:
        return self.salesforce.engine.run(text, deleted=operation == "queryAll")


def _refuse_unsupported(query: Query) -> None:
    if any(isinstance(item, Query) for item in query.fields):
        message = "Nested Query not supported in Bulk Query"
        raise ApiError(400, "FUNCTIONALITY_NOT_ENABLED", message)
    if query.group or query.offset or any(isinstance(item, Aggregate) for item in query.fields):
        message = "Aggregate Relationships, GROUP BY and OFFSET not supported in Bulk Query"
        raise ApiError(400, "FUNCTIONALITY_NOT_ENABLED", message)


def _start(request: web.Request) -> int:
    """The row at which a page begins, from its locator."""
    locator = request.query.get("locator", "")
    if locator in ("", "null"):
        return 0
    try:
        return int(base64.b64decode(locator, validate=True))
    except (binascii.Error, ValueError):
        raise ApiError(400, "INVALIDLOCATOR", f"The locator {locator} is not valid") from None
