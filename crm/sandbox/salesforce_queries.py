"""query, queryAll, their further pages, and the feeds of updated and deleted ids."""

from __future__ import annotations

import re
from collections import OrderedDict
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from aiohttp import web

from crm.sandbox import salesforce_ids
from crm.sandbox.salesforce_fields import parse_time, rest_time
from crm.sandbox.salesforce_query import Result
from crm.sandbox.salesforce_replies import ApiError, reply
from crm.sandbox.salesforce_schema import SObject

if TYPE_CHECKING:
    from crm.sandbox.salesforce import Salesforce

PAGE, SMALLEST_PAGE = 2000, 200
CURSOR_MS = 2 * 86_400_000
MOST_CURSORS = 1000  # memory, not a limit of Salesforce's
MINUTE_MS, DAY_MS = 60_000, 86_400_000
UPDATED_DAYS, DELETED_DAYS = 30, 15
MOST_IDS = 600_000
BATCH_SIZE = re.compile(r"batchSize\s*=\s*(\d{1,6})", re.IGNORECASE)


@dataclass
class Cursor:
    """A query whose further pages can be fetched: the records are fixed, their values are not."""

    result: Result
    size: int
    opened: int


class Queries:
    """The handlers, and the open cursors."""

    def __init__(self, salesforce: Salesforce) -> None:
        self.salesforce = salesforce
        self.page_size = PAGE  # the most rows of a page; tests may lower it
        self.deletions_known_since: dict[str, int] = {}  # object -> when its log of deletions was emptied
        self._cursors: OrderedDict[str, Cursor] = OrderedDict()
        self._opened = 0

    def routes(self) -> list[tuple[str, str, Callable]]:
        """(method, path, handler) of each operation."""
        return [
            ("GET", "/{kind:query|queryAll}", self.query),
            ("GET", "/{kind:query|queryAll}/{locator:[^/]+}", self.next_page),
        ]

    def expire_cursors(self) -> None:
        """Every locator given out so far leads nowhere from now on."""
        self._cursors.clear()

    async def query(self, request: web.Request) -> web.Response:
        """The first page of what a SOQL query finds."""
        text = request.query.get("q", "")
        if not text.strip():
            raise ApiError(400, "MALFORMED_QUERY", "A query string has to be specified")
        result = self.salesforce.engine.run(text, deleted=request.match_info["kind"] == "queryAll")
        if result.rows is not None:
            return reply({"totalSize": result.total, "done": True, "records": result.rows})
        cursor = Cursor(result, self._size(request), self.salesforce.clock.now())
        if result.total <= cursor.size:
            return reply(self._page(request, cursor, "", 0))
        self._opened += 1
        key = salesforce_ids.make("0r8", self._opened)
        self._cursors[key] = cursor
        if len(self._cursors) > MOST_CURSORS:
            self._cursors.popitem(last=False)
        return reply(self._page(request, cursor, key, 0))

    async def next_page(self, request: web.Request) -> web.Response:
        """A further page, by the locator that the page before gave."""
        key, _, start = request.match_info["locator"].partition("-")
        cursor = self._cursors.get(salesforce_ids.long_form(key) or "")
        fresh = cursor is not None and self.salesforce.clock.now() - cursor.opened < CURSOR_MS
        if cursor is None or not fresh or not start.isdecimal() or int(start) > cursor.result.total:
            raise ApiError(400, "INVALID_QUERY_LOCATOR", "invalid query locator")
        return reply(self._page(request, cursor, key, int(start)))

    def _page(self, request: web.Request, cursor: Cursor, key: str, start: int) -> dict[str, Any]:
        result, base = cursor.result, self.salesforce.base(request)
        end = start + cursor.size
        records = [record for record in result.records[start:end] if result.object.table.visible(record)]
        body: dict[str, Any] = {"totalSize": result.total, "done": end >= result.total}
        if not body["done"]:
            body["nextRecordsUrl"] = f"{base}/query/{key}-{end}"
        return {**body, "records": [result.shape.row(record, base) for record in records]}

    def _size(self, request: web.Request) -> int:
        """Rows per page: what the client's hint asks for, within Salesforce's bounds."""
        found = BATCH_SIZE.search(request.headers.get("Sforce-Query-Options", ""))
        wanted = max(SMALLEST_PAGE, int(found[1])) if found else PAGE
        return min(wanted, self.page_size)

    # Feeds

    def updated(self, item: SObject, query: Mapping[str, str]) -> dict[str, Any]:
        """The ids of live records changed within the window."""
        start, end = self._window(query, UPDATED_DAYS)
        changed = item.table.changed_between(start, end - 1)
        ids = [record.id for record in changed if not record.deleted]
        return {"ids": _bounded(ids), "latestDateCovered": rest_time(end)}

    def deleted(self, item: SObject, query: Mapping[str, str]) -> dict[str, Any]:
        """The records put into the recycle bin within the window and still there; erased ones are forgotten."""
        start, end = self._window(query, DELETED_DAYS)
        since = self.deletions_known_since.get(item.name, self._minute() - DELETED_DAYS * DAY_MS)
        rows = [
            {"id": record.id, "deletedDate": rest_time(record.deleted_at)}
            for record in item.table.records.values()
            if record.deleted_at is not None
            and start <= record.deleted_at < end
            and item.table.visible(record)
        ]
        return {
            "deletedRecords": _bounded(rows),
            "earliestDateAvailable": rest_time(since - since % 1000),
            "latestDateCovered": rest_time(end),
        }

    def _minute(self) -> int:
        now = self.salesforce.clock.now()
        return now - now % MINUTE_MS

    def _window(self, query: Mapping[str, str], days: int) -> tuple[int, int]:
        """Start and end in whole minutes: seconds are ignored; the end is never later than now."""
        stamps = []
        for key in ("start", "end"):
            try:
                stamp = parse_time(query[key])
            except (KeyError, ValueError):
                message = f"{key}Date is missing or not a valid date: {query.get(key, '')}"
                raise ApiError(400, "INVALID_REPLICATION_DATE", message) from None
            stamps.append(stamp - stamp % MINUTE_MS)
        start, end = stamps
        if end - start < MINUTE_MS:
            message = "endDate must be at least one minute greater than startDate"
            raise ApiError(400, "INVALID_REPLICATION_DATE", message)
        if start < self._minute() - days * DAY_MS:
            message = f"startDate cannot be more than {days} days ago"
            raise ApiError(400, "INVALID_REPLICATION_DATE", message)
        if start >= self._minute():
            raise ApiError(400, "INVALID_REPLICATION_DATE", "startDate must be in the past")
        return start, min(end, self._minute())


def _bounded(found: list[Any]) -> list[Any]:
    if len(found) > MOST_IDS:
        raise ApiError(400, "EXCEEDED_ID_LIMIT", "exceeded maximum number of ids")
    return found
