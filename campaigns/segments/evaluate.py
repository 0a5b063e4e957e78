"""Who is in: everybody, some people, how many, and why one person is or is not."""

import json
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from datetime import datetime
from typing import Any, NamedTuple

from django.db import OperationalError, connection
from psycopg.errors import QueryCanceled

from campaigns.segments import compiler, grammar, sentence, words
from campaigns.segments.conditions.base import Condition, Query
from campaigns.segments.grammar import Not, Rule
from crm.models import Profile
from crm.pg import statement_limits
from crm.rules.sql import Sql, joined, sql

PREVIEW_MS = 2_000
ESTIMATE_FROM = 5_000  # profiles looked at when counting all takes too long
SAMPLE = 10
EXACT_TOTAL = 200_000  # above this, the number of all profiles comes from the planner's statistics


class TooSlow(Exception):
    """The database did not answer within the time given."""


class Size(NamedTuple):
    """How many people; `estimated` when not counted one by one."""

    size: int
    estimated: bool = False


class Preview(NamedTuple):
    """What the builder shows. `sample` holds up to ten dicts with id, external_id, name, email and country;
    `counts` the number of people each condition holds for by itself, by the condition's path."""

    size: int
    estimated: bool
    total: int
    sample: list[dict[str, Any]]
    sentence: str
    counts: dict[str, int] = {}


class Explanation(NamedTuple):
    """One node of a rule for one person: whether it holds, in words, with the fact that decided."""

    path: str
    text: str
    holds: bool
    fact: str = ""
    children: "tuple[Explanation, ...]" = ()


def members(rule: Rule, now: datetime | None = None) -> list[int]:
    """Ids of all profiles for whom the rule holds, in no order. Raises RuleError."""
    return list(_column(compiler.ids(rule, compiler.query(rule, now))))


def matching(
    rule: Rule, profile_ids: Iterable[int], now: datetime | None = None, live: bool = False
) -> set[int]:
    """Those of the given profiles for whom the rule holds. Raises RuleError.

    Args:
        live: computed attributes take into account all that is in the log, not only what was read of it.
    """
    scope = list(profile_ids)
    return set(_column(compiler.ids(rule, compiler.query(rule, now, scope, live)))) if scope else set()


def count(rule: Rule, now: datetime | None = None, timeout_ms: int = PREVIEW_MS) -> Size:
    """How many people the rule holds for; estimated when counting takes longer than `timeout_ms`."""
    query = compiler.query(rule, now)
    try:
        return Size(
            _fetch(sql("SELECT count(*) FROM ({}) AS found", compiler.ids(rule, query)), timeout_ms)[0][0]
        )
    except TooSlow:
        return _estimate(rule, query, timeout_ms)


def preview(
    rule: Rule, now: datetime | None = None, timeout_ms: int = PREVIEW_MS, with_counts: bool = False
) -> Preview:
    """Size, a sample of ten and the rule in words; from one evaluation. Raises RuleError."""
    query = compiler.query(rule, now)
    text = sentence.describe(rule)
    try:
        statement = sql(
            "WITH found AS MATERIALIZED ({}) SELECT (SELECT count(*) FROM found),"
            " ARRAY(SELECT id FROM found ORDER BY id LIMIT {})",
            compiler.ids(rule, query),
            SAMPLE,
        )
        [(size, sampled)] = _fetch(statement, timeout_ms)
    except TooSlow:
        size, _estimated = _estimate(rule, query, timeout_ms)
        return Preview(size, True, total(), [], text)
    counts = _counts(rule, query, timeout_ms) if with_counts else {}
    return Preview(size, False, total(), _people(sampled), text, counts)


