"""Comparisons: what each operator accepts and the SQL it becomes.

A comparison with a missing value is false; `ne`, `not_in`, `not_contains` and `is_not_set` are the complements
of `eq`, `in`, `contains` and `is_set`, so they hold for a missing value. JSON numbers compare as numbers, text
as text (by code point), never across. JSON null is a missing value. `contains` also finds a text in a JSON list.
"""

import json
import math
from datetime import datetime
from typing import Any, NamedTuple

import msgspec
from django.utils.translation import gettext as _

from crm.rules import moments
from crm.rules.errors import RuleError
from crm.rules.sql import TRUE, Sql, joined, sql

COMPLEMENT = {"ne": "eq", "not_in": "in", "not_contains": "contains", "is_not_set": "is_set"}
EXISTENCE = ("is_set", "is_not_set")
EQUALITY = ("eq", "ne", "in", "not_in")
ORDER = ("gt", "gte", "lt", "lte", "between")
WORDS = ("contains", "not_contains", "starts_with")
TIME = ("before", "after", "within_last", "within_next", "anniversary_within")
OPERATORS = (*EQUALITY, *ORDER, *WORDS, *EXISTENCE, *TIME)
SYMBOLS = {"eq": "=", "ne": "<>", "gt": ">", "gte": ">=", "lt": "<", "lte": "<="}

# Type of what is compared -> the operators it takes. "json" takes all: each value brings its own type.
ALLOWED = {
    "text": (*EQUALITY, *ORDER, *WORDS, *EXISTENCE),
    "number": (*EQUALITY, *ORDER, *EXISTENCE),
    "date": (*EQUALITY, *ORDER, *TIME, *EXISTENCE),
    "datetime": (*EQUALITY, *ORDER, *TIME, *EXISTENCE),
    "json": OPERATORS,
}
MOST_VALUES = 1000
LONGEST_TEXT = 2000


class Operand(NamedTuple):
    """What is compared: an SQL expression and its type. For JSON, `root` and `path` say where it lies."""

    value: Sql
    type: str
    root: Sql = TRUE
    path: tuple[str, ...] = ()


class Comparison(NamedTuple):
    """A checked operator with its checked value."""

    op: str
    value: Any
    type: str


def check(op: str, value: Any, kind: str) -> Comparison:
    """Check an operator and the value given with it (msgspec.UNSET for none) against the type compared.

    Raises:
        RuleError: with the path `op` or `value…`.
    """
    if op not in OPERATORS:
        raise RuleError(_("There is no operator “%s”.") % op[:40], "op")
    if op not in ALLOWED[kind]:
        raise RuleError(_("“%s” does not go with this field.") % op, "op")
    if op in EXISTENCE:
        if value not in (msgspec.UNSET, None):
            raise RuleError(_("“%s” takes no value.") % op, "value")
        return Comparison(op, None, kind)
    if value is msgspec.UNSET or value is None:
        raise RuleError(_("A value is missing."), "value")
    return Comparison(op, _CHECKS.get(op, _check_scalar)(op, value, kind), kind)


def _check_scalar(op: str, value: Any, kind: str, path: str = "value") -> Any:
    if kind in ("date", "datetime"):
        return moments.parse(value, path, day_only=kind == "date")
    if kind == "text" and not isinstance(value, str):
        raise RuleError(_("Give a text."), path)
    if kind == "number" and (isinstance(value, bool) or not isinstance(value, int | float)):
        raise RuleError(_("Give a number."), path)
    return check_json_scalar(value, path, ordered=op in ORDER)


def check_json_scalar(value: Any, path: str, ordered: bool = False) -> Any:
    """A text, number or (unless it has to have an order) yes/no that PostgreSQL can hold. Raises RuleError."""
    if isinstance(value, bool) and not ordered:
        return value
    if isinstance(value, str):
        if len(value) > LONGEST_TEXT:
            raise RuleError(_("This text is too long."), path)
        if "\x00" in value or (
            not value.isascii() and any("\ud800" <= letter <= "\udfff" for letter in value)
        ):
            raise RuleError(_("This text holds a character that cannot be stored."), path)
        return value
    if isinstance(value, int | float) and not isinstance(value, bool):
        try:
            if math.isfinite(float(value)):
                return value
        except OverflowError:
            pass
        raise RuleError(_("This number is too large."), path)
    raise RuleError(
        _("Give a text or a number.") if ordered else _("Give a text, a number or true or false."), path
    )


