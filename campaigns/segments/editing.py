"""Changing segments: every rule is checked, kept as a version and counted anew."""

from collections.abc import Sequence
from datetime import datetime
from typing import Any

from django.db import transaction
from django.utils import timezone
from django.utils.translation import gettext as _

from campaigns.models import Segment, SegmentVersion
from campaigns.segments import compiler, grammar, usage
from crm import wake
from crm.computed.usage import Use


class InUse(Exception):
    """The segment can't be deleted; `uses` says by what it is used."""

    def __init__(self, uses: Sequence[Use]):
        self.uses = uses
        super().__init__(_("It is used by %s.") % ", ".join(use.text for use in uses))


@transaction.atomic
def save(segment: Segment, rule: Any, by: str = "", now: datetime | None = None) -> Segment:
    """Store a segment, new or changed, and have its members brought up to date.

    Args:
        segment: with the name, slug and description that it shall have.
        rule: as JSON; None leaves the rule as it is (lists have none).
        by: who changes it, such as a user's name or `key:<name>`.
        now: aware; default the clock.

    Raises:
        RuleError: the rule is wrong, refers to a segment that is not there, or leads back to this one.
    """
    moment = now or timezone.now()
    new = segment.pk is None
    if rule is not None:
        compiler.references(grammar.parse(rule), own=segment.slug)
        if new:
            segment.rule, segment.rule_changed_at = rule, moment
        else:
            stored = Segment.objects.select_for_update().get(pk=segment.pk)
            segment.rule, segment.version = stored.rule, stored.version
            if rule != stored.rule:
                segment.rule, segment.rule_changed_at = rule, moment
                segment.version = stored.version + 1
    segment.save()
    if segment.kind == Segment.Kind.RULE:
        SegmentVersion.objects.get_or_create(
            segment=segment,
            number=segment.version,
            defaults={"name": segment.name, "rule": segment.rule, "by": by, "at": moment},
        )
        wake.on_commit("campaigns.tasks.refresh_segments", "segments")
    return segment


@transaction.atomic
def delete(segment: Segment) -> None:
    """Remove a segment with its members and versions.

    Raises:
        InUse: a flow, a broadcast or another segment needs it.
    """
    uses = usage.uses().get(segment.slug, [])
    if uses:
        raise InUse(uses)
    segment.delete()
