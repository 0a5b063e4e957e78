"""The ways through a Zoho module's records; `crm.connectors.zoho` says why they are as they are."""

from collections.abc import Generator, Iterator, Sequence
from datetime import UTC, datetime
from typing import Any

from django.utils.translation import gettext as _

from crm.connectors import zoho_fields
from crm.connectors.base import ConnectorError, Mode, Page, Record
from crm.connectors.zoho_api import IDS, MOST_FIELDS, QUERY_ROWS, Api
from crm.connectors.zoho_errors import RefusedError

State = dict[str, Any]

MODULES = {"contacts": "Contacts", "leads": "Leads", "deals": "Deals", "products": "Products"}
HOLD_BACK = 5  # seconds
LOOK_BACK = 600
TIED_ROWS = 1000  # records of one second that make a page
MOST_DELETED_PAGES = 5000
PAGING_ENDS = "DISCRETE_PAGINATION_LIMIT_EXCEEDED"


class Reading:
    """Reads modules through `api`."""

    def __init__(self, api: Api):
        self._api = api

    def pages(self, cursor: State, mode: Mode, name: str, names: Sequence[str]) -> Iterator[Page]:
        """What changed, then what was deleted; see Connector.pages.

        The cursor says how far each is, in seconds of Zoho's clock: {"until", "deleted_until"}, and within a walk
        over the changes {"deleted_until", "walk": {"at", "to", "tie": last id of a crowded second, "full",
        "expected"}}.
        """
        state = dict(cursor)
        walk = state.get("walk")
        if not state or (mode == "full" and not (walk and walk["full"])):
            expected = self._api.count(MODULES[name])
            to = self._now() - HOLD_BACK
            state = {
                # A new copy needs no old deletions, a renewed one all that Zoho still lists.
                "deleted_until": 0 if cursor else to,
                "walk": {"at": 0, "to": to, "tie": None, "full": True, "expected": expected},
            }
        elif walk is None:
            if self._api.server_time is None:
                self._api.fields(MODULES[name])
            to = self._now() - HOLD_BACK
            at = max(0, min(state["until"], to) - LOOK_BACK)
            state["walk"] = {"at": at, "to": to, "tie": None, "full": False, "expected": None}
        state = yield from self._changes(name, state, names)
        yield from self._deletions(name, state)

    def records(self, name: str, ids: Sequence[str], names: Sequence[str]) -> list[Record]:
        """The records with these ids that exist."""
        known = [record_id for record_id in ids if record_id.isdecimal()]
        return [_record(name, row, names) for row in self._rows(MODULES[name], known, _asked(name, names))]

    def ids(self, name: str) -> Iterator[list[str]]:
        """All ids, ascending, in batches."""
        yield from self._ids(MODULES[name], None, "0", QUERY_ROWS)

    def _changes(self, name: str, state: State, names: Sequence[str]) -> Generator[Page, None, State]:
        """Walk the seconds from walk.at to walk.to; gives the state after them."""
        walk = state["walk"]
        while True:
            if walk["tie"] is not None:
                walk = yield from self._one_second(name, state, walk, names)
            rows, more = self._listed(name, walk["at"], _asked(name, names))
            records = [_record(name, row, names) for row in rows]
            last = _second(rows[-1]) if rows else walk["at"]
            if not more or last > walk["to"]:
                break
            if last > walk["at"]:
                walk = {**walk, "at": last}
                yield Page(name, records, {**state, "walk": walk}, walk["expected"], current=True)
            else:
                walk = {**walk, "tie": "0"}
        state = {"until": walk["to"], "deleted_until": state["deleted_until"]}
        yield Page(name, records, state, walk["expected"], current=True)
        return state

    def _one_second(
        self, name: str, state: State, walk: State, names: Sequence[str]
    ) -> Generator[Page, None, State]:
        """Read all that changed in the second walk.at, by ascending id; gives the walk after it."""
        module, second = MODULES[name], walk["at"]
        condition = f"(Modified_Time >= '{_text(second)}' and Modified_Time < '{_text(second + 1)}')"
        for ids in self._ids(module, condition, walk["tie"], TIED_ROWS):
            walk = {**walk, "tie": ids[-1]}
            records = [_record(name, row, names) for row in self._rows(module, ids, _asked(name, names))]
            yield Page(name, records, {**state, "walk": walk}, walk["expected"], current=True)
        return {**walk, "at": second + 1, "tie": None}

    def _deletions(self, name: str, state: State) -> Iterator[Page]:
        to = state["until"]
        since = min(state["deleted_until"], to) - LOOK_BACK
        after = _moment(since - 1) if since > 1 else None
        before: list[str] = []
        gap: State = {}
        for number in range(1, MOST_DELETED_PAGES + 1):
            try:
                rows, more = self._api.deleted(MODULES[name], after, number)
            except RefusedError as error:
                if error.code != PAGING_ENDS:
                    raise
                rows, more, gap = [], False, {"gap": True}
            records = [_deletion(row) for row in rows]
            ids = [record.id for record in records]
            if more and (not ids or ids == before):
                raise ConnectorError(_("Zoho keeps sending the same deletions; the next run tries again."))
            before = ids
            if not more:
                done = {"until": to, "deleted_until": to, **gap}
                yield Page(name, records, done, current=True, until=_moment(to))
                return
            yield Page(name, records, state, current=True)
        raise ConnectorError(_("Zoho's list of deleted records does not end; the next run tries again."))

    def _listed(self, name: str, at: int, chunks: list[list[str]]) -> tuple[list[dict[str, Any]], bool]:
        """A page of what changed at or after the second `at`, complete and in order; whether there is more."""
        module = MODULES[name]
        # Whether "since" includes its own second is not said: asking a second earlier serves both.
        rows, more = self._api.changed(module, chunks[0], _moment(at - 1) if at > 1 else None)
        seconds = [_second(row) for row in rows]
        if seconds != sorted(seconds) or (seconds and seconds[0] < at - 1) or (more and not rows):
            raise ConnectorError(_("Zoho sent records out of order; the next run tries again."))
        return self._joined(module, rows, chunks[1:]), more

    def _rows(self, module: str, ids: Sequence[str], chunks: list[list[str]]) -> list[dict[str, Any]]:
        """Those of the records that exist, with all fields."""
        found: list[dict[str, Any]] = []
        for start in range(0, len(ids), IDS):
            rows = self._api.read(module, ids[start : start + IDS], chunks[0])
            found += self._joined(module, rows, chunks[1:])
        return found

    def _joined(
        self, module: str, rows: list[dict[str, Any]], chunks: list[list[str]]
    ) -> list[dict[str, Any]]:
        """The rows with the fields of further chunks; one deleted meanwhile is left out."""
        for chunk in chunks:
            ids = [_id(row) for row in rows]
            more = {
                _id(row): row
                for start in range(0, len(ids), IDS)
                for row in self._api.read(module, ids[start : start + IDS], chunk)
            }
            rows = [_older(row, more[_id(row)]) for row in rows if _id(row) in more]
        return rows

    def _ids(self, module: str, condition: str | None, last: str, limit: int) -> Iterator[list[str]]:
        """Ids beyond `last`, ascending, in batches of `limit`."""
        while True:
            beyond = f"id > {last}"
            where = beyond if condition is None else f"({condition} and {beyond})"
            found = self._api.query(f"select id from {module} where {where} order by id asc limit {limit}")
            ids = [_id(row) for row in found]
            numbers = [int(last), *map(int, ids)]
            if numbers != sorted(set(numbers)):
                raise ConnectorError(_("Zoho sent records out of order; the next run tries again."))
            if ids:
                yield ids
                last = ids[-1]
            if len(ids) < limit:
                return

    def _now(self) -> int:
        if self._api.server_time is None:
            raise ConnectorError(_("Zoho's answers carry no date; is a proxy in between?"))
        return int(self._api.server_time.timestamp())


