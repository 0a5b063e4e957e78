"""SOQL as a tree. The grammar is the SELECT statement of Salesforce's "SOQL and SOSL Reference": fields,
parent fields, child queries, FIELDS(), aggregates, WHERE, GROUP BY, ORDER BY, LIMIT and OFFSET.

HAVING, TYPEOF, WITH, USING SCOPE and date functions are refused as malformed.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import Any

from crm.sandbox import salesforce_dates
from crm.sandbox.salesforce_fields import parse_time
from crm.sandbox.salesforce_replies import ApiError

TOKEN = re.compile(
    r"""\s*(?:
    (?P<string>'(?:[^'\\]|\\.)*')
  | (?P<date>\d{4}-\d\d-\d\d(?:T\d\d:\d\d:\d\d(?:\.\d+)?(?:Z|[+-]\d\d:?\d\d))?(?![\w-]))
  | (?P<number>[+-]?(?:\d+(?:\.\d+)?|\.\d+)(?:[eE][+-]?\d+)?(?![\w.]))
  | (?P<name>[A-Za-z_]\w*(?:\.[A-Za-z_]\w*)*)
  | (?P<sign><=|>=|!=|<>|[=<>(),:])
  | (?P<end>$)
)""",
    re.VERBOSE,
)
# A backslash before % and _ stays: only LIKE knows what it means.
ESCAPES = {
    "n": "\n",
    "r": "\r",
    "t": "\t",
    "b": "\b",
    "f": "\f",
    '"': '"',
    "'": "'",
    "\\": "\\",
    "%": r"\%",
    "_": r"\_",
}
AGGREGATES = {"COUNT", "COUNT_DISTINCT", "MIN", "MAX", "SUM", "AVG"}
RESERVED = {"AND", "ASC", "DESC", "EXCLUDES", "FROM", "GROUP", "HAVING", "IN", "INCLUDES", "LIKE", "LIMIT"}
RESERVED |= {"NOT", "NULL", "NULLS", "OR", "SELECT", "USING", "WHERE", "WITH"}
CLAUSES = {
    "FROM",
    "WHERE",
    "GROUP",
    "ORDER",
    "LIMIT",
    "OFFSET",
    "FOR",
    "ALL",
    "HAVING",
    "WITH",
    "USING",
    "AS",
}
SIGNS = {"=", "!=", "<>", "<", "<=", ">", ">="}
FAR_TOO_LONG = 100_000  # characters, the limit that Salesforce documents
DEEPEST = 50


@dataclass(frozen=True)
class Literal:
    """A value; `kind` is string, number, boolean, null, date, datetime (milliseconds) or relative (a pair)."""

    kind: str
    value: Any


@dataclass(frozen=True)
class Name:
    """A field by its path, and where it stands in the text."""

    path: str
    at: int


@dataclass(frozen=True)
class Group:
    """FIELDS(ALL), FIELDS(STANDARD) or FIELDS(CUSTOM)."""

    kind: str


@dataclass(frozen=True)
class Aggregate:
    """A function over many records; COUNT() has no field."""

    function: str
    name: Name | None
    alias: str | None


@dataclass(frozen=True)
class Comparison:
    """`operator` is =, !=, <, <=, >, >=, LIKE, IN, NOT IN, INCLUDES or EXCLUDES."""

    name: Name
    operator: str
    value: Literal | tuple[Literal, ...] | Query


@dataclass(frozen=True)
class And:
    """Every part holds."""

    parts: tuple[Any, ...]


@dataclass(frozen=True)
class Or:
    """Some part holds."""

    parts: tuple[Any, ...]


@dataclass(frozen=True)
class Not:
    """The part does not hold."""

    part: Any


@dataclass(frozen=True)
class Order:
    """One sort key."""

    name: Name
    descending: bool
    nulls_last: bool


@dataclass
class Query:
    """One SELECT. A child query's `object` is a relationship name."""

    text: str
    fields: list[Name | Group | Aggregate | Query] = field(default_factory=list)
    object: str = ""
    object_at: int = 0
    alias: str = ""
    where: Any = None
    group: list[Name] = field(default_factory=list)
    order: list[Order] = field(default_factory=list)
    limit: int | None = None
    offset: int = 0

    @property
    def counts(self) -> bool:
        """Whether this is SELECT COUNT(), whose answer is only a number."""
        return any(isinstance(item, Aggregate) and item.name is None for item in self.fields)


@dataclass(frozen=True)
class Token:
    """One word or sign; `kind` is the name of its group in TOKEN."""

    kind: str
    text: str
    at: int

    @property
    def word(self) -> str:
        """A name in capitals, or nothing."""
        return self.text.upper() if self.kind == "name" else ""


