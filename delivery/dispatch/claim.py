"""Choosing what to send: lock due rows, apply the policies, fill in the texts, write the next states."""

import logging
from collections import Counter
from collections.abc import Sequence
from datetime import datetime, timedelta
from time import monotonic
from typing import Any

import msgspec
from django.db import connection, transaction

from crm import alerts
from delivery import accounts, channels, content, policies
from delivery.channels.base import Address, Channel, Parcel
from delivery.dispatch import states
from delivery.dispatch.lease import LEASE
from delivery.models import Attempt, Delivery, Message, MessageContent
from delivery.policies import Facts, Verdict
from delivery.preferences import links as preference_links

logger = logging.getLogger(__name__)
State = Delivery.State

PATIENCE = 5.0  # seconds for filling in a batch's texts
RETRY = timedelta(minutes=1)
NO_ACCOUNT_RETRY = timedelta(minutes=5)
NO_ACCOUNT = "no account for this channel"
NO_ADDRESSES = "the channel could not tell addresses"
NO_CONTENT = "nothing written for this channel, variant and language"

_BEGIN = """
    INSERT INTO delivery_attempt (delivery_id, device_id, account_id, address, outcome, detail, started_at)
    SELECT r.delivery_id, r.device_id, r.account_id, r.address, 'started', '', %s
    FROM jsonb_to_recordset(%s::jsonb) AS r(delivery_id bigint, device_id bigint, account_id bigint, address text)
    ORDER BY r.device_id  -- the foreign key locks devices; one order for all workers
    RETURNING id, delivery_id, device_id
"""


# A tenth goes to those who have waited longest, whatever their priority, so that no stream of urgent messages starves
# the others. Each priority is read by an index of its own; a higher one that fills the batch ends the reading.
_DUE = """
    WITH oldest AS MATERIALIZED (
        SELECT d.* FROM delivery_delivery d
        WHERE d.state IN ('queued', 'deferred') AND d.due_at <= %(now)s
        ORDER BY d.due_at LIMIT %(limit)s / 10 FOR UPDATE OF d SKIP LOCKED
    ), first AS MATERIALIZED (
        SELECT d.* FROM unnest(ARRAY[1, 2, 3, 4, 5]) AS p(priority) CROSS JOIN LATERAL (
            SELECT each.* FROM delivery_delivery each
            WHERE each.priority = p.priority AND each.state IN ('queued', 'deferred') AND each.due_at <= %(now)s
              AND each.id NOT IN (SELECT id FROM oldest)
            ORDER BY each.due_at LIMIT %(limit)s FOR UPDATE OF each SKIP LOCKED
        ) AS d
        LIMIT %(limit)s - (SELECT count(*) FROM oldest)
    )
    SELECT * FROM first UNION ALL SELECT * FROM oldest ORDER BY priority, due_at, id
"""


Group = tuple[str, int | None]  # channel and account; None for channels that need none


class Claim(msgspec.Struct):
    """A batch after its policies: `looked_at` rows, their new states, and what is to be sent by channel and account.

    `leased_at` is when the leases began, by the monotonic clock.
    """

    looked_at: int
    states: Counter[str]
    parcels: dict[Group, list[Parcel]]
    leased_at: float = 0.0


class _Composed(msgspec.Struct):
    delivery: Delivery
    account_id: int | None
    locale: str
    content: Any
    payload: Any
    targets: list[Address] = []


@transaction.atomic
def claim(now: datetime, limit: int) -> Claim:
    """Take up to `limit` due deliveries and mark those that may go out `sending`, with a lease.

    What has a higher priority comes first, also when it and another message to the same person meet a limit.
    The number of queries depends on the channels and topics in the batch, not on its size. What there is no time
    to fill in stays as it was, for the next batch.
    """
    began = monotonic()
    deliveries = list(Delivery.objects.raw(_DUE, {"now": now, "limit": limit}))
    if not deliveries:
        return Claim(0, Counter(), {})
    by_id = {delivery.pk: delivery for delivery in deliveries}
    _load_messages(deliveries)
    addresses, already_sent, broken = _addresses(deliveries)
    facts = Facts(addresses)
    verdicts = {
        delivery.pk: policies.expire()
        if delivery.expires_at <= now
        else policies.defer(now + RETRY, NO_ADDRESSES)
        for delivery in deliveries
        if delivery.channel in broken
    }
    verdicts |= policies.decide([d for d in deliveries if d.pk not in verdicts], facts, now)
    routed = _route([d for d in deliveries if d.pk not in verdicts], verdicts, now)
    composed, left = _compose(routed, verdicts, began + PATIENCE)
    leased_at = monotonic()
    lease_until = now + timedelta(seconds=leased_at - began) + LEASE
    changes = [_verdict_change(by_id[pk], verdict, now) for pk, verdict in verdicts.items()]
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
    reached = Counter(change.state for change in changes)
    return Claim(len(deliveries) - left, reached, _begin_attempts(sending, now), leased_at)


