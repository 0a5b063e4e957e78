"""Changing segments: every rule is checked, kept as a version and counted anew."""

import hashlib
import json
from collections.abc import Sequence
from datetime import datetime
from typing import Any

from django.db import transaction
from django.utils import timezone
from django.utils.translation import gettext as _

from campaigns.models import ListJob, Segment, SegmentVersion
from campaigns.segments import compiler, grammar, states, usage
from crm import alerts, pg, wake
from crm.computed.usage import Use
from crm.rules.errors import RuleError

RESERVED = frozenset({"preview", "overlap", "exports"})


class InUse(Exception):
    """The segment can't be deleted; `uses` says by what it is used."""

    def __init__(self, uses: Sequence[Use]):
        self.uses = uses
        super().__init__(_("It is used by %s.") % ", ".join(use.text for use in uses))


@transaction.atomic
def save(
    segment: Segment, rule: Any, by: str = "", now: datetime | None = None, restored: int | None = None
) -> Segment:
    """Store a segment, new or changed, and have its members brought up to date.

    Args:
        segment: with the name, slug and description that it shall have.
        rule: as JSON; None leaves the rule as it is (lists have none).
        by: who changes it, such as a user's name or `key:<name>`.
        now: aware; default the clock.
        restored: the number of the version whose rule this is, when somebody brings it back.

    Raises:
        RuleError: the rule is wrong, refers to a segment that is not there, or leads back to this one; or (at
            `slug`) the short name was changed although something knows the segment by it.
    """
    moment = now or timezone.now()
    new = segment.pk is None
    check_slug(segment)
    if rule is not None:
        compiler.references(grammar.parse(rule), own=segment.slug)
        if new:
            segment.rule, segment.rule_changed_at = rule, moment
        else:
            stored = Segment.objects.select_for_update().get(pk=segment.pk)
            segment.rule, segment.version = stored.rule, stored.version
            if fingerprint(rule) != fingerprint(stored.rule):
                segment.rule, segment.rule_changed_at = rule, moment
                segment.version = stored.version + 1
    # Never what counting writes: it may have written since the segment was read.
    changed = ["name", "slug", "description", "updated_at"]
    changed += ["rule", "version", "rule_changed_at"] if rule is not None else []
    segment.save(update_fields=None if new else changed)
    if segment.kind == Segment.Kind.RULE:
        SegmentVersion.objects.get_or_create(
            segment=segment,
            number=segment.version,
            defaults={
                "name": segment.name,
                "rule": segment.rule,
                "by": by,
                "at": moment,
                "restored": restored,
            },
        )
        wake.on_commit("campaigns.tasks.refresh_segments", "segments")
    return segment


def fingerprint(rule: Any) -> str:
    """The same text for the same rule; unlike Python it tells 1 from true."""
    return hashlib.sha256(json.dumps(rule, sort_keys=True).encode()).hexdigest()[:32]


def check_slug(segment: Segment) -> None:
    """Hold on to a short name by which something knows the segment, and to those that are addresses of the API.

    Renaming could not follow: what a flow has published never changes, and neither do rules kept outside of here.

    Raises:
        RuleError: at `slug`.
    """
    if segment.pk is None:
        if segment.slug in RESERVED:
            raise RuleError(_("“%s” is taken by the API. Choose another short name.") % segment.slug, "slug")
        return
    before = Segment.objects.filter(pk=segment.pk).values_list("slug", flat=True).first()
    if before is None or before == segment.slug:
        return
    if found := usage.uses().get(before):
        texts = ", ".join(use.text for use in found)
        raise RuleError(
            _("It is known by the name “%(slug)s” to %(uses)s.") % {"slug": before, "uses": texts}, "slug"
        )


@pg.atomically
def delete(segment: Segment) -> None:
    """Remove a segment with its members and versions.

    The database does not check that a member's segment exists: whoever writes members ends first, or finds none.

    Raises:
        InUse: a flow, a broadcast or another segment needs it.
    """
    uses = usage.uses().get(segment.slug, [])
    if uses:
        raise InUse(uses)
    list(ListJob.objects.select_for_update().filter(list=segment).order_by("pk"))  # first, as filling does
    if Segment.objects.select_for_update().filter(pk=segment.pk).exists():
        alerts.resolve(states.alert_key(segment.pk))
        segment.delete()
