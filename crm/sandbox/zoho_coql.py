"""COQL, Zoho's query language: `select … from … where … [order by …] [limit [offset,] count]`.

As Zoho has it, there is always a `where`, no more than two conditions stand in one pair of brackets
(`((a and b) and c)`), and times need a numeric offset. One call gives at most 2,000 rows, a query 100,000.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from crm.sandbox.zoho_replies import ApiError
from crm.sandbox.zoho_schema import NUMBERS, Definition, Schema, is_moment

MOST_FIELDS = 500
MOST_ROWS = 2000
MOST_OFFSET = 100_000
MOST_VALUES = 100
DEFAULT_ROWS = 200

TOKEN = re.compile(
    r"""\s*(?:(?P<string>'(?:[^']|'')*'|"(?:[^"]|"")*")|(?P<number>-?\d+(?:\.\d+)?(?![\w.]))"""
    r"""|(?P<word>[A-Za-z_$][\w.$]*)|(?P<sign><=|>=|!=|<|>|=|\(|\)|,|\*))"""
)
TEXT_SIGNS = ("=", "!=", "like", "not like", "in", "not in", "is null", "is not null")
ORDERED_SIGNS = ("=", "!=", "<", "<=", ">", ">=", "in", "not in", "between", "not between")

Get = Callable[[Any, str], Any]  # (row, field) -> comparable value
Test = Callable[[Any], bool]


@dataclass(slots=True)
class Query:
    """A parsed query."""

    fields: list[str]
    module: str
    where: Test
    order: list[tuple[str, bool]]  # (field, descending)
    offset: int
    limit: int


def invalid(message: str = "invalid query formed", **details: Any) -> ApiError:
    """A well-formed query that makes no sense."""
    return ApiError(400, "INVALID_QUERY", message, details)


def comparable(kind: str, value: Any) -> Any:
    """A field's value in a form that compares: times as instants, lookups by id."""
    if value is None or value == "":
        return None
    if kind == "datetime" and isinstance(value, str):
        return datetime.fromisoformat(value).timestamp()
    if isinstance(value, dict):
        return value.get("id")
    if kind == "bigint" and isinstance(value, str):
        return int(value)
    if isinstance(value, list):
        return ";".join(value).casefold()
    return value.casefold() if isinstance(value, str) and kind != "date" else value


