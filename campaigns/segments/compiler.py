"""Rules to SQL: set operations on profile ids.

INTERSECT, UNION and EXCEPT stay fast where IN and NOT IN under OR do not end on a million profiles. Conditions
on the profile's own row that stand side by side become one scan, which sets beside them in an "all" are joined to.
Negations are carried as "everybody except" until they meet a positive set, from which they are subtracted. In a
given scope every part is limited to it.
"""

from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from typing import Any, Protocol

from django.utils import timezone
from django.utils.translation import gettext as _

from campaigns.models import Segment
from campaigns.segments import grammar
from campaigns.segments.conditions.base import Condition, Needs, Part, Query
from campaigns.segments.conditions.list import Members
from campaigns.segments.grammar import Group, Not, Rule
from crm import indexed_attributes
from crm.rules.errors import RuleError
from crm.rules.sql import FALSE, TRUE, Sql, joined, sql

MOST_SEGMENTS = 100  # that a rule leads to
MOST_CONDITIONS = 500  # of a rule with those of the segments that it refers to, and theirs
_STORED = ("slug", "kind", "rule")


class Asked(Protocol):
    """A segment, or as much of one as tells what it asks."""

    @property
    def pk(self) -> int: ...
    @property
    def slug(self) -> str: ...
    @property
    def kind(self) -> str: ...
    @property
    def rule(self) -> Any: ...


def compile(  # noqa: A001
    rule: Rule, now: datetime | None = None, scope: list[int] | None = None
) -> tuple[str, list[Any]]:
    """The ids of the profiles for whom a rule holds.

    Args:
        rule: as `grammar.parse` returns it.
        now: aware; relative windows end here. Default: the clock.
        scope: ids of the only profiles that matter, or None for everybody.

    Returns:
        A SELECT with one column `id` without repeats, and its parameters.

    Raises:
        RuleError: a segment that the rule refers to does not exist or leads back to itself.
    """
    found = ids(rule, query(rule, now, scope))
    return found.text, list(found.params)


def query(
    rule: Rule,
    now: datetime | None = None,
    scope: list[int] | None = None,
    live: bool = False,
    table: str = "",
) -> Query:
    """What compiling this rule needs to know: the moment in UTC, the scope, the rules it refers to; see `Query`."""
    moment = (now or timezone.now()).astimezone(UTC)
    whom = None if scope is None else list(map(int, scope))
    return Query(moment, whom, references(rule), live, indexed_attributes.columns(), table)


def ids(rule: Rule, query: Query) -> Sql:
    """The SELECT of the ids, as a piece of SQL."""
    found = part(rule, query)
    if found.complement:
        return query.everybody(joined(" AND ", _tests([], [found])))
    return found.ids if found.distinct else sql("SELECT DISTINCT id FROM ({}) AS found", found.ids)


def references(
    rule: Rule, own: str | None = None, known: Mapping[str, Asked] | None = None
) -> dict[str, Rule]:
    """The parsed rules of all segments that a rule needs, by slug.

    Args:
        own: slug of the segment that the rule is for; referring to it is a cycle.
        known: all segments by slug, for whoever looks at many rules; default: those needed are fetched.

    Raises:
        RuleError: a segment is missing, broken, or refers to itself, at the path where this rule names it.
    """
    found: dict[str, Rule] = {}
    wanted = _named(rule)
    while missing := [slug for slug in wanted if slug not in found]:
        if len(wanted) > MOST_SEGMENTS:
            raise RuleError(_("A rule leads to at most %d segments.") % MOST_SEGMENTS, wanted[missing[0]])
        stored: Mapping[str, Asked] = (
            {segment.slug: segment for segment in Segment.objects.filter(slug__in=missing).only(*_STORED)}
            if known is None
            else known
        )
        for slug in missing:
            if slug not in stored:
                raise RuleError(_("There is no segment “%s”.") % slug, wanted[slug])
            found[slug] = rule_of(stored[slug], wanted[slug])
            for further in _named(found[slug]):
                wanted.setdefault(further, wanted[slug])
    for each in (rule, *found.values()):
        for leaf in grammar.leaves(each):
            if leaf.only_lists and not isinstance(found[leaf.config.slug], Members):
                raise RuleError(_("“%s” is no list.") % leaf.config.slug, wanted[leaf.config.slug])
    trail = _cycle(rule, found, (own,) if own else (), set())
    if trail:
        raise RuleError(
            _("Segments refer to each other in a circle: %s.") % " → ".join(trail), wanted[trail[-1]]
        )
    if _size(rule, found, {}) > MOST_CONDITIONS:
        raise RuleError(
            _("With the segments it refers to, the rule has more than %d conditions.") % MOST_CONDITIONS,
            min(wanted.values(), default=""),
        )
    return found


