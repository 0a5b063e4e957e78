"""Whom a broadcast would reach, and what became of one that was launched."""

from collections import Counter
from collections.abc import Iterable
from datetime import datetime

import msgspec
from django.db import connection

from campaigns.broadcasts import routes
from campaigns.broadcasts.guards import CANCELLED
from campaigns.models import Broadcast
from campaigns.segments import compiler, evaluate, reaching
from crm import masking
from crm.preferences import IMPORTANT
from crm.rules.sql import FALSE, Sql, joined, sql
from delivery import channels
from delivery.models import Delivery

TIMEOUT_MS = 5_000


class Reach(msgspec.Struct):
    """`size`: people in the segment now; `agreed`: of these, those who let us write by the channel and about the
    topic; `reachable`: of these, those with an address.

    Of those who are not reachable `no_address` have agreed and have no address, `suppressed` have none left that we
    may write to. Of the reachable, `unwilling` want only what is important, which this is not. `excluded` are in the
    segment and in one of those that are left out; they are no part of `size`.
    """

    size: int
    agreed: int
    reachable: int
    no_address: int = 0
    suppressed: int = 0
    unwilling: int = 0
    excluded: int = 0

    @property
    def no_consent(self) -> int:
        return self.size - self.agreed

    @property
    def likely(self) -> int:
        """How many would get it."""
        return self.reachable - self.unwilling


class Figures(msgspec.Struct):
    """Audience = sent + waiting + suppressed + failed + expired + not yet queued + deleted, at any instant.

    `reasons` says why messages were not sent by rule or failed: (state, reason, number). `deleted` are people who
    were removed since, with all that was known of them, or merged with somebody who gets it.
    """

    audience: int
    sent: int = 0
    waiting: int = 0
    suppressed: int = 0
    failed: int = 0
    expired: int = 0
    unqueued: int = 0
    reasons: list[tuple[str, str, int]] = []

    @property
    def told(self) -> int:
        """Of how many it is known what became, or that it has yet to be decided."""
        return self.sent + self.waiting + self.suppressed + self.failed + self.expired + self.unqueued

    @property
    def deleted(self) -> int:
        return max(0, self.audience - self.told)

    @property
    def done(self) -> int:
        """How many nothing more is to be done about."""
        return self.audience - self.waiting - self.unqueued

    @property
    def percent(self) -> int:
        return 100 * self.done // self.audience if self.audience else 100


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

OTHER = "other reasons"
MOST_REASONS = 15  # that are told apart: providers' words may be others for each person

# One statement, so that all of it is of one instant. What names a person in providers' words is left out of them.
_FIGURES = """
    SELECT b.id, 'audience', '', coalesce(b.audience, 0) FROM campaigns_broadcast b WHERE b.id = ANY(%(ids)s)
    UNION ALL
    SELECT p.broadcast_id, 'piece', p.state, sum(p.size) FROM campaigns_broadcastpiece p
    WHERE p.broadcast_id = ANY(%(ids)s) AND p.state <> 'queued' GROUP BY p.broadcast_id, p.state
    UNION ALL
    SELECT d.origin_id, d.state, '', count(*) FROM delivery_delivery d
    WHERE d.origin_type = 'broadcast' AND d.origin_id = ANY(%(ids)s) AND d.state NOT IN ('suppressed', 'failed')
    GROUP BY d.origin_id, d.state
    UNION ALL
    SELECT d.origin_id, d.state, regexp_replace(d.reason, '[^ ]*@[^ ]*|[0-9]{7,}', '•••', 'g') AS why, count(*)
    FROM delivery_delivery d
    WHERE d.origin_type = 'broadcast' AND d.origin_id = ANY(%(ids)s) AND d.state IN ('suppressed', 'failed')
        -- One that was sent again counts as what became of it then.
        AND NOT (d.state = 'failed' AND EXISTS (SELECT FROM delivery_delivery r WHERE r.cause = 'resend:' || d.id))
    GROUP BY d.origin_id, d.state, why
"""


