"""Keeping what follows links and fetches pictures, and judging it some seconds later.

A click costs one line in a file (delivery/spool.py). Whether it was a person shows when it is known what else was
followed with it; then the first one of each delivery goes to the event log as `message_opened` and `message_clicked`,
and what a machine did first as `message_machine_opened` and `message_machine_clicked`. Where newer rules see it
otherwise, `message_withdrawn` names what counts no more.
"""

from collections import Counter, defaultdict
from collections.abc import Collection, Mapping, Sequence
from datetime import datetime
from uuid import UUID

import msgspec
from django.db import connection, transaction
from django.utils import timezone

from crm import log
from crm.models import Event
from delivery import clicks, policies, spool
from delivery.dispatch import states
from delivery.links import bots
from delivery.links.bots import Hit
from delivery.models import Delivery, LinkHit

KIND = "hit"
KEPT = 200  # of one delivery: a link that is fetched again and again fills no disk
MAX_TEXT = 300  # characters of what a browser tells of itself
COUNTED = frozenset({LinkHit.Verdict.PERSON.value, LinkHit.Verdict.PROXY.value})
OPENED, CLICKED = "message_opened", "message_clicked"
MACHINE_OPENED, MACHINE_CLICKED = "message_machine_opened", "message_machine_clicked"
WITHDRAWN = "message_withdrawn"
Counted = Mapping[str, LinkHit]

# Of people who were erased nothing is kept, whenever it comes.
_STORE = """
    WITH told AS (
        SELECT r.*, row_number() OVER (PARTITION BY r.delivery ORDER BY r.at, r.record) AS place
        FROM jsonb_to_recordset(%(rows)s::jsonb)
            AS r(record uuid, delivery bigint, link int, at timestamptz, agent text, purpose text)
    ), alive AS (
        SELECT d.id, d.links, d.content IS NOT NULL AS words FROM delivery_delivery d
        WHERE d.id IN (SELECT delivery FROM told) ORDER BY d.id FOR KEY SHARE OF d
    ), there AS (
        SELECT h.delivery_id AS id, count(*) AS count FROM delivery_linkhit h
        WHERE h.delivery_id IN (SELECT delivery FROM told) GROUP BY h.delivery_id
    )
    INSERT INTO delivery_linkhit (record, delivery_id, link, at, user_agent, purpose)
    SELECT t.record, t.delivery, t.link, t.at, t.agent, t.purpose
    FROM told t JOIN alive a ON a.id = t.delivery LEFT JOIN there ON there.id = t.delivery
    WHERE CASE WHEN t.link IS NULL THEN a.words ELSE a.links ->> t.link IS NOT NULL END
        AND t.place + coalesce(there.count, 0) <= %(kept)s
    ON CONFLICT (record) WHERE record IS NOT NULL DO NOTHING
"""
_JUDGED = """
    UPDATE delivery_linkhit h SET verdict = r.verdict, reason = r.reason, rules = %s
    FROM jsonb_to_recordset(%s::jsonb) AS r(id bigint, verdict text, reason text) WHERE h.id = r.id
"""


class Fetched(spool.Record):
    """A link of a delivery (None: its picture) was fetched."""

    delivery: int
    link: int | None
    at: datetime
    agent: str
    purpose: str


def fetched(
    delivery_id: int, link: int | None, user_agent: str, purpose: str, now: datetime | None = None
) -> Fetched:
    """Return the record of a link (None: the picture) that was fetched.

    Args:
        purpose: what it was fetched for, as far as the request says; see `bots.judge`.
    """
    at = now or timezone.now()
    return Fetched(spool.number(), delivery_id, link, at, _clean(user_agent), _clean(purpose))


def landed(token: str, user_agent: str, now: datetime | None = None) -> Fetched | None:
    """Return the record of somebody's coming to the page behind a link; None if the token of the click is not ours.

    Args:
        token: as in the address that the click led to, see delivery/clicks.py. It counts once.
    """
    delivery_id = clicks.delivery_of(token, now)
    if delivery_id is None:
        return None
    at = now or timezone.now()
    return Fetched(log.event_id("landed", token), delivery_id, None, at, _clean(user_agent), bots.LANDED)


def store(hits: Sequence[bytes]) -> None:
    """Store what was kept, as JSON of `Fetched`, in the caller's transaction; each counts once."""
    with connection.cursor() as cursor:
        cursor.execute(_STORE, {"rows": f"[{b','.join(hits).decode()}]", "kept": KEPT})