def _asked(name: str, names: Sequence[str]) -> list[list[str]]:
    """The fields to ask for, in chunks of what one call shows, each with the time; of deals also the buyer."""
    needed = ["Contact_Name"] if name == "deals" else []
    wanted = [one for one in dict.fromkeys([*needed, *names]) if one not in ("id", "Modified_Time")]
    size = MOST_FIELDS - 1
    chunks = [wanted[start : start + size] for start in range(0, len(wanted), size)] or [[]]
    return [["Modified_Time", *chunk] for chunk in chunks]


def _record(name: str, row: dict[str, Any], names: Sequence[str]) -> Record:
    buyer = row.get("Contact_Name")
    people = []
    if name == "deals" and isinstance(buyer, dict) and str(buyer.get("id", "")).isdecimal():
        people = [("contacts", str(buyer["id"]))]
    fields = {one: zoho_fields.taken(row.get(one)) for one in names}
    return Record(_id(row), _time(row, "Modified_Time"), fields, people=people)


def _deletion(row: dict[str, Any]) -> Record:
    return Record(_id(row), _time(row, "deleted_time"), {}, deleted=True)


def _older(one: dict[str, Any], other: dict[str, Any]) -> dict[str, Any]:
    """Two parts of one record; if it changed in between, it counts as of the earlier time."""
    time = min(one, other, key=_second)["Modified_Time"]
    return {**one, **other, "Modified_Time": time}


def _id(row: dict[str, Any]) -> str:
    record_id = str(row.get("id", ""))
    if not record_id.isdecimal():
        raise ConnectorError(_("Zoho sent a record without an id; the next run tries again."))
    return record_id


def _time(row: dict[str, Any], name: str) -> datetime:
    """The instant in a field; Zoho writes it in the organisation's time zone."""
    try:
        moment = datetime.fromisoformat(row[name])
    except (KeyError, TypeError, ValueError):
        moment = None
    if moment is None or moment.tzinfo is None:
        raise ConnectorError(_("Zoho sent a record without a time; the next run tries again."))
    return moment.astimezone(UTC)


def _second(row: dict[str, Any]) -> int:
    return int(_time(row, "Modified_Time").timestamp())


def _moment(second: int) -> datetime:
    return datetime.fromtimestamp(second, UTC)


def _text(second: int) -> str:
    return _moment(second).isoformat()
