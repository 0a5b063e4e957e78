"""Whom a broadcast would reach, and what became of one that was launched."""

from collections.abc import Iterable
from datetime import datetime

import msgspec
from django.db import connection
from django.db.models import Count

from campaigns.models import Broadcast
from campaigns.segments import compiler, evaluate, reaching
from crm.rules.sql import FALSE, Sql, sql
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
    rule = compiler.rule_of(broadcast.segment)
    audience = compiler.ids(rule, compiler.query(rule, now))
    channel = channels.everything().get(broadcast.channel)
    agreed = reaching.agreed(channel, broadcast.message.topic, Sql("a.id")) if channel else FALSE
    usable = reaching.usable(channel) if channel else Sql("SELECT NULL::bigint AS id WHERE false")
    statement = sql(
        "SELECT count(*), count(*) FILTER (WHERE agreed), count(*) FILTER (WHERE agreed AND reached)"
        " FROM (SELECT {} AS agreed, a.id IN ({}) AS reached FROM ({}) AS a) AS people",
        agreed,
        usable,
        audience,
    )
    with evaluate.limits(TIMEOUT_MS), connection.cursor() as cursor:
        cursor.execute(statement.text, list(statement.params))
        return Reach(*cursor.fetchone())
