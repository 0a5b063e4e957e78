"""Choosing what to send: lock due rows, apply the policies, fill in the texts, write the next states."""

import json
import logging
from collections import Counter
from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from time import monotonic
from typing import Any

import msgspec
from django.db import connection, transaction

from crm import alerts, pg
from delivery import accounts, channels, exposures, policies
from delivery.channels.base import Address, Parcel
from delivery.dispatch import arrivals, gate, states
from delivery.dispatch.composing import Composed, compose
from delivery.dispatch.lanes import Lane
from delivery.dispatch.lease import LEASE, NOT_BEGUN
from delivery.models import Account, Attempt, Delivery, Message
from delivery.policies import Facts, Verdict, emergency

logger = logging.getLogger(__name__)
State = Delivery.State

PATIENCE = 5.0  # seconds for filling in a batch's texts
RETRY = timedelta(minutes=1)
ODD_RETRY = timedelta(minutes=15)
NO_ACCOUNT_RETRY = timedelta(minutes=15)
NO_ADDRESSES = "the channel could not tell addresses"
NO_WORD = "the channel could not tell what arrived before"

_BEGIN = """
    INSERT INTO delivery_attempt (delivery_id, device_id, account_id, address, outcome, detail, started_at)
    SELECT r.delivery_id, r.device_id, %(account)s, r.address, 'started', %(detail)s, %(now)s
    FROM jsonb_to_recordset(%(rows)s::jsonb) AS r(delivery_id bigint, device_id bigint, address text)
    ORDER BY r.device_id  -- the foreign key locks devices; one order for all workers
    RETURNING id, delivery_id, device_id
"""


# What policies, guards, texts and channels read of a delivery. What earlier tries wrote is not read again.
_COLUMNS = (
    *("id", "cause", "message_id", "profile_id", "channel", "variant", "locale", "state", "reason", "due_at"),
    *("expires_at", "attempts", "transactional", "origin_type", "origin_id", "origin_step", "priority"),
    *("when_limited", "queued_at", "context"),
)
_NEEDED = ", ".join(f"d.{name}" for name in _COLUMNS)

# A tenth goes to those who have waited longest, whatever their priority, so that no stream of urgent messages starves
# the others. Each priority is read by an index of its own; a higher one that fills the batch ends the reading.
_DUE = f"""
    WITH oldest AS MATERIALIZED (
        SELECT {_NEEDED} FROM delivery_delivery d
        WHERE d.channel = %(channel)s AND d.transactional = %(transactional)s
          AND d.state IN ('queued', 'deferred') AND d.due_at <= %(now)s
        ORDER BY d.due_at LIMIT %(limit)s / 10 FOR UPDATE OF d SKIP LOCKED
    ), first AS MATERIALIZED (
        SELECT each.* FROM unnest(ARRAY[1, 2, 3, 4, 5]) AS p(priority) CROSS JOIN LATERAL (
            SELECT {_NEEDED} FROM delivery_delivery d
            WHERE d.channel = %(channel)s AND d.transactional = %(transactional)s AND d.priority = p.priority
              AND d.state IN ('queued', 'deferred') AND d.due_at <= %(now)s
              AND d.id NOT IN (SELECT id FROM oldest)
            ORDER BY d.due_at LIMIT %(limit)s FOR UPDATE OF d SKIP LOCKED
        ) AS each
        LIMIT %(limit)s - (SELECT count(*) FROM oldest)
    )
    SELECT {_NEEDED} FROM (SELECT * FROM first UNION ALL SELECT * FROM oldest) AS d ORDER BY d.priority, d.due_at, d.id
"""


class Claim(msgspec.Struct):
    """A batch after its policies: `looked_at` rows, their new states, and what is to be sent, by which account.

    `leased_at` is when the leases began, by the monotonic clock. `marked`: attempts are marked when they are begun.
    `wait` tells after how many seconds the account may send again, when it is what kept the batch small.
    """

    looked_at: int = 0
    states: Counter[str] = msgspec.field(default_factory=Counter)
    parcels: list[Parcel] = []
    account: Account | None = None
    leased_at: float = 0.0
    marked: bool = False
    wait: float | None = None


