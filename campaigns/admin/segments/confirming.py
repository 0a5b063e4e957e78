"""Asking before a rule changes that running flows and waiting broadcasts use."""

from typing import Any, NamedTuple

from campaigns.models import Segment
from campaigns.segments import editing, usage, versions
from crm.computed.usage import Use


class Question(NamedTuple):
    """What would be changed, for whom: `effect` is None when counting takes too long."""

    uses: list[Use]
    effect: versions.Effect | None
    answer: str  # what the form posts as `confirmed` to go on; fits this rule only


def question(segment: Segment | None, rule: Any, confirmed: str) -> Question | None:
    """What to ask before `rule` (valid, JSON) replaces the segment's; None when nothing needs asking."""
    stored = Segment.objects.filter(pk=segment.pk).first() if segment else None
    answer = editing.fingerprint(rule)
    if stored is None or confirmed == answer or editing.fingerprint(stored.rule) == answer:
        return None
    uses = usage.live_uses(stored.slug)
    return Question(uses, versions.effect(stored, rule), answer) if uses else None
