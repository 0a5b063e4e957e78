"""The ways through one object's records: all of them, those that changed, and those that were deleted.

Facts about Salesforce that shape this file:

- SystemModstamp is no sequence: many records share one, and a slow transaction's records appear below stamps
  already seen. So a window of stamps is walked by (stamp, id), it ends a few seconds before Salesforce's own
  clock, and it begins ten minutes before the end of the one before.
- All records are walked by id, which never changes; what changes meanwhile is in the window that follows.
- Large objects come as a Bulk 2.0 job, which is prepared once and then read part by part, in no order.
- Records in the recycle bin keep their place in the window, told as deleted. The feed of deletions is kept
  fifteen days and says since when it is complete; before that only comparing all ids finds what is gone.

The state is JSON, times in it are Salesforce's:

    {"until": …, "deleted_until": …}                        between two runs
    {…, "window": {"from", "to", "stamp", "id", "gone"}}    in changes; `gone`: only deletions
    {…, "full": {"started", "last"}}                        in everything, by id
    {…, "full": {"started", "job", "locator", "fields"}}    in everything, by Bulk job
    {…, "gap": true}                                        deletions may have been missed: compare all ids
"""

import time
from collections.abc import Generator, Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

from django.utils.translation import gettext as _

from crm.connectors.base import ConnectorError, Page, Record
from crm.connectors.salesforce_api import Api, Refused
from crm.connectors.salesforce_fields import DELETED, ID, STAMP, iso
from crm.connectors.salesforce_ids import long_form
from crm.connectors.salesforce_read import IDS_IN_QUERY, Reader

State = dict[str, Any]

HOLD_BACK = timedelta(seconds=5)
LOOK_BACK = timedelta(minutes=10)
FEED_DAYS = timedelta(days=15) - timedelta(hours=1)
JOB_PATIENCE = timedelta(minutes=15)
BULK_PAGE = 5_000
BULK_IDS = 50_000
JOBS = 2  # of one run
LONGEST_POLL = 10.0  # seconds
WORKING = ("UploadComplete", "InProgress", "Queued", "Open")


class JobFailedError(Exception):
    """Salesforce could not prepare a query's rows; another way may do."""


class JobGoneError(Exception):
    """Salesforce has no rows for this job any more."""


