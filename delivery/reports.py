"""What providers tell later about messages they took: arrived, bounced, read, complained about.

Reports come twice, in any order, and before the call that sent the message has been recorded. So they are kept as
told, once each, and what became of a delivery is computed from all of them: of what is told about one message at a
provider the earliest final word counts, by the provider's own clock. A message to several devices has arrived when one
of them has it, and failed when all have failed.
"""

import hashlib
from collections.abc import Collection, Iterable, Sequence
from datetime import datetime, timedelta
from decimal import Decimal, InvalidOperation
from typing import Any

import msgspec
from django.db import connection, transaction
from django.db.models import Exists, OuterRef
from django.utils import timezone

from crm import consent, log, subscriptions, suppressions
from crm.models import Profile
from crm.normalise import Rejection
from delivery import policies
from delivery.dispatch import states
from delivery.models import Account, Attempt, Delivery, ProviderReport
from delivery.providers.base import Report, Reported

KEPT = timedelta(days=3)  # how long a report waits for the message that it is about
SOURCE = "provider"
MAX_TEXT = 300  # characters
MAX_IDENTIFIER = 500  # characters
EVENTS = {
    Reported.DELIVERED: "message_delivered",
    Reported.READ: "message_read",
    Reported.BOUNCED: "message_bounced",
    Reported.COMPLAINED: "message_complained",
}
_ARRIVED = (Reported.DELIVERED, Reported.READ)
_LOST = (Reported.FAILED, Reported.BOUNCED)

_KEEP = """
    INSERT INTO delivery_providerreport (account_id, key, provider_id, kind, detail, at, received_at)
    SELECT %(account)s, r.key, r.provider_id, r.kind, r.detail, r.at, %(now)s
    FROM jsonb_to_recordset(%(reports)s::jsonb) AS r(key text, provider_id text, kind text, detail text, at timestamptz)
    ORDER BY r.key
    ON CONFLICT (account_id, key) DO NOTHING
    RETURNING id, key
"""
_FIND = """
    SELECT DISTINCT ON (p.id) p.id, a.id, a.delivery_id, a.address, a.device_id, c.channel, p.kind, p.at
    FROM delivery_providerreport p
    JOIN delivery_account c ON c.id = p.account_id
    JOIN delivery_attempt a ON a.account_id = p.account_id AND a.provider_id = p.provider_id AND a.provider_id <> ''
    WHERE p.id = ANY(%s::bigint[]) ORDER BY p.id, a.id DESC
"""
_MATCH = """
    UPDATE delivery_providerreport p SET delivery_id = r.delivery_id
    FROM unnest(%s::bigint[], %s::bigint[]) AS r(id, delivery_id) WHERE p.id = r.id
"""
_SETTLE = """
    WITH final AS (
        SELECT DISTINCT ON (p.delivery_id, p.provider_id) p.delivery_id, p.kind, p.detail, p.at,
            p.kind = ANY(%(arrived)s::text[]) AS arrived
        FROM delivery_providerreport p
        WHERE p.delivery_id = ANY(%(ids)s::bigint[]) AND p.kind = ANY(%(arrived)s::text[] || %(lost)s::text[])
        ORDER BY p.delivery_id, p.provider_id, p.at, arrived DESC, p.key
    ), taken AS (
        SELECT delivery_id, count(DISTINCT coalesce(nullif(provider_id, ''), id::text)) AS count
        FROM delivery_attempt WHERE delivery_id = ANY(%(ids)s::bigint[]) AND outcome = 'accepted' GROUP BY delivery_id
    ), verdict AS (
        SELECT delivery_id, min(at) FILTER (WHERE arrived) AS delivered_at,
            count(*) FILTER (WHERE NOT arrived) >= min(taken.count) AS lost,
            (array_agg(trim(kind || ': ' || detail, ': ') ORDER BY at, detail) FILTER (WHERE NOT arrived))[1] AS reason
        FROM final JOIN taken USING (delivery_id) GROUP BY delivery_id
    ), next AS (
        SELECT d.id, v.delivered_at, v.reason, d.state AS before,
            CASE WHEN v.delivered_at IS NOT NULL THEN 'delivered' WHEN v.lost THEN 'failed' ELSE 'sent' END AS state
        FROM verdict v JOIN delivery_delivery d ON d.id = v.delivery_id
        WHERE d.sent_at IS NOT NULL AND d.state IN ('sent', 'delivered', 'failed')
    )
    UPDATE delivery_delivery d
    SET state = n.state, reason = CASE WHEN n.state = 'failed' THEN n.reason ELSE '' END,
        delivered_at = CASE WHEN n.state = 'delivered' THEN n.delivered_at END
    FROM next n
    WHERE d.id = n.id
        AND (d.state, d.delivered_at, d.reason) IS DISTINCT FROM
            (n.state, n.delivered_at, CASE WHEN n.state = 'failed' THEN n.reason ELSE '' END)
    RETURNING d.id, n.before, d.state, d.reason
"""