def _load_messages(deliveries: Sequence[Delivery]) -> None:
    messages = Message.objects.in_bulk({delivery.message_id for delivery in deliveries})
    for delivery in deliveries:
        delivery.message = messages[delivery.message_id]


def _addresses(
    deliveries: Sequence[Delivery],
) -> tuple[dict[int, list[Address]], dict[int, set[int]], set[str]]:
    """Return the addresses by delivery id, the device ids that have accepted it before, and the channels that
    could not say."""
    found: dict[int, list[Address]] = {}
    broken: set[str] = set()
    for kind in {delivery.channel for delivery in deliveries} & channels.everything().keys():
        group = [delivery for delivery in deliveries if delivery.channel == kind]
        try:
            with transaction.atomic():
                by_profile = channels.get(kind).addresses({delivery.profile_id for delivery in group})
        except Exception as error:  # one channel's fault must not hold up the others
            logger.exception("The channel %s can't tell addresses", kind)
            channel_failed(kind, error)
            broken.add(kind)
            continue
        found |= {delivery.pk: list(by_profile.get(delivery.profile_id, ())) for delivery in group}
    accepted: dict[int, set[int]] = {}
    for delivery_id, device_id in Attempt.objects.filter(
        delivery_id__in=[delivery.pk for delivery in deliveries if delivery.attempts],
        device__isnull=False,
        outcome=Attempt.Outcome.ACCEPTED,
    ).values_list("delivery_id", "device_id"):
        accepted.setdefault(delivery_id, set()).add(device_id)
    return found, accepted, broken


def channel_failed(kind: str, error: Exception) -> None:
    """Tell the operators that a channel, not its provider, is broken."""
    alerts.raise_alert(
        alert_key(kind),
        f"The channel {kind} fails",
        f"Its messages wait and are tried again until they expire. It failed with {type(error).__name__}; the log "
        "has the details.",
    )


def alert_key(kind: str) -> str:
    """What alerts about a broken channel are kept under."""
    return f"delivery:channel:{kind}"


def _route(
    deliveries: Sequence[Delivery], verdicts: dict[int, Verdict], now: datetime
) -> list[tuple[Delivery, int | None]]:
    """Return each delivery with the account it goes by; one for which there is none gets a verdict."""
    known = channels.everything()
    kinds = {delivery.channel for delivery in deliveries}
    provided = {kind for kind in kinds if kind in known and known[kind].provided}
    if not provided:
        return [(delivery, None) for delivery in deliveries]
    routes = accounts.Routes(provided)
    found: list[tuple[Delivery, int | None]] = []
    for delivery in deliveries:
        if delivery.channel not in provided:
            found.append((delivery, None))
        elif account := routes.of(delivery.channel, accounts.is_transactional(delivery.message)):
            found.append((delivery, account.pk))
        else:
            verdicts[delivery.pk] = policies.defer(now + NO_ACCOUNT_RETRY, NO_ACCOUNT)
    return found