@transaction.atomic
def settle(now: datetime | None = None, limit: int = 1000) -> int:
    """Judge up to `limit` hits that are not judged yet, or by older rules; return how many.

    The number of queries does not depend on the number of hits.
    """
    now = now or timezone.now()
    due = list(
        LinkHit.objects.select_for_update(skip_locked=True)
        .filter(rules__lt=bots.VERSION, at__lte=now - bots.SETTLED)
        .order_by("rules", "at")[:limit]
    )
    if not due:
        return 0
    ids = sorted({row.delivery_id for row in due})
    # Locked, so that a merge of the profile waits and takes these events along.
    deliveries = {
        delivery.pk: delivery
        for delivery in Delivery.objects.select_for_update(of=("self",), no_key=True)
        .select_related("message")
        .filter(pk__in=ids)
        .order_by("pk")
    }
    rows: dict[int, list[LinkHit]] = defaultdict(list)
    for row in LinkHit.objects.filter(delivery_id__in=ids).order_by("at", "pk"):
        rows[row.delivery_id].append(row)
    # With those that came at the same time and were stored and judged before.
    judged = {row.pk for row in due}
    judged |= {
        row.pk
        for hit in due
        for row in rows[hit.delivery_id]
        if row.rules and abs(row.at - hit.at) <= bots.AT_ONCE
    }
    before = {pk: _counted(found) for pk, found in rows.items()}
    for pk, found in rows.items():
        _judge(deliveries[pk], found, judged)
    with connection.cursor() as cursor:
        told = [
            {"id": row.pk, "verdict": row.verdict, "reason": row.reason}
            for found in rows.values()
            for row in found
            if row.pk in judged
        ]
        cursor.execute(_JUDGED, [bots.VERSION, msgspec.json.encode(told).decode()])
    after = {pk: _counted(found) for pk, found in rows.items()}
    known = {pk for pk in deliveries if not policies.for_tester(deliveries[pk])}
    _log(
        {pk: delivery for pk, delivery in deliveries.items() if pk in known},
        before,
        after,
        {pk for pk, found in rows.items() if any(row.rules for row in found)},
        now,
    )
    return len(due)


def _log(
    deliveries: Mapping[int, Delivery],
    before: Mapping[int, Counted],
    after: Mapping[int, Counted],
    again: Collection[int],
    now: datetime,
) -> None:
    """Tell the log what counts now and did not before, and the other way round.

    Args:
        again: deliveries of which some hit had been judged before.
    """
    gone = {pk: names for pk in deliveries if (names := before[pk].keys() - after[pk].keys())}
    new = [(pk, name) for pk in deliveries for name in sorted(after[pk].keys() - before[pk].keys())]
    taken_back = _withdrawn([pk for pk, _name in new if pk in again])
    events = []
    for pk, name in new:
        # A device's own report of the same has the same id; what was taken back needs another.
        times = taken_back[pk, name]
        fact = "machine" if name in (MACHINE_OPENED, MACHINE_CLICKED) else "engagement"
        number = log.event_id(fact, pk, name, *((times,) if times else ()))
        events.append(_event(number, deliveries[pk], name, after[pk][name]))
    log.append_once(events, now)
    if not gone:
        return
    told = _told_by_devices(gone)
    gone = {pk: left for pk, names in gone.items() if (left := names - told.get(pk, set()))}
    taken = [states.event(_withdrawal(pk, bots.VERSION), WITHDRAWN, deliveries[pk], now) for pk in gone]
    for event, names in zip(taken, gone.values(), strict=True):
        event.properties |= {"names": sorted(names), "rules": bots.VERSION}
    log.append(taken)


def _withdrawal(delivery_id: int, rules: int) -> UUID:
    return log.event_id("withdrawn", delivery_id, rules)


def _withdrawn(delivery_ids: Collection[int]) -> Counter[tuple[int, str]]:
    """How often each event was taken back of these deliveries: (delivery's id, event's name)."""
    ids = {_withdrawal(pk, rules): pk for pk in delivery_ids for rules in range(1, bots.VERSION + 1)}
    found: Counter[tuple[int, str]] = Counter()
    if ids:
        for number, properties in Event.objects.filter(pk__in=ids).values_list("pk", "properties"):
            found.update((ids[number], name) for name in properties["names"])
    return found


def _told_by_devices(gone: Mapping[int, Collection[str]]) -> dict[int, set[str]]:
    """Which of these a device of the person told, too."""
    ids = {log.event_id("engagement", pk, name): (pk, name) for pk, names in gone.items() for name in names}
    found: dict[int, set[str]] = defaultdict(set)
    for number in Event.objects.filter(pk__in=ids, source="device").values_list("pk", flat=True):
        pk, name = ids[number]
        found[pk].add(name)
    return found


def _judge(delivery: Delivery, rows: Sequence[LinkHit], judged: set[int]) -> None:
    hits = {row.pk: Hit(row.link, row.at, row.user_agent, row.purpose) for row in rows}
    for row in rows:
        if row.pk in judged:
            verdict, row.reason = bots.judge(
                hits[row.pk], list(hits.values()), len(delivery.links), delivery.sent_at
            )
            row.verdict = verdict.value


def _counted(rows: Sequence[LinkHit]) -> Counted:
    """The first of each thing that a person or a machine did, by the name of its event. A click opens, too."""
    found: dict[str, LinkHit] = {}
    for row in rows:
        clicked = row.link is not None or row.purpose == bots.LANDED
        if row.verdict in COUNTED:
            found.setdefault(OPENED, row)
            if clicked:
                found.setdefault(CLICKED, row)
        elif row.verdict == LinkHit.Verdict.MACHINE.value:
            found.setdefault(MACHINE_CLICKED if clicked else MACHINE_OPENED, row)
    return found


def _event(number: UUID, delivery: Delivery, name: str, row: LinkHit) -> log.NewEvent:
    event = states.event(number, name, delivery, row.at)
    event.properties["device"] = bots.class_of(row.user_agent)
    if row.verdict == LinkHit.Verdict.MACHINE.value:
        event.properties |= {"machine": True, "reason": row.reason}
    elif row.verdict == LinkHit.Verdict.PROXY.value:
        event.properties["proxy"] = True
    if name in (CLICKED, MACHINE_CLICKED) and row.link is not None:
        event.properties |= {"link": row.link, "url": delivery.links[row.link]}
    return event


def _clean(text: str) -> str:
    return "".join(character for character in text if character.isprintable())[:MAX_TEXT]
