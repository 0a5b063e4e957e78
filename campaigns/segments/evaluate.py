"""Who is in: everybody, some people, how many, and why one person is or is not."""

import hashlib
import json
import time
from collections.abc import Iterable, Iterator
from datetime import UTC, datetime
from typing import Any, NamedTuple

from django.core.cache import cache
from django.db import connection

from campaigns.segments import compiler, grammar, sampling, sentence, tally, words
from campaigns.segments.conditions.base import Condition, Query
from campaigns.segments.grammar import Not, Rule
from campaigns.segments.limits import TooSlow, fetch, limits
from campaigns.segments.sampling import total
from campaigns.segments.tally import Step, Tally
from crm.models import Profile
from crm.rules.sql import Sql, sql

__all__ = [
    "Explanation",
    "Preview",
    "Size",
    "Step",
    "TooSlow",
    "count",
    "explain",
    "limits",
    "matching",
    "members",
    "preview",
    "total",
]

PREVIEW_MS = 2_000
QUICK_MS = 250
CHEAP = 25_000  # planner's cost of what is counted within QUICK_MS
SAMPLE = 10
KEPT_FROM_S = 0.5  # an answer that took so long is given again for a while
KEPT_FOR = 10  # times as long as it took


class Size(NamedTuple):
    """How many people; `estimated` when not counted one by one."""

    size: int
    estimated: bool = False


class Preview(NamedTuple):
    """What the builder shows.

    Args:
        size: how many people. When `estimated`, it lies between `low` and `high` with 95 % likelihood.
        sample: up to ten dicts with id, external_id, name, email and country.
        counts: people that each part of the rule holds for by itself, by its path.
        funnel: what each part of an outermost `all` leaves of those before it.
        counts_estimated: counts and funnel come from a sample of people.
        as_of: when they were counted.
    """

    size: int
    estimated: bool
    total: int
    sample: list[dict[str, Any]]
    sentence: str
    counts: dict[str, int] = {}
    funnel: tuple[Step, ...] = ()
    counts_estimated: bool = False
    low: int = 0
    high: int = 0
    as_of: datetime | None = None


class _Counted(NamedTuple):
    """A preview without what depends on who looks at it."""

    bounds: sampling.Bounds
    estimated: bool
    total: int
    ids: list[int]
    counts: dict[str, int]
    funnel: tuple[Step, ...]
    counts_estimated: bool
    as_of: datetime


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
            fetch(sql("SELECT count(*) FROM ({}) AS found", compiler.ids(rule, query)), timeout_ms)[0][0]
        )
    except TooSlow:
        return Size(_sampled(rule, query, timeout_ms, total()).bounds.size, True)


def preview(
    rule: Rule,
    now: datetime | None = None,
    timeout_ms: int = PREVIEW_MS,
    with_counts: bool = False,
    quick: bool = False,
) -> Preview:
    """Size, a sample of ten and the rule in words.

    What took long is not counted again for some seconds; then `as_of` lies back.

    Args:
        timeout_ms: when counting takes longer, the size is estimated.
        with_counts: say as well what each part of the rule holds for and leaves; estimated where that takes longer.
        quick: answer in a fraction of a second: exact where that is cheap, else an estimate.

    Raises:
        RuleError: it refers to a segment that is not there, or leads back to itself.
    """
    query = compiler.query(rule, now)
    text = sentence.describe(rule)
    key = _key(rule, query, with_counts, quick) if now is None else ""
    counted = cache.get(key) if key else None
    if counted is None:
        began = time.monotonic()
        counted = (
            _quickly(rule, query, with_counts) if quick else _exactly(rule, query, timeout_ms, with_counts)
        )
        took = time.monotonic() - began
        if key and took > KEPT_FROM_S:
            cache.set(key, counted, took * KEPT_FOR)
    size, low, high = counted.bounds
    return Preview(
        size,
        counted.estimated,
        counted.total,
        _people(counted.ids),
        text,
        counted.counts,
        counted.funnel,
        counted.counts_estimated,
        low,
        high,
        counted.as_of,
    )


def _key(rule: Rule, query: Query, with_counts: bool, quick: bool) -> str:
    """The same for the same question only: made of the SQL that it becomes, so other segments' rules are in it."""
    found = compiler.ids(rule, query._replace(now=datetime(2000, 1, 1, tzinfo=UTC)))
    asked = repr((found.text, found.params, [leaf.path for leaf in grammar.leaves(rule)], with_counts, quick))
    return "segment-preview-" + hashlib.sha256(asked.encode()).hexdigest()


