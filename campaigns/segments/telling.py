"""Rules whose answers would tell contact data: who may see none gets no answer to them.

`crm.masking.asks` looks at one rule; here what the rule is made of is looked at, too: other segments, and attributes
that are computed from events.
"""

from collections.abc import Mapping
from typing import Any

from django.utils.translation import gettext as _

from campaigns.models import Segment
from campaigns.segments import grammar, sentence, usage
from crm import masking
from crm.models import ComputedAttribute


def tells(rule: Any) -> bool:
    """Whether the present reader may see no contact data, and who answers to a rule would tell some.

    Args:
        rule: JSON, valid or not.
    """
    if not masking.hidden():
        return False
    if masking.asks(rule):
        return True
    leads_on = any(usage.segments_in(rule)) or any(usage.computed_in(rule))
    return leads_on and _asks(rule, *_stored())


def hidden_slugs() -> set[str]:
    """The segments of which `tells` is true; two queries, and none for readers who may see contact data."""
    if not masking.hidden():
        return set()
    rules, configs = _stored()
    return {slug for slug, rule in rules.items() if _asks(rule, rules, configs)}


def told(rule: Any) -> str:
    """A stored rule in words; that it can't be told to a reader who may not see what it compares with.

    Raises:
        RuleError: it can't be read any more.
    """
    if masking.hidden() and masking.asks(rule):
        return _("It compares with contact data, which you may not see.")
    return sentence.describe(grammar.parse(rule))


def _stored() -> tuple[dict[str, Any], dict[str, Any]]:
    """The rules of all segments and the definitions of all computed attributes, by slug."""
    rules = dict(Segment.objects.values_list("slug", "rule"))
    return rules, dict(ComputedAttribute.objects.values_list("slug", "config"))


def _asks(rule: Any, rules: Mapping[str, Any], configs: Mapping[str, Any]) -> bool:
    known: set[str] = set()
    waiting = [rule]
    while waiting:
        asked = waiting.pop()
        if masking.asks(asked):
            return True
        if any(masking.asks(configs.get(slug)) for slug in usage.computed_in(asked)):
            return True
        further = set(usage.segments_in(asked)) - known
        known |= further
        waiting += [rules[slug] for slug in further if slug in rules]
    return False