class Told(msgspec.Struct, frozen=True):
    """Something said about the person behind a delivery, wherever it was said."""

    delivery_id: int
    channel: str
    address: str
    device_id: int | None
    kind: str
    at: datetime


@transaction.atomic
def apply(account: Account, reports: Iterable[Report], now: datetime | None = None) -> int:
    """Take what an account's provider told, in the caller's transaction if there is one; return how much of it is new.

    The number of queries does not depend on the number of reports.
    """
    now = now or timezone.now()
    by_key = {identifier(report.key): report for report in reports}
    if not by_key:
        return 0
    rows = [
        {
            "key": key,
            "provider_id": identifier(report.provider_id),
            "kind": report.kind.value,
            "detail": states.clean(report.detail),
            "at": min(report.at, now),
        }
        for key, report in by_key.items()
    ]
    with connection.cursor() as cursor:
        cursor.execute(
            _KEEP, {"account": account.pk, "now": now, "reports": msgspec.json.encode(rows).decode()}
        )
        new = {number: by_key[key] for number, key in cursor.fetchall()}
    if not new:
        return 0
    _named(account.channel, new.values(), now)
    _charge(account, new.values())
    _match(list(new), now)
    return len(new)


def identifier(given: str) -> str:
    """What a provider calls something, fit for an index: one odd answer must not cost the record of its batch."""
    plain = given.replace("\0", "")
    return plain if len(plain) <= MAX_IDENTIFIER else hashlib.sha256(plain.encode()).hexdigest()


def forget_unmatched(now: datetime | None = None, limit: int = 5000) -> int:
    """Drop up to `limit` reports that no message of ours was found for in time; return how many."""
    old = ProviderReport.objects.filter(delivery=None, received_at__lte=(now or timezone.now()) - KEPT)
    return ProviderReport.objects.filter(pk__in=list(old.values_list("pk", flat=True)[:limit])).delete()[0]


def match_waiting(now: datetime | None = None, limit: int = 1000) -> int:
    """Find the deliveries of reports that came before the answer to the call was recorded; return of how many."""
    now = now or timezone.now()
    sent = Attempt.objects.filter(account=OuterRef("account"), provider_id=OuterRef("provider_id"))
    waiting = (
        ProviderReport.objects.filter(
            Exists(sent.exclude(provider_id="")), delivery=None, received_at__gt=now - KEPT
        )
        .order_by("pk")
        .values_list("pk", flat=True)[:limit]
    )
    with transaction.atomic():
        return _match(list(waiting), now)


def _match(report_ids: Sequence[int], now: datetime) -> int:
    """Join reports with their deliveries and draw the conclusions; return for how many there is one."""
    if not report_ids:
        return 0
    with connection.cursor() as cursor:
        cursor.execute(_FIND, [list(report_ids)])
        found = cursor.fetchall()
    if not found:
        return 0
    told = [
        Told(delivery_id, channel, address, device_id, kind, at)
        for _report, _attempt, delivery_id, address, device_id, channel, kind, at in found
    ]
    ids = sorted({each.delivery_id for each in told})
    # One order for all, and a merge of the profiles waits and takes the events along.
    deliveries = {
        delivery.pk: delivery
        for delivery in Delivery.objects.select_for_update(of=("self",), no_key=True)
        .select_related("message")
        .filter(pk__in=ids)
        .order_by("pk")
    }
    with connection.cursor() as cursor:
        cursor.execute(_MATCH, [[row[0] for row in found], [row[2] for row in found]])
        cursor.execute(
            _SETTLE,
            {
                "ids": ids,
                "arrived": [kind.value for kind in _ARRIVED],
                "lost": [kind.value for kind in _LOST],
            },
        )
        settled = {pk: (before, state, reason) for pk, before, state, reason in cursor.fetchall()}
    _log(deliveries, told, settled, now)
    people = {pk: each.profile_id for pk, each in deliveries.items() if not policies.for_tester(each)}
    consequences(told, people, now)
    return len(found)


