"""Zoho's record API: lists, single records, deletions, counts, search and COQL."""

from __future__ import annotations

import re
import secrets
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any

from aiohttp import web

from crm.sandbox.zoho_coql import Parser, comparable
from crm.sandbox.zoho_replies import (
    USER,
    ApiError,
    NothingError,
    invalid,
    local,
    missing,
    reply,
)
from crm.sandbox.zoho_store import Module, Row

if TYPE_CHECKING:
    from crm.sandbox.zoho import Zoho

PAGE = 200
MOST_FIELDS = 50
MOST_IDS = 100
DISCRETE = 2000  # rows that `page` reaches
TOKEN_SECONDS = 86_400
SORTS = ("id", "Created_Time", "Modified_Time")


@dataclass(frozen=True, slots=True)
class Place:
    """Where a page token leads: a position, so that rows which move between pages shift the rest."""

    offset: int
    page: int
    bound: tuple[str, ...]
    expires: int


class Records:
    """The handlers of `/crm/v8/{module}…` and of COQL. `token_seconds` is the life of page tokens."""

    def __init__(self, zoho: Zoho) -> None:
        self.zoho = zoho
        self.token_seconds = TOKEN_SECONDS
        self._places: dict[str, Place] = {}

    def expire_page_tokens(self) -> None:
        """Let every page token given so far run out."""
        self._places = {
            token: Place(place.offset, place.page, place.bound, 0) for token, place in self._places.items()
        }

    # Reading

    async def list(self, request: web.Request) -> web.Response:
        module, query = self._module(request), request.query
        names = self._names(request)
        since = self._since(request)
        ids = query.get("ids")
        if ids is not None:
            wanted = [one.strip() for one in ids.split(",")]
            if len(wanted) > MOST_IDS:
                raise invalid("ids", maximum_length=MOST_IDS)
            rows = [row for row in (module.get(one) for one in wanted) if row and self.zoho.visible(row)]
        else:
            rows = self._sorted(module, query.get("sort_by", "id"), query.get("sort_order", "desc"), since)
        return self._page(request, module, rows, names, since is not None and ids is None)

    def _sorted(self, module: Module, by: str, order: str, since: int | None) -> list[Row]:
        if by not in SORTS:
            raise invalid("sort_by", supported_values=list(SORTS))
        if order not in ("asc", "desc"):
            raise invalid("sort_order", supported_values=["asc", "desc"])
        rows = module.by_time() if since is None else module.changed_after(since)
        rows = self.zoho.shown_rows(rows)
        if by == "id":
            rows = sorted(rows, key=lambda row: int(row.id))
        elif by == "Created_Time":
            rows = sorted(rows, key=lambda row: row.created // 1000)
        return rows[::-1] if order == "desc" else rows

    def _page(
        self, request: web.Request, module: Module, rows: list[Row], names: list[str], conditional: bool
    ) -> web.Response:
        query = request.query
        per_page = _whole(query, "per_page", PAGE, PAGE)
        bound = (module.name, query.get("sort_by", ""), query.get("sort_order", ""), str(per_page))
        now, place = self.zoho.clock.now(), None
        token = query.get("page_token")
        if token is not None:
            if "page" in query:
                raise ApiError(
                    400,
                    "AMBIGUITY_DURING_PROCESSING",
                    "Ambiguity while processing the request",
                    {"ambiguity_due_to": ["page", "page_token"]},
                )
            place = self._places.get(token)
            if place is None:
                raise invalid("page_token")
            if place.expires <= now:
                raise ApiError(
                    400, "EXPIRED_VALUE", "The page_token given is expired", {"param": "page_token"}
                )
            if place.bound != bound:
                raise ApiError(
                    400,
                    "TOKEN_BOUND_DATA_MISMATCH",
                    "The data bound to the page_token does not match the request",
                    {"param": "page_token"},
                )
        page = place.page if place else _whole(query, "page", 1, 10**9)
        start = place.offset if place else (page - 1) * per_page
        if place is None and start + per_page > DISCRETE and page > 1:
            raise ApiError(
                400,
                "DISCRETE_PAGINATION_LIMIT_EXCEEDED",
                "You can only get the first 2000 records without using page_token param",
                {"limit": DISCRETE},
            )
        found = rows[start : start + per_page]
        if not found:
            raise NothingError(304 if conditional and start == 0 else 204)
        more = len(rows) > start + per_page
        following = self._token(
            Place(start + per_page, page + 1, bound, now + self.token_seconds * 1000), more
        )
        previous = self._token(
            Place(max(0, start - per_page), page - 1, bound, now + self.token_seconds * 1000), page > 1
        )
        info = {
            "per_page": per_page,
            "count": len(found),
            "page": page,
            "sort_by": query.get("sort_by", "id"),
            "sort_order": query.get("sort_order", "desc"),
            "more_records": more,
            "next_page_token": following,
            "previous_page_token": previous,
            "page_token_expiry": local(now + self.token_seconds * 1000, self.zoho.utc_offset_minutes)
            if more
            else None,
        }
        return reply({"data": [self.zoho.record(row, module.schema, names) for row in found], "info": info})

    def _token(self, place: Place, needed: bool) -> str | None:
        if not needed:
            return None
        token = secrets.token_hex(32)
        self._places[token] = place
        return token

    async def get(self, request: web.Request) -> web.Response:
        module = self._module(request)
        row = module.get(request.match_info["id"])
        if row is None or row.id in self.zoho.hidden:
            raise NothingError(204)
        since = self._since(request)
        if since is not None and row.second <= since:
            raise NothingError(304)
        names = [name for name in request.query.get("fields", "").split(",") if name]
        return reply({"data": [self.zoho.record(row, module.schema, names or list(module.schema.fields))]})

    async def deleted(self, request: web.Request) -> web.Response:
        module, query = self._module(request), request.query
        kind = query.get("type", "all")
        if kind not in ("all", "recycle", "permanent"):
            raise invalid("type", supported_values=["all", "recycle", "permanent"])
        since = self._since(request)
        entries: list[tuple[int, str, str, str]] = []
        if kind != "permanent":
            entries += [
                (row.archived_at, row.id, module.schema.title(row.values), "recycle")
                for row in list(module.rows.values())
                if row.archived_at is not None and row.id not in self.zoho.hidden
            ]
        if kind != "recycle":
            entries += [(gone.at, gone.id, gone.name, "permanent") for gone in list(module.gone.values())]
        entries = sorted((e for e in entries if since is None or e[0] // 1000 > since), reverse=True)
        per_page, page = _whole(query, "per_page", PAGE, PAGE), _whole(query, "page", 1, 10**9)
        found = entries[(page - 1) * per_page : page * per_page]
        if not found:
            raise NothingError(304 if since is not None and page == 1 else 204)
        data = [
            {
                "id": record_id,
                "display_name": title,
                "type": type_,
                "deleted_time": local(at, self.zoho.utc_offset_minutes),
                "deleted_by": {"id": USER["id"], "name": USER["name"]},
                "created_by": {"id": USER["id"], "name": USER["name"]},
            }
            for at, record_id, title, type_ in found
        ]
        more = len(entries) > page * per_page
        info = {"per_page": per_page, "count": len(data), "page": page, "more_records": more}
        return reply({"data": data, "info": info})

    async def count(self, request: web.Request) -> web.Response:
        module = self._module(request)
        return reply({"count": len(self._searched(request, module, needed=False))})

    async def search(self, request: web.Request) -> web.Response:
        module = self._module(request)
        names = [name for name in request.query.get("fields", "").split(",") if name]
        rows = self._searched(request, module, needed=True)
        return self._page(request, module, rows, names or list(module.schema.fields), conditional=False)

    def _searched(self, request: web.Request, module: Module, needed: bool) -> list[Row]:
        query, tests = request.query, []
        if query.get("criteria"):
            tests.append(self._criteria(query["criteria"], module))
        for name, key in (("email", "Email"), ("phone", "Phone")):
            if query.get(name):
                wanted = query[name].casefold()
                tests.append(
                    lambda row, key=key, wanted=wanted: str(row.values.get(key, "")).casefold() == wanted
                )
        if query.get("word"):
            word = query["word"].casefold()
            tests.append(lambda row: any(word in str(value).casefold() for value in row.values.values()))
        if needed and not tests:
            raise missing("criteria")
        rows = self.zoho.shown_rows(list(module.live()))
        return [row for row in rows if all(test(row) for test in tests)]

    def _criteria(self, text: str, module: Module) -> Callable[[Row], bool]:
        """`(Email:equals:a@b.c)` and the like, joined by one kind of `and` or `or`."""
        parts = re.findall(r"\(?([A-Za-z_]\w*):(\w+):((?:\\.|[^()])*)\)", text)
        if not parts:
            raise ApiError(400, "INVALID_QUERY", "invalid query formed", {"reason": "invalid criteria"})
        tests = []
        for name, operator, raw in parts:
            definition = module.schema.fields.get(name)
            test = SEARCHES.get(operator)
            if definition is None or test is None:
                raise ApiError(400, "INVALID_QUERY", "invalid query formed", {"api_name": name})
            wanted = comparable(definition.type, _literal(re.sub(r"\\(.)", r"\1", raw)))
            tests.append((definition, test, wanted))
        every = any if re.search(r"\)\s*or\s*\(", text) else all

        def holds(row: Row) -> bool:
            values = [
                (comparable(one.type, self.zoho.shown(row, module.schema, one.name)), test, wanted)
                for one, test, wanted in tests
            ]
            return every(value is not None and test(value, wanted) for value, test, wanted in values)

        return holds

    async def coql(self, request: web.Request) -> web.Response:
        text = (await self.zoho.json(request)).get("select_query")
        if not isinstance(text, str):
            raise ApiError(
                400, "MANDATORY_NOT_FOUND", "required field not found", {"api_name": "select_query"}
            )
        modules = self.zoho.modules

        def find(name: str) -> Any:
            return modules[name].schema if name in modules else None

        found: list[Module] = []
        query = Parser(text, find, lambda row, name: self.zoho.shown(row, found[0].schema, name)).parse()
        module = modules[query.module]
        found.append(module)
        rows = [row for row in self.zoho.shown_rows(list(module.live())) if query.where(row)]
        if query.fields == ["COUNT(id)"]:
            return reply({"data": [{"COUNT(id)": len(rows)}], "info": {"count": 1, "more_records": False}})
        for name, descending in reversed(query.order):
            kind = module.schema.fields[name].type
            keyed = [(comparable(kind, self.zoho.shown(row, module.schema, name)), row) for row in rows]
            keyed.sort(
                key=lambda pair: (pair[0] is not None, pair[0] if pair[0] is not None else 0),
                reverse=descending,
            )
            rows = [row for _, row in keyed]
        chosen = rows[query.offset : query.offset + query.limit]
        if not chosen:
            raise NothingError(204)
        data = [self._answer(self.zoho.record(row, module.schema, query.fields)) for row in chosen]
        more = len(rows) > query.offset + query.limit
        return reply({"data": data, "info": {"count": len(data), "more_records": more}})

    def _answer(self, record: dict[str, Any]) -> dict[str, Any]:
        """A COQL row: a lookup is only its id."""
        return {
            name: {"id": value["id"]} if isinstance(value, dict) else value for name, value in record.items()
        }

    # Requests

    def _module(self, request: web.Request) -> Module:
        return self.zoho.module(request.match_info["module"])

    def _names(self, request: web.Request) -> list[str]:
        names = [name.strip() for name in request.query.get("fields", "").split(",") if name.strip()]
        if not names:
            raise missing("fields")
        if len(names) > MOST_FIELDS:
            raise ApiError(
                400,
                "LIMIT_EXCEEDED",
                "Max field limit exceeded",
                {"param_name": "fields", "limit": MOST_FIELDS},
            )
        return names

    def _since(self, request: web.Request) -> int | None:
        """The second of If-Modified-Since, or None without that header."""
        text = request.headers.get("If-Modified-Since")
        if text is None:
            return None
        try:
            moment = datetime.fromisoformat(text)
        except ValueError:
            moment = None
        if moment is None or moment.tzinfo is None:
            raise ApiError(400, "INVALID_DATA", "invalid data", {"header": "If-Modified-Since"})
        return int(moment.timestamp() // 1)


def _whole(query: Any, name: str, default: int, most: int) -> int:
    text = query.get(name)
    if text is None:
        return default
    if not re.fullmatch(r"[0-9]{1,9}", text) or not 1 <= int(text) <= most:
        raise invalid(name, maximum=most)
    return int(text)


def _literal(text: str) -> Any:
    if text.lower() in ("true", "false"):
        return text.lower() == "true"
    return float(text) if re.fullmatch(r"-?\d{1,15}(\.\d+)?", text) else text


SEARCHES: dict[str, Callable[[Any, Any], bool]] = {
    "equals": lambda value, wanted: value == wanted,
    "not_equal": lambda value, wanted: value != wanted,
    "starts_with": lambda value, wanted: str(value).startswith(str(wanted)),
    "in": lambda value, wanted: str(value) in str(wanted).split(","),
    "greater_than": lambda value, wanted: value > wanted,
    "greater_equal": lambda value, wanted: value >= wanted,
    "less_than": lambda value, wanted: value < wanted,
    "less_equal": lambda value, wanted: value <= wanted,
}