def check_name(text: str, path: str, longest: int = 200) -> str:
    """A short name, such as a slug, that PostgreSQL can hold. Raises RuleError."""
    if not text or len(text) > longest:
        raise RuleError(_("Give a name."), path)
    return check_json_scalar(text, path)


def _check_list(op: str, value: Any, kind: str) -> list:
    if not isinstance(value, list) or not value:
        raise RuleError(_("Give a list of at least one value."), "value")
    if len(value) > MOST_VALUES:
        raise RuleError(_("Give at most %d values.") % MOST_VALUES, "value")
    return [_check_scalar(op, item, kind, f"value[{index}]") for index, item in enumerate(value)]


def _check_pair(op: str, value: Any, kind: str) -> list:
    if not isinstance(value, list) or len(value) != 2:
        raise RuleError(_("Give two values: from and to."), "value")
    low, high = (_check_scalar(op, item, kind, f"value[{index}]") for index, item in enumerate(value))
    if isinstance(low, str) != isinstance(high, str):
        raise RuleError(_("Give two values of one type."), "value[1]")
    if (high.start < low.start) if isinstance(low, moments.Moment) else (high < low):
        raise RuleError(_("The second value is smaller than the first."), "value[1]")
    return [low, high]


def _check_words(op: str, value: Any, kind: str) -> str:
    if not isinstance(value, str) or not value:
        raise RuleError(_("Give the text to look for."), "value")
    return check_json_scalar(value, "value")


def _check_moment(op: str, value: Any, kind: str) -> moments.Moment:
    return moments.parse(value, "value", day_only=kind == "date")


def _check_span(op: str, value: Any, kind: str) -> moments.Span:
    if op == "anniversary_within" and isinstance(value, int) and not isinstance(value, bool):
        value = {"days": value}
    try:
        span = msgspec.convert(value, moments.Span)
    except msgspec.ValidationError as error:
        raise RuleError(_('Give a length of time, such as {"days": 30}.'), "value") from error
    if (kind == "date" or op == "anniversary_within") and span.days is None:
        raise RuleError(_("Give a number of days."), "value")
    span.check("value", least=0 if op == "anniversary_within" else 1)
    if op == "anniversary_within" and span.number > 366:
        raise RuleError(_("Give at most 366 days."), "value.days")
    return span


_CHECKS = {
    **dict.fromkeys(("in", "not_in"), _check_list),
    "between": _check_pair,
    **dict.fromkeys(WORDS, _check_words),
    **dict.fromkeys(("before", "after"), _check_moment),
    **dict.fromkeys(("within_last", "within_next", "anniversary_within"), _check_span),
}


def predicate(operand: Operand, comparison: Comparison, now: datetime) -> Sql:
    """The condition as SQL that is true, or else false or null."""
    op, value, _type = comparison
    if op in COMPLEMENT:
        positive = predicate(operand, Comparison(COMPLEMENT[op], value, _type), now)
        return sql("({}) IS NOT TRUE", positive)
    if op in TIME:
        return _time(operand, op, value, now)
    if op == "is_set":
        present = sql("{} IS NOT NULL", operand.value)
        if operand.type == "json":
            return sql("({} AND {} <> 'null'::jsonb)", present, operand.value)
        return present
    if op in WORDS:
        return _words(operand, op, value)
    if op == "in":
        return _among(operand, value)
    if op == "between":
        return joined(" AND ", [_compare(operand, "gte", value[0]), _compare(operand, "lte", value[1])])
    return _compare(operand, op, value)


def _json(value: Any) -> Sql:
    return sql("{}::jsonb", json.dumps(value))


def _text(operand: Operand) -> Sql:
    """The text of a JSON text, null for anything else; a text column as it is."""
    if operand.type == "text":
        return operand.value
    return sql("(CASE WHEN jsonb_typeof({}) = 'string' THEN {} #>> '{{}}' END)", operand.value, operand.value)


def _among(operand: Operand, values: list) -> Sql:
    if operand.type == "text":
        return sql("{} = ANY({}::text[])", operand.value, values)
    if operand.type == "json" and len(values) > 10:
        items = [json.dumps(value) for value in values]
        return sql("{} = ANY({}::text[]::jsonb[])", operand.value, items)
    return joined(" OR ", [_compare(operand, "eq", value) for value in values])