def _exactly(rule: Rule, query: Query, timeout_ms: int, with_counts: bool) -> _Counted:
    began, everybody = time.monotonic(), total()
    statement = sql(
        "WITH found AS MATERIALIZED ({}) SELECT (SELECT count(*) FROM found),"
        " ARRAY(SELECT id FROM found ORDER BY id LIMIT {})",
        compiler.ids(rule, query),
        SAMPLE,
    )
    try:
        [(size, ids)] = fetch(statement, timeout_ms)
    except TooSlow:
        return _sampled(rule, query, timeout_ms, everybody, with_counts)
    found = _Counted(sampling.Bounds(size, size, size), False, everybody, ids, {}, (), False, query.now)
    if not with_counts:
        return found
    left_ms = timeout_ms - int((time.monotonic() - began) * 1000)
    try:
        taken = tally.take(rule, query, max(left_ms, QUICK_MS))
        return found if taken is None else _with_counts(found, rule, taken, 1)
    except TooSlow:
        return _with_sampled_counts(found, rule, query, timeout_ms)


def _quickly(rule: Rule, query: Query, with_counts: bool) -> _Counted:
    """Exact where the planner thinks it cheap, else from a sample of people."""
    everybody = total()
    if everybody <= sampling.PEOPLE:
        return _exactly(rule, query, PREVIEW_MS, with_counts)
    if explained(compiler.ids(rule, query))["Total Cost"] < CHEAP:
        try:
            statement = sql(
                "SELECT count(*), (array_agg(id))[:{}] FROM ({}) AS found", SAMPLE, compiler.ids(rule, query)
            )
            [(size, ids)] = fetch(statement, QUICK_MS)
        except TooSlow:
            pass
        else:
            bounds = sampling.Bounds(size, size, size)
            found = _Counted(bounds, False, everybody, sorted(ids or []), {}, (), False, query.now)
            return _with_sampled_counts(found, rule, query, QUICK_MS) if with_counts else found
    return _sampled(rule, query, QUICK_MS, everybody, with_counts)


def _sampled(
    rule: Rule, query: Query, timeout_ms: int, everybody: int, with_counts: bool = False
) -> _Counted:
    """From a random sample of people; from fewer, or the planner's guess, when that takes too long as well."""
    everybody = max(everybody, 1)
    for number in (sampling.PEOPLE, sampling.PEOPLE // 10):
        try:
            scope = sampling.people(everybody, timeout_ms, number)
            taken = tally.take(rule, query._replace(scope=scope), timeout_ms, SAMPLE)
        except TooSlow:
            continue
        if taken is None:
            break
        bounds = sampling.bounds(taken.count(rule), len(scope), everybody)
        found = _Counted(bounds, True, everybody, taken.sample(rule, SAMPLE), {}, (), True, query.now)
        return _with_counts(found, rule, taken, everybody / max(len(scope), 1)) if with_counts else found
    guess = min(int(explained(compiler.ids(rule, query))["Plan Rows"]), everybody)
    return _Counted(sampling.Bounds(guess, 0, everybody), True, everybody, [], {}, (), True, query.now)


def _with_sampled_counts(found: _Counted, rule: Rule, query: Query, timeout_ms: int) -> _Counted:
    """Counts from a sample beside an exact size."""
    try:
        scope = sampling.people(found.total, timeout_ms)
        taken = tally.take(rule, query._replace(scope=scope), timeout_ms)
    except TooSlow:
        return found
    if taken is None:
        return found
    return _with_counts(found._replace(counts_estimated=True), rule, taken, found.total / max(len(scope), 1))


def _with_counts(found: _Counted, rule: Rule, taken: Tally, factor: float) -> _Counted:
    """Counts times `factor`, in accord with the size that is known."""
    size = found.bounds.size
    counts = {path: round(number * factor) for path, number in taken.counts(rule).items()}
    steps = [Step(step.path, max(round(step.kept * factor), size)) for step in taken.funnel(rule)]
    if steps:
        steps[-1] = steps[-1]._replace(kept=size)
    return found._replace(counts={**counts, rule.path: size}, funnel=tuple(steps))


def explained(statement: Sql) -> dict[str, Any]:
    """The planner's outermost node for a statement, as EXPLAIN tells it; nothing is run."""
    return _decoded(fetch(sql("EXPLAIN (FORMAT JSON) {}", statement), PREVIEW_MS)[0][0])[0]["Plan"]


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
    rows = fetch(sql("SELECT {} FROM crm_profile p WHERE p.id = {}", listed, profile_id), PREVIEW_MS)
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


def _column(statement: Sql) -> Iterator[int]:
    with connection.cursor() as cursor:
        cursor.execute(statement.text, list(statement.params))
        for row in cursor.fetchall():
            yield row[0]


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
