"""Telling people what became of products they care for: `back_in_stock` and `price_dropped`.

A change of a product is in `ProductChange` as soon as it is stored. Here each becomes one event for each person who
asked for, saved or viewed the product: people in pages, each page in a transaction together with how far it came, and
events under ids made of the change and the person. So a crash anywhere repeats nothing and leaves nobody out.
"""

import time
from collections.abc import Sequence
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any

import msgspec
from django.db import connection, transaction
from django.utils import timezone

from crm import interest, log, present
from crm.interest import BACK, DROPPED
from crm.models import CatalogueSettings, ProductChange

AT_ONCE = 200  # changes
PAGE = 2000  # people
BUDGET_SECONDS = 20.0
PATIENCE_SECONDS = 1.0

# A change that was overtaken meanwhile (sold out again, dearer again) is told to nobody. What is dearer than it was
# at any time within the compared days has not become cheaper.
_DUE = """
    SELECT c.id, c.changed_at, c.told_upto, c.was_in_stock, lowest.price AS old_price,
        p.sku, p.name, p.price, p.currency, p.url, p.image_url, p.stock,
        c.in_stock IS TRUE AND c.was_in_stock IS DISTINCT FROM true AND p.active AND p.stock > 0 AS back,
        c.price < c.old_price AND c.currency = c.old_currency AND p.price <= c.price AND p.currency = c.currency
            AND p.active AND coalesce(p.stock, 1) > 0
            AND lowest.price > p.price AND (lowest.price - p.price) * 100 >= %(least)s * lowest.price AS dropped
    FROM crm_productchange c JOIN crm_product p ON p.id = c.product_id
    CROSS JOIN LATERAL (
        SELECT min(h.old_price) AS price FROM crm_productchange h
        WHERE h.product_id = c.product_id AND h.old_currency = c.currency
            AND (h.id = c.id OR (h.id < c.id AND h.changed_at > c.changed_at - %(compare)s))
    ) AS lowest
    WHERE c.id = ANY(%(ids)s)
"""
_PEOPLE = f"""
    WITH due AS MATERIALIZED ({_DUE})
    SELECT due.id, i.profile_id, i.back, i.dropped, i.reason
    FROM (SELECT * FROM due WHERE back OR dropped ORDER BY id) AS due
    CROSS JOIN LATERAL (
        SELECT profile_id, reason,
            due.back IS TRUE AND (due.was_in_stock IS NOT NULL OR reason = 'asked')
                AND (stock_told_at IS NULL OR stock_told_at < due.changed_at - %(quiet)s
                     OR coalesce(asks AND asked_at > stock_told_at, false)) AS back,
            -- Who asked after the price had changed has seen it.
            due.dropped IS TRUE AND coalesce(asks AND asked_at <= due.changed_at OR saves OR views, false)
                AND (price_told_at IS NULL OR price_told_at < due.changed_at - %(quiet)s
                     OR coalesce(asks AND asked_at > price_told_at, false)) AS dropped
        FROM (
            SELECT *, CASE WHEN asks THEN 'asked' WHEN saves THEN 'saved' WHEN views THEN 'viewed' END AS reason
            FROM (
                SELECT *,
                    asked_at > coalesce(bought_at, '-infinity') AND (asked_at > due.changed_at - %(lookback)s
                        OR asked_at > coalesce(greatest(stock_told_at, price_told_at), '-infinity')) AS asks,
                    saved_at > greatest(bought_at, due.changed_at - %(lookback)s) AND saved_at <= due.changed_at
                        AS saves,
                    viewed_at > greatest(bought_at, due.changed_at - %(lookback)s) AND viewed_at <= due.changed_at
                        AS views
                FROM crm_productinterest WHERE sku = due.sku AND profile_id > due.told_upto
            ) AS one
        ) AS signs
        WHERE reason IS NOT NULL
        ORDER BY profile_id LIMIT %(page)s
    ) AS i
    ORDER BY due.id, i.profile_id LIMIT %(page)s
"""
_MARK = """
    UPDATE crm_productinterest i SET
        stock_told_at = CASE WHEN r.back THEN greatest(i.stock_told_at, r.at) ELSE i.stock_told_at END,
        price_told_at = CASE WHEN r.dropped THEN greatest(i.price_told_at, r.at) ELSE i.price_told_at END
    FROM (
        SELECT sku, profile, max(at) AS at, bool_or(back) AS back, bool_or(dropped) AS dropped
        FROM jsonb_to_recordset(%s::jsonb) AS r(sku text, profile bigint, at timestamptz, back boolean, dropped boolean)
        GROUP BY sku, profile
    ) AS r WHERE i.sku = r.sku AND i.profile_id = r.profile
"""


class _Due(msgspec.Struct):
    id: int
    changed_at: datetime
    told_upto: int
    was_in_stock: bool | None
    old_price: Decimal | None
    sku: str
    name: str
    price: Decimal | None
    currency: str
    url: str
    image_url: str
    stock: Decimal | None
    back: bool | None
    dropped: bool | None