def _compare(operand: Operand, op: str, value: Any) -> Sql:
    if isinstance(value, moments.Moment):
        return _compare_time(operand, op, value)
    symbol = Sql(SYMBOLS[op])
    if operand.type == "text":
        expression = operand.value if op == "eq" else sql('{} COLLATE "C"', operand.value)
        return sql("{} {} {}::text", expression, symbol, value)
    if operand.type == "number":
        return sql("{} {} {}::float8", operand.value, symbol, float(value))
    if op == "eq":
        if operand.path:  # containment can use the GIN index on attributes
            nested = value
            for key in reversed(operand.path):
                nested = {key: nested}
            return sql("{} @> {}", operand.root, _json(nested))
        return sql("{} = {}", operand.value, _json(value))
    if isinstance(value, str):
        return sql('{} COLLATE "C" {} {}::text', _text(operand), symbol, value)
    return sql(
        "(jsonb_typeof({}) = 'number' AND {} {} {})", operand.value, operand.value, symbol, _json(value)
    )


def _compare_time(operand: Operand, op: str, moment: moments.Moment) -> Sql:
    """Compare with a point in time, or with a whole day: after a day means after its end."""
    expression = operand.value
    if operand.type == "date":
        return sql("{} {} {}::date", expression, Sql(SYMBOLS[op]), moment.day)
    if operand.type == "json":
        expression = as_moment(operand)
    start, end = moment
    if end is None:
        return sql("{} {} {}::timestamptz", expression, Sql(SYMBOLS[op]), start)
    if op == "eq":
        return sql("({} >= {}::timestamptz AND {} < {}::timestamptz)", expression, start, expression, end)
    symbol, bound = {"gt": (">=", end), "gte": (">=", start), "lt": ("<", start), "lte": ("<", end)}[op]
    return sql("{} {} {}::timestamptz", expression, Sql(symbol), bound)


def _words(operand: Operand, op: str, value: str) -> Sql:
    if op == "starts_with":
        return sql("starts_with({}, {}::text)", _text(operand), value)
    found = sql("strpos({}, {}::text) > 0", _text(operand), value)
    if operand.type == "text":
        return found
    listed = sql("(jsonb_typeof({}) = 'array' AND {} @> {})", operand.value, operand.value, _json([value]))
    return joined(" OR ", [found, listed])


def as_moment(operand: Operand) -> Sql:
    """A JSON text that is a day or moment as timestamptz (sessions run in UTC), null for anything else."""
    text = sql("({} #>> '{{}}')", operand.value)
    return sql(
        "(CASE WHEN jsonb_typeof({}) = 'string' AND {} ~ {} THEN {}::timestamptz END)",
        operand.value,
        text,
        moments.MOMENT_PATTERN,
        text,
    )


def _time(operand: Operand, op: str, value: Any, now: datetime) -> Sql:
    if op in ("before", "after"):
        return _compare_time(operand, "lt" if op == "before" else "gt", value)
    if op == "anniversary_within":
        return sql("({}) = ANY({}::int[])", day_of_year(operand), moments.anniversaries(now, value.number))
    expression = as_moment(operand) if operand.type == "json" else operand.value
    low, high = (now - value.length, now) if op == "within_last" else (now, now + value.length)
    if operand.type == "date":
        return sql("{} BETWEEN {}::date AND {}::date", expression, low.date(), high.date())
    if operand.type == "json":  # a day without a clock counts as a whole day
        start = sql(
            "(CASE WHEN {} THEN {}::timestamptz ELSE {}::timestamptz END)",
            is_day(operand),
            midnight(low),
            low,
        )
        return sql("({} >= {} AND {} <= {}::timestamptz)", expression, start, expression, high)
    return sql("({} >= {}::timestamptz AND {} <= {}::timestamptz)", expression, low, expression, high)


def day_of_year(operand: Operand) -> Sql:
    """The day that a date or moment falls on in UTC, as month * 100 + day."""
    expression = as_moment(operand) if operand.type == "json" else operand.value
    if operand.type != "date":
        expression = sql("({} AT TIME ZONE 'UTC')", expression)
    return sql("extract(month from {})::int * 100 + extract(day from {})::int", expression, expression)


def is_day(operand: Operand) -> Sql:
    """Whether a JSON text that is a day or moment is a day without a clock."""
    return sql("length({} #>> '{{}}') = 10", operand.value)


def midnight(moment: datetime) -> datetime:
    """The beginning of its day."""
    return moment.replace(hour=0, minute=0, second=0, microsecond=0)
