"""Questions about the outbox as a whole: totals by state, how each channel gets on, and sending failed ones again."""

import json
import math
from collections.abc import Iterator
from datetime import datetime, timedelta
from typing import Any

import msgspec
from django.db import OperationalError, connection, transaction
from django.db.models import CharField, Count, Exists, F, OuterRef, Q, QuerySet, Value
from django.db.models.functions import Cast, Concat
from django.utils import timezone

from crm import audit
from delivery import channels, outbox, retention
from delivery.dispatch.recovery import UNKNOWN
from delivery.models import Account, Delivery
from delivery.outbox import DeliveryRequest

State = Delivery.State
TIMEOUT_MS = 2_000
COUNTABLE = 5_000_000  # more rows than these are not counted within TIMEOUT_MS
MOST = 50_000  # deliveries that are sent again at once
CHUNK = 1_000
CAP = 100_000  # waiting messages of a channel that are counted

_QUEUES = f"""
    SELECT c.kind, due.number, due.oldest, later.number,
        (SELECT count(*) FROM delivery_delivery d
         WHERE d.sent_at > %(since)s AND d.sent_at <= %(now)s AND d.channel = c.kind)
    FROM unnest(%(kinds)s::text[]) AS c(kind)
    CROSS JOIN LATERAL (
        SELECT count(*) AS number, min(d.due_at) AS oldest FROM (
            SELECT due_at FROM delivery_delivery
            WHERE channel = c.kind AND state IN ('queued', 'deferred') AND due_at <= %(now)s LIMIT {CAP}) AS d
    ) AS due
    CROSS JOIN LATERAL (
        SELECT count(*) AS number FROM (
            SELECT 1 FROM delivery_delivery
            WHERE channel = c.kind AND state IN ('queued', 'deferred') AND due_at > %(now)s LIMIT {CAP}) AS d
    ) AS later
"""


class Totals(msgspec.Struct, frozen=True):
    """Deliveries by state, of one instant. Not `exact`: PostgreSQL's estimates, since counting took too long."""

    states: dict[str, int]
    exact: bool

    @property
    def total(self) -> int:
        """All of them: what the states add up to."""
        return sum(self.states.values())


class Queue(msgspec.Struct, frozen=True):
    """How a channel gets on. `due` and `later` are counted up to CAP, `rate` is of the last minute.

    `held` names accounts that are left alone until then after failures, or paused (None).
    """

    channel: str
    due: int
    later: int
    oldest: datetime | None
    rate: int
    held: list[tuple[str, datetime | None]]

    @property
    def minutes_left(self) -> int | None:
        """How long what is due takes at this rate; None where it is not known."""
        return math.ceil(self.due / self.rate) if self.due and self.rate else None


class Resendable(msgspec.Struct, frozen=True):
    """Failed deliveries that were not sent again yet; of `unknown` nobody knows whether they arrived.

    Both are counted up to MOST + 1.
    """

    certain: int
    unknown: int


def totals(rows: "QuerySet[Delivery]", timeout_ms: int = TIMEOUT_MS) -> Totals:
    """Count deliveries by state in one statement; estimate where that takes, or would take, longer than this."""
    rows = rows.order_by()
    if _estimate(rows) > COUNTABLE:
        return _estimated(rows)
    try:
        with transaction.atomic(), connection.cursor() as cursor:
            cursor.execute("SELECT set_config('statement_timeout', %s, true)", [str(timeout_ms)])
            found = dict(rows.values_list("state").annotate(Count("pk")))
            cursor.execute("SELECT set_config('statement_timeout', '0', true)")
        return Totals({state: found.get(state, 0) for state in State.values}, exact=True)
    except OperationalError:
        return _estimated(rows)


