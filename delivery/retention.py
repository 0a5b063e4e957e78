"""How long it is kept what messages said. The ledger itself stays: who got what, when, and what became of it.

At night, what is older than NUDGE_CONTENT_DAYS loses its words: the content as sent and the data it was filled in with,
and what people wrote to us. Where links of a message lead stays, so that they go on working. Each kind is walked by
time, in batches; how far it has come is noted in `Removal`.
"""

import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta

from django.conf import settings
from django.db import connection
from django.db.models import Max, Min
from django.utils import timezone

from crm import pg, retention
from crm.models import Removal
from delivery.channels.inapp import MAX_DAYS
from delivery.models import EmailLayout, Message

CONTENT, INAPP, INBOUND = "content of messages", "content of in-app messages", "words of people"
BATCH = 2_000  # rows of one transaction
BUDGET = 20.0  # seconds of one run
LONGEST_WAIT = timedelta(days=90)  # a message that expires later still is counted as if it did then
SETTLED = timedelta(hours=1)  # moving on by less than that is not noted
# How exactly it is known when a layout was used last: see `delivery.email.keeping`.
IN_USE = timedelta(days=1)

# Somebody else's rows are waited for: what is passed over is never looked at again.
_WORDS = """
    WITH old AS MATERIALIZED (
        SELECT id, queued_at AS at FROM delivery_delivery
        WHERE queued_at >= %(after)s AND queued_at < %(before)s AND {which}
            AND state NOT IN ('queued', 'deferred', 'sending')
            AND (content IS NOT NULL OR context <> '{{}}'::jsonb)
        ORDER BY queued_at, id LIMIT %(batch)s FOR NO KEY UPDATE
    ), emptied AS (
        UPDATE delivery_delivery d SET content = NULL, context = '{{}}' FROM old WHERE d.id = old.id
    )
    SELECT count(*), max(at) FROM old
"""
_WRITTEN = """
    WITH old AS MATERIALIZED (
        SELECT id, at FROM delivery_inboundmessage
        WHERE at >= %(after)s AND at < %(before)s AND reply NOT IN ('waiting', 'sending')
            AND (text <> '' OR reply_text <> '')
        ORDER BY at, id LIMIT %(batch)s FOR NO KEY UPDATE
    ), emptied AS (
        UPDATE delivery_inboundmessage m SET text = '', reply_text = '' FROM old WHERE m.id = old.id
    )
    SELECT count(*), max(at) FROM old
"""
_STATEMENTS = {
    CONTENT: _WORDS.format(which="channel <> 'inapp'"),
    INAPP: _WORDS.format(which="channel = 'inapp'"),
    INBOUND: _WRITTEN,
}
_OLDEST = {
    CONTENT: "SELECT min(queued_at) FROM delivery_delivery",
    INAPP: "SELECT min(queued_at) FROM delivery_delivery WHERE channel = 'inapp'",
    INBOUND: "SELECT min(at) FROM delivery_inboundmessage",
}


def apply(now: datetime | None = None, days: int | None = None, budget: float = BUDGET) -> int:
    """Remove the words that are over their time, for at most `budget` seconds; return of how many rows.

    Not to be called in a transaction: each batch is one of its own, with a pause as long as it took.

    Args:
        days: how long words stay at least; 0 for good, None: as NUDGE_CONTENT_DAYS says. What may be sent or shown for
            longer is counted from then on.
    """
    now = now or timezone.now()
    days = settings.NUDGE_CONTENT_DAYS if days is None else days
    if not days:
        return 0
    kept = timedelta(days=days)
    waits = timedelta(hours=Message.objects.aggregate(most=Max("expires_after_hours"))["most"] or 0)
    before = {CONTENT: now - kept - min(waits, LONGEST_WAIT), INBOUND: now - kept}
    before[INAPP] = before[CONTENT] - timedelta(days=MAX_DAYS)
    ends = time.monotonic() + budget
    removed = sum(_walk(kind, moment, now, ends) for kind, moment in before.items())
    _forget_layouts(kept, now)
    return removed


def _walk(kind: str, before: datetime, now: datetime, ends: float) -> int:
    with connection.cursor() as cursor:
        cursor.execute(_OLDEST[kind])
        oldest = cursor.fetchone()[0]
    if oldest is None or oldest >= before:
        return 0
    return _in_batches(lambda: _batch(kind, before, now), ends)


def _in_batches(batch: Callable[[], int], ends: float) -> int:
    removed = 0
    while time.monotonic() < ends:
        began = time.monotonic()
        gone = batch()
        removed += gone
        if gone < BATCH:
            break
        time.sleep(min(time.monotonic() - began, 1.0))
    return removed


@pg.atomically
def _batch(kind: str, before: datetime, now: datetime) -> int:
    after = came_to(kind)
    if after >= before:
        return 0
    with connection.cursor() as cursor:
        cursor.execute(_STATEMENTS[kind], {"after": after, "before": before, "batch": BATCH})
        gone, latest = cursor.fetchone()
    # Others of the same moment may be left.
    reached = latest if gone == BATCH else before
    if gone or reached - after > SETTLED:
        retention.note(kind, gone, reached, now)
    return gone


def came_to(kind: str = CONTENT) -> datetime:
    """The moment before which nothing of a kind has its words any more."""
    found = Removal.objects.filter(name=kind).aggregate(latest=Max("older_than"))["latest"]
    return found or datetime(1970, 1, 1, tzinfo=UTC)


def _forget_layouts(kept: timedelta, now: datetime) -> None:
    """Drop layouts that no delivery needs any more.

    When one was used last is known since this runs: only when that is as long as words stay is it known of all.
    """
    first = Removal.objects.filter(name=CONTENT).aggregate(first=Min("day"))["first"]
    if first is None or first > timezone.localdate(now - kept - IN_USE):
        return
    EmailLayout.objects.filter(used_at__lt=came_to(CONTENT) - IN_USE).delete()