def _compose(
    routed: Sequence[tuple[Delivery, int | None]], verdicts: dict[int, Verdict], until: float
) -> tuple[list[_Composed], int]:
    """Fill in each person's text; what can't be filled in gets a verdict of its own.

    Nothing is begun after `until` but the first, since rows stay locked and the event log waits for us meanwhile.
    Returns also how many were left.
    """
    if not routed:
        return [], 0
    deliveries = [delivery for delivery, _account in routed]
    ids = {delivery.profile_id for delivery in deliveries}
    people = content.data(ids)
    authored: dict[tuple[int, str, str], dict[str, Any]] = {}
    for row in MessageContent.objects.filter(message_id__in={delivery.message_id for delivery in deliveries}):
        authored.setdefault((row.message_id, row.channel, row.variant), {})[row.locale] = row.content
    contents = (text for locales in authored.values() for text in locales.values())
    told = {
        pk: {"profile": people[pk], "computed": values}
        for pk, values in content.computed_for(ids, contents).items()
    }
    compiled: dict[tuple[int, str, str, str], content.Compiled | content.ContentError] = {}
    composed: list[_Composed] = []
    for place, (delivery, account_id) in enumerate(routed):
        if place and monotonic() >= until:
            return composed, len(routed) - place
        try:
            composed.append(_compose_one(delivery, account_id, told[delivery.profile_id], authored, compiled))
        except content.ContentError as error:
            verdicts[delivery.pk] = policies.fail(f"render: {error}")
        except _NoContent:
            verdicts[delivery.pk] = policies.fail(NO_CONTENT)
        except Exception as error:  # one broken row must not hold up the batch
            logger.exception("Delivery %d can't be composed", delivery.pk)
            verdicts[delivery.pk] = policies.fail(f"render: {type(error).__name__}")
    return composed, 0


class _NoContent(Exception):
    """Nothing is written that this person could get."""


def _compose_one(
    delivery: Delivery, account_id: int | None, data: dict[str, Any], authored: Any, compiled: Any
) -> _Composed:
    channel: Channel = channels.get(delivery.channel)
    key = (delivery.message_id, delivery.channel, delivery.variant)
    locale = content.best_locale(authored.get(key, {}), data["profile"].get("language"))
    if locale is None:
        raise _NoContent
    if (*key, locale) not in compiled:
        try:
            compiled[*key, locale] = channel.compile(authored[key][locale])
        except content.ContentError as error:
            compiled[*key, locale] = error
    template = compiled[*key, locale]
    if isinstance(template, content.ContentError):
        raise template
    links = preference_links.of(delivery.profile_id, delivery.pk)
    filled = template.render({**delivery.context, **links, **data})
    payload = channel.compose(delivery, filled)
    return _Composed(delivery, account_id, locale, msgspec.to_builtins(filled), payload)


def _verdict_change(delivery: Delivery, verdict: Verdict, now: datetime) -> states.Change:
    due_at = None
    if verdict.until is not None:
        # Not before the next second: a verdict that names the past must not make the sweep spin.
        due_at = min(max(verdict.until, now + timedelta(seconds=1)), delivery.expires_at)
    return states.Change(id=delivery.pk, state=verdict.state, reason=verdict.reason, due_at=due_at)


def _sending_change(item: _Composed, lease_until: datetime) -> states.Change:
    return states.Change(
        id=item.delivery.pk,
        state=State.SENDING,
        attempts=item.delivery.attempts,
        lease_until=lease_until,
        locale=item.locale,
        content=item.content,
    )


def _begin_attempts(sending: Sequence[_Composed], now: datetime) -> dict[Group, list[Parcel]]:
    """Write an attempt as `started` for each address and return the parcels, in order of `sending`."""
    wanted = {
        (item.delivery.pk, address.device.pk if address.device else None): (item, address)
        for item in sending
        for address in item.targets
    }
    rows = [
        {
            "delivery_id": delivery_id,
            "device_id": device_id,
            "account_id": item.account_id,
            "address": "" if device_id else address.value,
        }
        for (delivery_id, device_id), (item, address) in wanted.items()
    ]
    with connection.cursor() as cursor:
        cursor.execute(_BEGIN, [now, msgspec.json.encode(rows).decode()])
        numbers = {(delivery_id, device_id): number for number, delivery_id, device_id in cursor.fetchall()}
    parcels: dict[Group, list[Parcel]] = {}
    for key, (item, address) in wanted.items():
        parcel = Parcel(numbers[key], item.delivery, address, item.payload, item.account_id)
        parcels.setdefault((item.delivery.channel, item.account_id), []).append(parcel)
    return parcels
