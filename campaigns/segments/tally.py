"""How many people every part of a rule holds for, from one statement.

Each condition gives the people it is about one bit; people are counted by their bits, and what groups make of them
is worked out from these few counts. So a rule of ten conditions costs one pass, whatever is asked of its parts.
"""

from collections.abc import Iterator, Mapping
from typing import NamedTuple

from campaigns.segments import compiler, grammar
from campaigns.segments.conditions.base import Condition, Query
from campaigns.segments.grammar import Group, Not, Rule
from campaigns.segments.limits import fetch
from crm.rules.sql import Sql, sql

MOST = 60  # conditions; bits of a bigint


class Step(NamedTuple):
    """How many people are left after this and all earlier conditions; `path` is the condition's or group's."""

    path: str
    kept: int


class Tally(NamedTuple):
    """People by the conditions that hold for them.

    Args:
        masks: bits -> number of people.
        bits: id() of a condition -> its bit.
        complements: the bits that are set for whom the condition does not hold.
        found: bits -> up to ten ids of people, when asked for.
        everybody: number of people looked at.
    """

    masks: Mapping[int, int]
    bits: Mapping[int, int]
    complements: int
    found: Mapping[int, list[int]]
    everybody: int

    def holds(self, rule: Rule, mask: int) -> bool:
        """Whether a rule holds for people of these bits."""
        if isinstance(rule, Condition):
            return bool((mask ^ self.complements) & self.bits[id(rule)])
        if isinstance(rule, Not):
            return not self.holds(rule.rule, mask)
        return (all if rule.mode == "all" else any)(self.holds(item, mask) for item in rule.rules)

    def count(self, *rules: Rule) -> int:
        """How many people all of these hold for."""
        return sum(
            number for mask, number in self.masks.items() if all(self.holds(rule, mask) for rule in rules)
        )

    def sample(self, rule: Rule, most: int) -> list[int]:
        """Ids of some people for whom a rule holds, in order."""
        chosen = (ids for mask, ids in self.found.items() if self.holds(rule, mask))
        return sorted(number for ids in chosen for number in ids)[:most]

    def counts(self, rule: Rule) -> dict[str, int]:
        """The number of people of every part of a rule, by its path."""
        return {part.path: self.count(part) for part in _parts(rule)}

    def funnel(self, rule: Rule) -> tuple[Step, ...]:
        """What each part of an outermost `all` leaves of those before it."""
        if not isinstance(rule, Group) or rule.mode != "all":
            return ()
        kept, steps = dict(self.masks), []
        for part in rule.rules:
            kept = {mask: number for mask, number in kept.items() if self.holds(part, mask)}
            steps.append(Step(part.path, sum(kept.values())))
        return tuple(steps)


def take(rule: Rule, query: Query, timeout_ms: int, sampled: int = 0) -> Tally | None:
    """Ask all conditions of a rule at once; None when there are too many of them.

    Args:
        query: with a scope, only of these people, who all have to exist.
        sampled: how many people's ids to bring along, of each combination.

    Raises:
        TooSlow: it takes longer than that.
    """
    leaves = list(grammar.leaves(rule))
    if len(leaves) > MOST:
        return None
    bits = {id(leaf): 1 << number for number, leaf in enumerate(leaves)}
    complements, own_row, sets = 0, [], []
    for leaf in leaves:
        bit = bits[id(leaf)]
        predicate = compiler.predicate(leaf, query)
        if predicate is not None:
            own_row.append(sql("CASE WHEN {} THEN {}::bigint ELSE 0 END", predicate, bit))
            continue
        part = compiler.part(leaf, query)
        complements |= bit if part.complement else 0
        sets.append(sql("SELECT id, {}::bigint AS bit FROM ({}) AS found", bit, part.ids))
    one_row_each = bool(own_row) and not sets and query.scope is None
    if own_row:
        row = sql(
            "SELECT p.id, ({}) AS bit FROM crm_profile p WHERE true{}",
            _list(own_row, " | "),
            query.within_scope("p.id"),
        )
        sets.append(row if one_row_each else sql("SELECT id, bit FROM ({}) AS own WHERE bit <> 0", row))
    if query.scope is not None:
        sets.append(sql("SELECT unnest({}::bigint[]) AS id, 0::bigint AS bit", query.scope))
        everybody = sql("{}::bigint", len(query.scope))
    else:
        everybody = Sql("(SELECT count(*) FROM crm_profile)")
    if not sets:
        sets.append(Sql("SELECT NULL::bigint AS id, 0::bigint AS bit WHERE false"))
    statement = sql(
        "SELECT mask, count(*), {}, NULL FROM ({}) AS people GROUP BY mask UNION ALL SELECT NULL, NULL, NULL, {}",
        sql("(array_agg(id ORDER BY id))[:{}]", sampled) if sampled else Sql("NULL::bigint[]"),
        sql(
            "SELECT id, bit AS mask FROM ({}) AS bits"
            if one_row_each
            else "SELECT id, bit_or(bit) AS mask FROM ({}) AS bits GROUP BY id",
            _list(sets, " UNION ALL "),
        ),
        everybody,
    )
    rows = fetch(statement, timeout_ms)
    [total] = [row[3] for row in rows if row[0] is None]
    people = [row for row in rows if row[0] is not None]
    masks = {mask: number for mask, number, _ids, _total in people}
    masks[0] = total - sum(number for mask, number in masks.items() if mask)  # whom nothing has given a bit
    return Tally(masks, bits, complements, {mask: ids or [] for mask, _number, ids, _total in people}, total)


def _list(pieces: list[Sql], separator: str) -> Sql:
    return Sql(
        separator.join(piece.text for piece in pieces),
        tuple(param for piece in pieces for param in piece.params),
    )


def _parts(rule: Rule) -> Iterator[Rule]:
    yield rule
    if isinstance(rule, Not):
        yield from _parts(rule.rule)
    elif isinstance(rule, Group):
        for item in rule.rules:
            yield from _parts(item)