class Walk:
    """One run through one object.

    Args:
        bulk_from: so many records, and more, come as a Bulk 2.0 job; None: they never do.
        poll: seconds before a job is asked for again; growing.
        feed_every: time between two looks into the feed of deletions.
    """

    def __init__(self, api: Api, reader: Reader, bulk_from: int | None, poll: float, feed_every: timedelta):
        self.api, self.reader, self.name = api, reader, reader.name
        self.bulk_from, self.poll, self.feed_every = bulk_from, poll, feed_every
        self.now = api.now
        self._told: set[str] = set()  # deletions of this run
        self._ends: set[tuple[str, ...]] = set()  # last rows of pages

    def pages(self, cursor: State, full: bool) -> Iterator[Page]:
        """See Connector.pages."""
        state = dict(cursor)
        known = "until" in state
        feed = known and (full or self.now - _time(state["deleted_until"]) >= self.feed_every)
        if "full" not in state and (full or not known):
            state.pop("window", None)
            state = self._anew(state)
        listed = "full" in state
        if listed:
            state = yield from self._everything(state)
        if not listed or "window" in state:
            state = yield from self._changes(state, last=not feed)
        if feed:
            yield from self._feed(state)

    def ids(self) -> Iterator[list[str]]:
        """The ids of all live records."""
        if self._large(self.reader.count()):
            try:
                yield from self._ids_by_bulk()
                return
            except JobFailedError:
                pass
        last = ""
        while True:
            found = self.reader.rows(
                f"{ID} > '{last}'" if last else f"{ID} != null", f"{ID} ASC", deleted=False
            )
            yield [self._id(row) for row in found.rows]
            if not found.more:
                return
            last = self._moved(found.last, ID)[0]

    def _large(self, total: int) -> bool:
        return self.bulk_from is not None and total >= self.bulk_from

    # Everything

    def _everything(self, state: State) -> Generator[Page, None, State]:
        expected = self.reader.count()
        if not state["full"].get("last") and self._large(expected):
            state = self._with_job(state)
        for _attempt in range(JOBS):
            if "job" not in state["full"]:
                break
            yield Page(self.name, [], state, expected, current=True)  # the job's number is worth keeping
            try:
                return (yield from self._by_bulk(state, expected))
            except JobGoneError:
                state = self._with_job(self._anew(state))
            except JobFailedError:
                state = self._anew(state)
        if "job" in state["full"]:
            state = self._anew(state)
        return (yield from self._by_id(state, expected))

    def _anew(self, state: State) -> State:
        """From the beginning, as of now; what was read already stays and is read again."""
        return {**state, "full": {"started": _text(self.api.now - HOLD_BACK), "last": ""}}

    def _with_job(self, state: State) -> State:
        """With a Bulk job, unless there is one or can be none."""
        if "job" in state["full"] or self.bulk_from is None:
            return state
        try:
            job = self.reader.again(lambda: self._start(self.reader.listing(self.reader.select())))
        except JobFailedError:
            return state
        fields = self.reader.fingerprint()
        return {**state, "full": {**state["full"], "job": job, "locator": "", "fields": fields}}

    def _by_id(self, state: State, expected: int) -> Generator[Page, None, State]:
        while True:
            last = state["full"]["last"]
            where = f"{ID} > '{last}'" if last else f"{ID} != null"
            found = self.reader.rows(where, f"{ID} ASC", deleted=False)
            records = [self.reader.record(row) for row in found.rows]
            if not found.more:
                return (yield from self._listed(state, records, expected))
            state = {**state, "full": {**state["full"], "last": self._moved(found.last, ID)[0]}}
            yield Page(self.name, records, state, expected, current=True)

    def _by_bulk(self, state: State, expected: int) -> Generator[Page, None, State]:
        begun = state["full"]
        if begun["fields"] != self.reader.fingerprint():
            raise JobGoneError  # other fields are wanted now
        self._await(begun["job"])
        while True:
            part = self._part(begun["job"], begun["locator"], BULK_PAGE)
            records = [self.reader.record(row) for row in part.rows]
            if not part.locator:
                return (yield from self._listed(state, records, expected))
            self._once((begun["job"], part.locator))
            begun = {**begun, "locator": part.locator}
            state = {**state, "full": begun}
            yield Page(self.name, records, state, expected, current=True)

    def _listed(self, state: State, records: list[Record], expected: int) -> Generator[Page, None, State]:
        """The last page of everything. Of what was known before, the deletions are still to be told."""
        started = state["full"]["started"]
        state = {name: value for name, value in state.items() if name != "full"}
        if "until" in state:
            begin = min(_time(state["until"]), _time(started)) - LOOK_BACK
            state["window"] = {"from": _text(begin), "to": started, "stamp": "", "id": "", "gone": True}
            yield Page(self.name, records, state, expected, current=True)
        else:
            state |= {"until": started, "deleted_until": started}
            yield Page(self.name, records, state, expected, current=True, until=_time(started))
        return state

    # Changes

    def _changes(self, state: State, last: bool) -> Generator[Page, None, State]:
        window = state.get("window")
        if window is None:
            end = self.now - HOLD_BACK
            # Salesforce's clock may have been put back since.
            begin = min(_time(state["until"]), end) - LOOK_BACK
            window = {"from": _text(begin), "to": _text(end), "stamp": "", "id": "", "gone": False}
        expected = None
        while True:
            found = self.reader.rows(_where(window), f"{STAMP} ASC, {ID} ASC", deleted=True)
            if expected is None and found.total < self.reader.page:
                expected = found.total
            records = [self.reader.record(row) for row in found.rows]
            self._told |= {record.id for record in records if record.deleted}
            if not found.more:
                break
            stamp, last_id = self._moved(found.last, STAMP, ID)
            stamp = _literal(stamp)
            if window["stamp"] and _time(stamp) < _time(window["stamp"]):
                raise self._astray()
            window = {**window, "stamp": stamp, "id": last_id}
            state = {**state, "window": window}
            yield Page(self.name, records, state, expected, current=True)
        if not window["gone"]:
            records += yield from self._touched(window, state, expected)
        state = {name: value for name, value in state.items() if name != "window"}
        state["until"] = window["to"]
        until = _time(window["to"]) if last else None
        yield Page(self.name, records, state, expected, current=True, until=until)
        return state

    def _touched(
        self, window: State, state: State, expected: int | None
    ) -> Generator[Page, None, list[Record]]:
        """Records that changed only in their inner rows; returns the last of them."""
        last = ""
        while True:
            found = self.reader.touched(window["from"], window["to"], last)
            records = [record for row in found.rows if not (record := self.reader.record(row)).deleted]
            if not found.more:
                return records
            yield Page(self.name, records, state, expected, current=True)
            last = self._moved(found.last, ID)[0]

    # Deletions

    def _feed(self, state: State) -> Iterator[Page]:
        since = _time(state["deleted_until"]) - LOOK_BACK
        start = max(since, self.now - FEED_DAYS)
        gap, until, gone = start > since, self.now, {}
        try:
            deleted = self.api.deleted(self.name, start, self.now)
        except Refused as error:
            if error.code not in ("INVALID_REPLICATION_DATE", "EXCEEDED_ID_LIMIT"):
                raise
            gap = True
        else:
            # Salesforce forgets deletions when recycle bins are emptied; it compares whole minutes.
            gap = gap or deleted.earliest_date_available > start
            until = deleted.latest_date_covered
            gone = {long_form(row.id) or row.id: row.deleted_date for row in deleted.deleted_records}
        waiting = [record_id for record_id in gone if record_id not in self._told]
        state = {name: value for name, value in state.items() if name != "gap"}
        state = {**state, "deleted_until": _text(until), **({"gap": True} if gap else {})}
        records = []
        for begin in range(0, len(waiting), IDS_IN_QUERY):
            ids = waiting[begin : begin + IDS_IN_QUERY]
            records += self._gone({record_id: gone[record_id] for record_id in ids})
        yield Page(self.name, records, state, current=True, until=_time(state["until"]))

    def _gone(self, dates: dict[str, datetime]) -> list[Record]:
        """What became of records in the feed: merged, in the recycle bin, deleted for good; some are back again."""
        rows = self.reader.by_id([record_id for record_id in dates if long_form(record_id)])
        found = {record.id: record for record in map(self.reader.record, rows)}
        known = [record for record in found.values() if record.deleted]
        return known + [
            Record(record_id, date, deleted=True)
            for record_id, date in dates.items()
            if record_id not in found
        ]

    # Bulk 2.0 jobs

    def _start(self, query: str) -> str:
        try:
            return self.api.start_job(query).id
        except Refused as error:
            if error.code == "INVALID_FIELD" or error.retry_minutes:
                raise
            raise JobFailedError from None  # not for this user or edition

    def _await(self, job_id: str) -> None:
        end, wait = time.monotonic() + JOB_PATIENCE.total_seconds(), self.poll
        while True:
            try:
                job = self.api.job(job_id)
            except Refused as error:
                raise self._lost(error) from None
            if job.state == "JobComplete":
                return
            if job.state not in WORKING:
                raise JobFailedError
            if time.monotonic() > end:
                raise ConnectorError(
                    _("Salesforce is still preparing the records; the next run asks for them again.")
                )
            time.sleep(wait)
            wait = min(wait * 1.5, LONGEST_POLL)

    def _part(self, job_id: str, locator: str, most: int) -> Any:
        try:
            return self.api.results(job_id, locator, most)
        except Refused as error:
            raise self._lost(error) from None

    def _lost(self, error: Refused) -> Exception:
        """What an error about a job means: purged after seven days, or something that passes."""
        return JobGoneError() if error.status in (400, 404) else error

    def _ids_by_bulk(self) -> Iterator[list[str]]:
        job = self._start(self.reader.listing(ID))
        try:
            self._await(job)
            locator = ""
            while True:
                part = self._part(job, locator, BULK_IDS)
                yield [self._id(row) for row in part.rows]
                locator = part.locator
                if not locator:
                    return
                self._once((job, locator))
        except JobGoneError:
            raise ConnectorError(
                _("Salesforce dropped the list of records; the next run asks again.")
            ) from None

    # Going forward

    def _moved(self, row: dict[str, Any] | None, *names: str) -> tuple[str, ...]:
        """The values of a page's last row, from where to go on; ConnectorError if we have been there."""
        place = tuple(str((row or {}).get(name) or "") for name in names)
        if not all(place):
            raise self._astray()
        if long_form(place[-1]) is None:
            raise self.api.garbled()
        self._once(place)
        return place

    def _once(self, place: tuple[str, ...]) -> None:
        if place in self._ends:
            raise self._astray()
        self._ends.add(place)

    def _astray(self) -> ConnectorError:
        return ConnectorError(_("Salesforce keeps sending the same records; the next run tries again."))

    def _id(self, row: dict[str, Any]) -> str:
        found = long_form(str(row.get(ID)))
        if found is None:
            raise self.api.garbled()
        return found


def _where(window: State) -> str:
    """The condition of a window's next page; its times are SOQL's."""
    if window["stamp"]:
        stamp, last = window["stamp"], window["id"]
        begin = f"(({STAMP} = {stamp} AND {ID} > '{last}') OR {STAMP} > {stamp})"
    else:
        begin = f"{STAMP} >= {window['from']}"
    only = f" AND {DELETED} = true" if window["gone"] else ""
    return f"{begin} AND {STAMP} <= {window['to']}{only}"


def _time(text: str) -> datetime:
    return datetime.fromisoformat(text)


def _text(moment: datetime) -> str:
    """As SOQL writes times, in milliseconds."""
    moment = moment.astimezone(UTC)
    return f"{moment:%Y-%m-%dT%H:%M:%S}.{moment.microsecond // 1000:03d}Z"


def _literal(stamp: str) -> str:
    return _text(_time(iso(stamp)))