def parse(text: str) -> Query:
    """The tree of a query, or ApiError MALFORMED_QUERY in Salesforce's words."""
    if len(text) > FAR_TOO_LONG:
        raise ApiError(
            400, "QUERY_TOO_COMPLICATED", "SOQL statements cannot be longer than 100000 characters."
        )
    parser = Parser(text)
    query = parser.select()
    parser.expect_end()
    return query


def located(text: str, at: int, message: str) -> str:
    """A message with the place in the query that it is about, as Salesforce writes it."""
    start = text.rfind("\n", 0, at) + 1
    end = text.find("\n", at)
    line = text[start : end if end >= 0 else len(text)]
    row, column = text.count("\n", 0, at) + 1, at - start + 1
    return f"\n{line}\n{' ' * (column - 1)}^\nERROR at Row:{row}:Column:{column}\n{message}"


def tokens(text: str) -> list[Token]:
    """The words of a query, the last of kind `end`."""
    found, place = [], 0
    while True:
        match = TOKEN.match(text, place)
        if match is None:
            at = place + len(text[place:]) - len(text[place:].lstrip())
            message = f"line 1:{at} no viable alternative at character '{text[at : at + 1]}'"
            raise ApiError(400, "MALFORMED_QUERY", message)
        kind = match.lastgroup or "end"
        found.append(Token(kind, match[kind], match.start(kind)))
        if kind == "end":
            return found
        place = match.end()