@transaction.atomic
def claim(lane: Lane, now: datetime, limit: int) -> Claim:
    """Take up to `limit` due deliveries of a lane and mark those that may go out `sending`, with a lease.

    What has a higher priority comes first, also when it and another message to the same person meet a limit.
    The number of queries depends on the topics in the batch, not on its size. What there is no time to fill in stays
    as it was, for the next batch.
    """
    began = monotonic()
    if emergency.holds(lane.channel):
        return Claim()
    known = channels.everything().get(lane.channel)
    account = accounts.route(lane.channel, lane.transactional) if known and known.provided else None
    if account is not None:
        account, limit, wait = gate.open_for(account, now, limit)
        if not limit:
            return Claim(wait=wait)
    deliveries = _due(lane, now, limit)
    if not deliveries:
        return Claim()
    taken = len(deliveries)
    by_id = {delivery.pk: delivery for delivery in deliveries}
    _load_messages(deliveries)
    verdicts: dict[int, Verdict] = {}
    facts = Facts({})
    already_sent: dict[int, set[int]] = {}
    arrived = arrivals.settle(deliveries, now)
    changes = arrived or []
    if changes:
        over = {change.id for change in changes}
        deliveries = [delivery for delivery in deliveries if delivery.pk not in over]
    if arrived is None:
        verdicts = _unless_late(deliveries, policies.defer(now + RETRY, NO_WORD), now)
    elif known is not None and known.provided and account is None:
        _no_account(lane)
        verdicts = _unless_late(deliveries, policies.defer(now + NO_ACCOUNT_RETRY, accounts.NONE), now)
    elif (found := _addresses(lane.channel, deliveries)) is None:
        verdicts = _unless_late(deliveries, policies.defer(now + RETRY, NO_ADDRESSES), now)
    else:
        facts.addresses, already_sent = found, _already_sent(deliveries)
        verdicts = policies.decide(deliveries, facts, now)
    left_over = [delivery for delivery in deliveries if delivery.pk not in verdicts]
    exposures.keep(left_over)
    composed, left = compose(left_over, verdicts, monotonic() + PATIENCE)
    leased_at = monotonic()
    lease_until = now + timedelta(seconds=leased_at - began) + LEASE
    changes += [_verdict_change(by_id[pk], verdict, now) for pk, verdict in verdicts.items()]
    sending = []
    for item in composed:
        item.targets = [
            address
            for address in facts.addresses[item.delivery.pk]
            if address.device is None or address.device.pk not in already_sent.get(item.delivery.pk, ())
        ]
        if item.targets:
            item.delivery.attempts += 1
            sending.append(item)
            changes.append(_sending_change(item, lease_until))
        else:  # earlier tries reached every browser that is left
            changes.append(states.Change(id=item.delivery.pk, state=State.SENT, sent_at=now))
    states.apply(changes, by_id, now)
    exposures.sending([item.delivery for item in sending], now)
    marked = known is not None and not accounts.repeats(known, account)
    parcels = _begin_attempts(sending, account, NOT_BEGUN if marked else "", now)
    if account is not None:
        gate.take(account, len(parcels), now)
    reached = Counter(change.state for change in changes)
    return Claim(taken - left, reached, parcels, account, leased_at, marked)


@transaction.atomic
def set_aside(lane: Lane, now: datetime, error: Exception) -> Claim:
    """Put off the delivery that is first in a lane: it can't be prepared, and the others must not wait for it."""
    first = _due(lane, now, 1)
    if not first:
        return Claim()
    _load_messages(first)
    verdict = policies.defer(now + ODD_RETRY, f"could not be prepared: {type(error).__name__}")
    verdicts = _unless_late(first, verdict, now)
    changes = arrivals.settle(first, now) or [
        _verdict_change(delivery, verdicts[delivery.pk], now) for delivery in first
    ]
    states.apply(changes, {delivery.pk: delivery for delivery in first}, now)
    return Claim(1, Counter(change.state for change in changes))


def _due(lane: Lane, now: datetime, limit: int) -> list[Delivery]:
    """Lock and return what is due."""
    wanted: dict[str, Any] = {
        "now": now,
        "limit": limit,
        "channel": lane.channel,
        "transactional": lane.transactional,
    }
    with connection.cursor() as cursor:
        pg.quick_times(cursor)
        cursor.execute(_DUE, wanted)
        # Most come without any data, which saves reading it.
        rows = [(*row, {} if data == "{}" else json.loads(data)) for *row, data in cursor.fetchall()]
    return Delivery.loaded(_COLUMNS, rows)