def total() -> int:
    """How many profiles there are; from the planner's statistics when there are very many."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT reltuples::bigint FROM pg_class WHERE oid = 'crm_profile'::regclass")
        [estimated] = cursor.fetchone()
        if estimated > EXACT_TOTAL:
            return estimated
        cursor.execute("SELECT count(*) FROM crm_profile")
        return cursor.fetchone()[0]


def explain(rule: Rule, profile_id: int, now: datetime | None = None) -> Explanation:
    """Whether and why the rule holds for one person: every condition with the fact that decided it."""
    query = compiler.query(rule, now, [profile_id])
    leaves = list(grammar.leaves(rule))
    if not leaves:
        return _explained(rule, iter(()))
    columns = []
    for leaf in leaves:
        fact = leaf.fact(query)
        columns.append(sql("EXISTS ({})", compiler.ids(leaf, query)))
        columns.append(sql("({})::jsonb", fact) if fact else Sql("NULL::jsonb"))
    listed = Sql(
        ", ".join(column.text for column in columns), tuple(p for column in columns for p in column.params)
    )
    rows = _fetch(sql("SELECT {} FROM crm_profile p WHERE p.id = {}", listed, profile_id), PREVIEW_MS)
    values: tuple[Any, ...] = rows[0] if rows else (False, None) * len(leaves)
    return _explained(rule, iter(zip(values[::2], map(_decoded, values[1::2]), strict=True)))


def _explained(rule: Rule, answers: Iterator[tuple[bool, Any]]) -> Explanation:
    if isinstance(rule, Condition):
        holds, fact = next(answers)
        told = "" if rule.refers_to() is not None else rule.tell(fact)
        return Explanation(rule.path, words.capital(rule.describe()), holds, told)
    if isinstance(rule, Not):
        inner = _explained(rule.rule, answers)
        return Explanation(rule.path, sentence.heading(rule), not inner.holds, children=(inner,))
    children = tuple(_explained(item, answers) for item in rule.rules)
    holds = (all if rule.mode == "all" else any)(child.holds for child in children)
    return Explanation(rule.path, sentence.heading(rule), holds, children=children)


@contextmanager
def limits(timeout_ms: int) -> Iterator[None]:
    """As `statement_limits`.

    Raises:
        TooSlow: a statement was stopped.
    """
    try:
        with statement_limits(timeout_ms):
            yield
    except OperationalError as error:
        if isinstance(error.__cause__, QueryCanceled):
            raise TooSlow from error
        raise


def _fetch(statement: Sql, timeout_ms: int) -> list[tuple]:
    with limits(timeout_ms), connection.cursor() as cursor:
        cursor.execute(statement.text, list(statement.params))
        return cursor.fetchall()


def _column(statement: Sql) -> Iterator[int]:
    with connection.cursor() as cursor:
        cursor.execute(statement.text, list(statement.params))
        for row in cursor.fetchall():
            yield row[0]


def _estimate(rule: Rule, query: Query, timeout_ms: int) -> Size:
    """The share of a random sample of profiles; when that takes too long as well, the planner's guess."""
    everybody = max(total(), 1)
    share = min(100.0, 100.0 * ESTIMATE_FROM / everybody)
    try:
        chosen = _fetch(sql("SELECT id FROM crm_profile TABLESAMPLE BERNOULLI ({})", share), timeout_ms)
        scope = [row[0] for row in chosen]
        if not scope:
            return Size(0, True)
        statement = sql("SELECT count(*) FROM ({}) AS found", compiler.ids(rule, query._replace(scope=scope)))
        return Size(round(_fetch(statement, timeout_ms)[0][0] * everybody / len(scope)), True)
    except TooSlow:
        plan = _fetch(sql("EXPLAIN (FORMAT JSON) {}", compiler.ids(rule, query)), timeout_ms)[0][0]
        return Size(min(int(_decoded(plan)[0]["Plan"]["Plan Rows"]), everybody), True)


def _counts(rule: Rule, query: Query, timeout_ms: int) -> dict[str, int]:
    """How many people each condition holds for by itself; empty when that takes too long."""
    leaves = list(grammar.leaves(rule))
    if not 1 < len(leaves) <= 12:
        return {}
    columns = [sql("SELECT count(*) FROM ({}) AS found", compiler.ids(leaf, query)) for leaf in leaves]
    try:
        [values] = _fetch(sql("SELECT {}", joined(", ", columns)), timeout_ms)
    except TooSlow:
        return {}
    return {leaf.path: value for leaf, value in zip(leaves, values, strict=True)}


def _people(ids: list[int]) -> list[dict[str, Any]]:
    found = Profile.objects.in_bulk(ids)
    return [
        {
            "id": person.pk,
            "external_id": person.external_id,
            "name": person.display_name,
            "email": person.email,
            "country": person.country,
        }
        for person in map(found.get, ids)
        if person
    ]


def _decoded(value: Any) -> Any:
    """Django's cursors hand jsonb out as text."""
    return json.loads(value) if isinstance(value, str) else value
