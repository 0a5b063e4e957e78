"""Whom a broadcast is for, and by which channel each of them gets it."""

from collections.abc import Collection
from datetime import datetime

from campaigns.flows import choosing
from campaigns.models import Broadcast, Segment
from campaigns.segments import compiler
from campaigns.segments.grammar import Group, Not, Rule
from delivery import channels
from delivery.models import MessageContent

Route = Broadcast.Route


def audience_rule(broadcast: Broadcast) -> Rule:
    """In the segment and in none of those excluded.

    Raises:
        RuleError: a segment has a mistake in its rule.
    """
    rule = compiler.rule_of(broadcast.segment)
    excluded = [compiler.rule_of(segment) for segment in excluded_segments(broadcast)]
    if not excluded:
        return rule
    return Group("all", [rule, Not(Group("any", excluded, ""), "")], "")


def excluded_segments(broadcast: Broadcast) -> list[Segment]:
    """Whose people are left out; none of a broadcast that is not saved."""
    return list(broadcast.exclusions.order_by("pk")) if broadcast.pk else []


def written(broadcast: Broadcast) -> list[str]:
    """The channels that it may go out by: those its message has words for, in the order in which they are tried."""
    held = set(
        MessageContent.objects.filter(message=broadcast.message_id)
        .values_list("channel", flat=True)
        .distinct()
    )
    if broadcast.channel in Route.values:
        ways = channels.everything().items()
        return [kind for kind, channel in ways if kind in held and channel.reaches_people]
    return [broadcast.channel] if broadcast.channel in held else []


def chosen(
    broadcast: Broadcast, offered: list[str], profile_ids: Collection[int], now: datetime
) -> dict[int, str]:
    """Each person's channel among those offered; who can't be reached gets one that says why when sending."""
    topic = broadcast.message.topic
    if broadcast.channel == Route.PREFERRED:
        return {
            pk: choice.channel for pk, choice in choosing.preferred(profile_ids, offered, topic, now).items()
        }
    if broadcast.channel == Route.CHEAPEST:
        return {pk: choice.channel for pk, choice in choosing.cheapest(profile_ids, offered, topic).items()}
    found = dict.fromkeys(profile_ids, offered[0])
    if broadcast.channel == Route.FIRST:
        for kind in reversed(offered):
            found |= dict.fromkeys(choosing.reachable(profile_ids, kind, topic), kind)
    return found