def run(now: datetime | None = None) -> int:
    """Read what people did up to now, then tell of all changes that are stored; return how many events were made.

    Ends after BUDGET_SECONDS; the next sweep goes on.
    """
    began = time.monotonic()
    told = 0
    while time.monotonic() - began < BUDGET_SECONDS:
        ids, horizon = _pending()
        if not _read_up_to(horizon, began):
            return told
        if not ids:
            return told
        while time.monotonic() - began < BUDGET_SECONDS:
            made, more = tell(ids, now)
            told += made
            if not more:
                break
    return told


def _pending() -> tuple[list[int], int]:
    """Changes that are to be told, of each product the first, and a transaction number that all who wrote before
    them are below.

    A second change of a product waits for the first, as who was told of that one need not hear again.
    """
    with connection.cursor() as cursor:
        cursor.execute(
            """
            SELECT DISTINCT ON (product_id) id FROM crm_productchange WHERE told_at IS NULL
            ORDER BY product_id, id LIMIT %s
            """,
            [AT_ONCE],
        )
        ids = [row[0] for row in cursor.fetchall()]
        cursor.execute("SELECT pg_snapshot_xmax(pg_current_snapshot())::text::bigint")
        return ids, cursor.fetchone()[0]


def _read_up_to(horizon: int, began: float) -> bool:
    """Read the log until everything is known that was stored before `horizon`; False if that takes too long."""
    idle_since = time.monotonic()
    while time.monotonic() - began < BUDGET_SECONDS:
        with connection.cursor() as cursor:
            cursor.execute("SELECT pg_snapshot_xmin(pg_current_snapshot())::text::bigint >= %s", [horizon])
            [reached] = cursor.fetchone()
        ours, full = interest.read()
        if full:
            idle_since = time.monotonic()
        elif reached and ours:
            return True
        elif time.monotonic() - idle_since > PATIENCE_SECONDS:
            return False
        else:
            time.sleep(0.02)  # an older transaction is still open, or another process reads
    return False


@transaction.atomic
def tell(ids: Sequence[int], now: datetime | None = None) -> tuple[int, bool]:
    """Tell the next page of people of these changes; returns how many events were made, and whether more wait.

    What people did has to be read before, see `run`. Each change is of a product of its own.
    """
    now = now or timezone.now()
    settings = CatalogueSettings.load()
    ours = list(
        ProductChange.objects.select_for_update(skip_locked=True)
        .filter(pk__in=ids, told_at=None)
        .order_by("pk")
        .values_list("pk", flat=True)
    )
    if not ours:
        return 0, False
    values: dict[str, Any] = {
        "ids": ours,
        "least": settings.least_drop,
        "compare": timedelta(days=settings.compare_days),
        "quiet": timedelta(days=settings.quiet_days),
        "lookback": timedelta(days=settings.lookback_days),
        "page": PAGE,
    }
    with connection.cursor() as cursor:
        cursor.execute(_DUE, values)
        due = {row[0]: _Due(*row) for row in cursor.fetchall()}
        cursor.execute(_PEOPLE, values)
        found = cursor.fetchall()
    made = _store([row for row in found if row[2] or row[3]], due)
    reached = (found[-1][0], found[-1][1]) if len(found) == PAGE else None
    done = [change for change in ours if reached is None or change < reached[0]]
    ProductChange.objects.filter(pk__in=done).update(told_at=now)
    if reached:
        ProductChange.objects.filter(pk=reached[0]).update(told_upto=reached[1])
    return made, reached is not None


def _store(rows: Sequence[tuple], due: dict[int, _Due]) -> int:
    """Record the events and who was told; return how many events are new."""
    if not rows:
        return 0
    people = present.hold({row[1] for row in rows})
    events, marks, told = [], [], dict.fromkeys(due, 0)
    for change_id, was, back, dropped, reason in rows:
        if (profile_id := people.get(was)) is None:
            continue
        change = due[change_id]
        marks.append(
            {
                "sku": change.sku,
                "profile": profile_id,
                "at": change.changed_at,
                "back": back,
                "dropped": dropped,
            }
        )
        told[change_id] += 1
        for name in [BACK] * back + [DROPPED] * dropped:
            events.append(
                log.NewEvent(
                    log.event_id("product", name, change_id, profile_id),
                    profile_id,
                    name,
                    change.changed_at,
                    _properties(change, name, reason),
                    "nudge",
                )
            )
    with connection.cursor() as cursor:
        cursor.execute(_MARK, [msgspec.json.encode(marks).decode()])
        cursor.execute(
            """
            UPDATE crm_productchange c SET told = c.told + r.told
            FROM unnest(%s::bigint[], %s::int[]) AS r(id, told) WHERE c.id = r.id AND r.told > 0
            """,
            [list(told), list(told.values())],
        )
    return log.append(list({event.id: event for event in events}.values()))


def _properties(change: _Due, name: str, reason: str) -> dict[str, Any]:
    return {
        "sku": change.sku,
        "name": change.name,
        "price": _plain(change.price),
        "old_price": _plain(change.old_price) if name == DROPPED else None,
        "currency": change.currency,
        "url": change.url,
        "image_url": change.image_url,
        "stock": _plain(change.stock),
        "reason": reason,
    }


def _plain(number: Decimal | None) -> float | int | None:
    """As JSON has it: whole numbers without a fraction."""
    if number is None:
        return None
    return int(number) if number == number.to_integral_value() else float(number)