def expanded(rule: Rule, rules: Mapping[str, Rule]) -> Iterator[Condition]:
    """The conditions of a rule, with those of the segments in it in their places."""
    for leaf in grammar.leaves(rule):
        slug = leaf.refers_to()
        if slug is None:
            yield leaf
        else:
            yield from expanded(rules[slug], rules)


def needs(rule: Rule, rules: Mapping[str, Rule] | None = None) -> Needs:
    """What can change the answer about a person, with what the segments need that the rule refers to.

    Whoever is new has to be asked about in any case: a rule that needs nothing may hold for them.

    Args:
        rules: what `references` returns, if it is known.

    Raises:
        RuleError: as `references`.
    """
    rules = references(rule) if rules is None else rules
    asked = [leaf.needs() for leaf in expanded(rule, rules)]
    return Needs(
        events=frozenset().union(*(each.events for each in asked)),
        fields=frozenset().union(*(each.fields for each in asked)),
        segments=frozenset(rules),
    )


def passed(rule: Rule, query: Query, since: datetime) -> tuple[list[Sql], list[Sql]]:
    """Who may be answered about otherwise at `query.now` than at `since`, had nothing but time passed.

    Args:
        query: of this rule, without a scope.
        since: aware, not after `query.now`.

    Returns:
        SELECTs of ids, and conditions on the profile's alias p; equal ones once.
    """
    moment = since.astimezone(UTC)
    selects: list[Sql] = []
    predicates: list[Sql] = []
    for leaf in expanded(rule, query.rules):
        selects += [found for found in leaf.passed(query, moment) if found not in selects]
        condition = leaf.passed_predicate(query, moment)
        if condition is not None and condition not in predicates:
            predicates.append(condition)
    return selects, predicates


def rule_of(segment: Asked, path: str = "") -> Rule:
    """The rule of a segment, checked; for a list, that it holds for its members.

    Raises:
        RuleError: at `path`, where another rule names the segment.
    """
    if segment.kind == Segment.Kind.LIST:
        return Members(segment.pk)
    try:
        return grammar.parse(segment.rule)
    except RuleError as error:
        if not path:
            raise
        raise RuleError(_("The segment “%s” has a mistake in its rule.") % segment.slug, path) from error


def _named(rule: Rule) -> dict[str, str]:
    """Slug -> path of its first use."""
    named: dict[str, str] = {}
    for leaf in grammar.leaves(rule):
        if (slug := leaf.refers_to()) is not None:
            named.setdefault(slug, f"{leaf.path}.slug" if leaf.path else "slug")
    return named


def _cycle(
    rule: Rule, rules: Mapping[str, Rule], trail: tuple[str, ...], harmless: set[str]
) -> tuple[str, ...] | None:
    """The way from the first segment of a circle back to it; `harmless` collects those that lead into none."""
    for slug in _named(rule):
        if slug in trail:
            return (*trail, slug)
        if slug not in harmless:
            if slug in rules and (found := _cycle(rules[slug], rules, (*trail, slug), harmless)):
                return found
            harmless.add(slug)
    return None