class Parser:
    """Recursive descent over one query.

    Args:
        find: the schema of a module by its API name, or None.
        get: reads a row's field in its shown form.
    """

    def __init__(self, text: str, find: Callable[[str], Schema | None], get: Get) -> None:
        self.text = text
        self.tokens: list[tuple[str, str, int]] = []
        self.place = 0
        self.find, self.get = find, get
        position, end = 0, len(text.rstrip().rstrip(";"))
        while position < end:
            match = TOKEN.match(text, position, end)
            if match is None or match.lastgroup is None:
                raise self._syntax(position)
            self.tokens.append((match.lastgroup, match[match.lastgroup], match.start(match.lastgroup)))
            position = match.end()

    def parse(self) -> Query:
        """The query; ApiError SYNTAX_ERROR or INVALID_QUERY."""
        self._expect("select")
        fields = [self._name()]
        while self._take(","):
            fields.append(self._name())
        self._expect("from")
        module = self._name()
        schema = self.find(module)
        if schema is None:
            raise invalid("Please check whether the input values are correct", module=module)
        self.schema = schema
        if len(fields) > MOST_FIELDS:
            raise ApiError(400, "LIMIT_EXCEEDED", "invalid query formed", {"limit": MOST_FIELDS})
        for name in fields:
            if name != "COUNT(id)":
                self._field(name)
        self._expect("where")
        where = self._either(nested=False)
        order = self._order()
        offset, limit = self._limit()
        if self.place < len(self.tokens):
            raise self._syntax()
        return Query(fields, schema.module, where, order, offset, limit)

    # Conditions

    def _either(self, nested: bool) -> Test:
        left = self._condition()
        word = self._word()
        if word not in ("and", "or"):
            return left
        self.place += 1
        right = self._condition()
        if self._word() in ("and", "or"):
            raise self._syntax()  # a third condition needs brackets around two of them
        if word == "and":
            return lambda row: left(row) and right(row)
        return lambda row: left(row) or right(row)

    def _condition(self) -> Test:
        if self._take("("):
            inner = self._either(nested=True)
            self._expect(")")
            return inner
        field = self._field(self._name())
        sign = self._sign()
        if sign not in (*(ORDERED_SIGNS if self._ordered(field) else TEXT_SIGNS), "is null", "is not null"):
            raise invalid("data type not supported", column_name=field.name, operator=sign)
        name, kind, get = field.name, field.type, self.get
        if sign == "is null":
            return lambda row: comparable(kind, get(row, name)) is None
        if sign == "is not null":
            return lambda row: comparable(kind, get(row, name)) is not None
        values = self._operands(sign, field)
        test = _comparison(sign, values)

        def holds(row: Any) -> bool:
            value = comparable(kind, get(row, name))
            return sign in ("!=", "not in", "not like") if value is None else test(value)

        return holds

    def _operands(self, sign: str, field: Definition) -> list[Any]:
        if sign in ("in", "not in"):
            self._expect("(")
            values = [self._value(field)]
            while self._take(","):
                values.append(self._value(field))
            self._expect(")")
            if len(values) > MOST_VALUES:
                raise ApiError(400, "LIMIT_EXCEEDED", "invalid query formed", {"limit": MOST_VALUES})
            return values
        first = self._value(field)
        if sign not in ("between", "not between"):
            return [first]
        self._expect("and")
        return [first, self._value(field)]

    def _sign(self) -> str:
        kind, text, _ = self._next()
        word = text.lower()
        if kind == "word" and word == "is":
            negated = self._take("not")
            self._expect("null")
            return "is not null" if negated else "is null"
        if kind == "word" and word == "not":
            return f"not {self._next()[1].lower()}"
        if kind == "sign" or word in ("like", "in", "between"):
            return word
        raise self._syntax(back=1)

    def _value(self, field: Definition) -> Any:
        kind, text, _ = self._next()
        if kind == "string":
            value: Any = text[1:-1].replace(text[0] * 2, text[0])
        elif kind == "number":
            value = float(text) if "." in text else int(text)
        elif text.lower() in ("true", "false"):
            value = text.lower() == "true"
        else:
            raise self._syntax(back=1)
        if not _fits(field, value):
            raise invalid("value given seems to be invalid for the column", column_name=field.name)
        return comparable(field.type, str(value) if field.type in ("lookup", "ownerlookup") else value)

    def _ordered(self, field: Definition) -> bool:
        return field.type in (*NUMBERS, "date", "datetime")

    # The rest

    def _order(self) -> list[tuple[str, bool]]:
        if self._word() != "order":
            return []
        self.place += 1
        self._expect("by")
        order = []
        while True:
            name = self._field(self._name()).name
            descending = self._word() == "desc"
            if self._word() in ("asc", "desc"):
                self.place += 1
            order.append((name, descending))
            if not self._take(","):
                return order

    def _limit(self) -> tuple[int, int]:
        if self._word() != "limit":
            return 0, DEFAULT_ROWS
        self.place += 1
        offset, limit = 0, self._whole()
        if self._take(",") or self._take("offset"):
            offset, limit = limit, self._whole()
            if self.tokens[self.place - 2][1].lower() == "offset":
                offset, limit = limit, offset
        if limit > MOST_ROWS or offset + limit > MOST_OFFSET:
            raise ApiError(400, "LIMIT_EXCEEDED", "invalid query formed", {"limit": MOST_ROWS})
        return offset, limit

    def _whole(self) -> int:
        kind, text, _ = self._next()
        if kind != "number" or not text.isdecimal():
            raise self._syntax(back=1)
        return int(text)

    def _field(self, name: str) -> Definition:
        definition = self.schema.fields.get(name)
        if definition is None:
            raise invalid("column given seems to be invalid", column_name=name)
        return definition

    def _name(self) -> str:
        kind, text, _ = self._next()
        if kind == "string":  # reserved words are quoted
            return text[1:-1]
        if kind != "word":
            raise self._syntax(back=1)
        if text.upper() == "COUNT" and self._take("("):
            self._expect("id")
            self._expect(")")
            return "COUNT(id)"
        return text

    def _word(self) -> str:
        return self.tokens[self.place][1].lower() if self.place < len(self.tokens) else ""

    def _next(self) -> tuple[str, str, int]:
        if self.place >= len(self.tokens):
            raise self._syntax()
        self.place += 1
        return self.tokens[self.place - 1]

    def _take(self, text: str) -> bool:
        found = self._word() == text
        self.place += found
        return found

    def _expect(self, text: str) -> None:
        if not self._take(text):
            raise self._syntax()

    def _syntax(self, position: int | None = None, back: int = 0) -> ApiError:
        if position is None:
            place = self.place - back
            position = self.tokens[place][2] if place < len(self.tokens) else len(self.text)
        details = {"line": 1, "column": position + 1, "near": self.text[position : position + 20]}
        return ApiError(400, "SYNTAX_ERROR", "invalid query formed", details)


def _fits(field: Definition, value: Any) -> bool:
    match field.type:
        case "datetime":
            return is_moment(value)
        case "boolean":
            return isinstance(value, bool)
        case "bigint" | "lookup" | "ownerlookup":
            return str(value).isdecimal()
        case "integer" | "double" | "currency":
            return isinstance(value, (int, float)) and not isinstance(value, bool)
    return isinstance(value, str)


def _comparison(sign: str, values: list[Any]) -> Test:
    first = values[0]
    match sign:
        case "=":
            return lambda value: value == first
        case "!=":
            return lambda value: value != first
        case "<":
            return lambda value: value < first
        case "<=":
            return lambda value: value <= first
        case ">":
            return lambda value: value > first
        case ">=":
            return lambda value: value >= first
        case "in":
            return lambda value: value in values
        case "not in":
            return lambda value: value not in values
        case "between":
            return lambda value: first <= value <= values[1]
        case "not between":
            return lambda value: not first <= value <= values[1]
    pattern = re.compile(".*".join(map(re.escape, str(first).split("%"))) + r"\Z", re.DOTALL)
    if sign == "like":
        return lambda value: bool(pattern.match(value))
    return lambda value: not pattern.match(value)
