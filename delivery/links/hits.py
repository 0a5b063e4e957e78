"""Keeping what follows links and fetches pictures, and judging it some seconds later.

A click costs one statement. Whether it was a person shows when it is known what else was followed with it; then the
first one of each delivery goes to the event log as `message_opened` and `message_clicked`.
"""

from collections import defaultdict
from collections.abc import Callable, Sequence
from datetime import datetime

import msgspec
from django.db import connection, transaction
from django.utils import timezone

from crm import log
from delivery import policies
from delivery.content.addresses import is_web
from delivery.dispatch import states
from delivery.links import bots
from delivery.links.bots import Hit
from delivery.models import Delivery, LinkHit

KEPT = 200  # of one delivery: a link that is fetched again and again fills no disk
MAX_TEXT = 300  # characters of what a browser tells of itself
COUNTED = frozenset({LinkHit.Verdict.PERSON.value, LinkHit.Verdict.PROXY.value})
OPENED, CLICKED = "message_opened", "message_clicked"

_NOTE = """
    WITH followed AS (
        SELECT d.id, d.links ->> %(link)s::int AS target, d.origin_type = 'test' AS test
        FROM delivery_delivery d WHERE d.id = %(delivery)s
    ), noted AS (
        INSERT INTO delivery_linkhit (delivery_id, link, at, user_agent, purpose)
        SELECT f.id, %(link)s, %(at)s, %(agent)s, %(purpose)s FROM followed f
        WHERE %(counts)s AND (f.target IS NOT NULL OR %(link)s::int IS NULL)
            AND (SELECT count(*) FROM delivery_linkhit h WHERE h.delivery_id = f.id) < %(kept)s
    )
    SELECT target, test FROM followed
"""
_JUDGED = """
    UPDATE delivery_linkhit h SET verdict = r.verdict, reason = r.reason, rules = %s
    FROM jsonb_to_recordset(%s::jsonb) AS r(id bigint, verdict text, reason text) WHERE h.id = r.id
"""

# Told (in the transaction) of deliveries whose opening or click turned out to be a machine's when rules changed:
# {delivery id: names of events}. Layers above add to it.
withdrawn: list[Callable[[dict[int, set[str]]], None]] = []


class Target(msgspec.Struct, frozen=True):
    """Where a link leads; `test`: whoever follows it need not be the person that the message was filled in for."""

    url: str
    test: bool


def follow(
    delivery_id: int,
    link: int | None,
    user_agent: str,
    purpose: str,
    now: datetime | None = None,
    counts: bool = True,
) -> Target | None:
    """Note that a link (None: the picture) was fetched, and return where it leads; None if it leads nowhere.

    Args:
        counts: False to look without noting anything.
    """
    with connection.cursor() as cursor:
        cursor.execute(
            _NOTE,
            {
                "delivery": delivery_id,
                "link": link,
                "at": now or timezone.now(),
                "agent": _clean(user_agent),
                "purpose": _clean(purpose),
                "counts": counts,
                "kept": KEPT,
            },
        )
        row = cursor.fetchone()
    return Target(*row) if row and row[0] and is_web(row[0]) else None


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
    judged = {row.pk for row in due}
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
    events = [
        _event(deliveries[pk], name, row)
        for pk, found in after.items()
        if not policies.for_tester(deliveries[pk])
        for name, row in found.items()
    ]
    log.append_once(events, now)
    gone = {pk: names for pk in before if (names := before[pk].keys() - after[pk].keys())}
    if gone:
        for tell in withdrawn:
            tell(gone)
    return len(due)


def _judge(delivery: Delivery, rows: Sequence[LinkHit], judged: set[int]) -> None:
    hits = {row.pk: Hit(row.link, row.at, row.user_agent, row.purpose) for row in rows}
    for row in rows:
        if row.pk in judged:
            verdict, row.reason = bots.judge(
                hits[row.pk], list(hits.values()), len(delivery.links), delivery.sent_at
            )
            row.verdict = verdict.value


def _counted(rows: Sequence[LinkHit]) -> dict[str, LinkHit]:
    """The first opening and the first click that count, by the name of the event. A click opens, too."""
    found: dict[str, LinkHit] = {}
    for row in rows:
        if row.verdict in COUNTED:
            found.setdefault(OPENED, row)
            if row.link is not None:
                found.setdefault(CLICKED, row)
    return found


def _event(delivery: Delivery, name: str, row: LinkHit) -> log.NewEvent:
    # A device's own report of the same has the same id.
    event = states.event(log.event_id("engagement", delivery.pk, name), name, delivery, row.at)
    event.properties["device"] = bots.class_of(row.user_agent)
    if name == CLICKED and row.link is not None:
        event.properties |= {"link": row.link, "url": delivery.links[row.link]}
    return event


def _clean(text: str) -> str:
    return "".join(character for character in text if character.isprintable())[:MAX_TEXT]
