"""WHERE as functions: a condition's tree becomes a predicate over records, and bounds for reading an index."""

from __future__ import annotations

import math
import operator
import re
from collections.abc import Callable
from datetime import UTC, date, datetime, timedelta
from typing import Any

from crm.sandbox import salesforce_dates
from crm.sandbox.salesforce_fields import NUMBERS, Field
from crm.sandbox.salesforce_ids import long_form
from crm.sandbox.salesforce_replies import ApiError
from crm.sandbox.salesforce_schema import Getter
from crm.sandbox.salesforce_soql import And, Comparison, Literal, Name, Not, Or, located
from crm.sandbox.salesforce_store import Record

Predicate = Callable[[Record], bool]

COMPARE: dict[str, Callable[[Any, Any], bool]] = {
    "=": operator.eq,
    "<": operator.lt,
    "<=": operator.le,
    ">": operator.gt,
    ">=": operator.ge,
}
STAMPS = {"systemmodstamp", "lastmodifieddate"}
LONG_TEXT = 255
DAY_MS = 86_400_000
# What each type of field is compared with, and how Salesforce names it in an error.
WANTED = {
    **dict.fromkeys(NUMBERS, ("number", "double and should not be enclosed in quotes")),
    "boolean": ("boolean", "boolean and should not be enclosed in quotes"),
    "date": ("date", "date and should not be enclosed in quotes"),
    "datetime": ("datetime", "dateTime and should not be enclosed in quotes"),
}
TEXT = ("string", "string and should be enclosed in quotes")


class Filter:
    """One query's conditions; `resolve` finds the field and getter of a path, `select` runs an inner query."""

    def __init__(
        self,
        text: str,
        resolve: Callable[[Name], tuple[Field, Getter]],
        select: Callable[[Any], set[Any]],
        now: int,
    ) -> None:
        self.text, self.resolve, self.select = text, resolve, select
        self.today = datetime.fromtimestamp(now / 1000, UTC).date()

    def predicate(self, node: Any) -> Predicate:
        """The condition as a function; ApiError for unknown fields and values of the wrong type."""
        match node:
            case And(parts):
                return _all([self.predicate(part) for part in parts])
            case Or(parts):
                return _any([self.predicate(part) for part in parts])
            case Not(part):
                inner = self.predicate(part)
                return lambda record: not inner(record)
        return self.comparison(node)

    def comparison(self, node: Comparison) -> Predicate:
        """One comparison. Nothing equals only null, and is neither less nor greater than a value."""
        field, get = self.resolve(node.name)
        if field.type == "address" or (field.type == "textarea" and field.length > LONG_TEXT):
            message = f"field '{field.name}' can not be filtered in a query call"
            raise self.wrong("INVALID_FIELD", node.name, message)
        get = _comparable(field, get)
        match node.operator:
            case "IN" | "NOT IN":
                members = self.members(field, node)
                if node.operator == "IN":
                    return lambda record: get(record) in members
                return lambda record: get(record) not in members
            case "INCLUDES" | "EXCLUDES":
                return self.includes(field, get, node)
            case "LIKE":
                return self.like(field, get, node)
        literal = node.value
        if literal.kind == "relative":
            return self.relative(field, get, node)
        value = self.value(field, node, literal)
        if node.operator == "!=":
            return lambda record: get(record) != value
        if node.operator == "=":
            return lambda record: get(record) == value
        if value is None and field.type not in ("id", "reference"):
            raise self.wrong(
                "INVALID_QUERY_FILTER_OPERATOR", node.name, f"invalid operator on {field.name}: null"
            )
        compare, bound = COMPARE[node.operator], "" if value is None else value

        def compared(record: Record) -> bool:
            found = get(record)
            return found is not None and compare(found, bound)

        return compared

    def members(self, field: Field, node: Comparison) -> set[Any]:
        """The values of IN: written ones, or those that an inner query finds."""
        if isinstance(node.value, tuple):
            return {self.value(field, node, literal) for literal in node.value}
        return {_folded(value) for value in self.select(node.value) if value is not None}

    def includes(self, field: Field, get: Getter, node: Comparison) -> Predicate:
        """INCLUDES ('a;b', 'c'): both a and b are chosen, or c is."""
        if field.type != "multipicklist" or not isinstance(node.value, tuple):
            message = f"{node.operator.lower()} operator is only valid on a multi-select picklist field"
            raise self.wrong("INVALID_QUERY_FILTER_OPERATOR", node.name, message)
        wanted = [set(str(self.value(field, node, literal)).split(";")) for literal in node.value]
        including = node.operator == "INCLUDES"

        def included(record: Record) -> bool:
            chosen = set((get(record) or "").split(";"))
            return any(choice <= chosen for choice in wanted) == including

        return included

    def like(self, field: Field, get: Getter, node: Comparison) -> Predicate:
        """% stands for any text, _ for one character; a backslash takes their meaning away."""
        if field.type in WANTED or field.type in ("id", "reference"):
            raise self.wrong("INVALID_QUERY_FILTER_OPERATOR", node.name, "invalid operator")
        pattern = str(self.value(field, node, node.value) or "")
        parts = re.findall(r"\\[%_\\]|.", pattern, re.DOTALL)
        wild = {"%": ".*", "_": "."}
        regex = re.compile("".join(wild.get(part) or re.escape(part[-1]) for part in parts), re.DOTALL)

        def alike(record: Record) -> bool:
            found = get(record)
            return found is not None and regex.fullmatch(found) is not None

        return alike

    def relative(self, field: Field, get: Getter, node: Comparison) -> Predicate:
        """A comparison with a span of days."""
        if field.type not in ("date", "datetime"):
            raise self.mistyped(field, node)
        try:
            first, after = salesforce_dates.span(*node.value.value, self.today)
        except OverflowError:
            raise self.wrong("MALFORMED_QUERY", node.name, "the date literal is out of range") from None
        low, high = _edge(field, first), _edge(field, after)
        tests: dict[str, Callable[[Any], bool]] = {
            "=": lambda value: low <= value < high,
            "<": lambda value: value < low,
            "<=": lambda value: value < high,
            ">": lambda value: value >= high,
            ">=": lambda value: value >= low,
        }
        if node.operator == "!=":
            return lambda record: (value := get(record)) is None or not low <= value < high
        test = tests[node.operator]
        return lambda record: (value := get(record)) is not None and test(value)

    def value(self, field: Field, node: Comparison, literal: Literal) -> Any:
        """A literal in the form in which the field is compared."""
        if literal.kind == "null":
            return False if field.type == "boolean" else None
        wanted, _ = WANTED.get(field.type, TEXT)
        if literal.kind != wanted:
            raise self.mistyped(field, node)
        if wanted != "string" or literal.value == "":
            return None if literal.value == "" else literal.value
        if field.type in ("id", "reference"):
            found = long_form(literal.value)
            if found is None:
                raise self.wrong(
                    "INVALID_QUERY_FILTER_OPERATOR", node.name, f"invalid ID field: {literal.value}"
                )
            return found
        return _folded(literal.value)

    def mistyped(self, field: Field, node: Comparison) -> ApiError:
        """The error for a literal of another type than the field's."""
        _, words = WANTED.get(field.type, TEXT)
        message = f"value of filter criterion for field '{field.name}' must be of type {words}"
        return self.wrong("INVALID_FIELD", node.name, message)

    def wrong(self, code: str, name: Name, message: str) -> ApiError:
        """An error that points at a field of the query."""
        return ApiError(400, code, located(self.text, name.at, message))


