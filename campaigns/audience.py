"""Whom a broadcast would reach, and what became of one that was launched."""

from collections.abc import Iterable
from datetime import datetime

import msgspec
from django.db import connection
from django.db.models import Count

from campaigns.models import Broadcast
from campaigns.segments import compiler, evaluate, grammar
from crm.models import Consent, Device
from crm.rules.sql import Sql, sql
from delivery import channels
from delivery.models import Delivery

TIMEOUT_MS = 5_000


class Reach(msgspec.Struct):
    """`size`: people in the segment now; `agreed`: of these, those who let us write by the channel and about the
    topic; `reachable`: of these, those with an address."""

    size: int
    agreed: int
    reachable: int


class Figures(msgspec.Struct):
    """Audience = sent + waiting + suppressed + failed + expired + deleted, at any instant.

    `reasons` says why messages were not sent by rule or failed: (state, reason, number). `deleted` are people who
    were removed since, with all that was known of them.
    """

    audience: int
    sent: int = 0
    waiting: int = 0
    suppressed: int = 0
    failed: int = 0
    expired: int = 0
    reasons: list[tuple[str, str, int]] = []

    @property
    def deleted(self) -> int:
        return max(0, self.audience - self.sent - self.waiting - self.suppressed - self.failed - self.expired)


GROUPS = {
    Delivery.State.QUEUED: "waiting",
    Delivery.State.DEFERRED: "waiting",
    Delivery.State.SENDING: "waiting",
    Delivery.State.SENT: "sent",
    Delivery.State.DELIVERED: "sent",
    Delivery.State.SUPPRESSED: "suppressed",
    Delivery.State.FAILED: "failed",
    Delivery.State.EXPIRED: "expired",
}


def figures(broadcasts: Iterable[Broadcast]) -> dict[int, Figures]:
    """The figures of each broadcast by its id, from one query for all."""
    found = {broadcast.pk: Figures(broadcast.audience or 0) for broadcast in broadcasts}
    rows = (
        Delivery.objects.filter(origin_type=Delivery.Origin.BROADCAST, origin_id__in=list(found))
        .values_list("origin_id", "state", "reason")
        .annotate(number=Count("pk"))
        .order_by("-number")
    )
    for broadcast_id, state, reason, number in rows:
        mine, group = found[broadcast_id], GROUPS[state]
        setattr(mine, group, getattr(mine, group) + number)
        if group in ("suppressed", "failed"):
            mine.reasons.append((group, reason, number))
    return found


def reach(broadcast: Broadcast, now: datetime | None = None) -> Reach:
    """Count whom the broadcast would reach if it were launched now.

    Raises:
        RuleError: the segment's rule can't be evaluated.
        TooSlow: counting took more than five seconds.
    """
    rule = grammar.parse(broadcast.segment.rule)
    audience = compiler.ids(rule, compiler.query(rule, now))
    known = channels.everything().get(broadcast.channel)
    statement = sql(
        "SELECT count(*), count(*) FILTER (WHERE agreed), count(*) FILTER (WHERE agreed AND {}) FROM ("
        " SELECT a.id, coalesce((SELECT c.state = {} FROM crm_consent c WHERE c.profile_id = a.id AND c.kind = {}"
        " AND c.key = {}), {}) AND coalesce((SELECT t.state = {} FROM crm_consent t WHERE t.profile_id = a.id"
        " AND t.kind = {} AND t.key = {}), NOT EXISTS (SELECT FROM crm_topic WHERE slug = {} AND needs_yes))"
        " AS agreed FROM ({}) AS a) AS people",
        _has_address(broadcast.channel),
        Consent.State.SUBSCRIBED.value,
        Consent.Kind.CHANNEL.value,
        broadcast.channel,
        known is not None and not known.opt_in,
        Consent.State.SUBSCRIBED.value,
        Consent.Kind.TOPIC.value,
        broadcast.message.topic,
        broadcast.message.topic,
        audience,
    )
    with evaluate.limits(TIMEOUT_MS), connection.cursor() as cursor:
        cursor.execute(statement.text, list(statement.params))
        return Reach(*cursor.fetchone())


def _has_address(channel: str) -> Sql:
    """Push needs a device; other channels write to what the profile itself says."""
    if channel != Device._meta.get_field("kind").default:
        return Sql("true")
    return sql(
        "EXISTS (SELECT FROM crm_device d WHERE d.profile_id = people.id AND d.kind = {} AND d.state = {})",
        channel,
        Device.State.ACTIVE.value,
    )
