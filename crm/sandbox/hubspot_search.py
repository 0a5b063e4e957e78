"""HubSpot's search: filter groups, free text, sorting and the 10,000-row window.

Limits are the documented ones (5 groups, 10 filters in each, 25 in all, 200 rows a page). A filter
that excludes values (NEQ, NOT_IN, NOT_CONTAINS_TOKEN) keeps only records that have a value.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING, Any

from crm.sandbox.hubspot_schema import RECORD_ID, Schema, typed
from crm.sandbox.store import Record

if TYPE_CHECKING:
    from crm.sandbox.hubspot_kinds import Kind

WINDOW = 10_000
PAGE = 200
DEFAULT_PAGE = 10
MAX_GROUPS, MAX_FILTERS_IN_GROUP, MAX_FILTERS = 5, 10, 25
QUERIED = ("firstname", "lastname", "email", "phone", "company", "name", "domain", "dealname", "hs_sku")
MODIFIED = ("lastmodifieddate", "hs_lastmodifieddate")
MISSING_OPERAND = "operator {operator} requires a value for property {name}"

Predicate = Callable[[Record], bool]
Comparable = int | float | str


class SearchError(ValueError):
    """A search that HubSpot answers with 400; the message is what it says."""


COMPARISONS: dict[str, Callable[[Any, Any], bool]] = {
    "EQ": lambda mine, theirs: mine == theirs,
    "NEQ": lambda mine, theirs: mine != theirs,
    "LT": lambda mine, theirs: mine < theirs,
    "LTE": lambda mine, theirs: mine <= theirs,
    "GT": lambda mine, theirs: mine > theirs,
    "GTE": lambda mine, theirs: mine >= theirs,
}


def reader(schema: Schema, name: str) -> tuple[str, Callable[[Record], Comparable | None]]:
    """A property's type and a function that reads it from a record in comparable form."""
    stamps: dict[str, Callable[[Record], Comparable | None]] = {
        schema.modified: lambda record: record.modified,
        schema.created: lambda record: record.created,
        RECORD_ID: lambda record: record.id,
    }
    definition = schema.active(name)
    if definition is None:
        if name in MODIFIED:  # the other objects' name for it: accepted, and no record has a value
            return "datetime", lambda record: None
        raise SearchError(f"Property {name} does not exist")
    kind = definition["type"]
    if name in stamps:
        return kind, stamps[name]

    def read(record: Record) -> Comparable | None:
        value = schema.value_of(record, name)
        return None if value is None else typed(kind, value)

    return kind, read


def compile_filter(schema: Schema, item: dict[str, Any]) -> Predicate:
    """One filter as a function of a record; SearchError if its operator or operand is wrong."""
    name, operator = item.get("propertyName"), item.get("operator")
    if not isinstance(name, str) or not isinstance(operator, str):
        raise SearchError("each filter requires a propertyName and an operator")
    kind, read = reader(schema, name)

    def operand(key: str) -> Comparable:
        value = item.get(key)
        if value is None:
            raise SearchError(MISSING_OPERAND.format(operator=operator, name=name))
        return _operand(kind, name, value)

    if operator == "HAS_PROPERTY":
        return lambda record: read(record) is not None
    if operator == "NOT_HAS_PROPERTY":
        return lambda record: read(record) is None
    if operator in COMPARISONS:
        holds, theirs = COMPARISONS[operator], operand("value")
        return lambda record: (mine := read(record)) is not None and holds(mine, theirs)
    if operator == "BETWEEN":
        low, high = operand("value"), operand("highValue")
        return lambda record: (mine := read(record)) is not None and low <= mine <= high
    if operator in ("IN", "NOT_IN"):
        values = item.get("values")
        if not isinstance(values, list) or not values:
            raise SearchError(MISSING_OPERAND.format(operator=operator, name=name))
        among, wanted = {_operand(kind, name, value) for value in values}, operator == "IN"
        return lambda record: (mine := read(record)) is not None and (mine in among) is wanted
    if operator in ("CONTAINS_TOKEN", "NOT_CONTAINS_TOKEN"):
        pattern, wanted = str(operand("value")), operator == "CONTAINS_TOKEN"
        return lambda record: (mine := read(record)) is not None and _has_token(str(mine), pattern) is wanted
    raise SearchError(f"unknown operator {operator}")