def stamp_bounds(node: Any) -> tuple[float, float]:
    """The least and greatest SystemModstamp that can satisfy the condition."""
    match node:
        case And(parts):
            spans = [stamp_bounds(part) for part in parts]
            return max(low for low, _ in spans), min(high for _, high in spans)
        case Or(parts):
            spans = [stamp_bounds(part) for part in parts]
            return min(low for low, _ in spans), max(high for _, high in spans)
        case Comparison(Name(path), sign, Literal("datetime", stamp)) if path.lower() in STAMPS:
            low = stamp if sign in ("=", ">", ">=") else -math.inf
            return low, stamp if sign in ("=", "<", "<=") else math.inf
    return -math.inf, math.inf


def lowest_id(node: Any) -> str:
    """An id below which nothing satisfies the condition."""
    match node:
        case And(parts):
            return max(map(lowest_id, parts))
        case Or(parts):
            return min(map(lowest_id, parts))
        case Comparison(Name(path), "=" | ">" | ">=", Literal("string", text)) if path.lower() == "id":
            return long_form(text) or ""
    return ""


def chosen_ids(node: Any) -> set[str] | None:
    """The only ids that can satisfy the condition, or None if it does not name any."""
    match node:
        case And(parts):
            return next((ids for ids in map(chosen_ids, parts) if ids is not None), None)
        case Comparison(Name(path), "=", Literal("string", text)) if path.lower() == "id":
            return {long_form(text) or ""}
        case Comparison(Name(path), "IN", tuple(literals)) if path.lower() == "id":
            return {long_form(str(literal.value)) or "" for literal in literals}
    return None


def _all(parts: list[Predicate]) -> Predicate:
    if len(parts) == 2:
        first, second = parts
        return lambda record: first(record) and second(record)
    return lambda record: all(part(record) for part in parts)


def _any(parts: list[Predicate]) -> Predicate:
    if len(parts) == 2:
        first, second = parts
        return lambda record: first(record) or second(record)
    return lambda record: any(part(record) for part in parts)


def _comparable(field: Field, get: Getter) -> Getter:
    """Texts without their case; ids, numbers and times as they are."""
    if field.type in WANTED or field.type in ("id", "reference"):
        return get
    return lambda record: None if (value := get(record)) is None else str(value).casefold()


def _folded(value: Any) -> Any:
    """A text as it is compared: ids keep their case, which carries meaning."""
    if not isinstance(value, str) or long_form(value) == value:
        return value
    return value.casefold()


def _edge(field: Field, day: date) -> int | str:
    """Midnight of a day, or the day, as the field stores it."""
    if field.type == "date":
        return day.isoformat()
    return (day - date(1970, 1, 1)) // timedelta(days=1) * DAY_MS
