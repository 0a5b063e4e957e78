"""Which attributes segments ask for so that an index would serve them, how often, and how slowly."""

from collections.abc import Iterator
from typing import Any

import msgspec

from campaigns.models import Segment
from campaigns.segments.fields import ATTRIBUTE_PREFIX
from crm import indexed_attributes
from crm.indexed_attributes import Used
from crm.rules import operators
from crm.rules.errors import RuleError


def used() -> dict[str, Used]:
    """Path of an attribute -> the segments that compare it, and the slowest one's last count; one query."""
    found: dict[str, Used] = {}
    for rule, took in Segment.objects.filter(kind=Segment.Kind.RULE).values_list("rule", "evaluation_ms"):
        for path in set(_paths(rule)):
            before = found.get(path, Used(0, 0))
            found[path] = Used(before.rules + 1, max(before.slowest_ms, took or 0))
    return found


def _paths(rule: Any) -> Iterator[str]:
    """The attributes that a rule compares in a way that an index serves."""
    if isinstance(rule, list):
        for item in rule:
            yield from _paths(item)
    elif isinstance(rule, dict):
        for group in ("all", "any", "not"):
            yield from _paths(rule.get(group))
        field = rule.get("field")
        if rule.get("kind") != "attribute" or not str(field).startswith(ATTRIBUTE_PREFIX):
            return
        try:
            comparison = operators.check(str(rule.get("op")), rule.get("value", msgspec.UNSET), "json")
        except RuleError:
            return
        if indexed_attributes.serves(comparison):
            yield str(field).removeprefix(ATTRIBUTE_PREFIX)
