"""Segments with what keeping them takes: the parsed rule, what can change its answers, and what exactly it asks."""

import hashlib
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from typing import Any, NamedTuple

import msgspec

from campaigns.models import Segment
from campaigns.segments import compiler
from campaigns.segments.computed import ComputedField
from campaigns.segments.conditions.base import Needs, Query
from campaigns.segments.grammar import Rule
from crm import changes
from crm.rules.errors import RuleError

ENROLLMENTS = "enrollments"
FLOW_EVENTS = frozenset(
    {"flow_entered", "flow_completed", "flow_exited"}
)  # each change of a run is one of these


class Stored(NamedTuple):
    """What a segment asks, as it is stored."""

    slug: str
    pk: int
    kind: str
    rule: Any


class Loaded(NamedTuple):
    """A segment that can be evaluated.

    Args:
        rules: of the segments that the rule refers to, by slug.
        stored: the JSON that all of this was made of, by the segments' ids.
        asked: a fingerprint of the question; another one may have other answers for everybody.
    """

    segment: Segment
    rule: Rule
    rules: Mapping[str, Rule]
    needs: Needs
    stored: Mapping[int, Any]
    asked: str

    @property
    def settled(self) -> bool:
        """Whether everybody was counted by just this question."""
        return self.segment.counted_as == self.asked

    @property
    def events(self) -> frozenset[str]:
        """Names of the events that may change somebody's answer."""
        return self.needs.events | FLOW_EVENTS if ENROLLMENTS in self.needs.fields else self.needs.events

    @property
    def fields(self) -> frozenset[str]:
        """What the change feed names if it may change somebody's answer."""
        gone = {f"event:{name}" for name in self.needs.events}
        return self.needs.fields | changes.ALWAYS | gone

    def query(self, now: datetime, scope: list[int] | None = None) -> Query:
        """What compiling takes; `scope` holds profile ids."""
        return Query(now.astimezone(UTC), scope, self.rules)


def load(segments: Iterable[Segment]) -> tuple[list[Loaded], list[tuple[Segment, RuleError]]]:
    """These segments, and those with a mistake in their rule; lists are left out."""
    segments = list(segments)  # before those that they refer to, which are made first
    stored = {
        slug: Stored(slug, pk, kind, rule)
        for slug, pk, kind, rule in Segment.objects.values_list("slug", "pk", "kind", "rule")
    }
    loaded, broken = [], []
    for segment in segments:
        if segment.kind == Segment.Kind.LIST:
            continue
        try:
            loaded.append(_load(segment, stored))
        except RuleError as error:
            broken.append((segment, error))
    return loaded, broken


def load_one(segment: Segment) -> Loaded:
    """This segment. Raises RuleError."""
    loaded, broken = load([segment])
    if broken:
        raise broken[0][1]
    return loaded[0]


def _load(segment: Segment, stored: Mapping[str, Stored]) -> Loaded:
    rule = compiler.rule_of(segment)
    rules = compiler.references(rule, segment.slug, stored)
    used = {slug: stored[slug] for slug in rules if slug in stored}
    fields = [getattr(leaf, "field", None) for leaf in compiler.expanded(rule, rules)]
    facts = [
        [field.pk, msgspec.to_builtins(field.kind.config)]
        for field in fields
        if isinstance(field, ComputedField)
    ]
    question = [segment.rule, {slug: [each.pk, each.kind, each.rule] for slug, each in used.items()}, facts]
    asked = hashlib.blake2b(msgspec.json.encode(question, order="sorted"), digest_size=16).hexdigest()
    made_of = {segment.pk: segment.rule, **{each.pk: each.rule for each in used.values()}}
    return Loaded(segment, rule, rules, compiler.needs(rule, rules), made_of, asked)