def _log(
    deliveries: dict[int, Delivery],
    told: Sequence[Told],
    settled: dict[int, tuple[str, str, str]],
    now: datetime,
) -> None:
    """Args: settled: the states before and after, and the reason, of those that changed."""
    after = {pk: delivery.state for pk, delivery in deliveries.items()}
    after |= {pk: state for pk, (_before, state, _reason) in settled.items()}
    events = {}
    for each in told:
        name = EVENTS.get(Reported(each.kind))
        if name is None or policies.for_tester(deliveries[each.delivery_id]):
            continue
        if each.kind in _ARRIVED and after[each.delivery_id] != Delivery.State.DELIVERED:
            continue
        # A device's own report of the same has the same id.
        number = log.event_id("engagement", each.delivery_id, name)
        events[number] = states.event(number, name, deliveries[each.delivery_id], min(each.at, now))
    for pk, (before, state, reason) in settled.items():
        if state == Delivery.State.FAILED != before and not policies.for_tester(deliveries[pk]):
            number = log.event_id("message_failed", pk)
            events[number] = states.event(number, "message_failed", deliveries[pk], now, reason)
    log.append_once(list(events.values()), now)


def consequences(told: Sequence[Told], profiles: dict[int, int], now: datetime) -> None:
    """Write nobody again who is not there, calls it spam or said no, in the caller's transaction.

    Args:
        profiles: profile ids by delivery id; without those of deliveries that went to a tester's address.
    """
    _suppress(
        [(each.channel, each.address, each.kind) for each in told if each.address and not each.device_id]
    )
    gone = {each.device_id for each in told if each.device_id and each.kind == Reported.BOUNCED}
    if gone:
        subscriptions.mark_gone([pk for pk in gone if pk], "the provider says that it is gone", now)
    _unsubscribe(
        [
            (profiles[each.delivery_id], each.channel, each.at)
            for each in told
            if each.kind == Reported.UNSUBSCRIBED and each.delivery_id in profiles
        ],
        now,
    )


def _named(channel: str, reports: Collection[Report], now: datetime) -> None:
    """What follows from reports that name an address, whether or not we know the message."""
    _suppress([(channel, report.address, report.kind) for report in reports if report.address])
    left = {
        report.address: report.at
        for report in reports
        if report.address and report.kind == Reported.UNSUBSCRIBED
    }
    entries = [entry for entry in (_entry(channel, address, "") for address in left) if entry]
    if not entries:
        return
    field = "email" if channel == "email" else "phone"
    people = Profile.objects.filter(**{f"{field}__in": [entry.address for entry in entries]})
    at = max(left.values())
    _unsubscribe([(pk, channel, at) for pk in people.values_list("pk", flat=True)], now)


def _suppress(told: Sequence[tuple[str, str, str]]) -> None:
    entries = [
        _entry(channel, address, kind)
        for channel, address, kind in told
        if kind in (Reported.BOUNCED, Reported.COMPLAINED)
    ]
    suppressions.add([entry for entry in entries if entry], SOURCE)


def _entry(channel: str, address: str, reason: str) -> suppressions.Entry | None:
    try:
        return suppressions.entry(channel, address, str(reason))
    except Rejection:
        return None


def _unsubscribe(people: Sequence[tuple[int, str, datetime]], now: datetime) -> None:
    consent.record(
        [
            consent.Change(pk, consent.CHANNEL, channel, consent.UNSUBSCRIBED, SOURCE, min(at, now))
            for pk, channel, at in people
        ]
    )


def _charge(account: Account, reports: Collection[Report]) -> None:
    """Note what messages cost, where the provider tells."""
    rows: list[dict[str, Any]] = []
    for report in reports:
        try:
            cost = abs(Decimal(report.cost))
        except InvalidOperation:
            continue
        if cost.is_finite() and cost < 10**6:
            rows.append({"provider_id": identifier(report.provider_id), "cost": str(cost)})
    if not rows:
        return
    with connection.cursor() as cursor:
        cursor.execute(
            """
            UPDATE delivery_attempt a SET cost = r.cost
            FROM jsonb_to_recordset(%s::jsonb) AS r(provider_id text, cost numeric)
            WHERE a.account_id = %s AND a.provider_id = r.provider_id AND a.provider_id <> ''
            """,
            [msgspec.json.encode(rows).decode(), account.pk],
        )
