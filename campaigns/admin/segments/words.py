"""How a segment is, and why people came and went, in words."""

from typing import NamedTuple

from django.utils import timezone
from django.utils.timesince import timesince
from django.utils.translation import gettext as _

from campaigns.models import Segment


class State(NamedTuple):
    """In words, with the look of its chip: good, warning, bad or nothing special."""

    text: str
    look: str = ""


def state_words(segment: Segment) -> State:
    """Whether the members are what the rule says now."""
    if segment.kind == Segment.Kind.LIST:
        return State(_("kept by hand"))
    if segment.state == Segment.State.FAILED:
        return State(_("failed"), "bad")
    if segment.state == Segment.State.STOPPED:
        return State(_("counting was stopped"), "bad")
    if segment.counting_since is not None or segment.state == Segment.State.COUNTING:
        return State(_("being counted"), "warning")
    if segment.evaluated_at is None:
        return State(_("not counted yet"), "warning")
    if segment.rule_changed_at > segment.evaluated_at:
        return State(_("the rule was changed since"), "warning")
    if segment.error:
        return State(_("kept, but not checked"), "warning")
    return State(_("up to date"), "good")


def freshness(segment: Segment) -> str:
    """How old the answer is: what happened later has yet to be taken into account. Empty where nothing was counted."""
    if segment.kind == Segment.Kind.LIST or segment.evaluated_at is None:
        return ""
    if segment.state in (Segment.State.FAILED, Segment.State.STOPPED):
        return _("tried %s ago") % timesince(segment.evaluated_at, depth=1)
    if segment.rule_changed_at > segment.evaluated_at:
        return _("counted %s ago") % timesince(segment.evaluated_at, depth=1)
    exact = max(segment.evaluated_at, segment.passed_until or segment.evaluated_at)
    seconds = (timezone.now() - exact).total_seconds()
    if seconds < 60:
        return _("exact within the last minute")
    return _("exact as of %s ago") % timesince(exact, depth=1)
