"""How long events stay: a rule per name, and one for all other names; without a rule they stay for good.

Events go at night in small batches, only what every reader of the log has read, and a month whose every event is
over its time goes at once by detaching its partition (`crm.partitions.detach`). What went is noted in `Removal`.
"""

import time
from collections.abc import Callable
from datetime import UTC, date, datetime, timedelta
from typing import Any, NamedTuple

from django.db import connection, transaction
from django.db.models import F
from django.utils import timezone

from crm import changes, partitions
from crm.models import ComputedAttribute, EventRetention, Removal

BATCH = 2_000  # rows of one transaction, which holds the log's readers back while it runs
COUNTED = 100_000  # rows that a preview counts
NIGHT = range(1, 6)  # hours, by the account's clock
BUDGET = 20.0  # seconds of one run, for messages are sent by the same workers at night, too
OTHERS = ""  # the rule for all names without one


class Use(NamedTuple):
    """Something that looks at events of a name: `days` back, or at all there ever were (None)."""

    text: str
    days: int | None


_lookers: list[Callable[[], dict[str, list[Use]]]] = []


def register_uses(found: Callable[[], dict[str, list[Use]]]) -> None:
    """Add a function that tells by event name what looks at these events; for the layers above."""
    _lookers.append(found)


def _computed() -> dict[str, list[Use]]:
    uses: dict[str, list[Use]] = {}
    for attribute in ComputedAttribute.objects.all():
        use = Use(str(attribute), attribute.config.get("last_days"))
        uses.setdefault(str(attribute.config.get("event", "")), []).append(use)
    return uses


register_uses(_computed)


def cut_short(name: str, days: int) -> list[str]:
    """What looks further back than events of this name (OTHERS: of any without a rule) would stay, in words."""
    ruled = set(EventRetention.objects.values_list("name", flat=True)) if name == OTHERS else set()
    return sorted(
        {
            use.text
            for looker in _lookers
            for event, uses in looker().items()
            if event == name or (name == OTHERS and event not in ruled)
            for use in uses
            if use.days is None or use.days > days
        }
    )


def doomed(name: str, days: int, now: datetime | None = None) -> int:
    """How many events a rule would remove now, counted up to COUNTED + 1."""
    before = (now or timezone.now()) - timedelta(days=days)
    names = [name]
    if name == OTHERS:
        ruled = set(EventRetention.objects.exclude(name=OTHERS).values_list("name", flat=True))
        names = [each for each in _names("crm_event") if each not in ruled]
    with connection.cursor() as cursor:
        cursor.execute(
            """
            SELECT count(*) FROM (
                SELECT 1 FROM crm_event WHERE name = ANY(%s) AND occurred_at < %s LIMIT %s
            ) found
            """,
            [names, before, COUNTED + 1],
        )
        return cursor.fetchone()[0]


def is_night(now: datetime) -> bool:
    """Whether it is the time to tidy up, by the account's clock."""
    return timezone.localtime(now).hour in NIGHT


def apply(now: datetime | None = None, budget: float = BUDGET) -> int:
    """Remove what is over its time, for at most `budget` seconds; return how many events went.

    Not to be called in a transaction: each batch is one of its own, with a pause as long as it took.
    """
    now = now or timezone.now()
    ends = time.monotonic() + budget
    days = dict(EventRetention.objects.values_list("name", "days"))
    removed = sum(_detach(row.month, bool(row.archive), now) for row in partitions.unfinished())
    if not days:
        return removed
    removed += _detach_months(days, now)
    for name in _names("crm_event"):
        kept = days.get(name, days.get(OTHERS))
        if kept is None:
            continue
        while time.monotonic() < ends:
            began = time.monotonic()
            gone = _remove(name, now - timedelta(days=kept), now)
            removed += gone
            if gone < BATCH:
                break
            time.sleep(min(time.monotonic() - began, 1.0))
    return removed


def _detach_months(days: dict[str, int], now: datetime) -> int:
    removed = 0
    for month in partitions.months():
        after = _after(month)
        if after > now - timedelta(days=min(days.values())):
            break  # younger ones are younger still
        kept = [days.get(name, days.get(OTHERS)) for name in _names(_table(month))]
        if any(least is None or after > now - timedelta(days=least) for least in kept):
            continue
        removed += _detach(month, False, now)
    return removed


def _detach(month: date, keep: bool, now: datetime) -> int:
    """Take a month out of the log if that can be done now; return how many events went."""
    try:
        gone = partitions.detach(month, keep)
    except (partitions.StillRead, partitions.InUse, LookupError):
        return 0
    changes.touch_everybody()
    note(f"{month:%Y-%m}", gone, _after(month), now)
    return gone


def _after(month: date) -> datetime:
    """The first moment that is no longer in the month."""
    following = date(month.year + month.month // 12, month.month % 12 + 1, 1)
    return datetime(following.year, following.month, 1, tzinfo=UTC)


def _table(month: date) -> str:
    return f"crm_event_y{month.year:04d}m{month.month:02d}"


def _names(table: str) -> list[str]:
    """The names of events in a table, each found by one step in the index by name."""
    with connection.cursor() as cursor:
        cursor.execute(
            f"""
            WITH RECURSIVE found (name) AS (
                (SELECT name FROM {table} ORDER BY name LIMIT 1)
                UNION ALL
                SELECT (SELECT e.name FROM {table} e WHERE e.name > f.name ORDER BY e.name LIMIT 1)
                FROM found f WHERE f.name IS NOT NULL
            )
            SELECT name FROM found WHERE name IS NOT NULL
            """
        )
        return [row[0] for row in cursor.fetchall()]


@transaction.atomic
def _remove(name: str, before: datetime, now: datetime) -> int:
    """Delete a batch of what every reader that still moves has read."""
    with connection.cursor() as cursor:
        values: dict[str, Any] = {
            "name": name,
            "before": before,
            "batch": BATCH,
            "moves": partitions.READERS_MOVE_WITHIN,
        }
        cursor.execute(
            """
            WITH slowest AS (
                SELECT txid, seq FROM crm_logcursor WHERE moved_at > now() - %(moves)s ORDER BY txid, seq LIMIT 1
            ), gone AS (
                SELECT e.id, e.occurred_at FROM crm_event e
                WHERE e.name = %(name)s AND e.occurred_at < %(before)s
                  AND NOT EXISTS (SELECT FROM slowest s WHERE (e.txid, e.seq) > (s.txid, s.seq))
                ORDER BY e.occurred_at LIMIT %(batch)s
            )
            DELETE FROM crm_event e USING gone
            WHERE e.id = gone.id AND e.occurred_at = gone.occurred_at AND e.occurred_at < %(before)s
            RETURNING e.profile_id
            """,
            values,
        )
        gone = cursor.rowcount
        whose = {row[0] for row in cursor.fetchall()}
    if gone:
        changes.touch(whose, [f"event:{name}"])
        note(name, gone, before, now)
    return gone


def note(name: str, rows: int, older_than: datetime, now: datetime) -> None:
    """Note in `Removal` that so many rows of a name went today, all of them older than that."""
    day = timezone.localdate(now)
    Removal.objects.bulk_create(
        [Removal(day=day, name=name, rows=0, older_than=older_than)], ignore_conflicts=True
    )
    Removal.objects.filter(day=day, name=name).update(rows=F("rows") + rows, older_than=older_than)
