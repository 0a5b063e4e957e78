"""A condition on what a person did."""

from datetime import datetime
from typing import Any, Literal

import msgspec
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

from campaigns.segments import rows, words
from campaigns.segments.conditions.base import Condition, Needs, Part, Query
from campaigns.segments.windows import Within
from crm.rules import moments, operators, passing, paths
from crm.rules.errors import RuleError
from crm.rules.sql import Sql, joined, sql
from crm.rules.where import Where, check_name, check_where, properties


class Count(msgspec.Struct, forbid_unknown_fields=True):
    """How often; zero counts too."""

    op: Literal["eq", "ne", "gt", "gte", "lt", "lte"]
    value: int


class Aggregate(msgspec.Struct, forbid_unknown_fields=True):
    """A figure over the numbers found in one property (`distinct`: over all its values)."""

    fn: Literal["sum", "avg", "min", "max", "distinct"]
    property: str
    op: Literal["eq", "ne", "gt", "gte", "lt", "lte"]
    value: int | float


class Following(msgspec.Struct, forbid_unknown_fields=True):
    """An event that must not come later."""

    name: str
    where: list[Where] = []
    within: moments.Span | None = None


class EventConfig(msgspec.Struct, forbid_unknown_fields=True):
    """The JSON shape of the condition."""

    kind: str
    name: str
    where: list[Where] = []
    within: Within | None = None
    count: Count | None = None
    aggregate: Aggregate | None = None
    not_followed_by: Following | None = None