def queues(now: datetime | None = None) -> list[Queue]:
    """How each channel gets on that has messages waiting, has sent some in the last minute, or is held; two queries."""
    now = now or timezone.now()
    held: dict[str, list[tuple[str, datetime | None]]] = {}
    paused = Q(state=Account.State.PAUSED)
    for account in Account.objects.filter(paused | Q(held_until__gt=now), usual=True):
        until = None if account.state == Account.State.PAUSED else account.held_until
        held.setdefault(account.channel, []).append((account.name, until))
    with connection.cursor() as cursor:
        cursor.execute(
            _QUEUES, {"now": now, "since": now - timedelta(minutes=1), "kinds": list(channels.everything())}
        )
        found = [
            Queue(kind, due, later, oldest, rate, held.get(kind, []))
            for kind, due, oldest, later, rate in cursor.fetchall()
        ]
    return [queue for queue in found if queue.due or queue.later or queue.rate or queue.held]


def resendable(rows: "QuerySet[Delivery]") -> Resendable:
    """Count what `resend` would send of these."""
    return Resendable(
        *(_failed(rows, unknown).order_by().values("pk")[: MOST + 1].count() for unknown in (False, True))
    )


def resend(
    rows: "QuerySet[Delivery]", by: Any, unknown: bool = False, now: datetime | None = None, **detail: Any
) -> int:
    """Put failed deliveries of `rows` into the outbox anew, up to MOST of them, and return how many.

    Each gets one new delivery, whose cause names it: doing it again sends nothing. All rules hold for them as for any
    other message; they expire as if they were asked for now.

    Args:
        by: who asks for it, for the audit log, which `detail` goes to as well.
        unknown: also those of which nobody knows whether they arrived; some people may get these twice.
    """
    now = now or timezone.now()
    count = 0
    with transaction.atomic():
        for chunk in _chunks(rows, unknown):
            count += outbox.queue(
                [
                    DeliveryRequest(
                        cause=f"resend:{delivery.pk}",
                        message_id=delivery.message_id,
                        profile_id=delivery.profile_id,
                        channel=delivery.channel,
                        origin_type=delivery.origin_type,
                        origin_id=delivery.origin_id,
                        origin_step=delivery.origin_step,
                        context=delivery.context,
                        variant=delivery.variant,
                        priority=delivery.priority,
                        when_limited=delivery.when_limited,
                    )
                    for delivery in chunk
                ],
                now,
            )
        if count:
            audit.record(
                by, "deliveries.sent_again", ("delivery.delivery", ""), rows=count, unknown=unknown, **detail
            )
    return count


def _chunks(rows: "QuerySet[Delivery]", unknown: bool) -> Iterator[list[Delivery]]:
    last, left = 0, MOST
    while left:
        chosen = _failed(rows, False)
        if unknown:
            chosen = chosen | _failed(rows, True)
        chunk = list(chosen.filter(pk__gt=last).order_by("pk")[: min(CHUNK, left)])
        if not chunk:
            return
        yield chunk
        last, left = chunk[-1].pk, left - len(chunk)


def _failed(rows: "QuerySet[Delivery]", unknown: bool) -> "QuerySet[Delivery]":
    again = Delivery.objects.annotate(
        named=Concat(Value("resend:"), Cast(OuterRef("pk"), CharField()), output_field=CharField())
    ).filter(cause=F("named"))
    failed = rows.filter(state=State.FAILED).exclude(origin_type=Delivery.Origin.TEST)
    failed = failed.filter(reason=UNKNOWN) if unknown else failed.exclude(reason=UNKNOWN)
    # Without the data that its text was asked for with, an old one would say something else.
    failed = failed.filter(queued_at__gte=retention.came_to())
    return failed.filter(~Exists(again))


def _estimated(rows: "QuerySet[Delivery]") -> Totals:
    return Totals({state: _estimate(rows.filter(state=state)) for state in State.values}, exact=False)


def _estimate(rows: "QuerySet[Delivery]") -> int:
    [plan] = json.loads(rows.explain(format="json"))
    return int(plan["Plan"]["Plan Rows"])
