"""What Bulk API 2.0's query and ingest jobs have in common: states, listing, CSV dialects."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

from crm.sandbox import salesforce_ids
from crm.sandbox.salesforce_fields import rest_time
from crm.sandbox.salesforce_ids import USER
from crm.sandbox.salesforce_ids import long_form as id18
from crm.sandbox.salesforce_replies import ApiError, not_found
from crm.sandbox.store import Clock

DELIMITERS = {"BACKQUOTE": "`", "CARET": "^", "COMMA": ",", "PIPE": "|", "SEMICOLON": ";", "TAB": "\t"}
LINE_ENDINGS = {"LF": "\n", "CRLF": "\r\n"}
FINISHED = ("JobComplete", "Failed", "Aborted")


@dataclass
class Job:
    """One job. `polls` is how often its state will be asked before it is done."""

    id: str
    operation: str
    object: str
    version: float
    delimiter: str
    line_ending: str
    state: str
    created: int
    changed: int
    polls: int
    failure: str | None = None
    processed: int = 0
    failed: int = 0
    extra: dict[str, Any] = field(default_factory=dict)

    @property
    def finished(self) -> bool:
        """Whether the state will not change any more."""
        return self.state in FINISHED

    def info(self) -> dict[str, Any]:
        """The job as the API shows it."""
        return {
            "id": self.id,
            "operation": self.operation,
            "object": self.object,
            "createdById": id18(USER),
            "createdDate": rest_time(self.created),
            "systemModstamp": rest_time(self.changed),
            "state": self.state,
            "concurrencyMode": "Parallel",
            "contentType": "CSV",
            "apiVersion": self.version,
            "lineEnding": self.line_ending,
            "columnDelimiter": self.delimiter,
            **self.extra,
        }

    def results_info(self) -> dict[str, Any]:
        """What the job's own resource shows beyond `info`."""
        body = {
            **self.info(),
            "numberRecordsProcessed": self.processed,
            "retries": 0,
            "totalProcessingTime": 100 if self.finished else 0,
        }
        if self.state == "Failed":
            body["errorMessage"] = self.failure
        return body

    def csv(self, rows: Iterable[Iterable[str]]) -> str:
        """Rows in the job's dialect; every value is quoted, as Salesforce does."""
        buffer = io.StringIO()
        csv.writer(
            buffer,
            delimiter=DELIMITERS[self.delimiter],
            lineterminator=LINE_ENDINGS[self.line_ending],
            quoting=csv.QUOTE_ALL,
        ).writerows(rows)
        return buffer.getvalue()


class Jobs:
    """The jobs of one kind, and how the next ones will go."""

    def __init__(self, clock: Clock, first: int) -> None:
        self.clock = clock
        self.jobs: dict[str, Job] = {}
        self.polls = 1  # how often a new job says that it is still at work
        self.fail_next: str | None = None  # the error message with which the next job will fail
        self._next = first

    def open(self, body: dict[str, Any], name: str, version: str, state: str) -> Job:
        """A new job from a request's body."""
        delimiter, line_ending = (
            body.get("columnDelimiter") or "COMMA",
            body.get("lineEnding") or "LF",
        )
        if delimiter not in DELIMITERS or line_ending not in LINE_ENDINGS:
            raise ApiError(400, "INVALIDJOB", "InvalidJob : Unknown columnDelimiter or lineEnding")
        if body.get("contentType", "CSV") != "CSV":
            raise ApiError(400, "INVALIDJOB", "InvalidJob : Unsupported content type")
        now = self.clock.now()
        self._next += 1
        job = Job(
            id=salesforce_ids.make("750", self._next),
            operation=body["operation"],
            object=name,
            version=float(version[1:]),
            delimiter=delimiter,
            line_ending=line_ending,
            state=state,
            created=now - now % 1000,
            changed=now - now % 1000,
            polls=self.polls,
            failure=self.fail_next,
        )
        self.fail_next = None
        self.jobs[job.id] = job
        return job

    def find(self, job_id: str) -> Job:
        """The job of an id, or a 404."""
        job = self.jobs.get(salesforce_ids.long_form(job_id) or "")
        if job is None:
            raise not_found()
        return job

    def move(self, job: Job, state: str) -> None:
        """Into another state."""
        now = self.clock.now()
        job.state, job.changed = state, now - now % 1000

    def listing(self) -> dict[str, Any]:
        """All jobs on one page."""
        return {"done": True, "nextRecordsUrl": None, "records": [job.info() for job in self.jobs.values()]}