class Parser:
    """Recursive descent over the tokens of one query."""

    def __init__(self, text: str) -> None:
        self.text = text
        self.tokens = tokens(text)
        self.place = self.depth = 0

    @property
    def token(self) -> Token:
        """The token to read next."""
        return self.tokens[self.place]

    def take(self) -> Token:
        """Read one token."""
        token = self.token
        self.place += token.kind != "end"
        return token

    def accept(self, *words: str) -> bool:
        """Read these words or signs if they all come next."""
        ahead = self.tokens[self.place : self.place + len(words)]
        if [token.word or token.text for token in ahead] != list(words):
            return False
        self.place += len(words)
        return True

    def expect(self, *words: str) -> None:
        """Read these words or signs, or fail."""
        if not self.accept(*words):
            raise self.unexpected(words[0])

    def expect_end(self) -> None:
        """Fail unless everything has been read."""
        if self.token.kind != "end":
            raise self.unexpected()

    def unexpected(self, wanted: str = "") -> ApiError:
        """The error for the token that comes next."""
        if self.token.kind == "end":
            return ApiError(400, "MALFORMED_QUERY", "unexpected token: '<EOF>'")
        message = f"unexpected token: '{self.token.text}'"
        if wanted in ("FROM", "SELECT"):
            message = f"expecting {'from' if wanted == 'FROM' else 'a SELECT'}, found '{self.token.text}'"
        return ApiError(400, "MALFORMED_QUERY", located(self.text, self.token.at, message))

    def select(self) -> Query:
        """SELECT … and every clause after it."""
        query = Query(self.text)
        self.expect("SELECT")
        query.fields.append(self.selected())
        while self.accept(","):
            query.fields.append(self.selected())
        self.expect("FROM")
        query.object_at = self.token.at
        query.object = self.name().path
        if self.token.kind == "name" and self.token.word not in CLAUSES:
            query.alias = self.name().path
        if self.accept("WHERE"):
            query.where = self.condition()
        if self.accept("GROUP", "BY"):
            query.group = self.names()
        if self.accept("ORDER", "BY"):
            query.order.append(self.order())
            while self.accept(","):
                query.order.append(self.order())
        query.limit = self.whole() if self.accept("LIMIT") else None
        query.offset = self.whole() if self.accept("OFFSET") else 0
        # FOR VIEW and FOR REFERENCE touch the list of recent items, of which there is none here.
        if self.accept("FOR") and not (self.accept("VIEW") or self.accept("REFERENCE")):
            raise self.unexpected()
        return query

    def selected(self) -> Name | Group | Aggregate | Query:
        """One item of the SELECT list."""
        if self.accept("("):
            return self.nested()
        name = self.name()
        if not self.accept("("):
            return name
        function = name.path.upper()
        if function == "FIELDS":
            kind = self.name().path.upper()
            if kind not in ("ALL", "STANDARD", "CUSTOM"):
                self.place -= 1
                raise self.unexpected()
            self.expect(")")
            return Group(kind)
        if function not in AGGREGATES:
            self.place -= 2
            raise self.unexpected()
        argument = None if function == "COUNT" and self.token.text == ")" else self.name()
        self.expect(")")
        named = self.token.kind == "name" and self.token.word not in CLAUSES
        return Aggregate(function, argument, self.name().path if named else None)

    def nested(self) -> Query:
        """A query whose opening parenthesis has been read."""
        self.deeper()
        query = self.select()
        self.expect(")")
        self.depth -= 1
        return query

    def deeper(self) -> None:
        """Count a level of nesting; Salesforce refuses what is too deep."""
        self.depth += 1
        if self.depth > DEEPEST:
            raise ApiError(
                400, "QUERY_TOO_COMPLICATED", "Query is either selecting too many fields or is too deep"
            )

    def name(self) -> Name:
        """A field or object."""
        if self.token.kind != "name" or self.token.word in RESERVED:
            raise self.unexpected()
        token = self.take()
        return Name(token.text, token.at)

    def names(self) -> list[Name]:
        """Fields with commas between them."""
        found = [self.name()]
        while self.accept(","):
            found.append(self.name())
        return found

    def whole(self) -> int:
        """The number of LIMIT and OFFSET."""
        if self.token.kind != "number" or not self.token.text.isdecimal():
            raise self.unexpected()
        return int(self.take().text)

    def order(self) -> Order:
        """One sort key; without a word on it, nothing comes first (SOQL's rule for either direction)."""
        name = self.name()
        descending = not self.accept("ASC") and self.accept("DESC")
        nulls_last = False
        if self.accept("NULLS"):
            nulls_last = self.accept("LAST")
            if not nulls_last:
                self.expect("FIRST")
        return Order(name, descending, nulls_last)

    def condition(self) -> Any:
        """Terms joined by AND or by OR. A change from one to the other is left unread, and so an error."""
        parts = [self.term()]
        joint = self.token.word
        while joint in ("AND", "OR") and self.accept(joint):
            parts.append(self.term())
        if len(parts) == 1:
            return parts[0]
        return And(tuple(parts)) if joint == "AND" else Or(tuple(parts))

    def term(self) -> Any:
        """A comparison, a condition in parentheses, or the negation of either."""
        self.deeper()
        term: Any
        if self.accept("NOT"):
            term = Not(self.term())
        elif self.accept("("):
            term = self.condition()
            self.expect(")")
        else:
            term = self.comparison()
        self.depth -= 1
        return term

    def comparison(self) -> Comparison:
        """A field, an operator and what it is compared with."""
        name = self.name()
        if self.token.text in SIGNS:
            sign = self.take().text
            return Comparison(name, "!=" if sign == "<>" else sign, self.literal())
        if self.accept("LIKE"):
            return Comparison(name, "LIKE", self.literal())
        for words in (("IN",), ("NOT", "IN"), ("INCLUDES",), ("EXCLUDES",)):
            if self.accept(*words):
                return Comparison(name, " ".join(words), self.listed())
        raise self.unexpected()

    def listed(self) -> tuple[Literal, ...] | Query:
        """Values in parentheses, or a query that finds them."""
        self.expect("(")
        if self.token.word == "SELECT":
            return self.nested()
        values = [self.literal()]
        while self.accept(","):
            values.append(self.literal())
        self.expect(")")
        return tuple(values)

    def literal(self) -> Literal:
        """One value."""
        token = self.token
        match token.kind:
            case "string":
                return Literal("string", _unescaped(self.take().text[1:-1]))
            case "number":
                self.take()
                return Literal("number", float(token.text))
            case "date":
                self.take()
                return self.time(token)
            case "name":
                return self.keyword()
        raise self.unexpected()

    def time(self, token: Token) -> Literal:
        """A date or a time that exists in the calendar."""
        try:
            stamp = parse_time(token.text)
        except ValueError:
            message = located(self.text, token.at, f"{token.text} is not a valid date")
            raise ApiError(400, "MALFORMED_QUERY", message) from None
        return Literal("datetime", stamp) if "T" in token.text else Literal("date", token.text)

    def keyword(self) -> Literal:
        """true, false, null, or a relative date."""
        word = self.token.word
        if word in ("TRUE", "FALSE"):
            self.take()
            return Literal("boolean", word == "TRUE")
        if word == "NULL":
            self.take()
            return Literal("null", None)
        if not salesforce_dates.is_relative(word):
            raise self.unexpected()
        self.take()
        number = 0
        if salesforce_dates.takes_number(word):
            self.expect(":")
            number = self.whole()
        return Literal("relative", (word, number))


def _unescaped(text: str) -> str:
    def character(match: re.Match[str]) -> str:
        if match[1] not in ESCAPES:
            message = (
                f"Invalid string literal '{text}'. Illegal character sequence '{match[0]}' in string literal."
            )
            raise ApiError(400, "MALFORMED_QUERY", message)
        return ESCAPES[match[1]]

    return re.sub(r"\\(.)", character, text, flags=re.DOTALL)
