"""Computed attributes as fields of rules, named like `computed.orders`."""

import math
from collections import Counter
from datetime import datetime, timedelta
from typing import NamedTuple

from django.utils.translation import gettext as _

from campaigns.segments.conditions.base import Part, Query
from crm.computed.kinds import Kind, parse
from crm.computed.kinds.base import Ask, Scope
from crm.models import ComputedAttribute, ComputedValue
from crm.rules import passing
from crm.rules.errors import RuleError
from crm.rules.operators import COMPLEMENT, Comparison, Operand, predicate
from crm.rules.sql import Sql, sql

PREFIX = "computed."
CHANGES = "computed"  # what `crm.changes` calls a change of any of them
LONGEST = 700_000  # days: no event is older than the calendar
TYPES = {"number": "number", "text": "text", "moment": "datetime"}


class ComputedField(NamedTuple):
    """One computed attribute. Its values are rows of their own, so it is a set of people rather than a column."""

    pk: int
    slug: str
    label: str
    kind: Kind

    @property
    def name(self) -> str:
        return PREFIX + self.slug

    @property
    def type(self) -> str:
        """The type of the comparison, as in `crm.rules.operators.ALLOWED`."""
        return "number" if self.kind.counts_days else TYPES[self.kind.type]

    def value(self, now: datetime) -> Sql:
        """How the value reads in a row with the alias v."""
        if self.kind.counts_days:
            return sql(
                "(greatest(floor(extract(epoch FROM {}::timestamptz - v.at) / 86400), 0)::float8)", now
            )
        return Sql({"number": "v.number", "text": "v.text", "datetime": "v.at"}[self.type])

    def part(self, comparison: Comparison, query: Query) -> Part:
        """Who meets the comparison. Who has no row has the default: if that meets it, the others are asked for."""
        test = predicate(Operand(self.value(query.now), self.type), comparison, query.now)
        complement = _meets(self.kind.default, comparison)
        ids = sql(
            "SELECT v.profile_id AS id FROM {} v WHERE {}{}",
            self._rows(query),
            sql("({}) IS NOT TRUE", test) if complement else sql("({})", test),
            query.within_scope("v.profile_id"),
        )
        return Part(ids, complement)

    def _rows(self, query: Query) -> Sql:
        """Rows of profile_id with number, text and at."""
        if query.live and query.scope is not None:
            return sql("({})", self.kind.rows(Ask(query.now, Scope(query.scope))))
        return sql(
            "(SELECT profile_id, number, text, at FROM crm_computedvalue WHERE attribute_id = {})", self.pk
        )

    def passed(self, comparison: Comparison, query: Query, since: datetime) -> list[Sql]:
        """Who may meet the comparison otherwise than at `since` although the stored value is the same."""
        if not self.kind.counts_days:
            changed = passing.changed(Operand(Sql("v.at"), self.type), comparison, since, query.now)
            if changed is None:
                return []
            return [
                sql(
                    "SELECT v.profile_id AS id FROM crm_computedvalue v WHERE v.attribute_id = {} AND {}",
                    self.pk,
                    changed,
                )
            ]
        turns = _turns(comparison)
        if not turns:
            return []
        return [
            sql(
                "SELECT v.profile_id AS id FROM unnest({}::timestamptz[], {}::timestamptz[]) AS turn(low, high)"
                " JOIN crm_computedvalue v ON v.attribute_id = {} AND v.at > turn.low AND v.at <= turn.high",
                [since - days for days in turns],
                [query.now - days for days in turns],
                self.pk,
            )
        ]

    def fact(self, query: Query) -> Sql:
        """The value of the profile p as JSON."""
        return sql(
            "coalesce((SELECT to_jsonb({}) FROM crm_computedvalue v WHERE v.profile_id = p.id AND v.attribute_id = {}),"
            " to_jsonb({}::float8))",
            self.value(query.now),
            self.pk,
            self.kind.default,
        )


def field(slug: str) -> ComputedField:
    """The attribute of this short name.

    Raises:
        RuleError: there is none, or not everybody's value is known.
    """
    attribute = ComputedAttribute.objects.filter(slug=slug).first() if "\x00" not in slug else None
    if attribute is None:
        raise RuleError(_("There is no computed attribute “%s”.") % slug[:100], "field")
    if not attribute.served:
        raise RuleError(_("“%s” is not computed for everybody yet.") % attribute.name, "field")
    return ComputedField(attribute.pk, slug, attribute.name, parse(attribute.config))


def everything() -> dict[str, ComputedField]:
    """Every attribute that rules can use, by the name of its field."""
    found = {}
    for attribute in ComputedAttribute.objects.filter(served=True):
        try:
            one = ComputedField(attribute.pk, attribute.slug, attribute.name, parse(attribute.config))
        except RuleError:
            continue
        found[one.name] = one
    return found


def texts(attribute_id: int, most: int, sample: int = 5_000) -> list[str]:
    """The commonest texts among `sample` people's."""
    some = ComputedValue.objects.filter(attribute_id=attribute_id, text__isnull=False).values_list(
        "text", flat=True
    )
    return [text for text, _n in Counter(some[:sample]).most_common(most) if text]


def _turns(comparison: Comparison) -> list[timedelta]:
    """The ages at which a whole number of days may begin or cease to meet the comparison."""
    value = comparison.value
    numbers = value if isinstance(value, list) else [] if value is None else [value]
    days = {turn for number in numbers for turn in (math.ceil(number), math.floor(number) + 1)}
    return [timedelta(days=turn) for turn in sorted(days) if 1 <= turn <= LONGEST]


def _meets(default: float | None, comparison: Comparison) -> bool:
    """Whether somebody who has nothing but the default satisfies a comparison."""
    op, value, kind = comparison
    if op in COMPLEMENT:
        return not _meets(default, Comparison(COMPLEMENT[op], value, kind))
    if default is None:
        return False
    if op == "is_set":
        return True
    if op == "in":
        return default in value
    if op == "between":
        return value[0] <= default <= value[1]
    return {
        "eq": default == value,
        "gt": default > value,
        "gte": default >= value,
        "lt": default < value,
        "lte": default <= value,
    }[op]