def _size(rule: Rule, rules: Mapping[str, Rule], sizes: dict[str, int]) -> int:
    """The number of conditions with all segments in their places; `sizes` collects those of segments."""
    size = 0
    for leaf in grammar.leaves(rule):
        slug = leaf.refers_to()
        if slug is not None and slug not in sizes:
            sizes[slug] = max(1, _size(rules[slug], rules, sizes))
        size += 1 if slug is None else sizes[slug]
    return size


def predicate(rule: Rule, query: Query) -> Sql | None:
    """The rule as a condition on the profile's row p, or None when it asks for more than that."""
    if isinstance(rule, Condition):
        slug = rule.refers_to()
        return rule.predicate(query) if slug is None else predicate(query.rules[slug], query)
    if isinstance(rule, Not):
        inner = predicate(rule.rule, query)
        return None if inner is None else sql("({}) IS NOT TRUE", inner)
    inners = [predicate(item, query) for item in rule.rules]
    known = [inner for inner in inners if inner is not None]
    return _together(rule.mode, known) if len(known) == len(inners) else None


def _together(mode: str, predicates: list[Sql]) -> Sql:
    if not predicates:
        return TRUE if mode == "all" else FALSE
    return joined(" AND " if mode == "all" else " OR ", predicates)


def part(rule: Rule, query: Query) -> Part:
    """The people for whom a rule holds, or those for whom it does not, whichever is cheaper to tell."""
    own_row = predicate(rule, query)
    if own_row is not None:
        return Part(query.everybody(own_row))
    if isinstance(rule, Not):
        inner = part(rule.rule, query)
        return Part(inner.ids, not inner.complement, inner.distinct)
    if isinstance(rule, Group):
        return _group(rule, query)
    if (slug := rule.refers_to()) is not None:
        return part(query.rules[slug], query)
    return rule.part(query)


def _group(group: Group, query: Query) -> Part:
    """All: what is in every set and in none of the excluded. Any is the same by De Morgan's law, turned over."""
    own_row, parts = [], []
    for rule in group.rules:
        condition = predicate(rule, query)
        if condition is not None:
            own_row.append(condition)
        else:
            parts.append(part(rule, query))
    if len(parts) == 1 and not own_row:
        return parts[0]
    included = [part for part in parts if not part.complement]
    excluded = [part for part in parts if part.complement]
    if group.mode == "all":
        if own_row:
            row = _together(group.mode, own_row)
            return Part(query.everybody(joined(" AND ", [row, *_tests(included, excluded)])))
        if not included:
            return Part(_union(excluded), complement=True)
        return Part(_minus(_intersection(included), excluded))
    if own_row:
        included.append(Part(query.everybody(_together(group.mode, own_row))))
    if not excluded:
        return Part(_union(included))
    return Part(_minus(_intersection(excluded), included), complement=True)


def _tests(included: list[Part], excluded: list[Part]) -> list[Sql]:
    """The profile p is in all of the first and in none of the others.

    PostgreSQL joins these in any order and with several processes at once: beside a few people it looks up the rest
    one by one, where INTERSECT and EXCEPT would read all of both sides.
    """
    return [
        sql("{} (SELECT FROM ({}) AS found WHERE found.id = p.id)", Sql(word), part.ids)
        for word, parts in (("EXISTS", included), ("NOT EXISTS", excluded))
        for part in parts
    ]


def _intersection(parts: list[Part]) -> Sql:
    return parts[0].ids if len(parts) == 1 else joined(" INTERSECT ", [part.ids for part in parts])


def _union(parts: list[Part]) -> Sql:
    return parts[0].ids if len(parts) == 1 else joined(" UNION ", [part.ids for part in parts])


def _minus(positive: Sql, negatives: list[Part]) -> Sql:
    return joined(" EXCEPT ", [positive, *(part.ids for part in negatives)]) if negatives else positive