def _operand(kind: str, name: str, value: Any) -> Comparable:
    result = typed(kind, str(value))
    if result is None:
        raise SearchError(f"{value} is not a valid {kind} for property {name}")
    return result


def _has_token(text: str, pattern: str) -> bool:
    """Whether a word of the text, or all of it, matches; `*` stands for any characters."""
    pattern = pattern.replace("[", "[[]")
    return fnmatchcase(text, pattern) or any(fnmatchcase(word, pattern) for word in re.split(r"[\W_]+", text))


def compile_groups(schema: Schema, groups: Any) -> Predicate:
    """`filterGroups`: AND within a group, OR between groups; no group means every record."""
    if not isinstance(groups, list) or not all(isinstance(group, dict) for group in groups):
        raise SearchError("filterGroups must be a list of objects")
    sizes = [len(group.get("filters") or []) for group in groups]
    if (
        len(groups) > MAX_GROUPS
        or sum(sizes) > MAX_FILTERS
        or any(size > MAX_FILTERS_IN_GROUP for size in sizes)
    ):
        raise SearchError(
            f"the most is {MAX_GROUPS} groups of {MAX_FILTERS_IN_GROUP} filters, {MAX_FILTERS} in all"
        )
    compiled = [[compile_filter(schema, item) for item in group.get("filters") or []] for group in groups]
    if not compiled:
        return lambda record: True
    return lambda record: any(all(holds(record) for holds in filters) for filters in compiled)


def sort_key(schema: Schema, sorts: Any) -> tuple[Callable[[Record], Any], bool]:
    """(key, descending) for the one rule of `sorts`: `name`, `-name` or {"propertyName", "direction"}."""
    if not isinstance(sorts, list) or len(sorts) > 1:
        raise SearchError("at most one sort is allowed")
    rule = sorts[0] if sorts else schema.created
    if isinstance(rule, dict):
        name, descending = rule.get("propertyName"), rule.get("direction") == "DESCENDING"
    else:
        name, descending = str(rule).lstrip("-"), str(rule).startswith("-")
    _, read = reader(schema, str(name))
    return read, descending


def _ordered(records: list[Record], read: Callable[[Record], Any], descending: bool) -> list[Record]:
    """Sorted; records without the value come last in either direction."""
    valued = [record for record in records if read(record) is not None]
    valued.sort(key=lambda record: (read(record), record.id), reverse=descending)
    return valued + [record for record in records if read(record) is None]


def search(kind: Kind, body: dict[str, Any]) -> tuple[int, list[Record], int | None]:
    """(all matches, this page's records, `after` of the next page or None); SearchError for a 400."""
    limit = _whole_number(body.get("limit", DEFAULT_PAGE), "limit")
    after = _whole_number(body.get("after") or 0, "after")
    if limit > PAGE:
        raise SearchError(f"limit {limit} is larger than the maximum of {PAGE}")
    if after + limit > WINDOW:
        raise SearchError(f"paging beyond {WINDOW} results of one query is not possible")
    schema = kind.schema
    matches = compile_groups(schema, body.get("filterGroups") or [])
    words = str(body.get("query") or "").casefold().split()
    found = [
        record
        for record in kind.index.records()
        if record.id not in kind.hidden and matches(record) and _mentions(record, words)
    ]
    page = _ordered(found, *sort_key(schema, body.get("sorts") or []))[after : after + limit]
    following = after + limit
    return len(found), page, following if following < len(found) and page else None


def _whole_number(value: Any, name: str) -> int:
    if isinstance(value, bool) or not str(value).isascii() or not str(value).isdecimal():
        raise SearchError(f"{name} must be a whole number")
    return int(value)


def _mentions(record: Record, words: list[str]) -> bool:
    """Whether every word of the free-text query occurs in one of the default searchable properties."""
    if not words:
        return True
    text = " ".join(record.properties.get(name, "") for name in QUERIED).casefold()
    return all(word in text for word in words)