class Event(Condition):
    """How often somebody did something, or a figure over it."""

    kind, label, icon, position = "event", gettext_lazy("Event"), "bolt", 2
    template = "admin/campaigns/segment/conditions/event.html"
    Config = EventConfig

    def check(self):
        config = self.config
        check_name(config.name, "name")
        self.where = check_where(config.where, "where")
        if config.within:
            config.within.check("within")
        if config.count and not 0 <= config.count.value <= 1_000_000:
            raise RuleError(_("Give a whole number from 0 to 1000000."), "count.value")
        if config.aggregate:
            self.aggregated = paths.json_path(config.aggregate.property, "aggregate.property")
            operators.check_json_scalar(config.aggregate.value, "aggregate.value", ordered=True)
        self.followed_where = []
        if following := config.not_followed_by:
            check_name(following.name, "not_followed_by.name")
            self.followed_where = check_where(following.where, "not_followed_by.where")
            if following.within:
                following.within.check("not_followed_by.within")

    def part(self, query: Query) -> Part:
        count, aggregate = self.config.count, self.config.aggregate
        matching = self._matching(query)
        if aggregate:
            having = [self._figure()] + ([_frequency(count.op, count.value)] if count else [])
            return Part(_grouped(matching, query, having))
        op, number = (count.op, count.value) if count else ("gte", 1)
        # Who has no such event is in no group: where zero satisfies, ask for the others and take the complement.
        complement = _holds(op, 0, number)
        if complement:
            op = {"eq": "ne", "ne": "eq", "gt": "lte", "gte": "lt", "lt": "gte", "lte": "gt"}[op]
        if (op, number) in (("gte", 1), ("gt", 0), ("ne", 0)):
            return Part(_ungrouped(matching, query), complement, distinct=False)
        return Part(_grouped(matching, query, [_frequency(op, number)]), complement)

    def _matching(self, query: Query) -> Sql:
        """The condition on one event e."""
        config, at = self.config, Sql("e.occurred_at")
        checks = [sql("e.name = {}", config.name)]
        low = config.within.low(query.now) if config.within else None
        if config.within:
            checks += config.within.bounds(at, query.now)
        checks += properties(self.where, "e.properties", query.now)
        if following := config.not_followed_by:
            later = [
                sql(
                    "f.profile_id = e.profile_id AND f.name = {} AND f.occurred_at > e.occurred_at",
                    following.name,
                )
            ]
            if low is not None:  # implied, and lets PostgreSQL skip old partitions
                later.append(sql("f.occurred_at > {}::timestamptz", low))
            if following.within:
                later.append(sql("f.occurred_at <= e.occurred_at + {}::interval", following.within.length))
            later += properties(self.followed_where, "f.properties", query.now)
            later.append(sql("true{}", query.within_scope("f.profile_id")))
            checks.append(sql("NOT EXISTS (SELECT FROM crm_event f WHERE {})", joined(" AND ", later)))
        return joined(" AND ", checks)

    def needs(self) -> Needs:
        following = self.config.not_followed_by
        return Needs(events=frozenset([self.config.name, *([following.name] if following else [])]))

    def passed(self, query: Query, since: datetime) -> list[Sql]:
        config, at, within = self.config, Sql("e.occurred_at"), self.config.within
        named = sql("e.name = {}", config.name)
        steady = properties(
            [pair for pair in self.where if pair[1].op not in passing.RELATIVE], "e.properties", query.now
        )
        found = [
            _ungrouped(joined(" AND ", [named, edge, *steady]), query)
            for edge in (within.crossed(at, since, query.now) if within else [])
        ]
        inside = within.bounds(at, query.now, since) if within else []
        for column, where, event in (
            ("e.properties", self.where, [named, *inside]),
            ("e.properties", self.followed_where, self._following_named()),
        ):
            for keys, comparison in where:
                operand = paths.json_operand(column, keys)
                changed = passing.changed(operand, comparison, since, query.now)
                if changed is not None:
                    found.append(_ungrouped(joined(" AND ", [*event, changed]), query))
        return found

    def _following_named(self) -> list[Sql]:
        following = self.config.not_followed_by
        return [sql("e.name = {}", following.name)] if following else []

    def _figure(self) -> Sql:
        """The aggregate compared: exact in numeric; false when no event carries a value."""
        aggregate, symbol = self.config.aggregate, Sql(operators.SYMBOLS[self.config.aggregate.op])
        found = paths.json_operand("e.properties", self.aggregated).value
        number = sql("(CASE WHEN jsonb_typeof({}) = 'number' THEN ({})::numeric END)", found, found)
        value = sql("{}::numeric", str(aggregate.value))
        if aggregate.fn == "distinct":
            return sql("NULLIF(count(DISTINCT NULLIF({}, 'null'::jsonb)), 0) {} {}", found, symbol, value)
        if aggregate.fn == "avg":  # numeric division would round
            return sql("sum({}) {} {} * count({})", number, symbol, value, number)
        return sql("{}({}) {} {}", Sql(aggregate.fn), number, symbol, value)

    def describe(self) -> str:
        config = self.config
        never = config.count and (config.count.op, config.count.value) in (("eq", 0), ("lt", 1), ("lte", 0))
        parts = [(_("did not do “%s”") if never else _("did “%s”")) % config.name]
        if config.where:
            clauses = [
                words.comparison(item.property, check)
                for item, (_path, check) in zip(config.where, self.where, strict=True)
            ]
            parts.append(_("where %s") % _(" and ").join(clauses))
        if config.count and not never and (config.count.op, config.count.value) != ("gte", 1):
            parts.append(words.frequency(config.count.op, config.count.value))
        if config.within:
            parts.append(words.within(config.within))
        if config.aggregate:
            parts.append(_("with a %s") % words.figure(config.aggregate))
        if following := config.not_followed_by:
            parts.append(_("with no “%s” after it") % following.name)
            if following.within:
                parts.append(words.during(following.within))
        return " ".join(parts)

    def fact(self, query: Query) -> Sql:
        return sql(
            "(SELECT jsonb_build_array(count(*), max(e.occurred_at)) FROM crm_event e"
            " WHERE e.profile_id = p.id AND {})",
            self._matching(query),
        )

    def tell(self, fact: Any) -> str:
        return words.happened(fact)

    @classmethod
    def blank(cls, suggest):
        names = suggest.event_names()
        return {
            "kind": cls.kind,
            "name": names[0] if names else "",
            "within": {"last": {"days": 30}},
            "count": {"op": "gte", "value": 1},
        }

    @classmethod
    def read(cls, posted):
        return rows.read_event(posted)

    @classmethod
    def row(cls, data, suggest):
        return rows.event(data, suggest)


def _holds(op: str, left: int, right: int) -> bool:
    return {
        "eq": left == right,
        "ne": left != right,
        "gt": left > right,
        "gte": left >= right,
        "lt": left < right,
        "lte": left <= right,
    }[op]


def _frequency(op: str, number: int) -> Sql:
    return sql("count(*) {} {}", Sql(operators.SYMBOLS[op]), number)


def _ungrouped(matching: Sql, query: Query) -> Sql:
    return sql(
        "SELECT e.profile_id AS id FROM crm_event e WHERE {}{}", matching, query.within_scope("e.profile_id")
    )


def _grouped(matching: Sql, query: Query, having: list[Sql]) -> Sql:
    rows_found = _ungrouped(matching, query)
    return sql("{} GROUP BY e.profile_id HAVING {}", rows_found, joined(" AND ", having))