def _unless_late(deliveries: Sequence[Delivery], verdict: Verdict, now: datetime) -> dict[int, Verdict]:
    """The same verdict for all but those for which it is too late."""
    return {
        delivery.pk: policies.expire() if delivery.expires_at <= now else verdict for delivery in deliveries
    }


def _load_messages(deliveries: Sequence[Delivery]) -> None:
    messages = Message.objects.in_bulk({delivery.message_id for delivery in deliveries})
    keep = Delivery._meta.get_field("message").set_cached_value
    for delivery in deliveries:
        keep(delivery, messages[delivery.message_id])  # in a fifth of the time of `delivery.message = …`


def _addresses(kind: str, deliveries: Sequence[Delivery]) -> dict[int, list[Address]] | None:
    """Return the addresses by delivery id; None when the channel could not say."""
    by_profile: Mapping[int, Sequence[Address]] = {}
    if kind in channels.everything():
        try:
            with transaction.atomic():
                by_profile = channels.get(kind).addresses({delivery.profile_id for delivery in deliveries})
        except Exception as error:  # one channel's fault must not hold up the others
            logger.exception("The channel %s can't tell addresses", kind)
            arrivals.channel_failed(kind, error)
            return None
    return {
        delivery.pk: [Address(delivery.context["test"]["address"])]
        if policies.for_tester(delivery)
        else list(by_profile.get(delivery.profile_id, ()))
        for delivery in deliveries
    }


def _already_sent(deliveries: Sequence[Delivery]) -> dict[int, set[int]]:
    """Return by delivery id the ids of the devices that have accepted it before."""
    accepted: dict[int, set[int]] = {}
    for delivery_id, device_id in Attempt.objects.filter(
        delivery_id__in=[delivery.pk for delivery in deliveries if delivery.attempts],
        device__isnull=False,
        outcome=Attempt.Outcome.ACCEPTED,
    ).values_list("delivery_id", "device_id"):
        accepted.setdefault(delivery_id, set()).add(device_id)
    return accepted


def _no_account(lane: Lane) -> None:
    alerts.raise_alert(
        accounts.missing_key(lane.channel),
        f"No sending account for {lane.channel}",
        "Its messages wait until there is an account that is active and used by default, or until they expire.",
    )


def _verdict_change(delivery: Delivery, verdict: Verdict, now: datetime) -> states.Change:
    due_at = None
    if verdict.until is not None:
        # Not before the next second: a verdict that names the past must not make the sweep spin.
        due_at = min(max(verdict.until, now + timedelta(seconds=1)), delivery.expires_at)
    return states.Change(id=delivery.pk, state=verdict.state, reason=verdict.reason, due_at=due_at)


def _sending_change(item: Composed, lease_until: datetime) -> states.Change:
    return states.Change(
        id=item.delivery.pk,
        state=State.SENDING,
        attempts=item.delivery.attempts,
        lease_until=lease_until,
        locale=item.locale,
        variant=item.delivery.variant,
        content=item.content,
        links=item.links,
    )


def _begin_attempts(
    sending: Sequence[Composed], account: Account | None, detail: str, now: datetime
) -> list[Parcel]:
    """Write an attempt as `started` for each address and return the parcels, in order of `sending`."""
    wanted = {
        (item.delivery.pk, address.device.pk if address.device else None): (item, address)
        for item in sending
        for address in item.targets
    }
    account_id = account.pk if account else None
    rows = [
        {"delivery_id": delivery_id, "device_id": device_id, "address": "" if device_id else address.value}
        for (delivery_id, device_id), (_item, address) in wanted.items()
    ]
    with connection.cursor() as cursor:
        wanted_rows = msgspec.json.encode(rows).decode()
        cursor.execute(_BEGIN, {"now": now, "account": account_id, "detail": detail, "rows": wanted_rows})
        numbers = {(delivery_id, device_id): number for number, delivery_id, device_id in cursor.fetchall()}
    return [
        Parcel(numbers[key], item.delivery, address, item.payload, account_id)
        for key, (item, address) in wanted.items()
    ]