def figures(broadcasts: Iterable[Broadcast]) -> dict[int, Figures]:
    """The figures of each broadcast by its id, from one query for all."""
    found = {broadcast.pk: Figures(0) for broadcast in broadcasts}
    if not found:
        return {}
    with connection.cursor() as cursor:
        cursor.execute(_FIGURES, {"ids": list(found)})
        rows = [(pk, what, detail, int(number)) for pk, what, detail, number in cursor.fetchall()]
    reasons: dict[int, Counter[tuple[str, str]]] = {pk: Counter() for pk in found}
    for broadcast_id, what, detail, number in rows:
        mine = found[broadcast_id]
        if what == "audience":
            mine.audience = number
        elif what == "piece" and detail == "waiting":
            mine.unqueued += number
        else:
            group = "suppressed" if what == "piece" else GROUPS[Delivery.State(what)]
            setattr(mine, group, getattr(mine, group) + number)
            if group in ("suppressed", "failed"):
                reason = CANCELLED if what == "piece" else masking.text(detail)
                reasons[broadcast_id][group, reason] += number
    for broadcast_id, mine in found.items():
        mine.reasons = _most(reasons[broadcast_id])
    return found


def _most(reasons: Counter[tuple[str, str]]) -> list[tuple[str, str, int]]:
    """The most frequent ones, and how many have others."""
    ordered = reasons.most_common()
    kept = [(group, reason, number) for (group, reason), number in ordered[:MOST_REASONS]]
    rest: Counter[str] = Counter()
    for (group, _reason), number in ordered[MOST_REASONS:]:
        rest[group] += number
    return [*kept, *((group, OTHER, number) for group, number in rest.items())]


def reach(broadcast: Broadcast, now: datetime | None = None) -> Reach:
    """Count whom the broadcast would reach if it were launched now; by any of its channels, if it has several.

    Raises:
        RuleError: the rule of a segment can't be evaluated.
        TooSlow: counting took more than five seconds.
    """
    rule = routes.audience_rule(broadcast)
    audience = compiler.ids(rule, compiler.query(rule, now))
    kinds = routes.written(broadcast) if broadcast.channel in Broadcast.Route.values else [broadcast.channel]
    used = [channel for kind in kinds if (channel := channels.everything().get(kind))]
    topic = broadcast.message.topic
    agreed = [reaching.agreed(channel, topic, Sql("a.id")) for channel in used]
    there = [
        sql("a.id IN (SELECT profile_id FROM ({}) AS rows_{})", each.address_rows(), Sql(str(place)))
        for place, each in enumerate(used)
    ]
    usable = [sql("a.id IN ({})", reaching.usable(channel)) for channel in used]
    unwilling = FALSE
    if topic and not broadcast.message.important:
        unwilling = sql(
            "EXISTS (SELECT FROM crm_preference w WHERE w.profile_id = a.id AND w.frequencies ->> {} = {})",
            topic,
            IMPORTANT,
        )
    statement = sql(
        "SELECT count(*), count(*) FILTER (WHERE agreed), count(*) FILTER (WHERE reached),"
        " count(*) FILTER (WHERE agreed AND NOT there), count(*) FILTER (WHERE there AND NOT reached),"
        " count(*) FILTER (WHERE reached AND unwilling)"
        " FROM (SELECT {} AS agreed, {} AS there, {} AS reached, {} AS unwilling FROM ({}) AS a) AS people",
        _any(agreed),
        _any(sql("({} AND {})", *each) for each in zip(agreed, there, strict=True)),
        _any(sql("({} AND {})", *each) for each in zip(agreed, usable, strict=True)),
        unwilling,
        audience,
    )
    with evaluate.limits(TIMEOUT_MS), connection.cursor() as cursor:
        cursor.execute(statement.text, list(statement.params))
        found = Reach(*cursor.fetchone())
        if routes.excluded_segments(broadcast):
            whole = compiler.rule_of(broadcast.segment)
            everybody = sql("SELECT count(*) FROM ({}) AS a", compiler.ids(whole, compiler.query(whole, now)))
            cursor.execute(everybody.text, list(everybody.params))
            found.excluded = max(0, cursor.fetchone()[0] - found.size)
    return found


def _any(parts: Iterable[Sql]) -> Sql:
    found = list(parts)
    return sql("({})", joined(" OR ", found)) if found else FALSE
